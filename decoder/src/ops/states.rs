//! What layers of the gated delta rule remember of sequences: slots of equal size, taken once. A sequence has one, and copies
//! of it are kept at the ends of some pages.

use burn::tensor::{Device, Tensor};

use super::pages::{DeviceError, Piece};
use super::{Kernels, cpu, portable};
use crate::config::GatedDelta;

/// Sizes of a memory for states.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StateShape {
    /// None if the model has no such layers; then there is nothing to remember.
    pub(crate) delta: Option<GatedDelta>,
    /// Layers of the gated delta rule.
    pub(crate) layers: usize,
    pub(crate) slots: usize,
}

impl StateShape {
    /// Returns the numbers of a slot.
    pub(crate) fn slot(self) -> usize {
        self.layers * self.delta.map_or(0, GatedDelta::memory)
    }
}

/// Where a sequence's states are during a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatePlace<'a> {
    /// The slot that is read and written.
    pub(crate) slot: u32,
    /// Slots that get a copy on the way, by position.
    pub(crate) snapshots: &'a [Snapshot],
}

/// A copy of a sequence's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Tokens that had been read.
    pub(crate) position: usize,
    pub(crate) slot: u32,
}

/// Weights of the gated delta rule in a layer.
#[derive(Clone, Debug)]
pub(crate) struct DeltaTensors {
    /// Weights of the convolution, `[kernel, channels]`; the last row weighs the token itself.
    pub(crate) taps: Tensor<2>,
    /// Logarithms of how fast each head forgets, `[value_heads]`.
    pub(crate) decay: Tensor<1>,
    /// What is added to the forgetting numbers, `[value_heads]`.
    pub(crate) decay_bias: Tensor<1>,
    /// Norm of every head's output, `[value_width]`.
    pub(crate) norm: Tensor<1>,
    pub(crate) epsilon: f64,
}

/// The gated delta rule over all rows of a pass in a layer, each after the earlier rows of its sequence. Equations:
/// `liquid_attention::core`; before it the convolution and SiLU, behind it the norm of each head's output times the SiLU of its
/// gate.
#[derive(Clone, Debug)]
pub(crate) struct DeltaPass<'a> {
    /// Packed rows, `[rows, packed]`, as [`GatedDelta`] says.
    pub(crate) packed: Tensor<2>,
    /// The rows' sequences, in order.
    pub(crate) pieces: &'a [Piece<'a>],
    /// Index among the layers of the gated delta rule.
    pub(crate) layer: usize,
    pub(crate) weights: DeltaTensors,
}

/// Memory for states.
#[derive(Debug)]
pub(crate) enum StateMemory {
    /// On the processor.
    Host(cpu::HostStates),
    /// On any device of burn.
    Device(portable::DeviceStates),
    /// On an NVIDIA GPU, without burn.
    #[cfg(feature = "cuda")]
    Cuda(crate::cuda::CudaStates),
}

impl StateMemory {
    /// Takes the memory; none if the system does not give it.
    pub(crate) fn new(shape: StateShape, kernels: Kernels, device: &Device) -> Option<Self> {
        match kernels {
            Kernels::Cpu => cpu::HostStates::new(shape).map(Self::Host),
            Kernels::Portable => Some(Self::Device(portable::DeviceStates::new(shape, device))),
        }
    }

    /// Makes the memory of models without such layers.
    #[cfg(feature = "cuda")]
    pub(crate) fn none() -> Self {
        let shape = StateShape {
            delta: None,
            layers: 0,
            slots: 0,
        };
        Self::Device(portable::DeviceStates::new(shape, &Device::flex()))
    }

    pub(crate) fn shape(&self) -> StateShape {
        match self {
            Self::Host(states) => states.shape(),
            Self::Device(states) => states.shape(),
            #[cfg(feature = "cuda")]
            Self::Cuda(states) => states.shape(),
        }
    }

    /// Uses all of the memory once, so that the system cannot fail to give it later.
    pub(crate) fn touch(&mut self) {
        match self {
            Self::Host(states) => states.touch(),
            // Burn's devices give what they promise.
            Self::Device(_) => {}
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => {}
        }
    }

    /// Whether no failure within a pass has lost the memory.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Host(_) => true,
            Self::Device(states) => states.is_whole(),
            #[cfg(feature = "cuda")]
            Self::Cuda(states) => states.is_whole(),
        }
    }

    /// Makes a slot that of a sequence which has not begun.
    pub(crate) fn clear(&mut self, slot: u32) {
        match self {
            Self::Host(states) => states.clear(slot),
            Self::Device(states) => states.clear(slot),
            #[cfg(feature = "cuda")]
            Self::Cuda(states) => states.clear(slot),
        }
    }

    /// Makes the slot `to` what `from` is.
    pub(crate) fn copy(&mut self, from: u32, to: u32) {
        match self {
            Self::Host(states) => states.copy(from, to),
            Self::Device(states) => states.copy(from, to),
            #[cfg(feature = "cuda")]
            Self::Cuda(states) => states.copy(from, to),
        }
    }

    /// Reads the rows; returns the heads' outputs side by side, `[rows, values]`.
    pub(crate) fn read(&mut self, pass: &DeltaPass<'_>) -> Result<Tensor<2>, DeviceError> {
        match self {
            Self::Host(states) => cpu::read_delta(states, pass),
            Self::Device(states) => portable::read_delta(states, pass),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => Err(DeviceError(
                "the memory is another device's than the model".to_owned(),
            )),
        }
    }

    /// Returns the states of a layer's heads on the processor, `[value_heads, key_width, value_width]`.
    #[cfg(test)]
    pub(crate) fn heads(&self, slot: u32, layer: usize) -> Vec<f32> {
        match self {
            Self::Host(states) => states.heads(slot, layer),
            Self::Device(_) => Vec::new(),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => Vec::new(),
        }
    }
}
