//! From a sequence to what the rule reads: queries, keys and values by head, and the gates.

use burn::tensor::{DType, Tensor, activation};

use super::LiquidAttention;
use crate::core::{DeltaRule, project};
use crate::padding::Packing;

/// Queries, keys and values, `[B, N, H, D]`.
pub(super) struct Heads {
    pub(super) q: Tensor<4>,
    pub(super) k: Tensor<4>,
    pub(super) v: Tensor<4>,
}

impl LiquidAttention {
    /// Returns the rule as this layer applies it when its sequences have `tokens` behind them.
    pub(super) fn rule(&self, tokens: u64) -> DeltaRule {
        DeltaRule {
            erase: self.settings.erase,
            normalise: true,
            scale: 1.0 / (self.settings.d_key as f32).sqrt(),
            precise: self.is_precise(tokens),
        }
    }

    /// Projects one sequence, convolved if the layer does that; returns the next tail of the convolution too.
    pub(super) fn own_heads(
        &self,
        x: &Tensor<3>,
        tail: Option<Tensor<3>>,
        packing: Option<&Packing>,
    ) -> (Heads, Option<Tensor<3>>) {
        let rows = [&self.query, &self.key, &self.value].map(|linear| project(linear, x.clone()));
        let (Some(conv), Some(tail)) = (&self.conv, tail) else {
            let [q, k, v] = rows;
            return (self.by_head(q, k, v), None);
        };
        let widths = rows.each_ref().map(|rows| rows.dims()[2]);
        let (mixed, tail) = conv.forward(Tensor::cat(rows.to_vec(), 2), tail, packing);
        let part = |start, width| mixed.clone().narrow(2, start, width);
        let (q, k) = (part(0, widths[0]), part(widths[0], widths[1]));
        let v = part(widths[0] + widths[1], widths[2]);
        (self.by_head(q, k, v), Some(tail))
    }

    /// Splits queries, keys and values of `[B, N, heads * D]` by head; heads of queries and keys are repeated
    /// where they serve several.
    pub(super) fn by_head(&self, q: Tensor<3>, k: Tensor<3>, v: Tensor<3>) -> Heads {
        let settings = &self.settings;
        let split = |rows: Tensor<3>, heads, width| {
            let [batch, tokens, _] = rows.dims();
            rows.reshape([batch, tokens, heads, width])
        };
        let shared = |rows| repeat(split(rows, settings.key_heads, settings.d_key), settings.n_heads);
        Heads {
            q: shared(q),
            k: shared(k),
            v: split(v, settings.n_heads, settings.d_value),
        }
    }

    /// Computes the log-gates `g = -exp(a_log) softplus(a + dt_bias)`, `[B, N, H]`, f32.
    pub(super) fn log_gates(&self, x: &Tensor<3>) -> Tensor<3> {
        let heads = self.settings.n_heads;
        let number = |param: Tensor<1>| param.cast(DType::F32).reshape([1, 1, heads]);
        let a = project(&self.gate_a, x.clone()).cast(DType::F32) + number(self.dt_bias.val());
        // softplus(a) = -log sigmoid(-a), which does not overflow.
        activation::log_sigmoid(a.neg()) * number(self.a_log.val()).exp()
    }

    /// Computes the writing strengths `b = sigmoid(..)`, `[B, N, H]`, f32.
    pub(super) fn strengths(&self, x: &Tensor<3>) -> Tensor<3> {
        activation::sigmoid(project(&self.gate_b, x.clone()).cast(DType::F32))
    }
}

/// Repeats each head of `[B, N, h, D]` as often as it takes to have `heads`, copies side by side.
fn repeat(rows: Tensor<4>, heads: usize) -> Tensor<4> {
    let [batch, tokens, own, width] = rows.dims();
    if own == heads {
        return rows;
    }
    rows.reshape([batch, tokens, own, 1, width])
        .expand([batch, tokens, own, heads / own, width])
        .reshape([batch, tokens, heads, width])
}
