//! How far the start is: said by the runtime, read by probes, metrics and the log.

use std::sync::Arc;

use tokio::sync::watch;

/// A step of the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadPhase {
    /// The encoder, the ranker and what belongs to them.
    #[default]
    Models,
    /// The decoder's weights.
    DecoderWeights {
        /// Bytes of their files.
        bytes: u64,
    },
    /// The decoder's tokenizer and chat template.
    DecoderTokenizer,
    /// The memory for the decoder's keys and values.
    DecoderMemory {
        /// Its bytes.
        bytes: u64,
    },
    /// Everything is there; each part answers once.
    WarmUp,
}

impl LoadPhase {
    /// Every phase's name, in their order.
    pub const NAMES: [&str; 5] = [
        "models",
        "decoder_weights",
        "decoder_tokenizer",
        "decoder_memory",
        "warm_up",
    ];

    /// Returns the phase's name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Models => "models",
            Self::DecoderWeights { .. } => "decoder_weights",
            Self::DecoderTokenizer => "decoder_tokenizer",
            Self::DecoderMemory { .. } => "decoder_memory",
            Self::WarmUp => "warm_up",
        }
    }
}

impl std::fmt::Display for LoadPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Models => f.write_str("loading the models"),
            Self::DecoderWeights { bytes } => write!(f, "loading the decoder: weights, {bytes} bytes"),
            Self::DecoderTokenizer => f.write_str("loading the decoder: tokenizer and chat template"),
            Self::DecoderMemory { bytes } => write!(f, "loading the decoder: memory, {bytes} bytes"),
            Self::WarmUp => f.write_str("warming up"),
        }
    }
}

/// The phase of a start; clones are the same one's.
#[derive(Clone, Debug, Default)]
pub struct LoadProgress(Arc<watch::Sender<LoadPhase>>);

impl LoadProgress {
    /// Returns the phase.
    pub fn phase(&self) -> LoadPhase {
        *self.0.borrow()
    }

    pub(crate) fn enter(&self, phase: LoadPhase) {
        self.0.send_replace(phase);
        tracing::info!(phase = phase.name(), "{phase}");
    }
}
