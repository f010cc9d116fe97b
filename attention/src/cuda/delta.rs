//! The rule of [`crate::core`] on one GPU, by the kernels.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::buffer::{Buffer, device_index};
use super::convolution::Convolution;
use super::error::CudaError;
use super::gpu::{Gpu, acquire};
use super::launch::{Gates, Rows, Small, Span, record_bytes, serves};
use super::queue::on_device;
use crate::core::{DeltaInputs, DeltaOutput, DeltaRule, DeltaTraining};
use crate::portable::{SEGMENT, segments};

/// Bytes of a number of a state.
pub(super) const F32: u64 = 4;

/// The inputs in device memory, and their sizes.
pub(super) struct Inputs {
    pub(super) q: Buffer,
    pub(super) k: Buffer,
    pub(super) v: Buffer,
    pub(super) gates: Buffer,
    pub(super) strengths: Buffer,
    pub(super) state: Buffer,
    pub(super) batch: usize,
    pub(super) tokens: usize,
    pub(super) heads: usize,
    pub(super) width: usize,
}

impl Inputs {
    pub(super) fn new(inputs: DeltaInputs<CubeBackend>) -> Result<Self, CudaError> {
        let rows = |tensor| Buffer::of(tensor)?.typed(DType::BF16);
        let numbers = |tensor| Buffer::of(tensor)?.typed(DType::F32);
        let (q, k, v) = (rows(inputs.q)?, rows(inputs.k)?, rows(inputs.v)?);
        let [batch, tokens, heads, width] = q.shape()?;
        let [_, _, _, value] = v.shape()?;
        if !serves(heads, width, value) {
            let text =
                format!("heads of {width} and {value} numbers, the kernels take 64, 128 or 256 for both");
            return Err(CudaError::Unsupported(text));
        }
        let (gates, strengths, state) = (numbers(inputs.g)?, numbers(inputs.beta)?, numbers(inputs.state)?);
        Ok(Self {
            q,
            k,
            v,
            gates,
            strengths,
            state,
            batch,
            tokens,
            heads,
            width,
        })
    }

    /// Where a state of all sequences and heads starts when several lie behind each other.
    pub(super) fn state_bytes(&self) -> u64 {
        (self.batch * self.heads * self.width * self.width) as u64 * F32
    }

    /// One sequence of [`Self::span`].
    fn sequence(&self, output: &Buffer, number: usize) -> Span {
        Span {
            batch: 1,
            ..self.span(output).skip(number * self.tokens)
        }
    }

    /// The whole sequence; records and states are still to be filled in.
    pub(super) fn span(&self, output: &Buffer) -> Span {
        let rows = |buffer: &Buffer| Rows {
            address: buffer.address,
            stride: self.heads * self.width,
        };
        Span {
            batch: self.batch,
            tokens: self.tokens,
            heads: self.heads,
            width: self.width,
            group: 1,
            q: rows(&self.q),
            k: rows(&self.k),
            v: rows(&self.v),
            output: rows(output),
            gates: Gates::given(self.gates.address, self.strengths.address),
            records: 0,
            initial: self.state.address,
            last: 0,
            norm: None,
            gate: Rows::NONE,
        }
    }
}

/// Runs the rule; one token by the fused step, more by chunks.
pub(super) fn forward(
    inputs: DeltaInputs<CubeBackend>,
    rule: DeltaRule,
) -> Result<DeltaOutput<CubeBackend>, CudaError> {
    let client = inputs.q.client.clone();
    on_device(&client, move || forward_here(inputs, rule))
}

fn forward_here(
    inputs: DeltaInputs<CubeBackend>,
    rule: DeltaRule,
) -> Result<DeltaOutput<CubeBackend>, CudaError> {
    let mut gpu = acquire(device_index(&inputs.q)?)?;
    let inputs = Inputs::new(inputs)?;
    let output = Buffer::new(
        &inputs.v.tensor,
        inputs.v.tensor.meta.shape().clone(),
        DType::BF16,
    )?;
    let state = Buffer::new(
        &inputs.v.tensor,
        inputs.state.tensor.meta.shape().clone(),
        DType::F32,
    )?;
    let mut span = Span {
        last: state.address,
        ..inputs.span(&output)
    };
    if inputs.tokens == 1 {
        gpu.inside(|gpu| gpu.step((&span, Convolution::NONE), rule, false))?;
    } else {
        let records = record_bytes(inputs.batch, inputs.tokens, inputs.heads);
        let records = Buffer::new(&inputs.v.tensor, [records], DType::U8)?;
        span.records = records.address;
        gpu.inside(|gpu| {
            gpu.prepare(&span, rule)?;
            let stream = gpu.stream.cu_stream();
            gpu.scan(&span, rule.precise, stream)
        })?;
    }
    Ok(DeltaOutput {
        output: output.tensor,
        state: state.tensor,
    })
}

/// The same, keeping the state before every segment for the backward pass.
pub(super) fn forward_saving(
    inputs: DeltaInputs<CubeBackend>,
    rule: DeltaRule,
) -> Result<DeltaTraining<CubeBackend>, CudaError> {
    let client = inputs.q.client.clone();
    on_device(&client, move || forward_saving_here(inputs, rule))
}

fn forward_saving_here(
    inputs: DeltaInputs<CubeBackend>,
    rule: DeltaRule,
) -> Result<DeltaTraining<CubeBackend>, CudaError> {
    let mut gpu = acquire(device_index(&inputs.q)?)?;
    let inputs = Inputs::new(inputs)?;
    let count = segments(inputs.tokens);
    let state_shape = inputs.state.tensor.meta.shape().clone();
    let mut saved_shape = state_shape.to_vec();
    saved_shape.insert(0, count);
    let output = Buffer::new(
        &inputs.v.tensor,
        inputs.v.tensor.meta.shape().clone(),
        DType::BF16,
    )?;
    let state = Buffer::new(&inputs.v.tensor, state_shape, DType::F32)?;
    let saved = Buffer::new(&inputs.v.tensor, saved_shape, DType::F32)?;
    let records = record_bytes(1, SEGMENT.min(inputs.tokens), inputs.heads);
    let records = Buffer::new(&inputs.v.tensor, [records], DType::U8)?;
    gpu.inside(|gpu| {
        gpu.copy(saved.address, inputs.state.address, inputs.state_bytes() as usize)?;
        // A segment of several sequences is not one span of rows: one after the other.
        let one = inputs.state_bytes() / inputs.batch as u64;
        for sequence in 0..inputs.batch {
            let whole = Span {
                records: records.address,
                ..inputs.sequence(&output, sequence)
            };
            let (saved, last) = (
                saved.address + sequence as u64 * one,
                state.address + sequence as u64 * one,
            );
            for number in 0..count {
                let initial = saved + number as u64 * inputs.state_bytes();
                let last = if number + 1 == count {
                    last
                } else {
                    initial + inputs.state_bytes()
                };
                let whole = Span {
                    initial,
                    last,
                    ..whole
                };
                segment(gpu, whole, number * SEGMENT, rule)?;
            }
        }
        Ok(())
    })?;
    Ok(DeltaTraining {
        output: output.tensor,
        state: state.tensor,
        saved: saved.tensor,
    })
}

/// Runs the segment of one sequence that starts at `first`.
fn segment(gpu: &mut Gpu, whole: Span, first: usize, rule: DeltaRule) -> Result<(), CudaError> {
    let span = Span {
        tokens: SEGMENT.min(whole.tokens - first),
        ..whole.skip(first)
    };
    gpu.prepare(&span, rule)?;
    let stream = gpu.stream.cu_stream();
    gpu.scan(&span, rule.precise, stream)
}

/// Norm of every head's output, `[B, N, H, D]`, times the weights `gamma`, times `silu(gate)` where there is one.
pub(super) fn head_norm(
    output: CubeTensor,
    gamma: CubeTensor,
    gate: Option<CubeTensor>,
    epsilon: f64,
) -> Result<CubeTensor, CudaError> {
    let client = output.client.clone();
    on_device(&client, move || head_norm_here(output, gamma, gate, epsilon))
}

fn head_norm_here(
    output: CubeTensor,
    gamma: CubeTensor,
    gate: Option<CubeTensor>,
    epsilon: f64,
) -> Result<CubeTensor, CudaError> {
    let mut gpu = acquire(device_index(&output)?)?;
    let gamma = Buffer::of(gamma)?.typed(DType::F32)?;
    let gate = gate
        .map(|gate| Buffer::of(gate)?.typed(DType::BF16))
        .transpose()?;
    let output = Buffer::of(output)?.typed(DType::BF16)?;
    let [batch, tokens, heads, width] = output.shape()?;
    if !serves(heads, width, width) {
        return Err(CudaError::Unsupported(format!("heads of {width} numbers")));
    }
    let normed = Buffer::new(&output.tensor, output.tensor.meta.shape().clone(), DType::BF16)?;
    let at = |address| Rows {
        address,
        stride: heads * width,
    };
    let gate_rows = at(gate.as_ref().map_or(0, |gate| gate.address));
    let rows = (at(output.address), at(normed.address));
    let size = (batch * tokens, heads, width);
    let gamma = Small {
        address: gamma.address,
        narrow: false,
    };
    gpu.inside(|gpu| {
        let stream = gpu.stream.cu_stream();
        gpu.norm(rows, size, (gamma, epsilon as f32), gate_rows, stream)
    })?;
    Ok(normed.tensor)
}
