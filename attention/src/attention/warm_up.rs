//! Does beforehand what a first call does besides its work.

use burn::tensor::Tensor;

use super::LiquidAttention;
use crate::core::CHUNK;
use crate::error::AttentionError;
use crate::input::LiquidInput;
use crate::precision::PRECISE_FROM;

impl LiquidAttention {
    /// Runs a prefill and a step of zeros for a batch of this size, in every precision that the layer may take,
    /// and waits for them. On a GPU that loads CUDA's libraries and compiles the kernels, some tenths of a
    /// second, which the first call takes otherwise; where the kernels serve the layer, nothing is tuned, then
    /// or later. A step of another batch compiles one kernel more. Gradients are not warmed up.
    ///
    /// # Errors
    /// As [`Self::prefill`], and [`AttentionError::Device`].
    pub fn warm_up(&self, batch: usize) -> Result<(), AttentionError> {
        let device = self.device();
        let zeros =
            |tokens| Tensor::<3>::zeros([batch, tokens, self.settings.d_model], (&device, self.dtype()));
        // A chunk and a token: both the whole and the broken chunk.
        let long = zeros(CHUNK + 1);
        if self.settings.bidirectional {
            self.forward(LiquidInput::self_attn(long))?;
        } else {
            // Behind many tokens a layer may be precise. Not on a clone of the layer: that would remember for itself.
            for behind in [0, PRECISE_FROM] {
                let mut state = self.fresh_state(batch);
                state.tokens.fill(behind);
                self.prefill(long.clone(), &mut state)?;
                self.step(zeros(1), &mut state)?;
            }
        }
        device
            .sync()
            .map_err(|error| AttentionError::Device(error.to_string()))
    }
}
