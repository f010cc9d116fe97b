//! Sequences behind each other in device memory, and one alone.

use std::fmt;
use std::ops::Range;

use anyhow::Result;
use liquid_cuda::device::{Address, Buffer};
use liquid_cuda::rule::ragged::{RaggedPlan, RaggedSequence, RaggedTables, SlotStrides};
use liquid_cuda::rule::{GateProducts, Gates, HeadNorm, Rows, RuleOptions, Sequences, SmallParameter, Span};

use super::super::inputs::{Case, Size};
use crate::suite::gpu::Gpu;
use crate::suite::random::Random;

/// What is launched.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) width: usize,
    pub(super) heads: usize,
    /// Heads that share a head of queries and keys.
    pub(super) group: usize,
    pub(super) options: RuleOptions,
    /// With the norm of the heads' output.
    pub(super) norm: bool,
    /// Gates as a layer's products, not as numbers.
    pub(super) products: bool,
}

impl Form {
    /// Four heads, each with its own queries, no norm, gates as numbers.
    pub(super) fn new(width: usize, options: RuleOptions) -> Self {
        Self {
            width,
            heads: 4,
            group: 1,
            options,
            norm: false,
            products: false,
        }
    }

    /// Numbers of a state.
    pub(super) fn state(self) -> usize {
        self.heads * self.width * self.width
    }

    /// Numbers of a token's queries, and of its keys.
    pub(super) fn keys(self) -> usize {
        self.heads / self.group * self.width
    }

    /// Numbers of a token's values.
    pub(super) fn values(self) -> usize {
        self.heads * self.width
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ragged, {} heads of {}", self.heads, self.width)?;
        for (name, is_so) in [
            ("shared queries", self.group > 1),
            ("precise", self.options.precise),
            ("no erase", !self.options.erase),
            ("norm", self.norm),
            ("gates from products", self.products),
        ] {
            if is_so {
                write!(f, ", {name}")?;
            }
        }
        Ok(())
    }
}

/// Output of a sequence and the state after it.
#[derive(PartialEq)]
pub(super) struct Outcome {
    pub(super) output: Vec<f32>,
    pub(super) state: Vec<f32>,
}

/// Outputs of all sequences, and the pool afterwards.
pub(super) struct Given {
    pub(super) outputs: Vec<Vec<f32>>,
    pub(super) pool: Vec<f32>,
}

/// Rows of all sequences behind each other.
pub(super) struct Inputs {
    form: Form,
    q: Buffer,
    k: Buffer,
    v: Buffer,
    gates: Buffer,
    strengths: Buffer,
    /// `a_log` and `dt_bias`, f32, and the norm's weights, bf16.
    small: [Buffer; 3],
    pub(super) output: Buffer,
    records: Buffer,
}

impl Inputs {
    /// Uploads the inputs of sequences.
    pub(super) fn new(gpu: &Gpu, form: Form, cases: &[Case]) -> Result<Self> {
        let rows: usize = cases.iter().map(|case| case.size.tokens).sum();
        let joined = |of: fn(&Case) -> &[f32], row: usize| -> Vec<f32> {
            let parts = cases.iter().map(|case| &of(case)[..case.size.tokens * row]);
            parts.flatten().copied().collect()
        };
        let gates = |of: fn(&Case) -> &[f32]| {
            let numbers = joined(of, form.heads);
            if form.products {
                gpu.upload_bf16(&numbers)
            } else {
                gpu.upload(&numbers)
            }
        };
        let mut random = Random::new(17);
        let mut numbers = |count| random.normals(count);
        let (a_log, dt_bias, gamma) = (numbers(form.heads), numbers(form.heads), numbers(form.width));
        let chunks: usize = cases.iter().map(|case| case.size.tokens.div_ceil(64)).sum();
        Ok(Self {
            form,
            q: gpu.upload_bf16(&joined(|case| &case.q, form.keys()))?,
            k: gpu.upload_bf16(&joined(|case| &case.k, form.keys()))?,
            v: gpu.upload_bf16(&joined(|case| &case.v, form.values()))?,
            gates: gates(|case| &case.g)?,
            strengths: gates(|case| &case.beta)?,
            small: [
                gpu.upload(&a_log)?,
                gpu.upload(&dt_bias)?,
                gpu.upload_bf16(&gamma)?,
            ],
            output: gpu.zeroed(2 * rows * form.values())?,
            records: gpu.zeroed(liquid_cuda::rule::record_bytes(1, 64 * chunks, form.heads))?,
        })
    }

    /// The span of some sequences that are all of these inputs.
    pub(super) fn span(&self, sequences: Sequences, initial: Address, last: Address) -> Span {
        let form = self.form;
        let rows = |buffer: &Buffer, stride| Rows {
            address: buffer.address(),
            stride,
        };
        let small = |buffer: &Buffer, narrow| SmallParameter {
            address: buffer.address(),
            narrow,
        };
        let gates = if form.products {
            Gates::products(GateProducts {
                a: rows(&self.gates, form.heads),
                b: rows(&self.strengths, form.heads),
                a_log: small(&self.small[0], false),
                dt_bias: small(&self.small[1], false),
            })
        } else {
            Gates::numbers(self.gates.address(), self.strengths.address())
        };
        Span {
            sequences,
            heads: form.heads,
            width: form.width,
            group: form.group,
            q: rows(&self.q, form.keys()),
            k: rows(&self.k, form.keys()),
            v: rows(&self.v, form.values()),
            output: rows(&self.output, form.values()),
            gates,
            records: self.records.address(),
            initial,
            last,
            norm: form.norm.then(|| HeadNorm {
                gamma: small(&self.small[2], true),
                epsilon: 1e-6,
            }),
            gate: Rows::NONE,
        }
    }
}

/// Sequences of a ragged batch, and a pool of slots.
pub(super) struct Batch {
    pub(super) form: Form,
    pub(super) inputs: Inputs,
    lengths: Vec<usize>,
    pub(super) pool: Buffer,
    pub(super) slots: usize,
}

impl Batch {
    /// Uploads the sequences, and fills a pool of so many slots with numbers.
    pub(super) fn new(gpu: &Gpu, form: Form, cases: &[Case], slots: usize) -> Result<Self> {
        let pool = Random::new(23).normals(slots * stride(form));
        Ok(Self {
            form,
            inputs: Inputs::new(gpu, form, cases)?,
            lengths: cases.iter().map(|case| case.size.tokens).collect(),
            pool: gpu.upload(&pool)?,
            slots,
        })
    }

    /// Puts a state into a slot.
    pub(super) fn fill_slot(&mut self, gpu: &Gpu, slot: Option<usize>, state: &[f32]) -> Result<()> {
        if let Some(slot) = slot {
            gpu.stream
                .write_at(&self.pool, 4 * slot * stride(self.form), state)?;
        }
        Ok(())
    }

    /// All slots.
    pub(super) fn pool(&self, gpu: &Gpu) -> Result<Vec<f32>> {
        Ok(gpu.stream.read(&self.pool, self.slots * stride(self.form))?)
    }

    /// One slot of a pool that was read.
    pub(super) fn slot(&self, pool: &[f32], slot: usize) -> Vec<f32> {
        pool[slot * stride(self.form)..][..self.form.state()].to_vec()
    }

    /// Tables for the sequences, and the memory in which they lie.
    pub(super) fn tables(
        &self,
        gpu: &Gpu,
        sequences: &[RaggedSequence],
        tail: usize,
    ) -> Result<(RaggedTables, Buffer)> {
        let plan = RaggedPlan::new(sequences, self.slots)?;
        let memory = gpu.context.allocate(plan.bytes())?;
        let strides = SlotStrides {
            state: stride(self.form),
            tail,
        };
        Ok((plan.write(&gpu.stream, &memory, strides)?, memory))
    }

    /// Outputs of the sequences, and the pool.
    pub(super) fn outcome(&self, gpu: &Gpu) -> Result<Given> {
        let rows: usize = self.lengths.iter().sum();
        let all = gpu.read_bf16(&self.inputs.output, rows * self.form.values())?;
        let mut rest = all.as_slice();
        let outputs = self.lengths.iter().map(|tokens| {
            let (output, behind) = rest.split_at(tokens * self.form.values());
            rest = behind;
            output.to_vec()
        });
        Ok(Given {
            outputs: outputs.collect(),
            pool: self.pool(gpu)?,
        })
    }

    /// Runs the rule over all sequences.
    pub(super) fn run(&self, gpu: &mut Gpu, sequences: &[RaggedSequence]) -> Result<Given> {
        let (tables, memory) = self.tables(gpu, sequences, 0)?;
        let pool = self.pool.address();
        let span = self.inputs.span(Sequences::Ragged(tables), pool, pool);
        let options = self.form.options;
        // SAFETY: the buffers have room for these sequences (`Inputs::new`) and slots, and live until the
        // results were read.
        unsafe {
            gpu.kernels.prepare(&gpu.stream, &span, options)?;
            gpu.kernels.scan(&gpu.stream, &span, options.precise)?;
        }
        let given = self.outcome(gpu);
        drop(memory);
        given
    }
}

/// Numbers from slot to slot: a state, and some that belong to nobody.
fn stride(form: Form) -> usize {
    form.state() + 64
}

/// Runs one sequence by the launches for sequences of one length, from a state or from nothing.
pub(super) fn alone(gpu: &mut Gpu, form: Form, case: &Case, state: Option<&[f32]>) -> Result<Outcome> {
    let tokens = case.size.tokens;
    if tokens == 0 {
        return Ok(Outcome {
            output: Vec::new(),
            state: state.map_or_else(|| vec![0.0; form.state()], <[f32]>::to_vec),
        });
    }
    let inputs = Inputs::new(gpu, form, std::slice::from_ref(case))?;
    let initial = state.map(|state| gpu.upload(state)).transpose()?;
    let last = gpu.zeroed(4 * form.state())?;
    let from = initial.as_ref().map_or(Address::NULL, Buffer::address);
    let span = inputs.span(Sequences::Equal { count: 1, tokens }, from, last.address());
    // SAFETY: the buffers have room for this sequence (`Inputs::new`), and live until the results were read.
    unsafe {
        gpu.kernels.prepare(&gpu.stream, &span, form.options)?;
        gpu.kernels.scan(&gpu.stream, &span, form.options.precise)?;
    }
    Ok(Outcome {
        output: gpu.read_bf16(&inputs.output, tokens * form.values())?,
        state: gpu.stream.read(&last, form.state())?,
    })
}

/// Some tokens of a sequence.
pub(super) fn part(case: &Case, tokens: Range<usize>) -> Case {
    let Size { heads, width, .. } = case.size;
    let rows = |x: &[f32], row: usize| x[tokens.start * row..tokens.end * row].to_vec();
    Case {
        size: Size {
            tokens: tokens.len(),
            ..case.size
        },
        q: rows(&case.q, heads * width),
        k: rows(&case.k, heads * width),
        v: rows(&case.v, heads * width),
        g: rows(&case.g, heads),
        beta: rows(&case.beta, heads),
        state: case.state.clone(),
    }
}
