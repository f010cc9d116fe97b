//! Keys and values of many sequences in pages of equal size, taken once. A sequence is a list of pages.

use burn::tensor::{Device, Tensor};

use super::{HeadLayout, Kernels, StatePlace, cpu, portable};

/// Tokens of a page.
pub(crate) const PAGE_TOKENS: usize = 64;

/// Sizes of a memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PageShape {
    pub(crate) layout: HeadLayout,
    /// Layers of softmax attention.
    pub(crate) layers: usize,
    pub(crate) pages: usize,
}

impl PageShape {
    /// Returns the numbers of a page: keys and values of all layers.
    pub(crate) fn page(self) -> usize {
        self.layers * self.layer()
    }

    /// Returns the numbers of a page that belong to a layer: `[2, key_value_heads, PAGE_TOKENS, width]`.
    pub(crate) fn layer(self) -> usize {
        2 * self.layout.keys() * PAGE_TOKENS
    }
}

/// Neighbouring rows of a pass that belong to one sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    /// How many.
    pub(crate) rows: usize,
    /// Position of the first one.
    pub(crate) first: usize,
    /// Pages of the sequence, enough for the last one.
    pub(crate) pages: &'a [u32],
    /// The sequence's states, where the model has layers of the gated delta rule.
    pub(crate) state: Option<StatePlace<'a>>,
}

/// Softmax attention of all rows of a pass in a layer: each to the earlier rows of its sequence and to itself.
#[derive(Clone, Debug)]
pub(crate) struct Attention<'a> {
    /// Packed rows, `[rows, packed]`.
    pub(crate) packed: Tensor<2>,
    /// The rows' sequences, in order.
    pub(crate) pieces: &'a [Piece<'a>],
    /// Index among the layers of softmax attention.
    pub(crate) layer: usize,
    /// Most positions that a row sees, its own included.
    pub(crate) window: Option<usize>,
}

/// The device failed, or its memory was lost by an earlier failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceError(pub(crate) String);

/// Memory for keys and values.
#[derive(Debug)]
pub(crate) enum PageMemory {
    /// On the processor.
    Host(cpu::HostPages),
    /// On any device of burn.
    Device(portable::DevicePages),
    /// On an NVIDIA GPU, without burn.
    #[cfg(feature = "cuda")]
    Cuda(crate::cuda::CudaPages),
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
