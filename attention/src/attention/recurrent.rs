//! Causal attention: one scan from a state.

use burn::tensor::{Bool, Tensor};

use super::LiquidAttention;
use crate::core::{DeltaTensors, gated_delta};
use crate::padding::Packing;
use crate::state::State;

impl LiquidAttention {
    /// Computes `prefill` for an input that was checked: reads and replaces the state.
    pub(super) fn recurrent(
        &self,
        x: Tensor<3>,
        mask_pad: Option<Tensor<2, Bool>>,
        state: &mut State,
    ) -> Tensor<3> {
        let packing = mask_pad.map(Packing::new);
        let x = match &packing {
            Some(packing) => packing.pack(x),
            None => x,
        };
        #[cfg(feature = "cuda")]
        if let Some(context) = self.fused(&x, packing.as_ref(), state) {
            return match &packing {
                Some(packing) => packing.unpack(context),
                None => context,
            };
        }
        let tokens = x.dims()[1] as u64;
        let behind = state.tokens.iter().max().copied().unwrap_or(0) + tokens;
        let (heads, tail) = self.own_heads(&x, state.conv.clone(), packing.as_ref());
        let silent = |numbers| match &packing {
            Some(packing) => packing.silence(numbers),
            None => numbers,
        };
        let tensors = DeltaTensors {
            q: heads.q,
            k: heads.k,
            v: heads.v,
            g: silent(self.log_gates(&x)),
            beta: silent(self.strengths(&x)),
            state: state.memory.clone(),
        };
        let (output, memory) = gated_delta(tensors, self.rule(behind));
        let context = self.finish(output, &x);
        state.memory = memory;
        state.conv = tail;
        for count in &mut state.tokens {
            *count += tokens;
        }
        match &packing {
            Some(packing) => packing.unpack(context),
            None => context,
        }
    }
}
