//! Gradients of the rule on one GPU.
//!
//! The forward pass keeps the state before every segment of [`SEGMENT`] tokens and nothing else. The backward
//! pass walks groups of at most 16,384 tokens ([`groups`]) from the last to the first: the states of all chunks of a
//! group are made again, every segment of it at once, then the gradient by the state is carried back chunk by
//! chunk, then the rest is done for all chunks together. Only one group exists at a time, so the work space
//! does not grow with the sequence: per head and chunk two states in bf16, `Vn` and a record, 93 KiB for
//! heads of 128, 744 MiB for 32 of them.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use liquid_cuda::device::Address;
use liquid_cuda::pass::{Group, groups};
use liquid_cuda::rule::backward::{BackwardGroup, GroupGradients, RaisedStrengths, serves_gradients};
use liquid_cuda::rule::{CHUNK, Gates, Rows, Sequences, Span, record_bytes};

use super::inputs::{F32, Inputs};
use crate::core::{DeltaGradients, DeltaInputs, DeltaRule};
use crate::cuda::device::{DeviceTensor, Gpu, acquire, device_index, on_device};
use crate::cuda::error::CudaError;
use crate::portable::SEGMENT;

/// Segments begin at chunks, in both crates at the same ones.
const _: () = assert!(CHUNK == crate::core::CHUNK && SEGMENT == liquid_cuda::pass::SEGMENT);

/// An error unless the kernels have this head size; those of 256 do not fit into a multiprocessor's shared
/// memory.
fn served(width: usize) -> Result<(), CudaError> {
    if serves_gradients(width) {
        return Ok(());
    }
    let text = format!("gradients of heads of {width} numbers, the kernels take 64 or 128");
    Err(CudaError::Unsupported(text))
}

/// What the forward pass saved, and the gradients with respect to what it returned.
pub(in crate::cuda) struct SavedGradients {
    /// States before the segments, `[segments, B, H, D, D]`, f32.
    pub(in crate::cuda) saved: CubeTensor,
    /// Gradient with respect to the output, bf16.
    pub(in crate::cuda) output: CubeTensor,
    /// Gradient with respect to the last state, f32.
    pub(in crate::cuda) state: CubeTensor,
}

/// Gradients with respect to every input of the rule; see [`crate::core::LiquidBackend::gated_delta_backward`].
pub(in crate::cuda) fn gated_delta_backward(
    inputs: DeltaInputs<CubeBackend>,
    given: SavedGradients,
    rule: DeltaRule,
) -> Result<DeltaGradients<CubeBackend>, CudaError> {
    let client = inputs.q.client.clone();
    on_device(&client, move || {
        let mut gpu = acquire(device_index(&inputs.q)?)?;
        let call = BackwardCall::new(Inputs::new(inputs)?, given, rule)?;
        gpu.inside(|gpu| call.run(gpu))?;
        Ok(call.into_gradients())
    })
}

/// One backward pass: what it reads, its results, and its work space.
struct BackwardCall {
    inputs: Inputs,
    rule: DeltaRule,
    saved: DeviceTensor,
    d_output: DeviceTensor,
    d_state: DeviceTensor,
    grads: Grads,
    work: GroupWork,
    strengths: DeviceTensor,
}

/// The gradients.
struct Grads {
    q: DeviceTensor,
    k: DeviceTensor,
    v: DeviceTensor,
    gates: DeviceTensor,
    strengths: DeviceTensor,
    state: DeviceTensor,
}

/// What exists for one group.
struct GroupWork {
    records: DeviceTensor,
    before: DeviceTensor,
    after: DeviceTensor,
    news: DeviceTensor,
}

impl GroupWork {
    /// Work space for the largest group.
    fn new(inputs: &Inputs) -> Result<Self, CudaError> {
        let chunks = groups(inputs.batch, inputs.tokens)
            .iter()
            .map(|group| group.sequences * group.tokens.div_ceil(CHUNK) * inputs.heads)
            .max()
            .unwrap_or_default();
        let tensor = &inputs.q.tensor;
        let space = |elements: usize| DeviceTensor::new(tensor, [chunks * elements], DType::BF16);
        Ok(Self {
            records: DeviceTensor::new(tensor, [record_bytes(1, chunks * CHUNK, 1)], DType::U8)?,
            before: space(inputs.width * inputs.width)?,
            after: space(inputs.width * inputs.width)?,
            news: space(CHUNK * inputs.width)?,
        })
    }
}

impl BackwardCall {
    fn new(inputs: Inputs, given: SavedGradients, rule: DeltaRule) -> Result<Self, CudaError> {
        served(inputs.width)?;
        let like = |tensor: &DeviceTensor| {
            let tensor = &tensor.tensor;
            DeviceTensor::new(tensor, tensor.meta.shape().clone(), tensor.dtype)
        };
        Ok(Self {
            grads: Grads {
                q: like(&inputs.q)?,
                k: like(&inputs.k)?,
                v: like(&inputs.v)?,
                gates: like(&inputs.gates)?,
                strengths: like(&inputs.strengths)?,
                state: like(&inputs.state)?,
            },
            work: GroupWork::new(&inputs)?,
            strengths: like(&inputs.strengths)?,
            saved: DeviceTensor::of(given.saved)?.typed(DType::F32)?,
            d_output: DeviceTensor::of(given.output)?.typed(DType::BF16)?,
            d_state: DeviceTensor::of(given.state)?.typed(DType::F32)?,
            inputs,
            rule,
        })
    }

    fn run(&self, gpu: &mut Gpu) -> Result<(), CudaError> {
        let inputs = &self.inputs;
        let strengths = RaisedStrengths {
            from: inputs.strengths.address,
            to: self.strengths.address,
            count: inputs.batch * inputs.tokens * inputs.heads,
        };
        let (kernels, stream, options) = (&mut gpu.kernels, &gpu.stream, self.rule.into());
        // SAFETY: the tensors have the extents of the inputs (`Inputs::new`), the work space that of the
        // largest group, and the caller is `inside`.
        unsafe {
            kernels.raise_strengths(stream, &strengths)?;
            stream.copy(
                self.grads.state.address,
                self.d_state.address,
                inputs.state_bytes(),
            )?;
            for group in groups(inputs.batch, inputs.tokens) {
                let (work, gradients) = (self.work(group), self.gradients(group));
                kernels.prepare(stream, &work.span, options)?;
                kernels.states(stream, &work)?;
                kernels.state_gradients(stream, &work, &gradients)?;
                kernels.row_gradients(stream, &work, &gradients, options)?;
            }
        }
        Ok(())
    }

    /// Rows of a tensor shaped as `q`, from the group's first token on.
    fn rows(&self, tensor: &DeviceTensor, group: Group) -> Rows {
        let rows = Rows {
            address: tensor.address,
            stride: self.inputs.stride(),
        };
        rows.rows_from(group.sequence * self.inputs.tokens + group.token)
    }

    /// Numbers of a tensor shaped as the gates, from the group's first token on.
    fn numbers(&self, tensor: &DeviceTensor, group: Group) -> Address {
        let skipped = (group.sequence * self.inputs.tokens + group.token) * self.inputs.heads;
        tensor.address.offset(skipped * F32)
    }

    /// Bytes from the states of all sequences to that of the group's first.
    fn skipped_states(&self, group: Group) -> usize {
        group.sequence * self.inputs.heads * self.inputs.width * self.inputs.width * F32
    }

    fn work(&self, group: Group) -> BackwardGroup {
        let inputs = &self.inputs;
        let segment = group.token / SEGMENT * inputs.state_bytes();
        BackwardGroup {
            span: Span {
                sequences: Sequences::Equal {
                    count: group.sequences,
                    tokens: group.tokens,
                },
                q: self.rows(&inputs.q, group),
                k: self.rows(&inputs.k, group),
                v: self.rows(&inputs.v, group),
                gates: Gates::numbers(
                    self.numbers(&inputs.gates, group),
                    self.numbers(&self.strengths, group),
                ),
                records: self.work.records.address,
                ..inputs.span(&inputs.v)
            },
            segment: SEGMENT,
            saved: self.saved.address.offset(segment + self.skipped_states(group)),
            between_segments: inputs.state_bytes() / F32,
            before: self.work.before.address,
            after: self.work.after.address,
            news: self.work.news.address,
        }
    }

    fn gradients(&self, group: Group) -> GroupGradients {
        GroupGradients {
            output: self.rows(&self.d_output, group),
            q: self.rows(&self.grads.q, group),
            k: self.rows(&self.grads.k, group),
            v: self.rows(&self.grads.v, group),
            gates: self.numbers(&self.grads.gates, group),
            strengths: self.numbers(&self.grads.strengths, group),
            state: self.grads.state.address.offset(self.skipped_states(group)),
        }
    }

    fn into_gradients(self) -> DeltaGradients<CubeBackend> {
        DeltaGradients {
            q: self.grads.q.tensor,
            k: self.grads.k.tensor,
            v: self.grads.v.tensor,
            g: self.grads.gates.tensor,
            beta: self.grads.strengths.tensor,
            state: self.grads.state.tensor,
        }
    }
}
