//! NVIDIA GPUs without a framework: [`device`] is one GPU (context, streams, memory, programs compiled by
//! NVRTC, products by cuBLASLt), [`rule`] the gated delta rule on it. Nothing of CUDA is needed to build it;
//! the libraries are loaded at run time.

pub mod device;
mod error;
pub mod rule;

pub use error::Error;
