//! Buffers of a pass, taken once for the most rows that it may have.

use liquid_cuda::Rows;
use liquid_cuda::device::{Address, Buffer, Context, Precision, WORKSPACE};
use liquid_cuda::rule::{CHUNK, record_bytes};
use liquid_cuda::transformer::{Draw, NormedRows, QuantisedRows, Sample};

use super::CudaError;
use crate::config::{Architecture, GatedDelta};
use crate::ops::cuda::Capacity;

/// Widths of a model's rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths {
    pub(super) hidden: usize,
    /// Queries, keys and values of a row of softmax attention, and the gates where heads have one.
    pub(super) packed: usize,
    /// Queries of a row.
    pub(super) queries: usize,
    /// Keys of a row.
    pub(super) keys: usize,
    /// Half of what gate and up compute.
    pub(super) inner: usize,
    pub(super) vocab: usize,
    /// Sizes of the layers of the gated delta rule.
    delta: Option<GatedDelta>,
}

impl Widths {
    pub(super) fn new(architecture: &Architecture) -> Self {
        let queries = architecture.heads * architecture.head_dim;
        let keys = architecture.key_value_heads * architecture.head_dim;
        Self {
            hidden: architecture.hidden_size,
            packed: queries + 2 * keys + if architecture.gated_heads { queries } else { 0 },
            queries,
            keys,
            inner: architecture.intermediate_size,
            vocab: architecture.vocab_size,
            delta: architecture.delta,
        }
    }

    /// Returns the widest input of a product.
    fn widest_input(&self) -> usize {
        self.hidden.max(self.widest_mixed()).max(self.inner)
    }

    /// Returns the numbers of the widest packed row of any layer.
    fn widest_packed(&self) -> usize {
        self.packed.max(self.delta.map_or(0, GatedDelta::packed))
    }

    /// Returns the numbers of the widest row of heads' outputs of any layer.
    fn widest_mixed(&self) -> usize {
        self.queries.max(self.delta.map_or(0, GatedDelta::values))
    }
}

/// Returns the bytes of the records of a pass: the last chunk of each sequence may be a part of one.
fn delta_record_bytes(capacity: Capacity, delta: GatedDelta) -> usize {
    record_bytes(
        capacity.rows / CHUNK + capacity.sequences,
        CHUNK,
        delta.value_heads,
    )
}

/// Buffers of layers of the gated delta rule.
#[derive(Debug)]
pub(super) struct DeltaSpace {
    /// Queries, keys and values after the convolution, `[rows, channels]`, bf16.
    pub(super) convolved: Buffer,
    /// What `liquid_cuda::rule` prepares of chunks.
    pub(super) records: Buffer,
}

/// Buffers of a pass. Each holds what its name says for all rows, bf16 unless it says otherwise.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) capacity: Capacity,
    widths: Widths,
    /// Tokens of the rows, u32.
    pub(super) tokens: Buffer,
    /// Residual stream.
    hidden: Buffer,
    /// The residual stream after a norm.
    normed: Buffer,
    packed: Buffer,
    /// The heads' outputs.
    mixed: Buffer,
    delta: Option<DeltaSpace>,
    gate_up: Buffer,
    inner: Buffer,
    /// An input of a product as FP8, and its scales; none where all products are bf16.
    rounded: Option<[Buffer; 2]>,
    /// Numbers of the rows whose logits are wanted, u32.
    pub(super) wanted: Buffer,
    /// Those rows, and after the norm.
    last: Buffer,
    last_normed: Buffer,
    /// Their logits, f32.
    pub(super) logits: Buffer,
    pub(super) draws: Buffer,
    pub(super) chosen: Buffer,
    pub(super) samples: Buffer,
    /// Work space of cuBLASLt.
    pub(super) products: Buffer,
}

impl Space {
    /// Takes the memory.
    pub(super) fn new(
        context: &Context,
        widths: Widths,
        capacity: Capacity,
        precision: Precision,
    ) -> Result<Self, CudaError> {
        let Capacity { rows, wanted, .. } = capacity;
        let numbers = |rows: usize, width: usize| context.allocate(rows * width * size_of::<u16>());
        let words = |count: usize| context.allocate(count * size_of::<u32>());
        let rounded = match precision {
            Precision::Bf16 => None,
            Precision::Fp8 => Some([context.allocate(rows * widths.widest_input())?, words(rows)?]),
        };
        let delta = widths.delta.map(|delta| -> Result<DeltaSpace, CudaError> {
            Ok(DeltaSpace {
                convolved: numbers(rows, delta.channels())?,
                records: context.allocate(delta_record_bytes(capacity, delta))?,
            })
        });
        Ok(Self {
            capacity,
            widths,
            tokens: words(rows)?,
            hidden: numbers(rows, widths.hidden)?,
            normed: numbers(rows, widths.hidden)?,
            packed: numbers(rows, widths.widest_packed())?,
            mixed: numbers(rows, widths.widest_mixed())?,
            delta: delta.transpose()?,
            gate_up: numbers(rows, 2 * widths.inner)?,
            inner: numbers(rows, widths.inner)?,
            rounded,
            wanted: words(wanted)?,
            last: numbers(wanted, widths.hidden)?,
            last_normed: numbers(wanted, widths.hidden)?,
            logits: words(wanted * widths.vocab)?,
            draws: context.allocate(wanted * size_of::<Draw>())?,
            chosen: words(wanted)?,
            samples: context.allocate(wanted * size_of::<Sample>())?,
            products: context.allocate(WORKSPACE)?,
        })
    }

    /// Returns the bytes that [`new`](Self::new) takes.
    pub(super) fn bytes(widths: Widths, capacity: Capacity, precision: Precision) -> u64 {
        let Capacity { rows, wanted, .. } = capacity;
        let row = 2 * widths.hidden + widths.widest_packed() + widths.widest_mixed() + 3 * widths.inner + 2;
        let delta = widths.delta.map_or(0, |delta| {
            2 * rows * delta.channels() + delta_record_bytes(capacity, delta)
        });
        let rounded = match precision {
            Precision::Bf16 => 0,
            Precision::Fp8 => rows * (widths.widest_input() + size_of::<f32>()),
        };
        let last = 4 * widths.hidden + size_of::<f32>() * widths.vocab + 64;
        (2 * rows * row + delta + rounded + wanted * last + WORKSPACE) as u64
    }

    pub(super) fn hidden(&self) -> Rows {
        rows(&self.hidden, self.widths.hidden)
    }

    pub(super) fn normed(&self) -> Rows {
        rows(&self.normed, self.widths.hidden)
    }

    /// Returns the packed rows of a layer, of so many numbers.
    pub(super) fn packed(&self, width: usize) -> Rows {
        rows(&self.packed, width)
    }

    /// Returns the heads' outputs of a layer, of so many numbers.
    pub(super) fn mixed(&self, width: usize) -> Rows {
        rows(&self.mixed, width)
    }

    /// Returns the buffers of layers of the gated delta rule, where the model has such layers.
    pub(super) fn delta(&self) -> Option<&DeltaSpace> {
        self.delta.as_ref()
    }

    pub(super) fn gate_up(&self) -> Rows {
        rows(&self.gate_up, 2 * self.widths.inner)
    }

    pub(super) fn inner(&self) -> Rows {
        rows(&self.inner, self.widths.inner)
    }

    pub(super) fn last(&self) -> Rows {
        rows(&self.last, self.widths.hidden)
    }

    pub(super) fn last_normed(&self) -> Rows {
        rows(&self.last_normed, self.widths.hidden)
    }

    /// Returns the place of an input of a product as FP8.
    pub(super) fn rounded(&self, width: usize) -> Option<QuantisedRows> {
        let [codes, scales] = self.rounded.as_ref()?;
        Some(QuantisedRows {
            codes: rows(codes, width),
            scales: scales.address(),
        })
    }

    /// Returns where the input of a product goes: as FP8 if its product is one of FP8, or as it is.
    pub(super) fn input(&self, plain: Rows, fp8: bool) -> NormedRows {
        match self.rounded(plain.stride).filter(|_| fp8) {
            Some(rounded) => NormedRows::Fp8(rounded),
            None => NormedRows::Bf16(plain),
        }
    }
}

fn rows(buffer: &Buffer, stride: usize) -> Rows {
    let address: Address = buffer.address();
    Rows { address, stride }
}
