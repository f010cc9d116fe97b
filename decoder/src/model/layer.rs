//! The weights as burn modules, and the pass through a layer.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::config::LayerKind;
use crate::ops::{Angles, Attention, DeviceError, HeadLayout, HeadNorms, Kernels, PageMemory, Piece};

/// A linear map with its weight as Hugging Face stores it.
#[derive(Module, Debug)]
pub(super) struct Projection {
    /// `[outputs, inputs]`.
    pub(super) weight: Param<Tensor<2>>,
    /// `[outputs]`.
    pub(super) bias: Option<Param<Tensor<1>>>,
}

/// Weights of a layer.
#[derive(Module, Debug)]
pub(super) struct Layer {
    /// Norm before attention, `[hidden]`.
    pub(super) attention_norm: Param<Tensor<1>>,
    /// Queries, keys and values, one below the other.
    pub(super) query_key_value: Projection,
    /// Norm of every head's queries, `[head_dim]`.
    pub(super) query_norm: Option<Param<Tensor<1>>>,
    /// Norm of every head's keys, `[head_dim]`.
    pub(super) key_norm: Option<Param<Tensor<1>>>,
    /// From the heads to the hidden state.
    pub(super) attention_output: Projection,
    /// Norm before the feed-forward part, `[hidden]`.
    pub(super) feed_norm: Param<Tensor<1>>,
    /// Gate and up, one below the other.
    pub(super) gate_up: Projection,
    /// Back to the hidden state.
    pub(super) down: Projection,
}

/// Weights of a model.
#[derive(Module, Debug)]
pub(super) struct ModelWeights {
    /// One row a token, `[vocab, hidden]`.
    pub(super) embedding: Param<Tensor<2>>,
    pub(super) layers: Vec<Layer>,
    /// Norm before the logits, `[hidden]`.
    pub(super) norm: Param<Tensor<1>>,
    /// Projection to logits, `[vocab, hidden]`; the embedding if there is none.
    pub(super) head: Option<Param<Tensor<2>>>,
}

/// What all layers of a pass share.
pub(super) struct Pass<'a> {
    pub(super) kernels: Kernels,
    pub(super) layout: HeadLayout,
    pub(super) epsilon: f64,
    pub(super) angles: Angles,
    /// Whose the rows are.
    pub(super) pieces: &'a [Piece<'a>],
}

/// The place of a layer among the others, and what its queries attend to.
#[derive(Clone, Copy)]
pub(super) struct LayerPlace {
    pub(super) index: usize,
    pub(super) kind: LayerKind,
}

impl Projection {
    fn apply(&self, x: &Tensor<2>, kernels: Kernels) -> Tensor<2> {
        let product = kernels.project(x, &self.weight.val());
        match &self.bias {
            Some(bias) => product + bias.val().unsqueeze::<2>(),
            None => product,
        }
    }
}

impl Layer {
    /// Computes the hidden states after the layer, `[rows, hidden]`, and stores keys and values.
    pub(super) fn forward(
        &self,
        x: Tensor<2>,
        place: LayerPlace,
        pass: &Pass<'_>,
        memory: &mut PageMemory,
    ) -> Result<Tensor<2>, DeviceError> {
        let kernels = pass.kernels;
        let normed = kernels.norm(&x, &self.attention_norm.val(), pass.epsilon);
        let packed = self.query_key_value.apply(&normed, kernels);
        let norms = self.head_norms(pass.epsilon);
        let packed = kernels.place_heads(packed, pass.layout, norms.as_ref(), &pass.angles);
        let attended = memory.attend(&Attention {
            packed,
            pieces: pass.pieces,
            layer: place.index,
            window: match place.kind {
                LayerKind::Full => None,
                LayerKind::Sliding { window } => Some(window),
            },
        })?;
        let x = x + self.attention_output.apply(&attended, kernels);
        let normed = kernels.norm(&x, &self.feed_norm.val(), pass.epsilon);
        let inner = kernels.gate(self.gate_up.apply(&normed, kernels));
        Ok(x + self.down.apply(&inner, kernels))
    }

    fn head_norms(&self, epsilon: f64) -> Option<HeadNorms> {
        let (query, key) = (self.query_norm.as_ref()?, self.key_norm.as_ref()?);
        Some(HeadNorms {
            query: query.val(),
            key: key.val(),
            epsilon,
        })
    }
}
