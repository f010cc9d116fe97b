//! Matrix products by cuBLASLt and kernels compiled by NVRTC, on device memory that somebody else owns.
//!
//! [`Products`] multiplies row-major matrices; [`Program`] compiles CUDA C for a chip and loads it; [`Library`] says
//! whether what both need can be loaded. All of it works in the context that is current on the calling thread. Who
//! uses this owns context, streams and memory.

mod error;
mod library;
mod product;
mod program;

pub use error::Error;
pub use library::Library;
pub use product::{Element, Layout, Operands, Products, Shape, WORKSPACE};
pub use program::Program;
