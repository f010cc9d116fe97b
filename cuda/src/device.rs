//! One NVIDIA GPU: its context, streams and events, memory, compiled programs and matrix products.
//!
//! | file | what |
//! |---|---|
//! | `context` | a GPU, opened: its memory, streams and events come from it |
//! | `info` | the name, memory and UUID of a GPU that was not opened |
//! | `stream` | work in order: copies, events, waiting |
//! | `memory` | addresses, and memory that is freed with its owner |
//! | `pinned` | memory of the host that the GPU reads by itself |
//! | `program` | CUDA C compiled by NVRTC, and its functions |
//! | `kept` | compiled programs on disk |
//! | `launch` | a kernel's launch |
//! | `product` | matrix products by cuBLASLt |
//! | `linear` | products with weights `[out, in]`, in bf16 and FP8 |
//! | `graph` | work captured once and enqueued again |
//! | `tensor_map` | tensors for the copy engine |
//! | `library` | whether CUDA's libraries can be loaded |
//!
//! # Safety
//! Kernels, products and copies between [`Address`]es are `unsafe`: who enqueues them promises that the
//! memory behind every address has the extent that the call says and stays allocated until the stream has
//! passed, and that a launch's parameters are those of its kernel. Everything on a [`Buffer`] is checked and
//! safe.

mod context;
mod graph;
mod info;
mod kept;
mod launch;
mod library;
mod linear;
mod memory;
mod pinned;
mod product;
mod program;
mod stream;
mod tensor_map;

pub use context::Context;
pub use graph::Graph;
pub use info::{DeviceInfo, driver_version};
pub use kept::keep_programs_in;
pub use launch::{Launch, Parameter};
pub use library::Library;
pub use linear::{LinearOperands, LinearShape, Precision};
pub(crate) use memory::sealed as memory_seal;
pub use memory::{Address, Buffer, Number};
pub use pinned::PinnedBuffer;
pub use product::{Element, Layout, Operands, Products, Shape, WORKSPACE};
pub use program::{Function, Program};
pub use stream::{ColumnCopy, Event, Stream};
pub(crate) use tensor_map::TensorMap;
