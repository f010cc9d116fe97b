//! One pass of a layer over its input: projections, gates, kernels and projection, piece after piece.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use cudarc::driver::CudaEvent;

use super::buffer::{Buffer, device_index, on_device};
use super::error::CudaError;
use super::gpu::{Gpu, acquire};
use super::launch::{Rows, Span, record_bytes};
use super::layer::{LayerInputs, LayerOutput, LayerRule};
use super::product::{Element, Operands, Shape as ProductShape};
use super::segment::{Piece, pieces};

/// Rows from which one product with both gates' weights side by side is faster than two, copy included.
const PACKED_FROM: usize = 64;

/// The tensors in device memory.
struct Layer {
    x: Buffer,
    query: Buffer,
    key: Buffer,
    value: Buffer,
    gate_a: Buffer,
    gate_b: Buffer,
    out: Buffer,
    state: Buffer,
    output: Buffer,
    last: Buffer,
    /// Weights of both gates side by side, `[E, 2 H]`; worth the copy from [`PACKED_FROM`] rows on.
    gates: Option<Buffer>,
    /// `a_log [H]`, `dt_bias [H]` and `gamma [D]` behind each other, f32.
    numbers: Buffer,
    given: [Buffer; 3],
    batch: usize,
    tokens: usize,
    embed: usize,
    heads: usize,
    width: usize,
    columns: usize,
    rule: LayerRule,
}

impl Layer {
    fn new(inputs: LayerInputs<CubeBackend>, rule: LayerRule) -> Result<Self, CudaError> {
        let rows = |tensor| Buffer::of(tensor)?.typed(DType::BF16);
        let numbers = |tensor| Buffer::of(tensor)?.typed(DType::F32);
        let (x, out, state) = (rows(inputs.x)?, rows(inputs.output)?, numbers(inputs.state)?);
        let [batch, tokens, embed] = x.shape()?;
        let [_, heads, width, _] = state.shape()?;
        let [_, columns] = out.shape()?;
        let like = x.tensor.clone();
        let state_shape = state.tensor.meta.shape().clone();
        Ok(Self {
            query: rows(inputs.query)?,
            key: rows(inputs.key)?,
            value: rows(inputs.value)?,
            gate_a: rows(inputs.gate_a)?,
            gate_b: rows(inputs.gate_b)?,
            numbers: Buffer::new(&like, [2 * heads + width], DType::F32)?,
            given: [
                Buffer::of(inputs.a_log)?,
                Buffer::of(inputs.dt_bias)?,
                Buffer::of(inputs.gamma)?,
            ],
            output: Buffer::new(&like, [batch, tokens, columns], DType::BF16)?,
            last: Buffer::new(&like, state_shape, DType::F32)?,
            gates: (batch * tokens >= PACKED_FROM)
                .then(|| Buffer::new(&like, [embed, 2 * heads], DType::BF16))
                .transpose()?,
            x,
            out,
            state,
            batch,
            tokens,
            embed,
            heads,
            width,
            columns,
            rule,
        })
    }

    /// Brings the small parameters into the form that the kernels read.
    fn set_up(&self, gpu: &mut Gpu) -> Result<(), CudaError> {
        let mut to = self.numbers.address;
        for (given, count) in self.given.iter().zip([self.heads, self.heads, self.width]) {
            match given.tensor.dtype {
                DType::F32 => gpu.copy(to, given.address, 4 * count)?,
                DType::BF16 => gpu.widen(given.address, to, count)?,
                other => return Err(CudaError::Unsupported(format!("parameters of {other:?}"))),
            }
            to += 4 * count as u64;
        }
        let Some(gates) = &self.gates else { return Ok(()) };
        let (width, pitch) = (2 * self.heads, 4 * self.heads);
        gpu.copy_columns((gates.address, pitch), self.gate_a.address, (width, self.embed))?;
        gpu.copy_columns(
            (gates.address + width as u64, pitch),
            self.gate_b.address,
            (width, self.embed),
        )
    }

    /// Where `dt_bias` and `gamma` are.
    fn dt_bias(&self) -> u64 {
        self.numbers.address + 4 * self.heads as u64
    }

    fn gamma(&self) -> u64 {
        self.numbers.address + 8 * self.heads as u64
    }

    /// Numbers of a token's queries, keys or values.
    fn inner(&self) -> usize {
        self.heads * self.width
    }

    /// Enqueues one product of `rows` rows.
    fn product(
        &self,
        gpu: &mut Gpu,
        (rows, depth, columns): (usize, usize, usize),
        (x, weight, y): (Rows, &Buffer, Rows),
    ) -> Result<(), CudaError> {
        let shape = ProductShape {
            element: Element::Bf16,
            rows: rows as u64,
            depth: depth as u64,
            columns: columns as u64,
            x_stride: x.stride as i64,
            y_stride: y.stride as i64,
        };
        let operands = Operands {
            x: x.address,
            weight: weight.address,
            y: y.address,
        };
        let (workspace, stream) = (gpu.workspace, gpu.stream.cu_stream());
        let products = gpu.products.as_mut().ok_or(CudaError::Library("libcublasLt"))?;
        // SAFETY: the buffers have these extents (checked by their shapes and `Work::new`) and outlive the stream's
        // work, since `inside` orders everything later behind it; only this stream uses the work space.
        unsafe { products.run(shape, operands, workspace, stream) }
    }
}

/// What exists for a piece between input and output.
struct Work {
    rows: Buffer,
    products: Buffer,
    gates: Buffer,
    strengths: Buffer,
    records: Buffer,
}

impl Work {
    fn new(layer: &Layer, rows: usize, records: usize) -> Result<Self, CudaError> {
        let like = &layer.x.tensor;
        Ok(Self {
            rows: Buffer::new(like, [rows, 3 * layer.inner()], DType::BF16)?,
            products: Buffer::new(like, [rows, 2 * layer.heads], DType::BF16)?,
            gates: Buffer::new(like, [rows, layer.heads], DType::F32)?,
            strengths: Buffer::new(like, [rows, layer.heads], DType::F32)?,
            records: Buffer::new(like, [records], DType::U8)?,
        })
    }

    fn span(&self, layer: &Layer, piece: &Piece) -> Span {
        let rows = Rows {
            address: self.rows.address,
            stride: 3 * layer.inner(),
        };
        let value = rows.skip(2 * layer.inner());
        let state = (piece.sequence * layer.heads * layer.width * layer.width * 4) as u64;
        let last = layer.last.address + state;
        Span {
            batch: piece.sequences,
            tokens: piece.tokens,
            heads: layer.heads,
            width: layer.width,
            q: rows,
            k: rows.skip(layer.inner()),
            v: value,
            // A block reads its columns of V before it writes the same place: the output needs no memory.
            output: value,
            gates: self.gates.address,
            strengths: self.strengths.address,
            records: self.records.address,
            initial: if piece.is_first() {
                layer.state.address + state
            } else {
                last
            },
            last,
            norm: Some((layer.gamma(), layer.rule.epsilon as f32)),
        }
    }

    /// Projections, gates and what does not depend on the state.
    fn front(&self, gpu: &mut Gpu, layer: &Layer, piece: &Piece) -> Result<(), CudaError> {
        let skipped = (piece.sequence * layer.tokens + piece.token) * layer.embed;
        let x = Rows {
            address: layer.x.address,
            stride: layer.embed,
        }
        .skip(skipped);
        let span = self.span(layer, piece);
        let size = (piece.rows(), layer.embed, layer.inner());
        for (weight, to) in [
            (&layer.query, span.q),
            (&layer.key, span.k),
            (&layer.value, span.v),
        ] {
            layer.product(gpu, size, (x, weight, to))?;
        }
        let products = Rows {
            address: self.products.address,
            stride: 2 * layer.heads,
        };
        if let Some(gates) = &layer.gates {
            layer.product(
                gpu,
                (piece.rows(), layer.embed, 2 * layer.heads),
                (x, gates, products),
            )?;
        } else {
            let size = (piece.rows(), layer.embed, layer.heads);
            layer.product(gpu, size, (x, &layer.gate_a, products))?;
            layer.product(gpu, size, (x, &layer.gate_b, products.skip(layer.heads)))?;
        }
        let numbers = (layer.numbers.address, layer.dt_bias());
        let gates = (self.gates.address, self.strengths.address);
        gpu.gates(products, (piece.rows(), layer.heads), numbers, gates)?;
        if piece.tokens == 1 {
            return gpu.step(&span, layer.rule.rule);
        }
        gpu.prepare(&span, layer.rule.rule)
    }

    /// The projection of the output.
    fn back(&self, gpu: &mut Gpu, layer: &Layer, piece: &Piece) -> Result<(), CudaError> {
        let skipped = (piece.sequence * layer.tokens + piece.token) * layer.columns;
        let to = Rows {
            address: layer.output.address,
            stride: layer.columns,
        }
        .skip(skipped);
        let size = (piece.rows(), layer.inner(), layer.columns);
        layer.product(gpu, size, (self.span(layer, piece).output, &layer.out, to))
    }
}

/// Runs a layer. On the thread on which burn submits to the device: there buffers cost no round trip.
pub(super) fn run(
    inputs: LayerInputs<CubeBackend>,
    rule: LayerRule,
) -> Result<LayerOutput<CubeBackend>, CudaError> {
    let client = inputs.x.client.clone();
    on_device(&client, move || {
        let mut gpu = acquire(device_index(&inputs.x)?)?;
        let layer = Layer::new(inputs, rule)?;
        let pieces = pieces(layer.batch, layer.tokens);
        let rows = pieces.iter().map(Piece::rows).max().unwrap_or(0);
        let records = |piece: &Piece| record_bytes(piece.sequences, piece.tokens, layer.heads);
        let records = pieces.iter().map(records).max().unwrap_or(0);
        let work = (0..pieces.len().min(2))
            .map(|_| Work::new(&layer, rows, records))
            .collect::<Result<Vec<_>, _>>()?;
        gpu.inside(|gpu| {
            layer.set_up(gpu)?;
            match work.as_slice() {
                [work] => whole(gpu, &layer, work, &pieces),
                work => overlapped(gpu, &layer, work, &pieces),
            }
        })?;
        Ok(LayerOutput {
            output: layer.output.tensor,
            state: layer.last.tensor,
        })
    })
}

fn whole(gpu: &mut Gpu, layer: &Layer, work: &Work, pieces: &[Piece]) -> Result<(), CudaError> {
    for piece in pieces {
        work.front(gpu, layer, piece)?;
        if piece.tokens > 1 {
            let stream = gpu.stream.cu_stream();
            gpu.scan(&work.span(layer, piece), layer.rule.rule.precise, stream)?;
        }
        work.back(gpu, layer, piece)?;
    }
    Ok(())
}

/// Scan of a piece beside the projections of the next one. Pieces take turns with two sets of work space.
fn overlapped(gpu: &mut Gpu, layer: &Layer, work: &[Work], pieces: &[Piece]) -> Result<(), CudaError> {
    let (main, side) = (gpu.stream.cu_stream(), gpu.side.cu_stream());
    let mut before: Option<(&Work, &Piece, CudaEvent)> = None;
    for (piece, work) in pieces.iter().zip(work.iter().cycle()) {
        work.front(gpu, layer, piece)?;
        let ready = gpu.mark(main)?;
        gpu.wait(side, &ready)?;
        if piece.tokens > 1 {
            gpu.scan(&work.span(layer, piece), layer.rule.rule.precise, side)?;
        }
        let scanned = gpu.mark(side)?;
        if let Some((work, piece, scanned)) = before.replace((work, piece, scanned)) {
            gpu.wait(main, &scanned)?;
            work.back(gpu, layer, piece)?;
        }
    }
    if let Some((work, piece, scanned)) = before {
        gpu.wait(main, &scanned)?;
        work.back(gpu, layer, piece)?;
    }
    Ok(())
}
