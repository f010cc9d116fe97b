//! Encoder and ranker on NVIDIA GPUs: BERT's forward pass over whole documents, and the comparison with the
//! question or the ranker's logits, without burn: the products by cuBLASLt (`liquid-cuda`), the steps between
//! them by six kernels of ours (`worker/kernels/encoder.cu`, compiled by NVRTC at the start). Nothing is needed
//! to build it; CUDA's libraries are loaded at run time.
//!
//! Why not burn's CUDA backend: its product reached a third of cuBLASLt's speed when measured, it tunes every
//! new shape for seconds, and a batch would have to be padded. Why not plain f16: units are ranked, and where
//! many lie close together small errors exchange some at the border of the budget. So products are sums of
//! three f16 products, as exact as f32 ones, and the rest is f32: `worker/kernels/README.md`.
//!
//! | file | what |
//! |---|---|
//! | `encoder`, `ranker` | the two models |
//! | `bert` | what they have in common: a model on a GPU that others share |
//! | `gpu` | the device (`liquid_cuda::device`) as they use it |
//! | `program` | the kernels, compiled |
//! | `weights` | the model in device memory |
//! | `batch` | windows as the kernels take them |
//! | `pass` | buffers, the forward pass, the comparison, the logits |
//!
//! # Safety
//! Three promises hold all unsafe calls: everything runs on one stream in the order in which it is enqueued,
//! and memory is only freed after that stream has come to rest (`Gpu::wait`, which every pass ends with); a
//! buffer is as large as the shapes that are passed with it, which `Space` sees to; the list of a launch's
//! arguments is that of the kernel.

#![allow(
    unsafe_code,
    reason = "calls of the CUDA driver and libraries; see Safety above"
)]

mod batch;
mod bert;
mod encoder;
mod error;
mod gpu;
mod pass;
mod program;
mod ranker;
mod weights;

pub(super) use bert::SharedGpu;
pub(super) use encoder::CudaEncoder;
pub use error::CudaError;
pub(super) use ranker::CudaRanker;

use super::batches::{Failure, Stopped};
use super::encoder::EncodeError;

/// Most tokens in a batch. More are no faster; their buffers take 0.6 GB.
const BATCH_TOKENS: usize = 32_768;

/// Tokens of a window in the warm-up: what a window of a document has for the encoder, and half of what a ranker's
/// has with the question.
const WARM_UP_WINDOW: usize = 64;

/// A failure of the device for `batches`.
fn failure(error: CudaError) -> Failure<CudaError> {
    match error {
        CudaError::Memory => Failure::Memory,
        other => Failure::Other(other),
    }
}

fn stopped(stopped: Stopped<CudaError>) -> EncodeError {
    match stopped {
        Stopped::Memory(tokens) => EncodeError::OutOfMemory { tokens },
        Stopped::Other(error) => EncodeError::Device(error.to_string()),
    }
}
