//! Causal on a GPU whose kernels serve the layer as a whole: see [`crate::cuda`].

use burn::nn::Linear;
use burn::tensor::Tensor;

use super::LiquidAttention;
use crate::cuda::{LayerRule, LayerTensors, linear_layer, serves_layer};
use crate::state::State;

impl LiquidAttention {
    /// The layer in one operation, where that is possible: without padding, convolution, output gate, biases and
    /// gradients.
    pub(super) fn fused(&self, x: &Tensor<3>, state: &mut State) -> Option<Tensor<3>> {
        let plain = self.conv.is_none()
            && self.output_gate.is_none()
            && self.settings.key_heads == self.settings.n_heads
            && [
                &self.query,
                &self.key,
                &self.value,
                &self.output,
                &self.gate_a,
                &self.gate_b,
            ]
            .iter()
            .all(|linear| linear.bias.is_none());
        if !plain {
            return None;
        }
        let weight = |linear: &Linear| linear.weight.val();
        let tensors = LayerTensors {
            x: x.clone(),
            query: weight(&self.query),
            key: weight(&self.key),
            value: weight(&self.value),
            gate_a: weight(&self.gate_a),
            gate_b: weight(&self.gate_b),
            output: weight(&self.output),
            a_log: self.a_log.val(),
            dt_bias: self.dt_bias.val(),
            gamma: self.norm.gamma.val(),
            state: state.memory.clone(),
        };
        if !serves_layer(&tensors) {
            return None;
        }
        let tokens = x.dims()[1] as u64;
        let behind = state.tokens.iter().max().copied().unwrap_or(0) + tokens;
        let rule = LayerRule {
            rule: self.rule(behind),
            epsilon: self.norm.epsilon,
        };
        let (context, memory) = linear_layer(tensors, rule);
        state.memory = memory;
        for count in &mut state.tokens {
            *count += tokens;
        }
        Some(context)
    }
}
