//! Attention without a causal mask: every query sees every key.
//!
//! A sum over all keys has no order, so there is nothing to forget and nothing to erase: `S = sum_i b_i k_i^T v_i`
//! and `o_j = q_j S`, for any number of queries. The norm over each head's output takes out the factor by which
//! `S` grows with the number of keys. A bidirectional layer scans the sequence forwards and backwards with gates
//! and erase, and adds the two.

use burn::tensor::{Bool, DType, Tensor};

use super::LiquidAttention;
use super::heads::Heads;
use crate::core::{DeltaTensors, gated_delta, project};
use crate::error::AttentionError;
use crate::input::Source;
use crate::padding::Packing;
use crate::portable::SEGMENT;

impl LiquidAttention {
    /// Computes `forward` without a causal mask, for an input that was checked.
    pub(super) fn whole(
        &self,
        source: Source,
        mask_pad: Option<Tensor<2, Bool>>,
    ) -> Result<Tensor<3>, AttentionError> {
        if self.conv.is_some() {
            return Err(AttentionError::ConvolutionNeedsOrder);
        }
        let Source { query, others } = source;
        match others {
            None if self.settings.bidirectional => Ok(self.both_ways(query, mask_pad)),
            None => {
                let (heads, _) = self.own_heads(&query, None, None);
                let context = self.sum(heads, &query, &query, mask_pad.clone());
                let Some(mask) = mask_pad else {
                    return Ok(context);
                };
                let [batch, tokens, width] = context.dims();
                let silent = mask.reshape([batch, tokens, 1]).expand([batch, tokens, width]);
                Ok(context.mask_fill(silent, 0))
            }
            Some(_) if self.settings.bidirectional => Err(AttentionError::Bidirectional(
                "two sequences have no common order",
            )),
            Some((key, value)) => {
                let heads = self.by_head(
                    project(&self.query, query.clone()),
                    project(&self.key, key.clone()),
                    project(&self.value, value),
                );
                Ok(self.sum(heads, &query, &key, mask_pad))
            }
        }
    }

    fn sum(
        &self,
        heads: Heads,
        query: &Tensor<3>,
        key: &Tensor<3>,
        mask: Option<Tensor<2, Bool>>,
    ) -> Tensor<3> {
        let Heads { q, k, v } = heads;
        let [batch, queries, count, dk] = q.dims();
        let [_, keys, _, dv] = v.dims();
        let dtype = v.dtype();
        let mut beta = self.strengths(key);
        if let Some(mask) = mask {
            let silent = mask.reshape([batch, keys, 1]).expand([batch, keys, count]);
            beta = beta.mask_fill(silent, 0);
        }
        // A part at a time, so that only a part is held in f32.
        let part = |t: &Tensor<4>, start: usize, length: usize| {
            t.clone()
                .narrow(1, start, length)
                .cast(DType::F32)
                .swap_dims(1, 2)
        };
        let mut state = Tensor::<4>::zeros([batch, count, dk, dv], (&q.device(), DType::F32));
        for start in (0..keys).step_by(SEGMENT) {
            let length = SEGMENT.min(keys - start);
            let weight = beta
                .clone()
                .narrow(1, start, length)
                .swap_dims(1, 2)
                .reshape([batch, count, length, 1]);
            let written = unit(part(&k, start, length)) * weight;
            state = state + written.transpose().matmul(part(&v, start, length));
        }
        let scale = self.rule(0).scale;
        let outputs = (0..queries)
            .step_by(SEGMENT)
            .map(|start| {
                let q = unit(part(&q, start, SEGMENT.min(queries - start)));
                q.matmul(state.clone())
                    .mul_scalar(scale)
                    .swap_dims(1, 2)
                    .cast(dtype)
            })
            .collect();
        self.finish(Tensor::cat(outputs, 1), query)
    }

    fn both_ways(&self, x: Tensor<3>, mask_pad: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let packing = mask_pad.map(Packing::new);
        let x = packing.as_ref().map_or(x.clone(), |packing| packing.pack(x));
        let [batch, tokens, _] = x.dims();
        let (heads, _) = self.own_heads(&x, None, None);
        let silent = |numbers: Tensor<3>| {
            packing
                .as_ref()
                .map_or_else(|| Tensor::clone(&numbers), |p| p.silence(numbers.clone()))
        };
        let forwards = DeltaTensors {
            q: heads.q,
            k: heads.k,
            v: heads.v,
            g: silent(self.log_gates(&x)),
            beta: silent(self.strengths(&x)),
            state: self.fresh_state(batch).memory,
        };
        let rule = self.rule(tokens as u64);
        let (left, _) = gated_delta(forwards.clone(), rule);
        let (right, _) = gated_delta(reversed(forwards), rule);
        let context = self.finish(left + right.flip([1]), &x);
        match &packing {
            Some(packing) => packing.unpack(context),
            None => context,
        }
    }
}

/// Divides rows by their norm, as the rule does.
fn unit(rows: Tensor<4>) -> Tensor<4> {
    let norm = rows.clone().square().sum_dim(3).add_scalar(1e-6).sqrt();
    rows / norm
}

/// Reverses the order of the tokens.
fn reversed(tensors: DeltaTensors) -> DeltaTensors {
    DeltaTensors {
        q: tensors.q.flip([1]),
        k: tensors.k.flip([1]),
        v: tensors.v.flip([1]),
        g: tensors.g.flip([1]),
        beta: tensors.beta.flip([1]),
        state: tensors.state,
    }
}
