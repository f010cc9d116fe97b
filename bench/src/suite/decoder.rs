//! A decoder of random weights, put together from the launches of `liquid_cuda`: one step of some sequences.

#![allow(unsafe_code, reason = "launches kernels; see SAFETY at each")]

use anyhow::Result;
use liquid_cuda::device::{Address, Buffer, Graph, LinearOperands, LinearShape, Precision};
use liquid_cuda::transformer::{
    Attention, BatchLimits, BatchPlan, BatchSequence, BatchTables, Epilogue, GatherRows, Heads, KvLayer,
    NormedRows, PAGE, Quantise, QuantisedRows, RmsNorm, Rotary, SKINNY_ROWS, SkinnyGemm, SwiGlu,
    decode_workspace_bytes,
};
use liquid_cuda::{Error, Rows};

use super::gpu::Gpu;

/// Sizes of a decoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) layers: usize,
    pub(super) width: usize,
    pub(super) query: usize,
    pub(super) kv: usize,
    /// Numbers of a head.
    pub(super) head: usize,
    pub(super) ffn: usize,
    pub(super) vocabulary: usize,
}

impl Sizes {
    pub(super) fn heads(self) -> Heads {
        Heads {
            query: self.query,
            kv: self.kv,
            width: self.head,
        }
    }

    /// Columns of the packed queries, keys and values.
    pub(super) fn qkv(self) -> usize {
        (self.query + 2 * self.kv) * self.head
    }
}

/// Number types of a decoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) projections: Precision,
    pub(super) keys_values: Precision,
}

impl Numbers {
    pub(super) const BF16: Self = Self {
        projections: Precision::Bf16,
        keys_values: Precision::Bf16,
    };
}

/// Weights of a linear layer `[columns, depth]`.
struct Weights {
    codes: Buffer,
    scales: Option<Buffer>,
    depth: usize,
    columns: usize,
}

impl Weights {
    fn new(gpu: &mut Gpu, depth: usize, columns: usize, precision: Precision) -> Result<Self> {
        let numbers = gpu.normals(depth * columns, 1.0 / (depth as f32).sqrt())?;
        if precision == Precision::Bf16 {
            return Ok(Self {
                codes: numbers,
                scales: None,
                depth,
                columns,
            });
        }
        let (codes, scales) = (
            gpu.context.allocate(depth * columns)?,
            gpu.context.allocate(4 * columns)?,
        );
        let quantise = Quantise {
            x: rows(&numbers, depth),
            rows: columns,
            width: depth,
            to: QuantisedRows {
                codes: rows(&codes, depth),
                scales: scales.address(),
            },
            early: false,
        };
        // SAFETY: the buffers have these extents; waiting keeps `numbers` until it was read.
        unsafe { gpu.transformer.quantise_rows(&gpu.stream, &quantise)? };
        gpu.stream.synchronize()?;
        Ok(Self {
            codes,
            scales: Some(scales),
            depth,
            columns,
        })
    }

    fn precision(&self) -> Precision {
        let scales = self.scales.as_ref();
        scales.map_or(Precision::Bf16, |_| Precision::Fp8)
    }

    fn scales(&self) -> Address {
        self.scales.as_ref().map_or(Address::NULL, Buffer::address)
    }
}

struct Layer {
    qkv: Weights,
    output: Weights,
    gate_up: Weights,
    down: Weights,
    keys: Buffer,
    values: Buffer,
    /// Scales of both, of FP8.
    scales: Buffer,
    keys_values: Precision,
}

impl Layer {
    /// A layer with so many pages of keys and values.
    fn new(gpu: &mut Gpu, sizes: Sizes, pages: usize, numbers: Numbers) -> Result<Self> {
        let Sizes { width, ffn, .. } = sizes;
        let of = numbers.projections;
        let heads = pages * PAGE * sizes.kv;
        // Of FP8 the bits of bf16: codes of any kind.
        let cached = heads * sizes.head * numbers.keys_values.bytes() / 2;
        Ok(Self {
            qkv: Weights::new(gpu, width, sizes.qkv(), of)?,
            output: Weights::new(gpu, sizes.query * sizes.head, width, of)?,
            gate_up: Weights::new(gpu, width, 2 * ffn, of)?,
            down: Weights::new(gpu, ffn, width, of)?,
            keys: gpu.normals(cached, 1.0)?,
            values: gpu.normals(cached, 1.0)?,
            scales: gpu.upload(&vec![0.01_f32; heads])?,
            keys_values: numbers.keys_values,
        })
    }

    /// Keys and values of so many pages.
    fn cache(&self, pages: usize) -> KvLayer {
        KvLayer {
            precision: self.keys_values,
            key_scales: self.scales.address(),
            value_scales: self.scales.address(),
            ..KvLayer::bf16(self.keys.address(), self.values.address(), pages)
        }
    }
}

/// Limits of sequences that have read so many tokens and read one more.
fn limits(sequences: usize, tokens: usize) -> BatchLimits {
    let pool = (tokens + 1).div_ceil(PAGE) * sequences;
    BatchLimits {
        rows: sequences,
        sequences,
        pages: pool,
        pool,
        decode_rows: 1,
    }
}

/// Tables of a row of every sequence; pages of a sequence lie apart.
fn write_tables(gpu: &Gpu, limits: &BatchLimits, tokens: usize, memory: &Buffer) -> Result<BatchTables> {
    let sequences = limits.sequences;
    let pages: Vec<Vec<u32>> = (0..sequences)
        .map(|first| (first as u32..limits.pool as u32).step_by(sequences).collect())
        .collect();
    let batch: Vec<BatchSequence<'_>> = pages
        .iter()
        .map(|pages| BatchSequence {
            rows: 1,
            position: tokens,
            pages,
        })
        .collect();
    Ok(BatchPlan::new(limits, &batch)?.write(&gpu.stream, memory)?)
}

/// A decoder, and what a step of some sequences works on.
pub(super) struct Decoder {
    sizes: Sizes,
    sequences: usize,
    layers: Vec<Layer>,
    head: Weights,
    embedding: Buffer,
    norm: Buffer,
    angles: Buffer,
    tokens: Buffer,
    tables: BatchTables,
    table_memory: Buffer,
    pool: usize,
    x: Buffer,
    normed: Buffer,
    codes: Buffer,
    code_scales: Buffer,
    qkv: Buffer,
    attended: Buffer,
    gate_up: Buffer,
    activated: Buffer,
    logits: Buffer,
    workspace: Buffer,
}

fn rows(buffer: &Buffer, stride: usize) -> Rows {
    Rows {
        address: buffer.address(),
        stride,
    }
}

impl Decoder {
    /// A decoder with so many sequences, each of which has read so many tokens.
    pub(super) fn new(
        gpu: &mut Gpu,
        sizes: Sizes,
        sequences: usize,
        tokens: usize,
        numbers: Numbers,
    ) -> Result<Self> {
        let limits = limits(sequences, tokens);
        let table_memory = gpu.context.allocate(limits.bytes())?;
        let tables = write_tables(gpu, &limits, tokens, &table_memory)?;
        let pool = limits.pool;
        let Sizes {
            width,
            ffn,
            vocabulary,
            ..
        } = sizes;
        let attended = sizes.query * sizes.head;
        let layers = (0..sizes.layers)
            .map(|_| Layer::new(gpu, sizes, pool, numbers))
            .collect::<Result<Vec<_>>>()?;
        let bf16 = |gpu: &Gpu, numbers: usize| gpu.zeroed(2 * numbers.max(1));
        Ok(Self {
            head: Weights::new(gpu, width, vocabulary, numbers.projections)?,
            embedding: gpu.normals(64 * width, 1.0)?,
            norm: gpu.normals(width, 1.0)?,
            angles: gpu.upload(&vec![0.5_f32.sqrt(); (tokens + 1) * sizes.head / 2])?,
            tokens: gpu.upload(&(0..sequences as u32).map(|s| s * 5 % 64).collect::<Vec<_>>())?,
            x: bf16(gpu, sequences * width)?,
            normed: bf16(gpu, sequences * width)?,
            codes: gpu.zeroed(sequences * ffn.max(width))?,
            code_scales: gpu.zeroed(4 * sequences)?,
            qkv: bf16(gpu, sequences * sizes.qkv())?,
            attended: bf16(gpu, sequences * attended)?,
            gate_up: bf16(gpu, 2 * sequences * ffn)?,
            activated: bf16(gpu, sequences * ffn)?,
            logits: gpu.zeroed(4 * sequences * vocabulary)?,
            workspace: gpu.zeroed(decode_workspace_bytes(&limits, sizes.heads()))?,
            sizes,
            sequences,
            layers,
            tables,
            table_memory,
            pool,
        })
    }

    /// Makes the results of the last step unreadable.
    pub(super) fn start(&self, gpu: &Gpu) -> Result<()> {
        Ok(gpu.stream.zero(&self.logits)?)
    }

    /// Logits of the last step `[sequences, vocabulary]`.
    pub(super) fn logits(&self, gpu: &Gpu) -> Result<Vec<f32>> {
        Ok(gpu
            .stream
            .read(&self.logits, self.sequences * self.sizes.vocabulary)?)
    }

    /// A step as a graph.
    pub(super) fn capture(&self, gpu: &mut Gpu) -> Result<Graph> {
        self.step(gpu, true)?;
        gpu.stream.synchronize()?;
        let stream = gpu.stream.clone();
        Ok(Graph::capture(&stream, |_| self.enqueue(gpu, true))?)
    }

    /// Enqueues a step of every sequence.
    pub(super) fn step(&self, gpu: &mut Gpu, early: bool) -> Result<()> {
        Ok(self.enqueue(gpu, early)?)
    }

    fn enqueue(&self, gpu: &mut Gpu, early: bool) -> Result<(), Error> {
        debug_assert!(
            self.table_memory.bytes() > 0,
            "the tables live as long as the decoder"
        );
        let width = self.sizes.width;
        let gather = GatherRows {
            from: rows(&self.embedding, width),
            limit: 64,
            numbers: self.tokens.address(),
            width,
            rows: self.sequences,
            to: rows(&self.x, width),
        };
        // SAFETY: `new` made every buffer with these extents; they live as long as the decoder, which outlives the
        // work: whoever steps waits before dropping it.
        unsafe { gpu.transformer.gather_rows(&gpu.stream, &gather)? };
        for layer in &self.layers {
            self.normalise(gpu, early, layer.qkv.scales.is_some())?;
            self.multiply(gpu, &layer.qkv, &self.normed, Epilogue::Bf16, &self.qkv, early)?;
            self.attend(gpu, layer, early)?;
            self.quantise(gpu, &layer.output, &self.attended)?;
            self.multiply(gpu, &layer.output, &self.attended, Epilogue::Add, &self.x, early)?;
            self.normalise(gpu, early, layer.gate_up.scales.is_some())?;
            self.feed_forward(gpu, layer, early)?;
            self.multiply(gpu, &layer.down, &self.activated, Epilogue::Add, &self.x, early)?;
        }
        self.normalise(gpu, early, self.head.scales.is_some())?;
        self.multiply(gpu, &self.head, &self.normed, Epilogue::F32, &self.logits, early)
    }

    /// Gates and what they scale, multiplied.
    fn feed_forward(&self, gpu: &mut Gpu, layer: &Layer, early: bool) -> Result<(), Error> {
        let (x, ffn) = (&self.normed, self.sizes.ffn);
        if self.sequences <= SKINNY_ROWS {
            return self.multiply(gpu, &layer.gate_up, x, Epilogue::SwiGlu, &self.activated, early);
        }
        self.multiply(gpu, &layer.gate_up, x, Epilogue::Bf16, &self.gate_up, early)?;
        let swiglu = SwiGlu {
            gate_up: rows(&self.gate_up, 2 * ffn),
            rows: self.sequences,
            width: ffn,
            to: self.target(layer.down.scales.is_some(), ffn, &self.activated),
            early: false,
        };
        // SAFETY: as in `enqueue`.
        unsafe { gpu.transformer.swiglu(&gpu.stream, &swiglu) }
    }

    /// Rows for the next product: FP8 where cuBLASLt takes it, else bf16.
    fn target(&self, fp8: bool, width: usize, to: &Buffer) -> NormedRows {
        if fp8 && self.sequences > SKINNY_ROWS {
            NormedRows::Fp8(QuantisedRows {
                codes: rows(&self.codes, width),
                scales: self.code_scales.address(),
            })
        } else {
            NormedRows::Bf16(rows(to, width))
        }
    }

    fn normalise(&self, gpu: &mut Gpu, early: bool, fp8: bool) -> Result<(), Error> {
        let width = self.sizes.width;
        let norm = RmsNorm {
            x: rows(&self.x, width),
            delta: Rows::NONE,
            weight: self.norm.address(),
            zero_centred: false,
            epsilon: 1e-5,
            rows: self.sequences,
            width,
            to: self.target(fp8, width, &self.normed),
            early,
        };
        // SAFETY: as in `enqueue`.
        unsafe { gpu.transformer.rms_norm(&gpu.stream, &norm) }
    }

    /// Outputs of attention as FP8, if cuBLASLt multiplies them so.
    fn quantise(&self, gpu: &mut Gpu, weights: &Weights, x: &Buffer) -> Result<(), Error> {
        let NormedRows::Fp8(to) = self.target(weights.scales.is_some(), weights.depth, x) else {
            return Ok(());
        };
        let quantise = Quantise {
            x: rows(x, weights.depth),
            rows: self.sequences,
            width: weights.depth,
            to,
            early: false,
        };
        // SAFETY: as in `enqueue`.
        unsafe { gpu.transformer.quantise_rows(&gpu.stream, &quantise) }
    }

    fn attend(&self, gpu: &mut Gpu, layer: &Layer, early: bool) -> Result<(), Error> {
        let Sizes { query, kv, head, .. } = self.sizes;
        let (qkv, heads) = (rows(&self.qkv, self.sizes.qkv()), self.sizes.heads());
        let cache = layer.cache(self.pool);
        let rotary = Rotary {
            queries: qkv,
            query_pitch: head,
            keys: qkv.columns_from(query * head),
            values: qkv.columns_from((query + kv) * head),
            to: qkv,
            rows: self.sequences,
            heads,
            rotated: head,
            cosines: self.angles.address(),
            sines: self.angles.address(),
            query_norm: Address::NULL,
            key_norm: Address::NULL,
            zero_centred: false,
            epsilon: 1e-6,
            cache,
            early,
        };
        let attention = Attention {
            queries: qkv,
            heads,
            cache,
            scale: (head as f32).sqrt().recip(),
            window: None,
            to: rows(&self.attended, query * head),
            early,
        };
        // SAFETY: as in `enqueue`; the work space was zeros.
        unsafe {
            gpu.transformer
                .rotate_and_write(&gpu.stream, &rotary, &self.tables)?;
            gpu.transformer
                .attend_decode(&gpu.stream, &attention, &self.tables, self.workspace.address())
        }
    }

    fn multiply(
        &self,
        gpu: &mut Gpu,
        weights: &Weights,
        x: &Buffer,
        epilogue: Epilogue,
        to: &Buffer,
        early: bool,
    ) -> Result<(), Error> {
        let Weights { depth, columns, .. } = *weights;
        if self.sequences <= SKINNY_ROWS {
            let gemm = SkinnyGemm {
                x: rows(x, depth),
                rows: self.sequences,
                depth,
                weight: weights.codes.address(),
                precision: weights.precision(),
                scales: weights.scales(),
                columns,
                bias: Address::NULL,
                epilogue,
                to: rows(
                    to,
                    if epilogue == Epilogue::SwiGlu {
                        columns / 2
                    } else {
                        columns
                    },
                ),
                early,
            };
            // SAFETY: as in `enqueue`.
            return unsafe { gpu.transformer.skinny_gemm(&gpu.stream, &gemm) };
        }
        self.multiply_many(gpu, weights, x, epilogue, to)
    }

    fn multiply_many(
        &self,
        gpu: &mut Gpu,
        weights: &Weights,
        x: &Buffer,
        epilogue: Epilogue,
        to: &Buffer,
    ) -> Result<(), Error> {
        let Weights { depth, columns, .. } = *weights;
        let shape = LinearShape {
            precision: weights.precision(),
            y: epilogue.element(),
            rows: self.sequences,
            depth,
            columns,
            x_stride: depth,
            y_stride: columns,
            add: epilogue == Epilogue::Add,
        };
        let fp8 = weights.scales.is_some();
        let operands = LinearOperands {
            x: if fp8 { self.codes.address() } else { x.address() },
            weight: weights.codes.address(),
            y: to.address(),
            x_scales: if fp8 {
                self.code_scales.address()
            } else {
                Address::NULL
            },
            weight_scales: weights.scales(),
            bias: Address::NULL,
        };
        // SAFETY: as in `enqueue`.
        unsafe {
            gpu.products
                .run_linear(shape, operands, gpu.workspace.address(), &gpu.stream)
        }
    }
}
