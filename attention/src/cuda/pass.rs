//! One pass of a layer over its input: projections, gates, kernels and projection, piece after piece; a single token in
//! three launches.

use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use liquid_cuda::{Element, Layout, Operands, Shape as ProductShape, WORKSPACE};

use super::buffer::{Buffer, Matrix, device_index, on_device};
use super::decode::{FEW, Few, StepGates};
use super::error::CudaError;
use super::gpu::{Gpu, acquire};
use super::launch::{GateProducts, Rows, Small, Span, record_bytes};
use super::layer::{InputWeights, LayerInputs, LayerOutput, LayerRule};
use super::segment::{Piece, pieces};
use super::weights::{Columns, Weights};

mod work;

use work::{Work, overlapped, whole};

/// Addresses of what differs from step to step.
pub(super) struct StepAt {
    pub(super) x: u64,
    pub(super) output: u64,
    /// The state before and after; both may be the same.
    pub(super) initial: u64,
    pub(super) last: u64,
}

/// The tensors in device memory.
pub(super) struct Layer {
    x: Buffer,
    weights: Weights,
    out: Matrix,
    pub(super) state: Buffer,
    pub(super) output: Buffer,
    pub(super) last: Buffer,
    a_log: Buffer,
    dt_bias: Buffer,
    gamma: Buffer,
    /// Tokens of each sequence before its padding, f32.
    lengths: Option<Buffer>,
    /// Where the products with the five weights go, side by side.
    places: Columns,
    pub(super) batch: usize,
    tokens: usize,
    embed: usize,
    heads: usize,
    width: usize,
    pub(super) columns: usize,
    rule: LayerRule,
}

impl Layer {
    pub(super) fn new(
        inputs: LayerInputs<CubeBackend>,
        lengths: Option<FloatTensor<CubeBackend>>,
        rule: LayerRule,
    ) -> Result<Self, CudaError> {
        let x = Buffer::of(inputs.x)?.typed(DType::BF16)?;
        let state = Buffer::of(inputs.state)?.typed(DType::F32)?;
        let out = Buffer::matrix(inputs.output)?.typed(DType::BF16)?;
        let weights = Weights::new(InputWeights {
            query: inputs.query,
            key: inputs.key,
            value: inputs.value,
            gate_a: inputs.gate_a,
            gate_b: inputs.gate_b,
        })?;
        let [batch, tokens, embed] = x.shape()?;
        let [_, heads, width, _] = state.shape()?;
        let [_, columns] = out.buffer.shape()?;
        let state_shape = state.tensor.meta.shape().clone();
        Ok(Self {
            places: Columns::new(weights.widths()?),
            weights,
            a_log: Buffer::of(inputs.a_log)?,
            dt_bias: Buffer::of(inputs.dt_bias)?,
            gamma: Buffer::of(inputs.gamma)?,
            lengths: lengths
                .map(|lengths| Buffer::of(lengths)?.typed(DType::F32))
                .transpose()?,
            output: Buffer::new(&x.tensor, [batch, tokens, columns], DType::BF16)?,
            last: Buffer::new(&x.tensor, state_shape, DType::F32)?,
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

    /// Where the products of a row lie.
    fn products(&self, address: u64) -> [Rows; 5] {
        let rows = Rows {
            address,
            stride: self.places.pitch,
        };
        self.places.starts.map(|start| rows.skip(start))
    }

    fn gates(&self, products: &[Rows; 5]) -> Result<GateProducts, CudaError> {
        Ok(GateProducts {
            a: products[3].address,
            b: products[4].address,
            stride: self.places.pitch,
            a_log: small(&self.a_log)?,
            dt_bias: small(&self.dt_bias)?,
        })
    }

    /// Lengths of the sequences from one on; 0 without padding.
    fn lengths(&self, sequence: usize) -> u64 {
        let from = |lengths: &Buffer| lengths.address + 4 * sequence as u64;
        self.lengths.as_ref().map_or(0, from)
    }

    /// A span whose products lie at an address; what lies in other buffers is still to be filled in.
    fn span(&self, address: u64, piece: &Piece) -> Result<Span, CudaError> {
        let [q, k, v, ..] = self.products(address);
        let state = (piece.sequence * self.heads * self.width * self.width * 4) as u64;
        let last = self.last.address + state;
        Ok(Span {
            batch: piece.sequences,
            tokens: piece.tokens,
            heads: self.heads,
            width: self.width,
            q,
            k,
            v,
            // A block reads its columns of V before it writes the same place: the output needs no memory.
            output: v,
            gates: 0,
            strengths: 0,
            records: 0,
            initial: if piece.is_first() {
                self.state.address + state
            } else {
                last
            },
            last,
            norm: Some((small(&self.gamma)?, self.rule.epsilon as f32)),
        })
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

    /// Whether the layer is given one token of few sequences, and so can go the short way.
    pub(super) fn is_step(&self) -> bool {
        let fits = 2 * self.batch * self.places.pitch <= WORKSPACE;
        self.tokens == 1 && self.batch <= FEW && fits && self.weights.in_rows() && !self.out.layout.transposed
    }

    /// One token of every sequence, in three launches. What is between the projections lies in the work space of the
    /// products, which nothing else on this stream uses meanwhile.
    pub(super) fn step(&self, gpu: &mut Gpu, at: &StepAt) -> Result<(), CudaError> {
        let products = self.products(gpu.workspace);
        let widths = self.weights.widths()?;
        let few: Vec<Few> = (0..5)
            .map(|i| Few {
                weight: self.weights.0[i].buffer.address,
                pitch: self.weights.0[i].layout.stride,
                columns: widths[i],
                to: products[i],
            })
            .collect();
        let x = Rows {
            address: at.x,
            stride: self.embed,
        };
        gpu.project((x, self.batch, self.embed), &few, false)?;
        let piece = Piece {
            sequence: 0,
            sequences: self.batch,
            token: 0,
            tokens: 1,
        };
        let span = Span {
            initial: at.initial,
            last: at.last,
            ..self.span(gpu.workspace, &piece)?
        };
        let gates = StepGates::Products(self.gates(&products)?, self.lengths(0));
        gpu.step(&span, gates, self.rule.rule, true)?;
        let out = Few {
            weight: self.out.buffer.address,
            pitch: self.out.layout.stride,
            columns: self.columns,
            to: Rows {
                address: at.output,
                stride: self.columns,
            },
        };
        gpu.project((span.output, self.batch, self.inner()), &[out], true)
    }

    fn pass(&self, gpu: &mut Gpu, work: &[Work], pieces: &[Piece]) -> Result<(), CudaError> {
        match work {
            [] => {
                let at = StepAt {
                    x: self.x.address,
                    output: self.output.address,
                    initial: self.state.address,
                    last: self.last.address,
                };
                self.step(gpu, &at)
            }
            [work] => whole(gpu, self, work, pieces),
            work => overlapped(gpu, self, work, pieces),
        }
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

/// Runs a layer. On the thread on which burn submits to the device: there buffers cost no round trip.
pub(super) fn run(
    inputs: LayerInputs<CubeBackend>,
    lengths: Option<FloatTensor<CubeBackend>>,
    rule: LayerRule,
) -> Result<LayerOutput<CubeBackend>, CudaError> {
    let client = inputs.x.client.clone();
    on_device(&client, move || {
        let mut gpu = acquire(device_index(&inputs.x)?)?;
        let layer = Layer::new(inputs, lengths, rule)?;
        let pieces = pieces(layer.batch, layer.tokens);
        let rows = pieces.iter().map(Piece::rows).max().unwrap_or(0);
        let records = |piece: &Piece| record_bytes(piece.sequences, piece.tokens, layer.heads);
        let records = pieces.iter().map(records).max().unwrap_or(0);
        let sets = if layer.is_step() { 0 } else { pieces.len().min(2) };
        let work = (0..sets)
            .map(|_| Work::new(&layer, rows, records))
            .collect::<Result<Vec<_>, _>>()?;
        gpu.inside(|gpu| layer.pass(gpu, &work, &pieces))?;
        Ok(LayerOutput {
            output: layer.output.tensor,
            state: layer.last.tensor,
        })
    })
}
