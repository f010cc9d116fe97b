//! What can go wrong between burn and the GPU.

/// Why the kernels for NVIDIA GPUs cannot serve. The operation then runs in burn's own tensor operations.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CudaError {
    /// The kernels use instructions of Hopper, which later and earlier chips do not have.
    #[error("compute capability {0}.{1} is not 9.0 (H100, H200); burn's own operations serve it")]
    Chip(i32, i32),
    /// The tensor is not on a CUDA device, or its buffer failed.
    #[error("no CUDA buffer: {0}")]
    Buffer(String),
    /// A library of CUDA is missing or refused, or there is no kernel.
    #[error(transparent)]
    Cuda(#[from] liquid_cuda::Error),
    /// Shapes or types that the kernels do not serve.
    #[error("{0}; burn's own operations serve it")]
    Unsupported(String),
    /// An operation did not return a gradient that it was asked for.
    #[error("no gradient with respect to {0}; burn's own operations serve it")]
    NoGradient(&'static str),
    /// A thread panicked while it held the GPU.
    #[error("the GPU's state was left locked by a thread that panicked; restart the process")]
    Poisoned,
}
