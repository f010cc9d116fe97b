//! A step of ragged sequences, states and tails in slots, against the step of sequences of one length.

use anyhow::Result;
use liquid_cuda::device::Buffer;
use liquid_cuda::rule::ragged::{RaggedSequence, Snapshot};
use liquid_cuda::rule::{Convolution, Sequences};

use super::super::Report;
use super::batch::{Batch, Form, Inputs};
use super::{cases, sequence};
use crate::suite::gpu::Gpu;
use crate::suite::random::Random;

/// Sequences of a step: in place, to another slot, from nothing, and two that start from one slot.
const PLACES: [(Option<usize>, Option<usize>); 6] = [
    (Some(4), Some(4)),
    (Some(1), Some(6)),
    (None, Some(0)),
    (Some(2), Some(7)),
    (Some(2), Some(5)),
    (Some(3), None),
];
/// Slots of the pools; the last is for a snapshot.
const SLOTS: usize = 9;
/// Tokens that the convolution sees.
const WIDTH: usize = 4;

/// A step with and without a convolution.
pub(super) fn check(gpu: &mut Gpu, report: &mut Report, form: Form) -> Result<()> {
    for form in [
        form,
        Form {
            norm: true,
            products: true,
            ..form
        },
    ] {
        step(gpu, report, form, None)?;
        let tails = Tails::new(gpu, form)?;
        step(gpu, report, form, Some(&tails))?;
    }
    Ok(())
}

/// Weights of a convolution, and tails in slots.
struct Tails {
    weight: Buffer,
    pool: Buffer,
    /// The tails as they were at first.
    before: Vec<f32>,
    channels: usize,
}

impl Tails {
    fn new(gpu: &Gpu, form: Form) -> Result<Self> {
        let channels = 2 * form.keys() + form.values();
        let mut random = Random::new(41);
        let weight = gpu.upload_bf16(&random.normals(channels * WIDTH))?;
        let before = random.normals(SLOTS * (WIDTH - 1) * channels);
        Ok(Self {
            weight,
            pool: gpu.upload_bf16(&before)?,
            before,
            channels,
        })
    }

    /// Numbers of a slot.
    fn stride(&self) -> usize {
        (WIDTH - 1) * self.channels
    }
}

fn step(gpu: &mut Gpu, report: &mut Report, form: Form, tails: Option<&Tails>) -> Result<()> {
    let cases = cases(form, &[1; PLACES.len()]);
    let batch = Batch::new(gpu, form, &cases, SLOTS)?;
    let before = batch.pool(gpu)?;
    let mut sequences: Vec<RaggedSequence> = PLACES.map(|(from, to)| sequence(1, from, to)).to_vec();
    sequences[1].snapshot = Some(Snapshot { after: 1, slot: 8 });
    let (tables, _memory) = batch.tables(gpu, &sequences, tails.map_or(0, Tails::stride))?;
    let pool = batch.pool.address();
    let span = batch.inputs.span(Sequences::Ragged(tables), pool, pool);
    let convolution = tails.map(|tails| Convolution {
        weight: tails.weight.address(),
        tail: tails.pool.address(),
        last: tails.pool.address(),
        width: WIDTH,
        channels: tails.channels,
    });
    // SAFETY: the buffers have room for these sequences and slots, and live until the results were read.
    unsafe {
        gpu.kernels
            .step(&gpu.stream, &span, convolution.as_ref(), form.options, false)?;
    }
    let given = batch.outcome(gpu)?;
    let tails_after = tails
        .map(|tails| gpu.read_bf16(&tails.pool, SLOTS * tails.stride()))
        .transpose()?;
    let inputs = Inputs::new(gpu, form, &cases)?;
    let alone = equal(gpu, &batch, &inputs, &before, tails)?;
    let what = if tails.is_some() { "convolved step" } else { "step" };
    let state = |slot: usize| batch.slot(&given.pool, slot);
    for (number, place) in sequences.iter().enumerate() {
        let name = format!("{form}, {what} {:?} to {:?}", place.from, place.to);
        let row = number * form.values()..(number + 1) * form.values();
        report.holds(&name, given.outputs[number] == alone.output[row]);
        let wanted = &alone.states[number * form.state()..][..form.state()];
        for slot in place
            .to
            .into_iter()
            .chain(place.snapshot.map(|snapshot| snapshot.slot))
        {
            report.holds(&format!("{name}, state in slot {slot}"), state(slot) == wanted);
            if let (Some(tails), Some(after)) = (tails, &tails_after) {
                let ours = &after[slot * tails.stride()..][..tails.stride()];
                let wanted = &alone.tails[number * tails.stride()..][..tails.stride()];
                report.holds(&format!("{name}, tail in slot {slot}"), ours == wanted);
            }
        }
    }
    let same = |slot: usize| state(slot) == batch.slot(&before, slot);
    report.holds(
        &format!("{form}, {what}, slots that are only read stay"),
        [1, 2, 3].into_iter().all(same),
    );
    Ok(())
}

/// What the step of sequences of one length gives.
struct Equal {
    output: Vec<f32>,
    states: Vec<f32>,
    tails: Vec<f32>,
}

fn equal(
    gpu: &mut Gpu,
    batch: &Batch,
    inputs: &Inputs,
    pool: &[f32],
    tails: Option<&Tails>,
) -> Result<Equal> {
    let form = batch.form;
    let states = PLACES.map(|(from, _)| match from {
        Some(slot) => batch.slot(pool, slot),
        None => vec![0.0; form.state()],
    });
    let initial = gpu.upload(&states.concat())?;
    let last = gpu.zeroed(4 * PLACES.len() * form.state())?;
    let numbers = tails.map_or(0, Tails::stride) * PLACES.len();
    let before = tails.map_or_else(Vec::new, |tails| {
        let of = |(from, _): (Option<usize>, _)| match from {
            Some(slot) => tails.before[slot * tails.stride()..][..tails.stride()].to_vec(),
            None => vec![0.0; tails.stride()],
        };
        PLACES.map(of).concat()
    });
    let (tail, last_tail) = (gpu.upload_bf16(&before)?, gpu.zeroed(2 * numbers)?);
    let convolution = tails.map(|tails| Convolution {
        weight: tails.weight.address(),
        tail: tail.address(),
        last: last_tail.address(),
        width: WIDTH,
        channels: tails.channels,
    });
    let sequences = Sequences::Equal {
        count: PLACES.len(),
        tokens: 1,
    };
    let span = inputs.span(sequences, initial.address(), last.address());
    // SAFETY: the buffers have room for these sequences, and live until the results were read.
    unsafe {
        gpu.kernels
            .step(&gpu.stream, &span, convolution.as_ref(), form.options, false)?;
    }
    Ok(Equal {
        output: gpu.read_bf16(&inputs.output, PLACES.len() * form.values())?,
        states: gpu.stream.read(&last, PLACES.len() * form.state())?,
        tails: gpu.read_bf16(&last_tail, numbers)?,
    })
}
