//! Causal attention on a GPU whose kernels serve the layer as a whole: see [`crate::cuda`].

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{DType, Tensor};

use super::LiquidAttention;
use crate::cuda::{LayerMemory, LayerRule, PreparedLayer, WeightTensors, lay_out, may_serve};
use crate::padding::Packing;
use crate::state::State;

impl LiquidAttention {
    /// Prepares the layer as one operation, on a GPU whose kernels serve it. Its weights are looked up once,
    /// and again when a parameter was replaced.
    fn as_one(&self) -> Option<PreparedLayer> {
        let inputs = [&self.query, &self.key, &self.value, &self.gate_a, &self.gate_b];
        // `init` gives none of these a bias, but whoever replaces one may.
        let mut gates = [&self.gate_a, &self.gate_b].into_iter().chain(&self.output_gate);
        // Asked before anything is kept: where weights are trained, nothing else may hold them.
        if gates.any(|gate| gate.bias.is_some()) || !may_serve(&self.query.weight.device()) {
            self.prepared.forget();
            return None;
        }
        let bias = |linear: &Linear| linear.bias.as_ref().map(Param::val);
        let prepare = || {
            PreparedLayer::new(WeightTensors {
                input: inputs.map(|linear| linear.weight.val()),
                gate: self.output_gate.as_ref().map(|gate| gate.weight.val()),
                input_bias: [&self.query, &self.key, &self.value].map(bias),
                output: self.output.weight.val(),
                output_bias: bias(&self.output),
                convolution: self.conv.as_ref().map(|conv| conv.weight.val()),
                small: [&self.a_log, &self.dt_bias, &self.norm.gamma].map(Param::val),
            })
        };
        self.prepared.of(self, prepare)
    }

    /// Runs the layer in one operation, where that is possible. Padding must be behind the sequences, where
    /// `packing` has put it.
    pub(super) fn fused(
        &self,
        x: &Tensor<3>,
        packing: Option<&Packing>,
        state: &mut State,
    ) -> Option<Tensor<3>> {
        let layer = self.as_one()?;
        if !layer.takes(x, &state.memory, state.conv.as_ref()) {
            return None;
        }
        let tokens = x.dims()[1] as u64;
        let behind = state.tokens.iter().max().copied().unwrap_or(0) + tokens;
        let lengths = packing.map(|packing| packing.lengths.clone().float().cast(DType::F32));
        let rule = LayerRule {
            rule: self.rule(behind),
            epsilon: self.norm.epsilon,
        };
        let before = LayerMemory {
            state: state.memory.clone(),
            tail: state.conv.clone(),
        };
        let (context, after) = layer.run(x.clone(), before, lengths, rule);
        (state.memory, state.conv) = (after.state, after.tail);
        for count in &mut state.tokens {
            *count += tokens;
        }
        Some(context)
    }

    /// Implements [`packed`](Self::packed) on a GPU.
    pub(super) fn laid_out(mut self) -> Self {
        let linears = [
            &mut self.query,
            &mut self.key,
            &mut self.value,
            &mut self.gate_a,
            &mut self.gate_b,
        ];
        let five = linears.each_ref().map(|linear| linear.weight.val());
        let gate = self.output_gate.as_ref().map(|gate| gate.weight.val());
        let (five, gate, output) = lay_out(five, gate, self.output.weight.val());
        let linears = (linears.into_iter().chain(&mut self.output_gate)).chain([&mut self.output]);
        for (linear, moved) in linears.zip(five.into_iter().chain(gate).chain([output])) {
            let weight = linear.weight.clone();
            linear.weight = weight.map(|_| moved);
        }
        self
    }
}
