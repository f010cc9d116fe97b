//! Models on NVIDIA GPUs of the Hopper generation, without burn: weights in device memory, and a step of the whole model
//! as launches of `liquid-cuda`'s kernels and cuBLASLt's products in one stream. [`CudaModel`] is a
//! [`Runner`](crate::engine::Runner) for the engine.
//!
//! | file | what |
//! |---|---|
//! | `model` | a loaded model, and how much memory is left for keys and values |
//! | `load` | weights from mapped shards to the device: reader threads, pinned memory, FP8 on the way |
//! | `weights` | where each weight lies in device memory |
//! | `space` | buffers of a pass, taken once |
//! | `pass` | rows of any sequences through all layers, and the tokens that follow |
//! | `layers` | the launches of one pass |
//! | `delta` | those of a layer of the gated delta rule |
//! | `graphs` | steps of single tokens, captured once and launched as one |
//!
//! `crate::ops::cuda` has the memory of sequences: keys and values, states, and how a pass is cut where copies of them are wanted.
//!
//! Activations, keys and values are bf16, sums and the states of hybrids f32. With [`Precision::Fp8`] the projections of the layers are products of
//! FP8 (E4M3) with a scale for every row of weights and of activations; embeddings, attention and the head stay bf16. The
//! relative error of such a product is about 4e-2 where bf16's is 2e-3.
//!
//! # Safety
//! Four promises hold all unsafe calls: everything of a pass runs on one stream in the order in which it is enqueued; all
//! memory (weights, `space`, pages, states) is taken before the first pass and freed with the model, whose last work has been
//! waited for (every pass ends with reading its result); a buffer is as large as the most rows that a pass is given, which
//! `pass` sees to; and what a batch's tables say comes from `liquid_cuda`'s own plans of pages and slots that the sequences own.

#![allow(unsafe_code, reason = "launches kernels; see Safety above")]

mod delta;
mod error;
mod graphs;
mod layers;
mod load;
mod model;
mod pass;
mod space;
mod weights;

pub use error::CudaError;
pub use liquid_cuda::device::Precision;
pub use load::LoadProgress;
pub use model::{CudaModel, CudaOptions};
