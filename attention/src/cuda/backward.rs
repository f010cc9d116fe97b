//! Gradients of the rule and of the norm on one GPU, by the kernels.
//!
//! The forward pass keeps the state before every segment of [`SEGMENT`] tokens and nothing else. The backward pass
//! walks groups of at most [`GROUP`] tokens from the last to the first: the states of all chunks of a group are made
//! again, every segment of it at once, then the gradient by the state is carried back chunk by chunk, then the rest is
//! done for all chunks together. Only one group exists at a time, so the work space does not grow with the sequence:
//! per head and chunk two states in bf16, `Vn` and a record, 93 KiB for heads of 128, 744 MiB for 32 of them.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::buffer::Buffer;
use super::delta::{F32, Inputs};
use super::error::CudaError;
use super::gpu::{Gpu, acquire};
use super::launch::{Gates, Rows, Span, record_bytes};
use super::queue::on_device;
use crate::core::{CHUNK, DeltaGradients, DeltaInputs, DeltaRule};
use crate::portable::SEGMENT;

mod launch;
mod norm;

pub(super) use norm::{Given as NormGiven, head_norm_backward};

pub(super) use launch::{Chunks, Gradients, Norm, PARTS};

/// Tokens of a group. A multiple of [`SEGMENT`]; the more, the more segments are recomputed side by side.
const GROUP: usize = 8 * SEGMENT;

/// Tokens whose gradients are computed together: whole sequences, or a span of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    sequence: usize,
    sequences: usize,
    token: usize,
    tokens: usize,
}

/// The groups of a batch in the order in which the backward pass takes them: spans of a sequence from its end.
fn groups(batch: usize, tokens: usize) -> Vec<Group> {
    if tokens <= GROUP {
        let together = (GROUP / tokens).clamp(1, batch);
        let part = |sequence| Group {
            sequence,
            sequences: together.min(batch - sequence),
            token: 0,
            tokens,
        };
        return (0..batch).step_by(together).map(part).collect();
    }
    (0..batch)
        .flat_map(|sequence| {
            (0..tokens).step_by(GROUP).rev().map(move |token| Group {
                sequence,
                sequences: 1,
                token,
                tokens: GROUP.min(tokens - token),
            })
        })
        .collect()
}

/// Whether the kernels have this head size; those of 256 do not fit into a multiprocessor's shared memory.
fn served(width: usize) -> Result<(), CudaError> {
    if matches!(width, 64 | 128) {
        return Ok(());
    }
    let text = format!("gradients of heads of {width} numbers, the kernels take 64 or 128");
    Err(CudaError::Unsupported(text))
}

/// Gradients by every input of the rule, `given` what was saved and the gradients by output and last state; see [`crate::core::LiquidBackend::gated_delta_backward`].
pub(super) fn gated_delta_backward(
    inputs: DeltaInputs<CubeBackend>,
    given: (CubeTensor, CubeTensor, CubeTensor),
    rule: DeltaRule,
) -> Result<DeltaGradients<CubeBackend>, CudaError> {
    let client = inputs.q.client.clone();
    on_device(&client, move || {
        let mut gpu = acquire(super::buffer::device_index(&inputs.q)?)?;
        let call = Call::new(Inputs::new(inputs)?, given, rule)?;
        gpu.inside(|gpu| call.run(gpu))?;
        Ok(call.gradients())
    })
}

/// One backward pass: what it reads, what it gives, and its work space.
struct Call {
    inputs: Inputs,
    rule: DeltaRule,
    saved: Buffer,
    d_output: Buffer,
    d_state: Buffer,
    by: By,
    work: Work,
    strengths: Buffer,
}

/// The gradients.
struct By {
    q: Buffer,
    k: Buffer,
    v: Buffer,
    gates: Buffer,
    strengths: Buffer,
    state: Buffer,
}

/// What exists for one group.
struct Work {
    records: Buffer,
    before: Buffer,
    after: Buffer,
    news: Buffer,
}

impl Call {
    fn new(
        inputs: Inputs,
        (saved, d_output, d_state): (CubeTensor, CubeTensor, CubeTensor),
        rule: DeltaRule,
    ) -> Result<Self, CudaError> {
        served(inputs.width)?;
        let like = |buffer: &Buffer| {
            let tensor = &buffer.tensor;
            Buffer::new(tensor, tensor.meta.shape().clone(), tensor.dtype)
        };
        let by = By {
            q: like(&inputs.q)?,
            k: like(&inputs.k)?,
            v: like(&inputs.v)?,
            gates: like(&inputs.gates)?,
            strengths: like(&inputs.strengths)?,
            state: like(&inputs.state)?,
        };
        let chunks = groups(inputs.batch, inputs.tokens)
            .iter()
            .map(|group| group.sequences * group.tokens.div_ceil(CHUNK) * inputs.heads)
            .max()
            .unwrap_or_default();
        let space = |elements: usize| Buffer::new(&inputs.q.tensor, [chunks * elements], DType::BF16);
        let records = record_bytes(1, chunks * CHUNK, 1);
        let work = Work {
            records: Buffer::new(&inputs.q.tensor, [records], DType::U8)?,
            before: space(inputs.width * inputs.width)?,
            after: space(inputs.width * inputs.width)?,
            news: space(CHUNK * inputs.width)?,
        };
        Ok(Self {
            strengths: like(&inputs.strengths)?,
            saved: Buffer::of(saved)?.typed(DType::F32)?,
            d_output: Buffer::of(d_output)?.typed(DType::BF16)?,
            d_state: Buffer::of(d_state)?.typed(DType::F32)?,
            inputs,
            rule,
            by,
            work,
        })
    }

    fn run(&self, gpu: &mut Gpu) -> Result<(), CudaError> {
        let inputs = &self.inputs;
        let numbers = inputs.batch * inputs.tokens * inputs.heads;
        gpu.raise_strengths(inputs.strengths.address, self.strengths.address, numbers)?;
        let bytes = inputs.state_bytes() as usize;
        gpu.copy(self.by.state.address, self.d_state.address, bytes)?;
        for group in groups(inputs.batch, inputs.tokens) {
            let chunks = self.chunks(group);
            gpu.prepare(&chunks.span, self.rule)?;
            gpu.states(&chunks)?;
            let gradients = self.given(group);
            gpu.gradients(&chunks, &gradients)?;
            gpu.rows(&chunks, &gradients, self.rule)?;
        }
        Ok(())
    }

    /// Rows of a tensor shaped as `q`, from the group's first token on.
    fn rows(&self, buffer: &Buffer, group: Group) -> Rows {
        let stride = self.inputs.heads * self.inputs.width;
        let rows = Rows {
            address: buffer.address,
            stride,
        };
        rows.skip((group.sequence * self.inputs.tokens + group.token) * stride)
    }

    /// The same of a tensor shaped as the gates.
    fn numbers(&self, buffer: &Buffer, group: Group) -> u64 {
        let skipped = (group.sequence * self.inputs.tokens + group.token) * self.inputs.heads;
        buffer.address + skipped as u64 * F32
    }

    fn state_bytes(&self, group: Group) -> u64 {
        (group.sequence * self.inputs.heads * self.inputs.width * self.inputs.width) as u64 * F32
    }

    fn chunks(&self, group: Group) -> Chunks {
        let inputs = &self.inputs;
        let segment = (group.token / SEGMENT) as u64 * inputs.state_bytes();
        Chunks {
            span: Span {
                batch: group.sequences,
                tokens: group.tokens,
                q: self.rows(&inputs.q, group),
                k: self.rows(&inputs.k, group),
                v: self.rows(&inputs.v, group),
                gates: Gates::given(
                    self.numbers(&inputs.gates, group),
                    self.numbers(&self.strengths, group),
                ),
                records: self.work.records.address,
                ..inputs.span(&inputs.v)
            },
            saved: self.saved.address + segment + self.state_bytes(group),
            between_segments: inputs.state_bytes() / F32,
            before: self.work.before.address,
            after: self.work.after.address,
            news: self.work.news.address,
        }
    }

    fn given(&self, group: Group) -> Gradients {
        Gradients {
            output: self.rows(&self.d_output, group),
            q: self.rows(&self.by.q, group),
            k: self.rows(&self.by.k, group),
            v: self.rows(&self.by.v, group),
            gates: self.numbers(&self.by.gates, group),
            strengths: self.numbers(&self.by.strengths, group),
            state: self.by.state.address + self.state_bytes(group),
        }
    }

    fn gradients(self) -> DeltaGradients<CubeBackend> {
        DeltaGradients {
            q: self.by.q.tensor,
            k: self.by.k.tensor,
            v: self.by.v.tensor,
            g: self.by.gates.tensor,
            beta: self.by.strengths.tensor,
            state: self.by.state.tensor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_taken_once_from_the_end() {
        for batch in [1, 2, 5, 33] {
            for tokens in [1, 64, 2_047, 2_048, 16_384, 16_385, 40_000, 131_072] {
                let mut next = vec![tokens; batch];
                for group in groups(batch, tokens) {
                    assert!(group.sequences * group.tokens <= GROUP && group.tokens > 0);
                    assert_eq!(group.token % SEGMENT, 0, "{group:?}");
                    for end in &mut next[group.sequence..group.sequence + group.sequences] {
                        assert_eq!(*end, group.token + group.tokens, "{group:?}");
                        *end = group.token;
                    }
                }
                assert!(next.iter().all(|&end| end == 0), "{batch} x {tokens}");
            }
        }
    }
}
