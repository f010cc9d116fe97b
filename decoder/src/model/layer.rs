//! The weights as burn modules, and the pass through a layer.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::cache::Memory;
use crate::config::LayerKind;
use crate::ops::{
    Angles, Attention, DeltaPass, DeltaTensors, DeviceError, HeadLayout, HeadNorms, Kernels, PageMemory,
    Piece, StateMemory,
};

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
    /// Norm before the mixing of tokens, `[hidden]`.
    pub(super) mixer_norm: Param<Tensor<1>>,
    pub(super) mixer: Mixer,
    /// Norm before the feed-forward part, `[hidden]`.
    pub(super) feed_norm: Param<Tensor<1>>,
    /// Gate and up, one below the other.
    pub(super) gate_up: Projection,
    /// Back to the hidden state.
    pub(super) down: Projection,
}

/// Weights of what mixes the tokens of a sequence.
#[derive(Module, Debug)]
pub(super) enum Mixer {
    /// Softmax attention.
    Attention(AttentionWeights),
    /// The gated delta rule.
    Delta(DeltaWeights),
}

/// Weights of softmax attention.
#[derive(Module, Debug)]
pub(super) struct AttentionWeights {
    /// Queries, keys and values, one below the other; then the gates, where heads have one.
    pub(super) packed: Projection,
    /// Norm of every head's queries, `[head_dim]`.
    pub(super) query_norm: Option<Param<Tensor<1>>>,
    /// Norm of every head's keys, `[head_dim]`.
    pub(super) key_norm: Option<Param<Tensor<1>>>,
    /// From the heads to the hidden state.
    pub(super) output: Projection,
}

/// Weights of the gated delta rule.
#[derive(Module, Debug)]
pub(super) struct DeltaWeights {
    /// Queries, keys, values, gates of the output, strengths and forgetting numbers, one below the other.
    pub(super) packed: Projection,
    /// Weights of the convolution, `[kernel, channels]`.
    pub(super) taps: Param<Tensor<2>>,
    /// Logarithms of how fast each head forgets, `[value_heads]`.
    pub(super) decay: Param<Tensor<1>>,
    /// What is added to the forgetting numbers, `[value_heads]`.
    pub(super) decay_bias: Param<Tensor<1>>,
    /// Norm of every head's output, `[value_width]`.
    pub(super) norm: Param<Tensor<1>>,
    /// From the heads to the hidden state.
    pub(super) output: Projection,
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

/// The place of a layer among those of its kind, and the kind.
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
    /// Computes the hidden states after the layer, `[rows, hidden]`, and stores what it remembers.
    pub(super) fn forward(
        &self,
        x: Tensor<2>,
        place: LayerPlace,
        pass: &Pass<'_>,
        memory: &mut Memory,
    ) -> Result<Tensor<2>, DeviceError> {
        let kernels = pass.kernels;
        let normed = kernels.norm(&x, &self.mixer_norm.val(), pass.epsilon);
        let mixed = match &self.mixer {
            Mixer::Attention(weights) => weights.forward(&normed, place, pass, &mut memory.pages)?,
            Mixer::Delta(weights) => weights.forward(&normed, place, pass, &mut memory.states)?,
        };
        let x = x + mixed;
        let normed = kernels.norm(&x, &self.feed_norm.val(), pass.epsilon);
        let inner = kernels.gate(self.gate_up.apply(&normed, kernels));
        Ok(x + self.down.apply(&inner, kernels))
    }
}

impl AttentionWeights {
    fn forward(
        &self,
        x: &Tensor<2>,
        place: LayerPlace,
        pass: &Pass<'_>,
        pages: &mut PageMemory,
    ) -> Result<Tensor<2>, DeviceError> {
        let kernels = pass.kernels;
        let packed = self.packed.apply(x, kernels);
        let norms = self.head_norms(pass.epsilon);
        let attention = Attention {
            packed: kernels.place_heads(packed, pass.layout, norms.as_ref(), &pass.angles),
            pieces: pass.pieces,
            layer: place.index,
            window: match place.kind {
                LayerKind::Sliding { window } => Some(window),
                LayerKind::Full | LayerKind::GatedDelta => None,
            },
        };
        let attended = pages.attend(&attention)?;
        let attended = match pass.layout.gated {
            true => kernels.open_gates(attended, &attention.packed, pass.layout),
            false => attended,
        };
        Ok(self.output.apply(&attended, kernels))
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

impl DeltaWeights {
    fn forward(
        &self,
        x: &Tensor<2>,
        place: LayerPlace,
        pass: &Pass<'_>,
        states: &mut StateMemory,
    ) -> Result<Tensor<2>, DeviceError> {
        let output = states.read(&DeltaPass {
            packed: self.packed.apply(x, pass.kernels),
            pieces: pass.pieces,
            layer: place.index,
            weights: DeltaTensors {
                taps: self.taps.val(),
                decay: self.decay.val(),
                decay_bias: self.decay_bias.val(),
                norm: self.norm.val(),
                epsilon: pass.epsilon,
            },
        })?;
        Ok(self.output.apply(&output, pass.kernels))
    }
}
