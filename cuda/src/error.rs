//! What can go wrong in CUDA's libraries.

use cudarc::cublaslt::result::CublasError;
use cudarc::driver::DriverError;
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
    /// A call of the driver failed.
    #[error("CUDA driver: {0}")]
    Driver(#[from] DriverError),
    /// A call of cuBLASLt failed.
    #[error("cuBLASLt: {0}")]
    Product(#[from] CublasError),
}
