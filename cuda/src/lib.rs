//! NVIDIA GPUs without a framework: [`device`] is one GPU (context, streams, memory, programs compiled by
//! NVRTC, products by cuBLASLt), [`rule`] the gated delta rule on it, [`pass`] whole passes of it for a framework with memory
//! of its own, [`transformer`] what a decoder with softmax attention needs. Nothing of CUDA is needed to build it; the libraries are loaded at run time.

pub mod device;
mod error;
mod files;
pub mod pass;
mod program;
mod rows;
pub mod rule;
pub mod transformer;

pub use error::Error;
pub use files::{kernel_files, kernel_sources};
pub use program::{KernelSource, TARGET};
pub use rows::Rows;
