//! What can go wrong with a GPU.

use cudarc::cublaslt::{result::CublasError, sys::cublasStatus_t};
use cudarc::driver::{DriverError, sys::CUresult};
use cudarc::nvrtc::result::NvrtcError;

/// Why the GPU cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// A library that is loaded at run time is not there.
    #[error(
        "{0} cannot be loaded; install the NVIDIA driver and the CUDA 13 runtime libraries, or set LD_LIBRARY_PATH"
    )]
    Library(&'static str),
    /// There is no GPU of this number.
    #[error("{0} GPUs are visible; check model.device, CUDA_VISIBLE_DEVICES and the pod's resource limits")]
    Absent(i32),
    /// The kernels do not serve this model.
    #[error(
        "the kernels serve heads of 32 and a width that 128 divides, at most 512 positions; this model has {0}; use model.device = \"cpu\""
    )]
    Model(String),
    /// The compiler refused the kernels: a CUDA release or a chip that they do not know.
    #[error("the kernels do not compile for compute capability {major}.{minor}: {log}")]
    Compile {
        /// Of the chip.
        major: i32,
        /// Of the chip.
        minor: i32,
        /// What the compiler said.
        log: String,
    },
    /// The device has no memory left.
    #[error("out of memory")]
    Memory,
    /// NVRTC itself failed.
    #[error("NVRTC: {0:?}")]
    Nvrtc(#[from] NvrtcError),
    /// A call of the driver failed.
    #[error("CUDA driver: {0}")]
    Driver(DriverError),
    /// A call of cuBLASLt failed.
    #[error("cuBLASLt: {0}")]
    Product(CublasError),
}

impl From<DriverError> for CudaError {
    fn from(error: DriverError) -> Self {
        match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => Self::Memory,
            CUresult::CUDA_ERROR_NO_DEVICE => Self::Absent(0),
            _ => Self::Driver(error),
        }
    }
}

impl From<CublasError> for CudaError {
    fn from(error: CublasError) -> Self {
        match error.0 {
            cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => Self::Memory,
            _ => Self::Product(error),
        }
    }
}
