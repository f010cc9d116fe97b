//! The kernels of `worker/kernels/encoder.cu`, compiled by NVRTC for the chip and the model when the model is
//! loaded.

use std::ffi::CStr;

use liquid_cuda::device::{Function, Program};

use super::error::CudaError;
use crate::model::bert::Config;

const SOURCE: &str = include_str!("../../../kernels/encoder.cu");

/// An entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// Words and positions to states. Its own kernel because no library gathers, adds, normalises and splits
    /// in one pass.
    Embed,
    /// Attention of windows of different lengths without padding, in f32.
    Attend,
    /// Residual, bias, norm and split in one pass over memory.
    AddNorm,
    /// Bias, GELU and split in one pass over memory.
    Gelu,
    /// Matches and cosines, so that no hidden state leaves the device.
    Compare,
    /// A ranker's logits, likewise.
    Rank,
}

impl Kernel {
    const ALL: [Self; 6] = [
        Self::Embed,
        Self::Attend,
        Self::AddNorm,
        Self::Gelu,
        Self::Compare,
        Self::Rank,
    ];

    fn entry(self) -> &'static CStr {
        match self {
            Self::Embed => c"embed",
            Self::Attend => c"attend",
            Self::AddNorm => c"add_norm",
            Self::Gelu => c"gelu",
            Self::Compare => c"compare",
            Self::Rank => c"rank",
        }
    }
}

/// The loaded kernels, in the order of [`Kernel::ALL`].
pub(super) struct Programs(Vec<Function>);

impl Programs {
    /// Compiles for a chip of this compute capability; the context is current.
    pub(super) fn compile((major, minor): (i32, i32), config: &Config) -> Result<Self, CudaError> {
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        if heads * 32 != hidden || !hidden.is_multiple_of(128) || config.max_position_embeddings > 512 {
            let model = format!(
                "{heads} heads, width {hidden}, {} positions",
                config.max_position_embeddings
            );
            return Err(CudaError::Model(model));
        }
        let definitions = [format!("HIDDEN={hidden}"), format!("HEADS={heads}")];
        let target = format!("sm_{major}{minor}");
        let program = Program::compile("encoder.cu", SOURCE, &target, &definitions)?;
        let functions = Kernel::ALL.map(|kernel| program.function(kernel.entry(), 0));
        Ok(Self(functions.into_iter().collect::<Result<_, _>>()?))
    }

    pub(super) fn get(&self, kernel: Kernel) -> Function {
        self.0[kernel as usize]
    }
}
