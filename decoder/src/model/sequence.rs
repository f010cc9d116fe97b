//! What a sequence remembers: keys and values of all its tokens, layer by layer.

use burn::tensor::{DType, Device, Tensor, s};

use super::Wanted;
use super::rotary::Frequencies;
use crate::config::LayerKind;
use crate::ops::{Attention, HeadLayout, Kernels};

/// Tokens for which there is memory at first; it doubles as the sequence grows.
const FIRST_CAPACITY: usize = 256;
/// Bytes of a remembered number.
const NUMBER: usize = size_of::<f32>();

/// A sequence of tokens that a model has read.
#[derive(Debug)]
pub struct Sequence {
    layers: Vec<LayerMemory>,
    layout: HeadLayout,
    frequencies: Frequencies,
    length: usize,
    capacity: usize,
    limit: usize,
}

/// Keys and values of a layer, `[key_value_heads, capacity, width]` each. None until the first token, and while a pass
/// writes: a tensor that nothing else holds is written in place.
#[derive(Debug, Default)]
struct LayerMemory {
    keys: Option<Tensor<3>>,
    values: Option<Tensor<3>>,
}

/// Tokens to read after what a sequence holds.
#[derive(Debug)]
pub struct Segment<'a> {
    /// The sequence, which grows by the tokens.
    pub sequence: &'a mut Sequence,
    /// At least one token.
    pub tokens: &'a [u32],
    /// Rows whose logits are computed.
    pub wanted: Wanted,
}

impl Sequence {
    pub(super) fn new(layers: usize, layout: HeadLayout, limit: usize, frequencies: Frequencies) -> Self {
        Self {
            layers: (0..layers).map(|_| LayerMemory::default()).collect(),
            layout,
            frequencies,
            length: 0,
            capacity: 0,
            limit,
        }
    }

    /// Returns the number of tokens that were read.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Returns the most tokens that it holds.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the memory of keys and values, in bytes.
    pub fn bytes(&self) -> usize {
        self.layers.len() * 2 * self.layout.keys() * self.capacity * NUMBER
    }

    /// Forgets all tokens from `length` on, so that others can be read in their place.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    pub(super) fn fits(&self, layers: usize, layout: HeadLayout) -> bool {
        self.layers.len() == layers && self.layout == layout
    }

    pub(super) fn frequencies(&self) -> &Frequencies {
        &self.frequencies
    }

    pub(super) fn advance(&mut self, tokens: usize) {
        self.length += tokens;
    }

    /// Makes room for further tokens.
    pub(super) fn reserve(&mut self, tokens: usize, device: &Device) {
        let needed = self.length + tokens;
        if needed <= self.capacity {
            return;
        }
        self.capacity = needed.max(2 * self.capacity).max(FIRST_CAPACITY).min(self.limit);
        let shape = [self.layout.key_value_heads, self.capacity, self.layout.width];
        for layer in &mut self.layers {
            for slot in [&mut layer.keys, &mut layer.values] {
                let grown = Tensor::<3>::zeros(shape, (device, DType::F32));
                *slot = Some(match slot.take() {
                    Some(old) => {
                        let [_, length, _] = old.dims();
                        grown.slice_assign(s![.., 0..length, ..], old)
                    }
                    None => grown,
                });
            }
        }
    }

    /// Remembers keys and values of packed rows at the end of the sequence, and attends from them.
    pub(super) fn attend(
        &mut self,
        layer: usize,
        kind: LayerKind,
        packed: Tensor<2>,
        kernels: Kernels,
    ) -> Option<Tensor<2>> {
        let (layout, first) = (self.layout, self.length);
        let [rows, _] = packed.dims();
        let memory = self.layers.get_mut(layer)?;
        let write = |slot: &mut Option<Tensor<3>>, column: usize| {
            let new = packed.clone().narrow(1, column, layout.keys());
            let new = new
                .reshape([rows, layout.key_value_heads, layout.width])
                .swap_dims(0, 1);
            let written = slot.take()?.slice_assign(s![.., first..first + rows, ..], new);
            *slot = Some(written.clone());
            Some(written)
        };
        let keys = write(&mut memory.keys, layout.queries())?;
        let values = write(&mut memory.values, layout.queries() + layout.keys())?;
        let attention = Attention {
            packed,
            keys,
            values,
            first,
            window: match kind {
                LayerKind::Full => None,
                LayerKind::Sliding { window } => Some(window),
            },
            layout,
        };
        Some(kernels.attend(&attention))
    }
}
