//! Keys and values in device memory, and what else depends on how many sequences of which length there may be.

use liquid_cuda::Error;
use liquid_cuda::device::{Address, Buffer, Context, Precision, Stream};
use liquid_cuda::transformer::{BatchLimits, Heads, KvLayer, decode_workspace_bytes};

use super::super::pages::PageShape;

/// Memory for the sequences of a model.
#[derive(Debug)]
pub(crate) struct CudaPages {
    shape: PageShape,
    /// Of every layer keys and values, `[pages, key_value_heads, 64, width]` each; of FP8 the scales of each behind them,
    /// `[pages, key_value_heads, 64]`.
    memory: Buffer,
    numbers: KvNumbers,
    /// Cosines of all positions, `[context, width / 2]`, f32.
    cosines: Buffer,
    sines: Buffer,
    /// Tables of the batch that is read.
    tables: Buffer,
    /// Work space of attention of single rows.
    workspace: Buffer,
    limits: BatchLimits,
    whole: bool,
}

/// Cosines and sines of all positions.
pub(crate) struct Turns {
    pub(crate) cosines: Vec<f32>,
    pub(crate) sines: Vec<f32>,
}

/// How keys and values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvNumbers {
    pub(crate) precision: Precision,
    /// Numbers of a head.
    pub(crate) width: usize,
}

impl KvNumbers {
    /// Returns the bytes of the scales of so many numbers.
    fn scale_bytes(self, numbers: usize) -> usize {
        match self.precision {
            Precision::Bf16 => 0,
            Precision::Fp8 => numbers / self.width.max(1) * size_of::<f32>(),
        }
    }

    /// Returns the bytes of so many numbers, with their scales.
    pub(crate) fn bytes(self, numbers: usize) -> usize {
        numbers * self.precision.bytes() + self.scale_bytes(numbers)
    }
}

/// What the memory is taken for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PagesOptions {
    pub(crate) shape: PageShape,
    pub(crate) heads: Heads,
    /// Number type of keys and values.
    pub(crate) precision: Precision,
    /// The largest batch.
    pub(crate) limits: BatchLimits,
}

impl CudaPages {
    /// Takes the memory.
    pub(crate) fn new(
        context: &Context,
        stream: &Stream,
        turns: &Turns,
        options: PagesOptions,
    ) -> Result<Self, Error> {
        let PagesOptions {
            shape,
            heads,
            precision,
            limits,
        } = options;
        let numbers = KvNumbers {
            precision,
            width: heads.width,
        };
        let upload = |values: &[f32]| -> Result<Buffer, Error> {
            let buffer = context.allocate(size_of_val(values))?;
            stream.write(&buffer, values)?;
            Ok(buffer)
        };
        let pages = Self {
            shape,
            memory: context.allocate(numbers.bytes(shape.page() * shape.pages))?,
            numbers,
            cosines: upload(&turns.cosines)?,
            sines: upload(&turns.sines)?,
            tables: context.allocate(limits.bytes())?,
            workspace: context.allocate(decode_workspace_bytes(&limits, heads))?,
            limits,
            whole: true,
        };
        // Kernels read whole pages, and multiply what is not written yet by 0.
        stream.zero(&pages.memory)?;
        stream.zero(&pages.workspace)?;
        stream.synchronize()?;
        Ok(pages)
    }

    pub(crate) fn shape(&self) -> PageShape {
        self.shape
    }

    /// Whether no failure of the device has lost what the pages hold.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Notes that the device has failed.
    pub(crate) fn lose(&mut self) {
        self.whole = false;
    }

    /// Returns the places of all layers' keys and values.
    pub(crate) fn place(&self) -> Place {
        Place {
            keys_values: self.memory.address(),
            half_layer: self.shape.layer() / 2 * self.shape.pages,
            numbers: self.numbers,
            pages: self.shape.pages,
            cosines: self.cosines.address(),
            sines: self.sines.address(),
            workspace: self.workspace.address(),
        }
    }

    /// Returns the memory for a batch's tables.
    pub(crate) fn tables(&self) -> &Buffer {
        &self.tables
    }

    /// Returns the limits of a batch of so many rows.
    pub(crate) fn limits(&self, rows: usize) -> BatchLimits {
        BatchLimits { rows, ..self.limits }
    }
}

/// Addresses of a cache's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    keys_values: Address,
    /// Numbers of the keys of a layer, and of the values.
    half_layer: usize,
    numbers: KvNumbers,
    pages: usize,
    pub(crate) cosines: Address,
    pub(crate) sines: Address,
    pub(crate) workspace: Address,
}

impl Place {
    /// Returns keys and values of a layer.
    pub(crate) fn layer(&self, index: usize) -> KvLayer {
        let half = self.numbers.bytes(self.half_layer);
        let keys = self.keys_values.offset(2 * index * half);
        let values = keys.offset(half);
        let scales = |of: Address| match self.numbers.precision {
            Precision::Bf16 => Address::NULL,
            Precision::Fp8 => of.offset(self.half_layer * self.numbers.precision.bytes()),
        };
        KvLayer {
            keys,
            values,
            pages: self.pages,
            precision: self.numbers.precision,
            key_scales: scales(keys),
            value_scales: scales(values),
        }
    }
}
