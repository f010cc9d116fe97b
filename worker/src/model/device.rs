//! Where the model runs.

use serde::{Deserialize, Serialize};

/// A place that can run the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// This machine's processor, through burn's flex backend.
    #[default]
    Cpu,
}

impl Device {
    /// burn's handle.
    pub(super) fn handle(self) -> burn::tensor::Device {
        match self {
            Self::Cpu => burn::tensor::Device::flex(),
        }
    }

    /// Batches worth running side by side. On a processor each core takes whole batches: what lies between
    /// the products runs on one core, so that spreading single products would leave the others idle.
    pub(super) fn lanes(self) -> usize {
        match self {
            Self::Cpu => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Padded tokens in a batch. On a processor a batch's activations should stay in a core's cache.
    pub(super) fn batch_tokens(self) -> usize {
        match self {
            Self::Cpu => 256,
        }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu (flex, {} threads)", self.lanes()),
        }
    }
}
