//! The steps of a pass on burn's tensors: each in burn's operations for any device ([`portable`]), and on the processor
//! in the tensors' memory with the widest registers and all cores ([`cpu`]), where burn computes one number at a time.

use burn::tensor::{Device, Tensor};

mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod memory;
mod pages;
mod portable;
mod states;
#[cfg(test)]
mod tests;

pub(crate) use memory::{PageMemory, StateMemory};
pub(crate) use pages::{Attention, DeviceError, PAGE_TOKENS, PageShape, Piece};
pub(crate) use states::{DeltaPass, DeltaTensors, Snapshot, StatePlace, StateShape};

/// The code that computes the steps of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernels {
    /// [`cpu`]: tensors of burn's flex backend.
    Cpu,
    /// [`portable`]: any device.
    Portable,
}

/// Heads of a packed row of queries, keys and values, and of gates behind them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct HeadLayout {
    /// Query heads.
    pub(crate) heads: usize,
    /// Key heads, and value heads.
    pub(crate) key_value_heads: usize,
    /// Width of a head.
    pub(crate) width: usize,
    /// Whether there is a gate for each number of a query.
    pub(crate) gated: bool,
}

impl HeadLayout {
    /// Returns the numbers of all queries of a row.
    pub(crate) fn queries(self) -> usize {
        self.heads * self.width
    }

    /// Returns the numbers of all keys of a row, and of all values.
    pub(crate) fn keys(self) -> usize {
        self.key_value_heads * self.width
    }

    /// Returns where the gates of a packed row begin.
    pub(crate) fn gates(self) -> usize {
        self.queries() + 2 * self.keys()
    }

    /// Returns the numbers of a packed row.
    pub(crate) fn packed(self) -> usize {
        match self.gated {
            true => self.gates() + self.queries(),
            false => self.gates(),
        }
    }
}

/// Weights of the norms over each head's queries and keys, `[width]` each.
#[derive(Clone, Debug)]
pub(crate) struct HeadNorms {
    pub(crate) query: Tensor<1>,
    pub(crate) key: Tensor<1>,
    pub(crate) epsilon: f64,
}

/// Cosine and sine of every row's position, `[rows, turned / 2]` each, of a head's first `turned` numbers.
#[derive(Clone, Debug)]
pub(crate) struct Angles {
    pub(crate) cos: Tensor<2>,
    pub(crate) sin: Tensor<2>,
}

impl Kernels {
    /// Returns the code for a device.
    pub(crate) fn for_device(device: &Device) -> Self {
        match *device == Device::flex() {
            true => Self::Cpu,
            false => Self::Portable,
        }
    }

    /// Multiplies `x [rows, depth]` by the transpose of `weight [columns, depth]`, as Hugging Face stores it; the
    /// arithmetic is that of `x`'s type.
    pub(crate) fn project(self, x: &Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
        let fast = match self {
            Self::Cpu => cpu::project(x, weight),
            Self::Portable => None,
        };
        fast.unwrap_or_else(|| portable::project(x.clone(), weight.clone()))
    }

    /// Computes the root mean square norm of every row, times `weight`.
    pub(crate) fn norm(self, x: &Tensor<2>, weight: &Tensor<1>, epsilon: f64) -> Tensor<2> {
        let fast = match self {
            Self::Cpu => cpu::norm(x, weight, epsilon),
            Self::Portable => None,
        };
        fast.unwrap_or_else(|| portable::norm(x.clone(), weight.clone(), epsilon))
    }

    /// Computes `silu(gate) * up` of rows that hold both side by side, `[rows, 2 * width]`.
    pub(crate) fn gate(self, gate_up: Tensor<2>) -> Tensor<2> {
        let fast = match self {
            Self::Cpu => cpu::gate(&gate_up),
            Self::Portable => None,
        };
        fast.unwrap_or_else(|| portable::gate(gate_up))
    }

    /// Multiplies the heads' outputs `[rows, queries]` by the sigmoids of the gates in their packed rows.
    pub(crate) fn open_gates(self, output: Tensor<2>, packed: &Tensor<2>, layout: HeadLayout) -> Tensor<2> {
        let fast = match self {
            Self::Cpu => cpu::open_gates(&output, packed, layout),
            Self::Portable => None,
        };
        fast.unwrap_or_else(|| portable::open_gates(output, packed.clone(), layout))
    }

    /// Normalises, where the model does, and turns queries and keys of packed rows by their positions; values stay.
    pub(crate) fn place_heads(
        self,
        packed: Tensor<2>,
        layout: HeadLayout,
        norms: Option<&HeadNorms>,
        angles: &Angles,
    ) -> Tensor<2> {
        match self {
            Self::Cpu => cpu::place_heads(packed, layout, norms, angles),
            Self::Portable => portable::place_heads(packed, layout, norms, angles),
        }
    }
}
