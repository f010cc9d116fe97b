//! Launches of sequences of any lengths, whose states lie in slots of a pool: each sequence against the
//! launch of that sequence alone, bit for bit, and against the recurrence in f64; slots in place, permuted
//! and shared; snapshots against a second pass. Without burn.

#![allow(unsafe_code, reason = "launches kernels; see SAFETY at each")]

mod batch;
mod convolution;
mod step;

use anyhow::Result;
use liquid_cuda::rule::ragged::{RaggedSequence, Snapshot};
use liquid_cuda::rule::{CHUNK, RuleOptions};

use self::batch::{Batch, Form, Outcome};
use super::Report;
use super::inputs::{Case, Kind, Size};
use super::recurrence::{recurrence, relative_error};
use crate::suite::gpu::Gpu;

/// Lengths of a batch: around the border of a chunk, many chunks, and nothing at all.
const LENGTHS: [usize; 8] = [1, 63, 0, 64, 65, 300, 1_000, 128];

/// How far the kernels may be from the recurrence in f64.
const LIMIT: f64 = 6e-3;

/// Checks ragged launches on the first GPU.
pub(in crate::suite) fn check(report: &mut Report) -> Result<()> {
    let gpu = &mut Gpu::open()?;
    for width in [64, 128, 256] {
        for precise in [false, true] {
            let form = Form::new(width, options(width, precise));
            lengths(gpu, report, form)?;
        }
    }
    let form = Form::new(128, options(128, false));
    for form in [
        Form { group: 2, ..form },
        Form { norm: true, ..form },
        Form {
            products: true,
            norm: true,
            ..form
        },
        Form {
            options: RuleOptions {
                erase: false,
                ..form.options
            },
            ..form
        },
    ] {
        lengths(gpu, report, form)?;
    }
    for width in [64, 128, 256] {
        let form = Form::new(width, options(width, false));
        slots(gpu, report, form)?;
        snapshots(gpu, report, form)?;
        parts(gpu, report, form)?;
        neighbours(gpu, report, form)?;
        for form in [form, Form { group: 2, ..form }] {
            step::check(gpu, report, form)?;
        }
    }
    convolution::check(gpu, report)
}

fn options(width: usize, precise: bool) -> RuleOptions {
    RuleOptions {
        erase: true,
        normalise: true,
        scale: 1.0 / (width as f32).sqrt(),
        precise,
    }
}

/// Inputs of sequences of these lengths.
fn cases(form: Form, lengths: &[usize]) -> Vec<Case> {
    let size = |tokens| Size {
        batch: 1,
        tokens,
        heads: form.heads,
        width: form.width,
    };
    let numbered = lengths.iter().enumerate();
    numbered
        .map(|(seed, tokens)| Case::new(Kind::Plain, size(*tokens), 100 + seed as u64))
        .collect()
}

/// A sequence from one slot to another.
fn sequence(tokens: usize, from: Option<usize>, to: Option<usize>) -> RaggedSequence {
    RaggedSequence {
        tokens,
        from,
        to,
        ..RaggedSequence::default()
    }
}

/// All lengths together, from permuted slots to others, against each alone.
fn lengths(gpu: &mut Gpu, report: &mut Report, form: Form) -> Result<()> {
    let cases = cases(form, &LENGTHS);
    let count = cases.len();
    // Slots 0 to 7 in another order, 8 to 15 in a third; 16 and 17 belong to nobody.
    let slots = |number: usize| ((5 * number + 3) % count, count + (3 * number + 1) % count);
    let mut batch = Batch::new(gpu, form, &cases, 2 * count + 2)?;
    let sequences: Vec<_> = (cases.iter().enumerate())
        .map(|(number, case)| {
            let (from, to) = slots(number);
            sequence(case.size.tokens, Some(from), Some(to))
        })
        .collect();
    for (sequence, case) in sequences.iter().zip(&cases) {
        batch.fill_slot(gpu, sequence.from, &case.state)?;
    }
    let before = batch.pool(gpu)?;
    let given = batch.run(gpu, &sequences)?;
    for (number, case) in cases.iter().enumerate() {
        let name = format!("{form}, {} tokens among others", case.size.tokens);
        let (_, to) = slots(number);
        let ours = Outcome {
            output: given.outputs[number].clone(),
            state: batch.slot(&given.pool, to),
        };
        let alone = batch::alone(gpu, form, case, Some(&case.state))?;
        report.holds(&format!("{name}, as alone"), ours == alone);
        if form.group == 1 && !form.norm && case.size.tokens > 0 {
            let exact = recurrence(case, form.options.erase);
            report.add(&name, relative_error(&ours.output, &exact.output), LIMIT);
            report.add(
                &format!("{name}, state"),
                relative_error(&ours.state, &exact.state),
                LIMIT,
            );
        }
    }
    let nobodys = [2 * count, 2 * count + 1];
    let mut kept = (0..count).chain(nobodys);
    let same = |slot| batch.slot(&given.pool, slot) == batch.slot(&before, slot);
    report.holds(
        &format!("{form}, slots that none writes stay as they are"),
        kept.all(same),
    );
    Ok(())
}

/// One slot for both, none to start from, none to go to, and one that several start from.
fn slots(gpu: &mut Gpu, report: &mut Report, form: Form) -> Result<()> {
    let cases = cases(form, &[300, 65, 1, 128, 64]);
    let mut batch = Batch::new(gpu, form, &cases, 6)?;
    let places = [
        ("in place", Some(2), Some(2)),
        ("from nothing", None, Some(0)),
        ("to nowhere", Some(3), None),
        ("from a shared slot", Some(3), Some(4)),
        ("from nothing to nowhere", None, None),
    ];
    let sequences: Vec<_> = (cases.iter().zip(places))
        .map(|(case, (_, from, to))| sequence(case.size.tokens, from, to))
        .collect();
    for (slot, case) in [(2, &cases[0]), (3, &cases[2])] {
        batch.fill_slot(gpu, Some(slot), &case.state)?;
    }
    let before = batch.pool(gpu)?;
    let given = batch.run(gpu, &sequences)?;
    for (number, (what, from, to)) in places.into_iter().enumerate() {
        let state = from.map(|slot| batch.slot(&before, slot));
        let alone = batch::alone(gpu, form, &cases[number], state.as_deref())?;
        report.holds(
            &format!("{form}, {what}, output"),
            given.outputs[number] == alone.output,
        );
        if let Some(to) = to {
            let ours = batch.slot(&given.pool, to);
            report.holds(&format!("{form}, {what}, state"), ours == alone.state);
        }
    }
    let same = |slot| batch.slot(&given.pool, slot) == batch.slot(&before, slot);
    report.holds(
        &format!("{form}, a slot that is only read stays"),
        same(3) && same(1) && same(5),
    );
    Ok(())
}

/// Sequences in two parts, the second from the states that the first has left, each against the launches of its part alone.
fn parts(gpu: &mut Gpu, report: &mut Report, form: Form) -> Result<()> {
    // Of the second part nothing of the middle sequence is left.
    let lengths = [(100, 27), (30, 30), (140, 64)];
    let cases = cases(form, &lengths.map(|(tokens, _)| tokens));
    let mut batch = Batch::new(gpu, form, &cases, cases.len())?;
    for (slot, case) in cases.iter().enumerate() {
        batch.fill_slot(gpu, Some(slot), &case.state)?;
    }
    let part = |skip, tokens, slot| RaggedSequence {
        skip,
        ..sequence(tokens, Some(slot), Some(slot))
    };
    batch.run(gpu, &[part(0, 27, 0), part(73, 30, 1), part(0, 64, 2)])?;
    let given = batch.run(gpu, &[part(27, 73, 0), part(94, 76, 2)])?;
    for (number, case) in cases.iter().enumerate() {
        let (tokens, cut) = lengths[number];
        let first = batch::alone(gpu, form, &batch::part(case, 0..cut), Some(&case.state))?;
        let second = batch::alone(gpu, form, &batch::part(case, cut..tokens), Some(&first.state))?;
        let whole = Outcome {
            output: [first.output, second.output].concat(),
            state: second.state,
        };
        let ours = Outcome {
            output: given.outputs[number].clone(),
            state: batch.slot(&given.pool, number),
        };
        report.holds(
            &format!("{form}, {tokens} tokens in parts, as alone"),
            ours == whole,
        );
    }
    Ok(())
}

/// Numbers that are none stay in their own sequence, though a chunk ends where they begin.
fn neighbours(gpu: &mut Gpu, report: &mut Report, form: Form) -> Result<()> {
    let mut cases = cases(form, &[65, 40, 63]);
    cases[1].k.fill(f32::NAN);
    cases[1].v.fill(f32::INFINITY);
    let mut batch = Batch::new(gpu, form, &cases, cases.len())?;
    let sequences: Vec<_> = (cases.iter().enumerate())
        .map(|(slot, case)| sequence(case.size.tokens, Some(slot), Some(slot)))
        .collect();
    for (slot, case) in cases.iter().enumerate() {
        batch.fill_slot(gpu, Some(slot), &case.state)?;
    }
    let given = batch.run(gpu, &sequences)?;
    for number in [0, 2] {
        let ours = Outcome {
            output: given.outputs[number].clone(),
            state: batch.slot(&given.pool, number),
        };
        let alone = batch::alone(gpu, form, &cases[number], Some(&cases[number].state))?;
        let name = format!("{form}, sequence {number} beside one of no numbers");
        report.holds(&name, ours == alone);
    }
    let lost = given.outputs[1].iter().any(|x| !x.is_finite());
    report.holds(&format!("{form}, a sequence of no numbers has none"), lost);
    Ok(())
}

/// The state in the middle of a pass, against a pass that ends there; and the rest of the tokens from it.
fn snapshots(gpu: &mut Gpu, report: &mut Report, form: Form) -> Result<()> {
    let wanted = [(300, 128), (1_000, 960), (64, 64), (65, 65), (200, 64)];
    let lengths = wanted.map(|(tokens, _)| tokens);
    let (cases, count) = (cases(form, &lengths), wanted.len());
    let mut batch = Batch::new(gpu, form, &cases, 2 * count)?;
    let sequences: Vec<_> = (wanted.iter().enumerate())
        .map(|(number, (tokens, after))| RaggedSequence {
            snapshot: Some(Snapshot {
                after: *after,
                slot: count + number,
            }),
            ..sequence(*tokens, Some(number), Some(number))
        })
        .collect();
    for (slot, case) in cases.iter().enumerate() {
        batch.fill_slot(gpu, Some(slot), &case.state)?;
    }
    let given = batch.run(gpu, &sequences)?;
    for (number, (tokens, after)) in wanted.into_iter().enumerate() {
        let name = format!("{form}, snapshot after {after} of {tokens}");
        let snapshot = batch.slot(&given.pool, count + number);
        let case = &cases[number];
        let second = batch::alone(gpu, form, &batch::part(case, 0..after), Some(&case.state))?;
        report.holds(&format!("{name}, as of a second pass"), snapshot == second.state);
        let whole = batch::alone(gpu, form, case, Some(&case.state))?;
        report.holds(
            &format!("{name}, the pass itself"),
            given.outputs[number] == whole.output && batch.slot(&given.pool, number) == whole.state,
        );
        if after < tokens && after.is_multiple_of(CHUNK) {
            let rest = batch::alone(gpu, form, &batch::part(case, after..tokens), Some(&snapshot))?;
            let end = whole.output.len() - rest.output.len();
            report.holds(
                &format!("{name}, the rest from it"),
                rest.output == whole.output[end..] && rest.state == whole.state,
            );
        }
    }
    Ok(())
}
