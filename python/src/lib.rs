//! The native part of the Python package `liquid_memory`: passes of `liquid-cuda` over PyTorch's device memory, on
//! PyTorch's current stream. It copies nothing, waits for nothing and allocates no device memory: the package does,
//! through PyTorch, and passes addresses. Builds without CUDA; driver, NVRTC and cuBLASLt are loaded at the first call.
//!
//! Every function takes one dictionary of arguments, whose names are the fields of the struct that it becomes.

mod gpu;
mod layer;
mod rule;

use pyo3::prelude::*;

pyo3::create_exception!(
    liquid_memory,
    KernelError,
    pyo3::exceptions::PyRuntimeError,
    "A kernel, or a library of CUDA that it needs, is missing or refused."
);

/// The module `liquid_memory._native`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::KernelError;
    #[pymodule_export]
    use super::gpu::{keep_kernels_in, missing_library};
    #[pymodule_export]
    use super::layer::{layer, layer_work};
    #[pymodule_export]
    use super::rule::{gated_delta, gated_delta_backward, gradient_work, rule_work, segments};

    /// Version of the package.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
