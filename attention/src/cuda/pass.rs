//! One pass of a layer over its input: projections, gates, kernels and projection, piece after piece; a single token in
//! three launches.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use liquid_cuda::{Element, Layout, Operands, Shape as ProductShape, WORKSPACE};

use super::buffer::{Buffer, Matrix};
use super::convolution::Convolution;
use super::decode::{FEW, Few};
use super::error::CudaError;
use super::gpu::Gpu;
use super::launch::{Gates, Rows, Small, Span, record_bytes};
use super::layer::{LayerInput, LayerOutput, LayerRule, LayerWeights, Maybe};
use super::segment::{Piece, pieces};
use super::weights::{Columns, MATRICES, Weights};

mod work;

use work::{Work, overlapped, whole};

/// The weights of a layer in device memory.
pub(super) struct Layer {
    weights: Weights,
    /// Where the products lie, like them.
    bias: Option<Buffer>,
    out: Matrix,
    out_bias: Option<Buffer>,
    /// Its weights, `[channels, width]`.
    convolution: Option<Buffer>,
    a_log: Buffer,
    dt_bias: Buffer,
    gamma: Buffer,
    /// Where the products with the weights go, side by side.
    places: Columns,
    embed: usize,
    heads: usize,
    /// Heads that share a head of queries and keys.
    group: usize,
    width: usize,
    columns: usize,
}

impl Layer {
    pub(super) fn new(weights: LayerWeights<CubeBackend>) -> Result<Self, CudaError> {
        let out = Buffer::matrix(weights.output)?.typed(DType::BF16)?;
        let (a_log, gamma) = (Buffer::of(weights.a_log)?, Buffer::of(weights.gamma)?);
        let dt_bias = Buffer::of(weights.dt_bias)?;
        let bias = narrow(weights.input_bias)?;
        let (out_bias, convolution) = (narrow(weights.output_bias)?, narrow(weights.convolution)?);
        let weights = Weights::new(weights.input)?;
        let ([heads], [width]) = (a_log.shape()?, gamma.shape()?);
        let ([embed, keys], [_, columns]) = (weights.0[0].buffer.shape()?, out.buffer.shape()?);
        Ok(Self {
            places: weights.columns()?,
            weights,
            bias,
            out,
            out_bias,
            convolution,
            a_log,
            dt_bias,
            gamma,
            embed,
            heads,
            group: heads * width / keys,
            width,
            columns,
        })
    }

    /// Numbers of a token's values.
    fn inner(&self) -> usize {
        self.heads * self.width
    }

    /// Numbers of a token's queries, keys and values together.
    fn channels(&self) -> usize {
        self.inner() + 2 * self.inner() / self.group
    }

    /// Where the products of a row lie; nowhere those with a matrix that is not there.
    fn products(&self, address: u64) -> [Rows; MATRICES] {
        let Columns {
            starts,
            widths,
            pitch,
            ..
        } = self.places;
        let rows = Rows {
            address,
            stride: pitch,
        };
        std::array::from_fn(|i| match widths[i] {
            0 => Rows::NONE,
            _ => rows.skip(starts[i]),
        })
    }

    /// Address of the bias of the matrix with this number, and of those to its right; 0 without.
    fn bias(&self, matrix: usize) -> u64 {
        let of = |bias: &Buffer| bias.address + 2 * self.places.starts[matrix] as u64;
        self.bias.as_ref().map_or(0, of)
    }

    fn out_bias(&self) -> u64 {
        self.out_bias.as_ref().map_or(0, |bias| bias.address)
    }

    /// Enqueues one product of `rows` rows.
    fn product(
        &self,
        gpu: &mut Gpu,
        (rows, depth, columns): (usize, usize, usize),
        (x, weight, y, bias): (Rows, &Matrix, Rows, u64),
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
            bias,
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
    output: Buffer,
    last: Buffer,
    /// What the convolution keeps, before and after; both where there is one.
    tail: Option<Buffer>,
    last_tail: Option<Buffer>,
    /// Tokens of each sequence before its padding, f32.
    lengths: Option<Buffer>,
    batch: usize,
    tokens: usize,
    rule: LayerRule,
}

impl<'layer> Call<'layer> {
    /// Of an input that fits the layer, and memory for its output.
    pub(super) fn new(
        layer: &'layer Layer,
        rule: LayerRule,
        input: LayerInput<CubeBackend>,
        output: LayerOutput<CubeBackend>,
    ) -> Result<Self, CudaError> {
        let x = Buffer::of(input.x)?.typed(DType::BF16)?;
        let state = Buffer::of(input.state)?.typed(DType::F32)?;
        let lengths = input.lengths.into_option();
        let [batch, tokens, _] = x.shape()?;
        Ok(Self {
            layer,
            lengths: lengths
                .map(|lengths| Buffer::of(lengths)?.typed(DType::F32))
                .transpose()?,
            output: Buffer::of(output.output)?,
            last: Buffer::of(output.state)?,
            tail: narrow(input.tail)?,
            last_tail: narrow(output.tail)?,
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

    /// The convolution of a piece.
    fn convolution(&self, piece: &Piece) -> Option<Convolution> {
        let layer = self.layer;
        let (weight, tail, last) = (
            layer.convolution.as_ref()?,
            self.tail.as_ref()?,
            self.last_tail.as_ref()?,
        );
        let channels = layer.channels();
        let width = weight.tensor.meta.shape().num_elements() / channels;
        let sequence = |tail: &Buffer| tail.address + (2 * piece.sequence * (width - 1) * channels) as u64;
        Some(Convolution {
            weight: weight.address,
            tail: sequence(if piece.is_first() { tail } else { last }),
            last: sequence(last),
            width: width as i32,
            channels: channels as i32,
        })
    }

    /// The span of a piece whose products lie at an address, or, where there is a convolution, what it makes of queries,
    /// keys and values at the second; its records lie at the last.
    fn span(
        &self,
        (products, convolved, records): (u64, Option<u64>, u64),
        piece: &Piece,
    ) -> Result<Span, CudaError> {
        let layer = self.layer;
        let [mut q, mut k, mut v, a, b, gate] = layer.products(products);
        if let Some(address) = convolved {
            let keys = layer.inner() / layer.group;
            q = Rows {
                address,
                stride: layer.channels(),
            };
            k = q.skip(keys);
            v = k.skip(keys);
        }
        let small_of = [small(&layer.a_log)?, small(&layer.dt_bias)?];
        let state = (piece.sequence * layer.heads * layer.width * layer.width * 4) as u64;
        let last = self.last.address + state;
        Ok(Span {
            batch: piece.sequences,
            tokens: piece.tokens,
            heads: layer.heads,
            width: layer.width,
            group: layer.group,
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
            gate,
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
        let few: Vec<Few> = (layer.weights.0.iter().enumerate())
            .map(|(i, matrix)| Few {
                weight: matrix.buffer.address,
                pitch: matrix.layout.stride,
                columns: layer.places.widths[i],
                bias: layer.bias(i),
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
        let span = self.span((gpu.workspace, None, 0), &piece)?;
        let convolution = self.convolution(&piece).unwrap_or(Convolution::NONE);
        gpu.step((&span, convolution), self.rule.rule, true)?;
        let out = Few {
            weight: layer.out.buffer.address,
            pitch: layer.out.layout.stride,
            columns: layer.columns,
            bias: layer.out_bias(),
            to: Rows {
                address: self.output.address,
                stride: layer.columns,
            },
        };
        gpu.project((span.output, self.batch, layer.inner()), &[out], true)
    }
}

/// A tensor of bf16, if there is one.
fn narrow(tensor: Maybe<CubeBackend>) -> Result<Option<Buffer>, CudaError> {
    let tensor = tensor.into_option();
    tensor
        .map(|tensor| Buffer::of(tensor)?.typed(DType::BF16))
        .transpose()
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
