//! Why a model does not run on a GPU.

use crate::model::{LoadError, PassError};
use crate::weights::WeightsError;

/// Why a model cannot be loaded to a GPU.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// The folder holds no model that can be run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The model reads no sequences.
    #[error(transparent)]
    Sequence(#[from] PassError),
    /// The device, or a library of CUDA, failed.
    #[error(transparent)]
    Device(#[from] liquid_cuda::Error),
    /// The model has sizes that no kernel serves.
    #[error("{field} = {value}: GPUs run models of {expected}; load it on the processor")]
    Unsupported {
        /// The field of `config.json`.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is served.
        expected: &'static str,
    },
    /// The device has too little free memory.
    #[error(
        "{purpose} need {needed} bytes of the GPU's memory, and {free} are free; take a GPU with more, end other programs on it, or \
         use FP8"
    )]
    Memory {
        /// What for.
        purpose: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The system does not start a thread.
    #[error("cannot start a thread that reads weights: {0}")]
    Thread(#[from] std::io::Error),
}

impl From<WeightsError> for CudaError {
    fn from(error: WeightsError) -> Self {
        Self::Load(error.into())
    }
}

/// A failure of the device in a pass.
pub(super) fn failed(error: liquid_cuda::Error) -> PassError {
    PassError::Device(error.to_string())
}
