//! What can go wrong in CUDA's libraries.

use cudarc::cublaslt::result::CublasError;
use cudarc::cublaslt::sys::cublasStatus_t;
use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;
use cudarc::nvrtc::result::NvrtcError;

/// A library of CUDA is missing or refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A library that is loaded at run time is not there.
    #[error(
        "{0} cannot be loaded; install the NVIDIA driver and the CUDA 13 runtime libraries, or set LD_LIBRARY_PATH"
    )]
    Library(&'static str),
    /// NVRTC refused a kernel: a fault of the kernel, or a CUDA release or a chip that it does not know.
    #[error("{name} does not compile for {target}: {log}")]
    Compile {
        /// The file.
        name: &'static str,
        /// The chip, as `sm_90a`.
        target: String,
        /// What the compiler said.
        log: String,
    },
    /// NVRTC itself failed.
    #[error("NVRTC: {0:?}")]
    Nvrtc(#[from] NvrtcError),
    /// There is no GPU of this number.
    #[error(
        "GPU {number} is not there: {count} are visible; check CUDA_VISIBLE_DEVICES and the pod's resource limits"
    )]
    Absent {
        /// The number asked for.
        number: usize,
        /// GPUs that the driver shows.
        count: i32,
    },
    /// Sizes that no kernel serves.
    #[error("no kernel for {0}")]
    Unsupported(String),
    /// A copy is larger than the device memory that it goes to or comes from.
    #[error("{wanted} bytes of a buffer of {bytes}; allocate a larger one")]
    Extent {
        /// Bytes asked for.
        wanted: usize,
        /// Bytes of the buffer.
        bytes: usize,
    },
    /// A call of the driver failed.
    #[error("CUDA driver: {0}")]
    Driver(#[from] DriverError),
    /// A call of cuBLASLt failed.
    #[error("cuBLASLt: {0}")]
    Product(#[from] CublasError),
}

impl Error {
    /// Whether the device had too little memory, whoever noticed: more may be free later.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(
            self,
            Self::Driver(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY))
                | Self::Product(CublasError(cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED))
        )
    }

    /// Whether the driver sees no GPU at all.
    pub fn is_no_device(&self) -> bool {
        matches!(self, Self::Driver(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_runs_out_is_told_apart_whoever_notices() {
        let driver = |result| Error::from(DriverError(result));
        let product = |status| Error::from(CublasError(status));
        assert!(driver(CUresult::CUDA_ERROR_OUT_OF_MEMORY).is_out_of_memory());
        assert!(product(cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED).is_out_of_memory());
        assert!(!driver(CUresult::CUDA_ERROR_INVALID_VALUE).is_out_of_memory());
        assert!(!product(cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED).is_out_of_memory());
        assert!(driver(CUresult::CUDA_ERROR_NO_DEVICE).is_no_device());
        assert!(!driver(CUresult::CUDA_ERROR_OUT_OF_MEMORY).is_no_device());
    }
}
