//! The memory of a layer: of one size, whatever the sequence's length.

use burn::tensor::{DType, Device, Int, Tensor};

use crate::error::{AttentionError, shaped};

mod bytes;

/// The memory of one layer for a batch of sequences. Cloning it is a snapshot: a prefix is read once and continued
/// many times.
#[derive(Clone, Debug)]
pub struct State {
    /// State of the rule, `[B, H, dk, dv]`, f32.
    pub memory: Tensor<4>,
    /// The last `K - 1` tokens before the short convolution, `[B, K - 1, channels]`; `None` without one.
    pub conv: Option<Tensor<3>>,
    /// Number of tokens that each sequence was given, padding included.
    pub(crate) tokens: Vec<u64>,
}

/// Shape, number type and device of a layer's states.
#[derive(Clone, Debug)]
pub struct StateShape {
    /// Number of heads of the state.
    pub heads: usize,
    /// Width of a head's keys.
    pub d_key: usize,
    /// Width of a head's values.
    pub d_value: usize,
    /// Tokens that the short convolution keeps, and their channels; `None` without one.
    pub conv: Option<[usize; 2]>,
    /// Type of the tokens that the convolution keeps.
    pub dtype: DType,
    /// Device of the states.
    pub device: Device,
}

impl State {
    /// Makes a state of `batch` sequences that have not begun, for layers of this shape
    /// ([`LiquidAttention::state_shape`](crate::LiquidAttention::state_shape)).
    pub fn new(shape: &StateShape, batch: usize) -> Self {
        let StateShape {
            heads,
            d_key,
            d_value,
            conv,
            dtype,
            device,
        } = shape;
        let memory = Tensor::zeros([batch, *heads, *d_key, *d_value], (device, DType::F32));
        let conv = conv.map(|[kept, channels]| Tensor::zeros([batch, kept, channels], (device, *dtype)));
        Self {
            memory,
            conv,
            tokens: vec![0; batch],
        }
    }

    /// Number of sequences in the batch.
    pub fn batch(&self) -> usize {
        self.tokens.len()
    }

    /// Number of tokens that each sequence was given, padding included: what [`crate::Precision::Auto`] goes by.
    pub fn tokens(&self) -> &[u64] {
        &self.tokens
    }

    /// Size on the device, in bytes.
    pub fn size(&self) -> usize {
        let conv = self
            .conv
            .as_ref()
            .map_or(0, |conv| conv.shape().num_elements() * conv.dtype().size());
        self.memory.shape().num_elements() * 4 + conv
    }

    /// Resets the named sequences to their beginning and leaves the others as they are.
    ///
    /// # Errors
    /// [`AttentionError::Shape`] for a sequence that the batch does not have; then none is reset.
    pub fn reset(&mut self, sequences: &[usize]) -> Result<(), AttentionError> {
        if let Some(sequence) = sequences.iter().find(|sequence| **sequence >= self.batch()) {
            let wanted = format!("a sequence below {}", self.batch());
            return Err(AttentionError::Shape {
                field: "sequences",
                given: vec![*sequence],
                wanted,
            });
        }
        let keep: Vec<i32> = (0..self.batch())
            .map(|row| i32::from(!sequences.contains(&row)))
            .collect();
        let batch = self.batch();
        let drop = Tensor::<1, Int>::from_ints(keep.as_slice(), &self.memory.device()).equal_elem(0);
        // Filled, not multiplied: a state that has become infinite must go too.
        let shape = self.memory.dims();
        let mask = drop.clone().reshape([batch, 1, 1, 1]).expand(shape);
        self.memory = self.memory.clone().mask_fill(mask, 0);
        self.conv = self.conv.take().map(|conv| {
            let shape = conv.dims();
            conv.mask_fill(drop.reshape([batch, 1, 1]).expand(shape), 0)
        });
        for sequence in sequences {
            self.tokens[*sequence] = 0;
        }
        Ok(())
    }

    /// Moves the state to another device.
    pub fn to_device(self, device: &Device) -> Self {
        Self {
            memory: self.memory.to_device(device),
            conv: self.conv.map(|conv| conv.to_device(device)),
            tokens: self.tokens,
        }
    }

    /// Cuts the graph of gradients: what follows does not train what came before (truncated backpropagation).
    pub fn detach(self) -> Self {
        Self {
            memory: self.memory.detach(),
            conv: self.conv.map(Tensor::detach),
            tokens: self.tokens,
        }
    }

    /// Whether the state is one of this layer's, for this many sequences.
    pub(crate) fn check(&self, shape: &StateShape, batch: usize) -> Result<(), AttentionError> {
        let memory = [batch, shape.heads, shape.d_key, shape.d_value].map(Some);
        shaped("state.memory", &self.memory.dims(), &memory)?;
        match (shape.conv, &self.conv) {
            (Some([kept, channels]), Some(tail)) => {
                shaped("state.conv", &tail.dims(), &[batch, kept, channels].map(Some))
            }
            (None, None) => Ok(()),
            _ => Err(AttentionError::State(
                "only one of layer and state has a short convolution; make the state with LiquidAttention::fresh_state"
                    .to_owned(),
            )),
        }
    }
}
