//! Decoding: many steps of one layer.

use burn::tensor::Tensor;

use super::LiquidAttention;
#[cfg(feature = "cuda")]
use crate::cuda::HeldLayer;
use crate::error::{AttentionError, shaped};
use crate::state::State;

/// A layer and a state, for step after step. It computes what [`LiquidAttention::step`] computes; on a GPU whose
/// kernels serve the layer it saves looking up weights and state at every token, which there takes longer than the
/// token. It keeps the weights that the layer had when decoding began.
#[derive(Debug)]
pub struct Decoder {
    layer: LiquidAttention,
    state: State,
    #[cfg(feature = "cuda")]
    held: Option<HeldLayer>,
}

impl LiquidAttention {
    /// Begins decoding from a state.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn decoder(&self, state: State) -> Result<Decoder, AttentionError> {
        if self.settings.bidirectional {
            return Err(AttentionError::Bidirectional("a state is of one direction"));
        }
        if self.settings.needs_distillation && !self.device().is_autodiff() {
            return Err(AttentionError::NeedsDistillation);
        }
        state.check(self, state.batch())?;
        Ok(Decoder {
            #[cfg(feature = "cuda")]
            held: self.held(&state),
            layer: self.clone(),
            state,
        })
    }
}

impl Decoder {
    /// One token of every sequence, `x [B, 1, d_model]`.
    ///
    /// # Errors
    /// As [`LiquidAttention::step`].
    pub fn step(&mut self, x: Tensor<3>) -> Result<Tensor<3>, AttentionError> {
        let settings = &self.layer.settings;
        shaped(
            "x",
            &x.dims(),
            &[Some(self.state.batch()), Some(1), Some(settings.d_model)],
        )?;
        #[cfg(feature = "cuda")]
        if let Some(held) = &self.held {
            if x.dtype() != burn::tensor::DType::BF16 {
                return Err(AttentionError::Type {
                    field: "x",
                    given: x.dtype(),
                    wanted: burn::tensor::DType::BF16,
                });
            }
            self.state.tokens.iter_mut().for_each(|count| *count += 1);
            return Ok(held.step(x));
        }
        self.layer.step(x, &mut self.state)
    }

    /// Tokens that each sequence was given.
    pub fn tokens(&self) -> &[u64] {
        self.state.tokens()
    }

    /// Ends decoding; gives the state after the last step.
    pub fn into_state(self) -> State {
        #[cfg(feature = "cuda")]
        if let Some(held) = self.held {
            return State {
                memory: held.into_state(),
                ..self.state
            };
        }
        self.state
    }
}
