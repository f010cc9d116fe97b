//! The rule on one GPU: one token by the fused step, more by chunks.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use liquid_cuda::device::Address;
use liquid_cuda::rule::{Sequences, Span, record_bytes};

use super::inputs::Inputs;
use crate::core::{DeltaInputs, DeltaOutput, DeltaRule, DeltaTraining};
use crate::cuda::device::{DeviceTensor, Gpu, acquire, device_index, on_device};
use crate::cuda::error::CudaError;
use crate::portable::{SEGMENT, segments};

/// Runs the rule.
pub(in crate::cuda) fn forward(
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
    let output = DeviceTensor::new(
        &inputs.v.tensor,
        inputs.v.tensor.meta.shape().clone(),
        DType::BF16,
    )?;
    let state = DeviceTensor::new(
        &inputs.v.tensor,
        inputs.state.tensor.meta.shape().clone(),
        DType::F32,
    )?;
    let mut span = Span {
        last: state.address,
        ..inputs.span(&output)
    };
    if inputs.tokens == 1 {
        // SAFETY: the tensors have the extents of the span (`Inputs::new`), and `inside` orders what comes
        // later behind it.
        gpu.inside(|gpu| unsafe { Ok(gpu.kernels.step(&gpu.stream, &span, None, rule.into(), false)?) })?;
    } else {
        let records = DeviceTensor::new(&inputs.v.tensor, [span.record_bytes()], DType::U8)?;
        span.records = records.address;
        gpu.inside(|gpu| run(gpu, &span, rule))?;
    }
    Ok(DeltaOutput {
        output: output.tensor,
        state: state.tensor,
    })
}

/// Enqueues the chunks of a span.
fn run(gpu: &mut Gpu, span: &Span, rule: DeltaRule) -> Result<(), CudaError> {
    // SAFETY: the tensors have the extents of the span (`Inputs::new`), and the caller is `inside`.
    unsafe {
        gpu.kernels.prepare(&gpu.stream, span, rule.into())?;
        gpu.kernels.scan(&gpu.stream, span, rule.precise)?;
    }
    Ok(())
}

/// Runs the rule, keeping the state before every segment for the backward pass.
pub(in crate::cuda) fn forward_saving(
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
    let output = DeviceTensor::new(
        &inputs.v.tensor,
        inputs.v.tensor.meta.shape().clone(),
        DType::BF16,
    )?;
    let state = DeviceTensor::new(&inputs.v.tensor, state_shape, DType::F32)?;
    let saved = DeviceTensor::new(&inputs.v.tensor, saved_shape, DType::F32)?;
    let records = record_bytes(1, SEGMENT.min(inputs.tokens), inputs.heads);
    let records = DeviceTensor::new(&inputs.v.tensor, [records], DType::U8)?;
    gpu.inside(|gpu| {
        let all = inputs.state_bytes();
        // SAFETY: both tensors hold the states of all sequences.
        unsafe { gpu.stream.copy(saved.address, inputs.state.address, all)? };
        // A segment of several sequences is not one span of rows: one after the other.
        for sequence in 0..inputs.batch {
            let skipped = sequence * (all / inputs.batch);
            let whole = Span {
                records: records.address,
                ..inputs.sequence(&output, sequence)
            };
            let states = SegmentStates {
                saved: saved.address.offset(skipped),
                between: all,
                last: state.address.offset(skipped),
            };
            run_segments(gpu, whole, inputs.tokens, states, rule)?;
        }
        Ok(())
    })?;
    Ok(DeltaTraining {
        output: output.tensor,
        state: state.tensor,
        saved: saved.tensor,
    })
}

/// Addresses of the states of one sequence.
#[derive(Clone, Copy)]
struct SegmentStates {
    /// State before the first segment.
    saved: Address,
    /// Bytes to the state before the next segment.
    between: usize,
    /// State after the last segment.
    last: Address,
}

/// Runs the segments of one sequence one after the other.
fn run_segments(
    gpu: &mut Gpu,
    whole: Span,
    tokens: usize,
    states: SegmentStates,
    rule: DeltaRule,
) -> Result<(), CudaError> {
    for (number, first) in (0..tokens).step_by(SEGMENT).enumerate() {
        let initial = states.saved.offset(number * states.between);
        let is_last = first + SEGMENT >= tokens;
        let span = Span {
            sequences: Sequences::Equal {
                count: 1,
                tokens: SEGMENT.min(tokens - first),
            },
            initial,
            last: if is_last {
                states.last
            } else {
                initial.offset(states.between)
            },
            ..whole.rows_from(first)
        };
        run(gpu, &span, rule)?;
    }
    Ok(())
}
