//! Causal on a GPU whose kernels serve the layer as a whole: see [`crate::cuda`].

use burn::module::Param;
use burn::tensor::{DType, Tensor};

use super::LiquidAttention;
use crate::cuda::{HeldLayer, LayerRule, WeightTensors, may_serve, side_by_side};
use crate::padding::Packing;
use crate::state::State;

impl LiquidAttention {
    /// The layer as one operation, where it can be one: without convolution, output gate and biases, on a GPU whose
    /// kernels serve it. Its weights are looked up once, and again when a parameter is another.
    fn as_one(&self) -> Option<HeldLayer> {
        let linears = [
            &self.query,
            &self.key,
            &self.value,
            &self.gate_a,
            &self.gate_b,
            &self.output,
        ];
        let plain = self.conv.is_none()
            && self.output_gate.is_none()
            && self.settings.key_heads == self.settings.n_heads
            && linears.iter().all(|linear| linear.bias.is_none());
        // Asked before anything is kept: where weights are trained, nothing else may hold them.
        if !plain || !may_serve(&self.query.weight.device()) {
            self.held.forget();
            return None;
        }
        let hold = || {
            HeldLayer::new(WeightTensors {
                matrices: linears.map(|linear| linear.weight.val()),
                small: [&self.a_log, &self.dt_bias, &self.norm.gamma].map(Param::val),
            })
        };
        self.held.of(self, hold)
    }

    /// The layer in one operation, where that is possible. Padding must stand behind the sequences, where `packing` has
    /// put it.
    pub(super) fn fused(
        &self,
        x: &Tensor<3>,
        packing: Option<&Packing>,
        state: &mut State,
    ) -> Option<Tensor<3>> {
        let layer = self.as_one()?;
        if !layer.takes(x, &state.memory) {
            return None;
        }
        let tokens = x.dims()[1] as u64;
        let behind = state.tokens.iter().max().copied().unwrap_or(0) + tokens;
        let lengths = packing.map(|packing| packing.lengths.clone().float().cast(DType::F32));
        let rule = LayerRule {
            rule: self.rule(behind),
            epsilon: self.norm.epsilon,
        };
        let (context, memory) = layer.run(x.clone(), state.memory.clone(), lengths, rule);
        state.memory = memory;
        for count in &mut state.tokens {
            *count += tokens;
        }
        Some(context)
    }

    pub(super) fn weights_side_by_side(mut self) -> Self {
        let linears = [
            &mut self.query,
            &mut self.key,
            &mut self.value,
            &mut self.gate_a,
            &mut self.gate_b,
        ];
        let moved = side_by_side(linears.each_ref().map(|linear| linear.weight.val()));
        for (linear, moved) in linears.into_iter().zip(moved) {
            let weight = linear.weight.clone();
            linear.weight = weight.map(|_| moved);
        }
        self
    }
}
