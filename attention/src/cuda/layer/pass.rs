//! One pass of a layer over its input: projections, gates, kernels and projection, piece after piece; a
//! single token in three launches.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use liquid_cuda::device::{Address, Element, Layout, Operands, Shape, WORKSPACE};
use liquid_cuda::pass::{Piece, pieces};
use liquid_cuda::rule::{
    Columns, Convolution, GateProducts, Gates, HeadNorm, Rows, SKINNY_MATRICES, SKINNY_ROWS, Sequences,
    SkinnyInput, SkinnyProduct, SmallParameter, Span, record_bytes,
};

use super::tensors::{LayerInput, LayerOutput, LayerRule, LayerWeights, OptionalTensor};
use super::weights::Weights;
use crate::cuda::device::{DeviceMatrix, DeviceTensor, Gpu};
use crate::cuda::error::CudaError;

mod work;

use work::{Work, overlapped, whole};

/// Bytes of a number of a row.
const BF16: usize = size_of::<u16>();
/// Bytes of a number of a state, or of a length.
const F32: usize = size_of::<f32>();

/// The weights of a layer in device memory.
pub(super) struct Layer {
    weights: Weights,
    /// Biases where the products lie, like them.
    bias: Option<DeviceTensor>,
    out: DeviceMatrix,
    out_bias: Option<DeviceTensor>,
    /// Weights of the short convolution, `[channels, width]`.
    convolution: Option<DeviceTensor>,
    a_log: SmallTensor,
    dt_bias: SmallTensor,
    gamma: SmallTensor,
    /// Columns of the products with the weights, side by side.
    places: Columns,
    embed: usize,
    heads: usize,
    /// Heads that share a head of queries and keys.
    group: usize,
    width: usize,
    columns: usize,
}

/// One product of a layer: of `rows` rows.
struct LayerProduct<'a> {
    rows: usize,
    depth: usize,
    columns: usize,
    x: Rows,
    weight: &'a DeviceMatrix,
    y: Rows,
    bias: Address,
}

impl Layer {
    pub(super) fn new(weights: LayerWeights<CubeBackend>) -> Result<Self, CudaError> {
        let out = DeviceTensor::matrix(weights.output)?.typed(DType::BF16)?;
        let small = |tensor| SmallTensor::new(DeviceTensor::of(tensor)?);
        let (a_log, gamma, dt_bias) = (
            small(weights.a_log)?,
            small(weights.gamma)?,
            small(weights.dt_bias)?,
        );
        let bias = narrow(weights.input_bias)?;
        let (out_bias, convolution) = (narrow(weights.output_bias)?, narrow(weights.convolution)?);
        let weights = Weights::new(weights.input)?;
        let ([heads], [width]) = (a_log.tensor.shape()?, gamma.tensor.shape()?);
        let ([embed, keys], [_, columns]) = (weights.0[0].tensor.shape()?, out.tensor.shape()?);
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

    /// Rows of the products with each matrix; none for a matrix that is not there.
    fn products(&self, address: Address) -> [Rows; SKINNY_MATRICES] {
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
            _ => rows.columns_from(starts[i]),
        })
    }

    /// Address of the bias of the matrix with this number, and of those to its right; null without.
    fn bias(&self, matrix: usize) -> Address {
        address(self.bias.as_ref()).offset(BF16 * self.places.starts[matrix])
    }

    fn out_bias(&self) -> Address {
        address(self.out_bias.as_ref())
    }

    /// Enqueues a product.
    fn multiply(gpu: &mut Gpu, product: LayerProduct<'_>) -> Result<(), CudaError> {
        let LayerProduct {
            rows,
            depth,
            columns,
            x,
            weight,
            y,
            bias,
        } = product;
        let shape = Shape {
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
            weight: weight.tensor.address,
            y: y.address,
            bias,
        };
        // SAFETY: the tensors have these extents (checked by their shapes and `Work::new`) and outlive the
        // stream's work, since `inside` orders everything later behind it.
        unsafe { gpu.multiply(shape, operands) }
    }
}

/// A call of a layer: what it reads and writes.
pub(super) struct Call<'layer> {
    layer: &'layer Layer,
    x: DeviceTensor,
    state: DeviceTensor,
    output: DeviceTensor,
    last: DeviceTensor,
    /// Tokens that the convolution keeps, before and after; both where there is one.
    tail: Option<DeviceTensor>,
    last_tail: Option<DeviceTensor>,
    /// Tokens of each sequence before its padding, f32.
    lengths: Option<DeviceTensor>,
    batch: usize,
    tokens: usize,
    rule: LayerRule,
}

/// Addresses of a piece's products and records.
#[derive(Clone, Copy)]
struct SpanPlaces {
    products: Address,
    /// Address of queries, keys and values after the convolution, where there is one.
    convolved: Option<Address>,
    records: Address,
}

impl<'layer> Call<'layer> {
    /// A call with an input that fits the layer, and memory for its output.
    pub(super) fn new(
        layer: &'layer Layer,
        rule: LayerRule,
        input: LayerInput<CubeBackend>,
        output: LayerOutput<CubeBackend>,
    ) -> Result<Self, CudaError> {
        let x = DeviceTensor::of(input.x)?.typed(DType::BF16)?;
        let state = DeviceTensor::of(input.state)?.typed(DType::F32)?;
        let lengths = input.lengths.into_option();
        let [batch, tokens, _] = x.shape()?;
        Ok(Self {
            layer,
            lengths: lengths
                .map(|lengths| DeviceTensor::of(lengths)?.typed(DType::F32))
                .transpose()?,
            output: DeviceTensor::of(output.output)?,
            last: DeviceTensor::of(output.state)?,
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

    /// Lengths of the sequences from one on; null without padding.
    fn lengths(&self, sequence: usize) -> Address {
        address(self.lengths.as_ref()).offset(F32 * sequence)
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
        let skipped = BF16 * piece.sequence * (width - 1) * channels;
        let tail = if piece.is_first() { tail } else { last };
        Some(Convolution {
            weight: weight.address,
            tail: tail.address.offset(skipped),
            last: last.address.offset(skipped),
            width,
            channels,
        })
    }

    /// The span of a piece whose products lie at these places.
    fn span(&self, places: SpanPlaces, piece: &Piece) -> Span {
        let layer = self.layer;
        let [mut q, mut k, mut v, a, b, gate] = layer.products(places.products);
        if let Some(address) = places.convolved {
            let keys = layer.inner() / layer.group;
            q = Rows {
                address,
                stride: layer.channels(),
            };
            k = q.columns_from(keys);
            v = k.columns_from(keys);
        }
        let gates = Gates::products(GateProducts {
            a,
            b,
            a_log: layer.a_log.parameter(),
            dt_bias: layer.dt_bias.parameter(),
        });
        let skipped = F32 * piece.sequence * layer.heads * layer.width * layer.width;
        let last = self.last.address.offset(skipped);
        Span {
            sequences: Sequences::Equal {
                count: piece.sequences,
                tokens: piece.tokens,
            },
            heads: layer.heads,
            width: layer.width,
            group: layer.group,
            q,
            k,
            v,
            // A block reads its columns of V before it writes the same place: the output needs no memory.
            output: v,
            gates: gates.padded(self.lengths(piece.sequence), piece.token),
            records: places.records,
            initial: if piece.is_first() {
                self.state.address.offset(skipped)
            } else {
                last
            },
            last,
            norm: Some(HeadNorm {
                gamma: layer.gamma.parameter(),
                epsilon: self.rule.epsilon as f32,
            }),
            gate,
        }
    }

    /// Whether this is one token of few sequences, and so can go the short way.
    fn is_step(&self) -> bool {
        let layer = self.layer;
        let fits = BF16 * self.batch * layer.places.pitch <= WORKSPACE;
        self.tokens == 1
            && self.batch <= SKINNY_ROWS
            && fits
            && layer.weights.in_rows()
            && !layer.out.layout.transposed
    }

    /// One token of every sequence: two products of a few rows, bound by reading their weights once, and
    /// between them everything else in one kernel, each placed while the one before still runs: the weights
    /// of the output projection are on their way to L2 while the state is updated. What is between the
    /// projections lies in the work space of the products, which nothing else on this stream uses meanwhile.
    fn step(&self, gpu: &mut Gpu) -> Result<(), CudaError> {
        let layer = self.layer;
        let workspace = gpu.workspace();
        let products = layer.products(workspace);
        let projections: Vec<SkinnyProduct> = (layer.weights.0.iter().enumerate())
            .map(|(i, matrix)| SkinnyProduct {
                weight: matrix.tensor.address,
                pitch: matrix.layout.stride,
                columns: layer.places.widths[i],
                bias: layer.bias(i),
                to: products[i],
            })
            .collect();
        let input = SkinnyInput {
            x: Rows {
                address: self.x.address,
                stride: layer.embed,
            },
            rows: self.batch,
            depth: layer.embed,
        };
        let piece = Piece {
            sequence: 0,
            sequences: self.batch,
            token: 0,
            tokens: 1,
        };
        let places = SpanPlaces {
            products: workspace,
            convolved: None,
            records: Address::NULL,
        };
        let (span, convolution) = (self.span(places, &piece), self.convolution(&piece));
        let heads = SkinnyInput {
            x: span.output,
            rows: self.batch,
            depth: layer.inner(),
        };
        let out = SkinnyProduct {
            weight: layer.out.tensor.address,
            pitch: layer.out.layout.stride,
            columns: layer.columns,
            bias: layer.out_bias(),
            to: Rows {
                address: self.output.address,
                stride: layer.columns,
            },
        };
        let (kernels, stream, options) = (&mut gpu.kernels, &gpu.stream, self.rule.rule.into());
        // SAFETY: the tensors have the layer's extents (`PreparedLayer::takes`), and the caller is `inside`.
        // What the later kernels read before they wait are weights and states, which no kernel of this pass
        // before them writes.
        unsafe {
            kernels.project(stream, &input, &projections, false)?;
            kernels.step(stream, &span, convolution.as_ref(), options, true)?;
            kernels.project(stream, &heads, &[out], true)?;
        }
        Ok(())
    }
}

/// Looks up a tensor of bf16, if there is one.
fn narrow(tensor: OptionalTensor<CubeBackend>) -> Result<Option<DeviceTensor>, CudaError> {
    let tensor = tensor.into_option();
    tensor
        .map(|tensor| DeviceTensor::of(tensor)?.typed(DType::BF16))
        .transpose()
}

/// Address of a tensor, null without.
fn address(tensor: Option<&DeviceTensor>) -> Address {
    tensor.map_or(Address::NULL, |tensor| tensor.address)
}

/// A small parameter in device memory, f32 or bf16.
struct SmallTensor {
    tensor: DeviceTensor,
    narrow: bool,
}

impl SmallTensor {
    fn new(tensor: DeviceTensor) -> Result<Self, CudaError> {
        let narrow = match tensor.tensor.dtype {
            DType::F32 => false,
            DType::BF16 => true,
            other => return Err(CudaError::Unsupported(format!("parameters of {other:?}"))),
        };
        Ok(Self { tensor, narrow })
    }

    /// The parameter as the kernels take it.
    fn parameter(&self) -> SmallParameter {
        SmallParameter {
            address: self.tensor.address,
            narrow: self.narrow,
        }
    }
}
