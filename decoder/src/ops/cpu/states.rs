//! States of the gated delta rule in the processor's memory.

use std::hint::black_box;

use super::super::pages::Piece;
use super::super::states::StateShape;
use super::pages::TOUCH;

/// Slots in the processor's memory, `[slots, layers]` of the states of all heads and the tail of the convolution.
#[derive(Debug)]
pub(crate) struct HostStates {
    shape: StateShape,
    numbers: Vec<f32>,
}

/// What a layer remembers of one sequence, and the copies of it that are to be kept.
pub(super) struct LayerStates<'a> {
    pub(super) own: LayerState<'a>,
    /// By the number of rows after which they are taken.
    pub(super) copies: Vec<(usize, LayerState<'a>)>,
}

/// What a layer remembers of one sequence.
pub(super) struct LayerState<'a> {
    /// `[value_heads, key_width, value_width]`.
    pub(super) heads: &'a mut [f32],
    /// Rows before the convolution, `[kernel - 1, channels]`.
    pub(super) tail: &'a mut [f32],
}

impl HostStates {
    pub(in crate::ops) fn new(shape: StateShape) -> Option<Self> {
        let count = shape.slot().checked_mul(shape.slots)?;
        let mut numbers = Vec::new();
        numbers.try_reserve_exact(count).ok()?;
        drop(numbers);
        // Zeroed by the system: slots that are never used cost nothing.
        numbers = vec![0.0; count];
        Some(Self { shape, numbers })
    }

    pub(in crate::ops) fn shape(&self) -> StateShape {
        self.shape
    }

    pub(in crate::ops) fn touch(&mut self) {
        for number in self.numbers.iter_mut().step_by(TOUCH) {
            *black_box(number) = 0.0;
        }
    }

    pub(in crate::ops) fn clear(&mut self, slot: u32) {
        let start = slot as usize * self.shape.slot();
        let numbers = self.numbers.get_mut(start..start + self.shape.slot());
        numbers.unwrap_or_default().fill(0.0);
    }

    pub(in crate::ops) fn copy(&mut self, from: u32, to: u32) {
        let size = self.shape.slot();
        let (from, to) = (from as usize * size, to as usize * size);
        if from.max(to) + size <= self.numbers.len() {
            self.numbers.copy_within(from..from + size, to);
        }
    }

    /// Returns what a layer remembers of each piece's sequence; none if a slot is not there, or two pieces share one.
    pub(super) fn layer(&mut self, layer: usize, pieces: &[Piece<'_>]) -> Option<Vec<LayerStates<'_>>> {
        let (size, delta) = (self.shape.slot(), self.shape.delta?);
        let (memory, tail) = (delta.memory(), delta.tail());
        let mut slots: Vec<Option<&mut [f32]>> = self.numbers.chunks_exact_mut(size).map(Some).collect();
        let mut take = |slot: u32| {
            let slot = slots.get_mut(slot as usize)?.take()?;
            let own = slot.get_mut(layer * memory..(layer + 1) * memory)?;
            let (heads, tail) = own.split_at_mut(memory - tail);
            Some(LayerState { heads, tail })
        };
        let states = pieces.iter().map(|piece| {
            let place = piece.state?;
            let copies = place.snapshots.iter().map(|snapshot| {
                let rows = snapshot.position.checked_sub(piece.first)?;
                Some((rows, take(snapshot.slot)?))
            });
            let copies = copies.collect::<Option<Vec<_>>>()?;
            let own = take(place.slot)?;
            Some(LayerStates { own, copies })
        });
        states.collect()
    }

    #[cfg(test)]
    pub(in crate::ops) fn heads(&self, slot: u32, layer: usize) -> Vec<f32> {
        let Some(delta) = self.shape.delta else {
            return Vec::new();
        };
        let start = slot as usize * self.shape.slot() + layer * delta.memory();
        let heads = self.numbers.get(start..start + delta.memory() - delta.tail());
        heads.unwrap_or_default().to_vec()
    }
}
