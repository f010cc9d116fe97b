//! Memory for keys and values, and for states, wherever the model is: taken once.

use burn::tensor::{Device, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use super::pages::{Attention, DeviceError, PageShape};
use super::states::{DeltaPass, StateShape};
use super::{Kernels, cpu, portable};

/// Memory for keys and values.
#[derive(Debug)]
pub(crate) enum PageMemory {
    /// On the processor.
    Host(cpu::HostPages),
    /// On any device of burn.
    Device(portable::DevicePages),
    /// On an NVIDIA GPU, without burn.
    #[cfg(feature = "cuda")]
    Cuda(cuda::CudaPages),
}

impl PageMemory {
    /// Takes the memory; none if the system does not give it.
    pub(crate) fn new(shape: PageShape, kernels: Kernels, device: &Device) -> Option<Self> {
        match kernels {
            Kernels::Cpu => cpu::HostPages::new(shape).map(Self::Host),
            Kernels::Portable => Some(Self::Device(portable::DevicePages::new(shape, device))),
        }
    }

    pub(crate) fn shape(&self) -> PageShape {
        match self {
            Self::Host(pages) => pages.shape(),
            Self::Device(pages) => pages.shape(),
            #[cfg(feature = "cuda")]
            Self::Cuda(pages) => pages.shape(),
        }
    }

    /// Uses all of the memory once, so that the system cannot fail to give it later.
    pub(crate) fn touch(&mut self) {
        match self {
            Self::Host(pages) => pages.touch(),
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
            Self::Device(pages) => pages.is_whole(),
            #[cfg(feature = "cuda")]
            Self::Cuda(pages) => pages.is_whole(),
        }
    }

    /// Stores the rows' keys and values, and attends; returns the heads' outputs side by side, `[rows, heads * width]`.
    pub(crate) fn attend(&mut self, attention: &Attention<'_>) -> Result<Tensor<2>, DeviceError> {
        match self {
            Self::Host(pages) => cpu::attend(pages, attention),
            Self::Device(pages) => portable::attend(pages, attention),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => Err(DeviceError(
                "the memory is another device's than the model".to_owned(),
            )),
        }
    }
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
    Cuda(cuda::CudaStates),
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
