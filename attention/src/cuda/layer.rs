//! A whole layer without gradients: projections, gates, rule, norm and projection, in pieces of the sequence.
//!
//! Besides input and output only two pieces exist at a time, and the border to burn is crossed once. The scan of a
//! piece runs on a stream of its own beside the products of the next piece.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;
use cudarc::driver::CudaEvent;

use super::buffer::{Buffer, device_index};
use super::error::CudaError;
use super::gpu::{Gpu, acquire};
use super::launch::{Rows, Span, record_bytes, serves};
use super::product::{Element, Operands, Shape as ProductShape};
use super::segment::{Piece, pieces};
use crate::core::DeltaRule;

/// What a layer reads. Weights are `[in, out]`, bf16, as burn's `Linear` keeps them.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub struct LayerInputs<B: Backend> {
    /// `[B, N, E]`, bf16.
    pub x: FloatTensor<B>,
    /// `[E, H D]`.
    pub query: FloatTensor<B>,
    /// `[E, H D]`.
    pub key: FloatTensor<B>,
    /// `[E, H D]`.
    pub value: FloatTensor<B>,
    /// `[E, H]`, of the log-gates.
    pub gate_a: FloatTensor<B>,
    /// `[E, H]`, of the strengths.
    pub gate_b: FloatTensor<B>,
    /// `[H D, F]`.
    pub output: FloatTensor<B>,
    /// `[H]`, f32.
    pub a_log: FloatTensor<B>,
    /// `[H]`, f32; the bias of `gate_a`.
    pub dt_bias: FloatTensor<B>,
    /// `[D]`, f32; weights of the norm of every head's output.
    pub gamma: FloatTensor<B>,
    /// `[B, H, D, D]`, f32.
    pub state: FloatTensor<B>,
}

/// What a layer gives.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub struct LayerOutput<B: Backend> {
    /// `[B, N, F]`, bf16.
    pub output: FloatTensor<B>,
    /// `[B, H, D, D]`, f32.
    pub state: FloatTensor<B>,
}

/// The numbers of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerRule {
    /// The rule.
    pub rule: DeltaRule,
    /// Of the norm.
    pub epsilon: f64,
}

fn metadata(inputs: &LayerInputsMetadata, _rule: &LayerRule) -> LayerOutputMetadata {
    let (x, out) = (&inputs.x.shape, inputs.output.shape[1]);
    LayerOutputMetadata {
        output: TensorSpec::new(Shape::from([x[0], x[1], out]), inputs.x.dtype),
        state: inputs.state.clone(),
    }
}

/// The layer as an operation of the CUDA backend. Only for inputs that [`serves_layer`] accepts.
#[backend_extension(Cube, Fusion)]
pub trait LayerOps: Backend {
    /// Runs the layer from `inputs.state`.
    #[fusion(meta = metadata)]
    fn linear_layer(#[extension_type] inputs: LayerInputs<Self>, rule: LayerRule) -> LayerOutput<Self>;
}

impl LayerOps for CubeBackend {
    fn linear_layer(inputs: LayerInputs<Self>, rule: LayerRule) -> LayerOutput<Self> {
        match run(inputs, rule) {
            Ok(output) => output,
            #[allow(
                clippy::panic,
                reason = "an operation of burn has no way to give an error back"
            )]
            Err(error) => panic!("the fused layer failed on the GPU: {error}"),
        }
    }
}

/// The tensors of a layer, see [`LayerInputs`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named and shaped as in LayerInputs")]
pub struct LayerTensors {
    pub x: Tensor<3>,
    pub query: Tensor<2>,
    pub key: Tensor<2>,
    pub value: Tensor<2>,
    pub gate_a: Tensor<2>,
    pub gate_b: Tensor<2>,
    pub output: Tensor<2>,
    pub a_log: Tensor<1>,
    pub dt_bias: Tensor<1>,
    pub gamma: Tensor<1>,
    pub state: Tensor<4>,
}

/// Whether the fused layer serves these tensors: bf16 on a Hopper GPU, head size 64, 128 or 256, products available.
pub fn serves_layer(tensors: &LayerTensors) -> bool {
    let [_, heads, key, value] = tensors.state.dims();
    let bf16 = [
        &tensors.query,
        &tensors.key,
        &tensors.value,
        &tensors.gate_a,
        &tensors.gate_b,
        &tensors.output,
    ]
    .iter()
    .all(|weight| weight.dtype() == DType::BF16);
    let ready = || super::device_number(&tensors.x.device()).is_some_and(super::products_ready);
    bf16 && tensors.x.dtype() == DType::BF16 && serves(heads, key, value) && ready()
}

/// Runs the layer; gives its output and the state after the last token.
pub fn linear_layer(tensors: LayerTensors, rule: LayerRule) -> (Tensor<3>, Tensor<4>) {
    let inputs = LayerInputs {
        x: tensors.x.into_dispatch(),
        query: tensors.query.into_dispatch(),
        key: tensors.key.into_dispatch(),
        value: tensors.value.into_dispatch(),
        gate_a: tensors.gate_a.into_dispatch(),
        gate_b: tensors.gate_b.into_dispatch(),
        output: tensors.output.into_dispatch(),
        a_log: tensors.a_log.cast(DType::F32).into_dispatch(),
        dt_bias: tensors.dt_bias.cast(DType::F32).into_dispatch(),
        gamma: tensors.gamma.cast(DType::F32).into_dispatch(),
        state: tensors.state.into_dispatch(),
    };
    let LayerOutput { output, state } = <Dispatch as LayerOps>::linear_layer(inputs, rule);
    (Tensor::from_dispatch(output), Tensor::from_dispatch(state))
}

/// The tensors in device memory.
struct Layer {
    x: Buffer,
    query: Buffer,
    key: Buffer,
    value: Buffer,
    gate_a: Buffer,
    gate_b: Buffer,
    out: Buffer,
    a_log: Buffer,
    dt_bias: Buffer,
    gamma: Buffer,
    state: Buffer,
    output: Buffer,
    last: Buffer,
    /// Weights of both gates side by side, `[E, 2 H]`.
    gates: Buffer,
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
            a_log: numbers(inputs.a_log)?,
            dt_bias: numbers(inputs.dt_bias)?,
            gamma: numbers(inputs.gamma)?,
            output: Buffer::new(&like, [batch, tokens, columns], DType::BF16)?,
            last: Buffer::new(&like, state_shape, DType::F32)?,
            gates: Buffer::new(&like, [embed, 2 * heads], DType::BF16)?,
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
        // work, since `leave` orders everything later behind it; only this stream uses the work space.
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
            norm: Some((layer.gamma.address, layer.rule.epsilon as f32)),
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
        layer.product(
            gpu,
            (piece.rows(), layer.embed, 2 * layer.heads),
            (x, &layer.gates, products),
        )?;
        let numbers = (layer.a_log.address, layer.dt_bias.address);
        gpu.gates(
            products,
            (piece.rows(), layer.heads),
            numbers,
            (self.gates.address, self.strengths.address),
        )?;
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

fn run(inputs: LayerInputs<CubeBackend>, rule: LayerRule) -> Result<LayerOutput<CubeBackend>, CudaError> {
    let mut gpu = acquire(device_index(&inputs.x)?)?;
    let layer = Layer::new(inputs, rule)?;
    let pieces = pieces(layer.batch, layer.tokens);
    let rows = pieces.iter().map(Piece::rows).max().unwrap_or(0);
    let records = pieces
        .iter()
        .map(|piece| record_bytes(piece.sequences, piece.tokens, layer.heads))
        .max();
    let work = (0..pieces.len().min(2))
        .map(|_| Work::new(&layer, rows, records.unwrap_or(0)))
        .collect::<Result<Vec<_>, _>>()?;
    gpu.enter()?;
    let (width, pitch) = (2 * layer.heads, 4 * layer.heads);
    gpu.copy_columns(
        (layer.gates.address, pitch),
        layer.gate_a.address,
        (width, layer.embed),
    )?;
    gpu.copy_columns(
        (layer.gates.address + width as u64, pitch),
        layer.gate_b.address,
        (width, layer.embed),
    )?;
    match work.as_slice() {
        [work] => whole(&mut gpu, &layer, work, &pieces)?,
        work => overlapped(&mut gpu, &layer, work, &pieces)?,
    }
    gpu.leave()?;
    Ok(LayerOutput {
        output: layer.output.tensor,
        state: layer.last.tensor,
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
