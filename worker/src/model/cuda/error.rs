//! What can go wrong with a GPU.

/// Why the GPU cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// There is no GPU of this number.
    #[error("{0} GPUs are visible; check model.device, CUDA_VISIBLE_DEVICES and the pod's resource limits")]
    Absent(i32),
    /// The kernels do not serve this model.
    #[error(
        "the kernels serve heads of 32 and a width that 128 divides, at most 512 positions; this model has {0}; use model.device = \"cpu\""
    )]
    Model(String),
    /// The device has no memory left.
    #[error("out of memory")]
    Memory,
    /// A library of CUDA is missing or refused.
    #[error(transparent)]
    Cuda(liquid_cuda::Error),
}

impl From<liquid_cuda::Error> for CudaError {
    fn from(error: liquid_cuda::Error) -> Self {
        match error {
            liquid_cuda::Error::Absent { count, .. } => Self::Absent(count),
            error if error.is_no_device() => Self::Absent(0),
            error if error.is_out_of_memory() => Self::Memory,
            other => Self::Cuda(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use cudarc::cublaslt::{result::CublasError, sys::cublasStatus_t};
    use cudarc::driver::{DriverError, sys::CUresult};

    use super::*;

    #[test]
    fn memory_that_runs_out_is_told_apart_whoever_notices() {
        let driver = |result| CudaError::from(liquid_cuda::Error::from(DriverError(result)));
        assert!(matches!(
            driver(CUresult::CUDA_ERROR_OUT_OF_MEMORY),
            CudaError::Memory
        ));
        assert!(matches!(
            driver(CUresult::CUDA_ERROR_NO_DEVICE),
            CudaError::Absent(0)
        ));
        assert!(matches!(
            driver(CUresult::CUDA_ERROR_INVALID_VALUE),
            CudaError::Cuda(_)
        ));
        let product = |status| CudaError::from(liquid_cuda::Error::from(CublasError(status)));
        assert!(matches!(
            product(cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED),
            CudaError::Memory
        ));
        let other = product(cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED);
        assert!(matches!(other, CudaError::Cuda(_)));
    }
}
