//! One pass of a layer over its input: projections, gates, kernels and projection, piece after piece; a single token in
//! three launches.

use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use liquid_cuda::{Element, Layout, Operands, Shape as ProductShape, WORKSPACE};

use super::buffer::{Buffer, Matrix};
use super::decode::{FEW, Few};
use super::error::CudaError;
use super::gpu::Gpu;
use super::launch::{Gates, Rows, Small, Span, record_bytes};
use super::layer::{InputWeights, LayerRule, LayerWeights};
use super::segment::{Piece, pieces};
use super::weights::{Columns, Weights};

mod work;

use work::{Work, overlapped, whole};

/// The weights of a layer in device memory.
pub(super) struct Layer {
    weights: Weights,
    out: Matrix,
    a_log: Buffer,
    dt_bias: Buffer,
    gamma: Buffer,
    /// Where the products with the five weights go, side by side.
    places: Columns,
    embed: usize,
    heads: usize,
    width: usize,
    columns: usize,
}

impl Layer {
    pub(super) fn new(weights: LayerWeights<CubeBackend>) -> Result<Self, CudaError> {
        let out = Buffer::matrix(weights.output)?.typed(DType::BF16)?;
        let (a_log, gamma) = (Buffer::of(weights.a_log)?, Buffer::of(weights.gamma)?);
        let dt_bias = Buffer::of(weights.dt_bias)?;
        let weights = Weights::new(InputWeights {
            query: weights.query,
            key: weights.key,
            value: weights.value,
            gate_a: weights.gate_a,
            gate_b: weights.gate_b,
        })?;
        let ([heads], [width]) = (a_log.shape()?, gamma.shape()?);
        let ([embed, _], [_, columns]) = (weights.0[0].buffer.shape()?, out.buffer.shape()?);
        Ok(Self {
            places: Columns::new(weights.widths()?),
            weights,
            out,
            a_log,
            dt_bias,
            gamma,
            embed,
            heads,
            width,
            columns,
        })
    }

    /// Numbers of a token's queries, keys or values.
    fn inner(&self) -> usize {
        self.heads * self.width
    }

    /// Where the products of a row lie.
    fn products(&self, address: u64) -> [Rows; 5] {
        let rows = Rows {
            address,
            stride: self.places.pitch,
        };
        self.places.starts.map(|start| rows.skip(start))
    }

    /// Enqueues one product of `rows` rows.
    fn product(
        &self,
        gpu: &mut Gpu,
        (rows, depth, columns): (usize, usize, usize),
        (x, weight, y): (Rows, &Matrix, Rows),
    ) -> Result<(), CudaError> {
        let shape = ProductShape {
            operands: Element::Bf16,
            y: Element::Bf16,
            rows,
            depth,
            columns,
            x_layout: Layout::rows(x.stride),
            weight_layout: weight.layout,
            y_stride: y.stride,
        };
        let operands = Operands {
            x: x.address,
            weight: weight.buffer.address,
            y: y.address,
        };
        // SAFETY: the buffers have these extents (checked by their shapes and `Work::new`) and outlive the stream's
        // work, since `inside` orders everything later behind it.
        unsafe { gpu.multiply(shape, operands) }
    }
}

/// A call of a layer: what it reads and writes.
pub(super) struct Call<'layer> {
    layer: &'layer Layer,
    x: Buffer,
    state: Buffer,
    pub(super) output: Buffer,
    pub(super) last: Buffer,
    /// Tokens of each sequence before its padding, f32.
    lengths: Option<Buffer>,
    batch: usize,
    tokens: usize,
    rule: LayerRule,
}

impl<'layer> Call<'layer> {
    /// Of `x [B, N, E]` from `state [B, H, D, D]`, with the sequences' lengths where they are padded.
    pub(super) fn new(
        layer: &'layer Layer,
        rule: LayerRule,
        (x, state, lengths): (
            FloatTensor<CubeBackend>,
            FloatTensor<CubeBackend>,
            Option<FloatTensor<CubeBackend>>,
        ),
    ) -> Result<Self, CudaError> {
        let x = Buffer::of(x)?.typed(DType::BF16)?;
        let state = Buffer::of(state)?.typed(DType::F32)?;
        let [batch, tokens, _] = x.shape()?;
        let state_shape = state.tensor.meta.shape().clone();
        Ok(Self {
            layer,
            lengths: lengths
                .map(|lengths| Buffer::of(lengths)?.typed(DType::F32))
                .transpose()?,
            output: Buffer::new(&x.tensor, [batch, tokens, layer.columns], DType::BF16)?,
            last: Buffer::new(&x.tensor, state_shape, DType::F32)?,
            x,
            state,
            batch,
            tokens,
            rule,
        })
    }

    /// Enqueues all of it.
    pub(super) fn run(&self, gpu: &mut Gpu) -> Result<(), CudaError> {
        let pieces = pieces(self.batch, self.tokens);
        let rows = pieces.iter().map(Piece::rows).max().unwrap_or(0);
        let records = |piece: &Piece| record_bytes(piece.sequences, piece.tokens, self.layer.heads);
        let records = pieces.iter().map(records).max().unwrap_or(0);
        let sets = if self.is_step() { 0 } else { pieces.len().min(2) };
        let work = (0..sets)
            .map(|_| Work::new(self, rows, records))
            .collect::<Result<Vec<_>, _>>()?;
        gpu.inside(|gpu| match &work[..] {
            [] => self.step(gpu),
            [work] => whole(gpu, self, work, &pieces),
            work => overlapped(gpu, self, work, &pieces),
        })
    }

    /// Lengths of the sequences from one on; 0 without padding.
    fn lengths(&self, sequence: usize) -> u64 {
        let from = |lengths: &Buffer| lengths.address + 4 * sequence as u64;
        self.lengths.as_ref().map_or(0, from)
    }

    /// The span of a piece whose products lie at an address, and its records at another.
    fn span(&self, (products, records): (u64, u64), piece: &Piece) -> Result<Span, CudaError> {
        let layer = self.layer;
        let [q, k, v, a, b] = layer.products(products);
        let small_of = [small(&layer.a_log)?, small(&layer.dt_bias)?];
        let state = (piece.sequence * layer.heads * layer.width * layer.width * 4) as u64;
        let last = self.last.address + state;
        Ok(Span {
            batch: piece.sequences,
            tokens: piece.tokens,
            heads: layer.heads,
            width: layer.width,
            q,
            k,
            v,
            // A block reads its columns of V before it writes the same place: the output needs no memory.
            output: v,
            gates: Gates::of_products([a, b], small_of).padded(self.lengths(piece.sequence), piece.token),
            records,
            initial: if piece.is_first() {
                self.state.address + state
            } else {
                last
            },
            last,
            norm: Some((small(&layer.gamma)?, self.rule.epsilon as f32)),
        })
    }

    /// Whether this is one token of few sequences, and so can go the short way.
    fn is_step(&self) -> bool {
        let layer = self.layer;
        let fits = 2 * self.batch * layer.places.pitch <= WORKSPACE;
        self.tokens == 1
            && self.batch <= FEW
            && fits
            && layer.weights.in_rows()
            && !layer.out.layout.transposed
    }

    /// One token of every sequence, in three launches. What is between the projections lies in the work space of the
    /// products, which nothing else on this stream uses meanwhile.
    fn step(&self, gpu: &mut Gpu) -> Result<(), CudaError> {
        let layer = self.layer;
        let products = layer.products(gpu.workspace);
        let widths = layer.weights.widths()?;
        let few: Vec<Few> = (0..5)
            .map(|i| Few {
                weight: layer.weights.0[i].buffer.address,
                pitch: layer.weights.0[i].layout.stride,
                columns: widths[i],
                to: products[i],
            })
            .collect();
        let x = Rows {
            address: self.x.address,
            stride: layer.embed,
        };
        gpu.project((x, self.batch, layer.embed), &few, false)?;
        let piece = Piece {
            sequence: 0,
            sequences: self.batch,
            token: 0,
            tokens: 1,
        };
        let span = self.span((gpu.workspace, 0), &piece)?;
        gpu.step(&span, self.rule.rule, true)?;
        let out = Few {
            weight: layer.out.buffer.address,
            pitch: layer.out.layout.stride,
            columns: layer.columns,
            to: Rows {
                address: self.output.address,
                stride: layer.columns,
            },
        };
        gpu.project((span.output, self.batch, layer.inner()), &[out], true)
    }
}

/// A small parameter as the kernels take it.
fn small(buffer: &Buffer) -> Result<Small, CudaError> {
    let narrow = match buffer.tensor.dtype {
        DType::F32 => false,
        DType::BF16 => true,
        other => return Err(CudaError::Unsupported(format!("parameters of {other:?}"))),
    };
    Ok(Small {
        address: buffer.address,
        narrow,
    })
}
