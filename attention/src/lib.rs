//! Linear-time attention for [burn](https://burn.dev).
//!
//! [`core`] is the one operation that everything stands on, with a switch for each backend; [`portable`] is its
//! implementation in burn's own tensor operations, `cuda` the one in kernels for NVIDIA GPUs.

pub mod core;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod portable;
