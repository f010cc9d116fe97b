//! The native part of the Python package `liquid_memory`: passes of `liquid-cuda` over PyTorch's device memory, on
//! PyTorch's current stream. It copies nothing, waits for nothing and allocates no device memory: the package does,
//! through PyTorch, and passes addresses. Builds without CUDA; driver, NVRTC and cuBLASLt are loaded at the first call.
//!
//! Every pass takes dictionaries of arguments, whose names are the fields of the structs that they become.

mod gpu;
mod layer;
mod rule;
mod signature;

use pyo3::prelude::*;

pyo3::create_exception!(
    liquid_memory,
    KernelError,
    pyo3::exceptions::PyRuntimeError,
    "A kernel, or a library of CUDA that it needs, is missing or refused."
);

pyo3::create_exception!(
    liquid_memory,
    SignatureError,
    pyo3::exceptions::PyRuntimeError,
    "Files or kernels of the package are not what the key has signed."
);

/// The module `liquid_memory._native`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::gpu::{keep_kernels_in, missing_library};
    #[pymodule_export]
    use super::layer::{layer, layer_work};
    #[pymodule_export]
    use super::rule::{gated_delta, gated_delta_backward, gradient_work, rule_work, segments};
    #[pymodule_export]
    use super::{KernelError, SignatureError};

    #[pymodule_export]
    use super::signature::{kernel_files, require_signature, verify};

    /// Version of the package.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// The variable with the public key without whose signature no kernel runs.
    #[pymodule_export]
    const REQUIRE_SIGNATURE: &str = super::signature::REQUIRE;
}
