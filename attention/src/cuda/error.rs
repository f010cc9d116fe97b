//! What can go wrong between burn and the GPU.

use cudarc::cublaslt::result::CublasError;
use cudarc::driver::DriverError;
use cudarc::nvrtc::result::NvrtcError;

/// Why the kernels for NVIDIA GPUs cannot serve. The operation then runs in burn's own tensor operations.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CudaError {
    /// A library that is loaded at run time is not there.
    #[error("{0} cannot be loaded; install the CUDA 13 runtime libraries or set LD_LIBRARY_PATH")]
    Library(&'static str),
    /// The kernels use instructions of Hopper, which later and earlier chips do not have.
    #[error("compute capability {0}.{1} is not 9.0 (H100, H200); burn's own operations serve it")]
    Chip(i32, i32),
    /// The tensor is not on a CUDA device, or its buffer failed.
    #[error("no CUDA buffer: {0}")]
    Buffer(String),
    /// NVRTC refused a kernel; a fault of this crate or a CUDA release that it does not know.
    #[error("kernel {name} does not compile: {log}")]
    Compile {
        /// The file in `attention/kernels`.
        name: &'static str,
        /// What the compiler said.
        log: String,
    },
    /// NVRTC itself failed.
    #[error("NVRTC: {0:?}")]
    Nvrtc(#[from] NvrtcError),
    /// A call of the driver failed.
    #[error("CUDA driver: {0}")]
    Driver(#[from] DriverError),
    /// A call of cuBLASLt failed.
    #[error("cuBLASLt: {0}")]
    Product(#[from] CublasError),
    /// Shapes or types that the kernels do not serve.
    #[error("{0}; burn's own operations serve it")]
    Unsupported(String),
    /// A thread panicked while it held the GPU.
    #[error("the GPU's state was left locked by a thread that panicked; restart the process")]
    Poisoned,
}
