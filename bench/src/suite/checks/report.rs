//! The outcome of the checks: a line for each, and their number.

use std::fmt;

use super::recurrence::relative_error;
use crate::suite::layers::Pass;
use crate::suite::tensors::values;

/// The checks so far.
#[derive(Debug, Default)]
pub(in crate::suite) struct Report {
    done: usize,
    failed: usize,
}

impl Report {
    /// The number of checks that failed.
    pub(in crate::suite) fn failed(&self) -> usize {
        self.failed
    }

    /// Notes a check, and prints how it went.
    pub(super) fn add(&mut self, name: &str, error: f64, limit: f64) {
        let good = error <= limit;
        self.done += 1;
        self.failed += usize::from(!good);
        println!(
            "{} {name}: {error:.2e} (at most {limit:.1e})",
            if good { "ok  " } else { "FAIL" }
        );
    }

    /// Notes a subject that could not be run to its end as a check that failed.
    pub(in crate::suite) fn fail(&mut self, subject: &str, error: &anyhow::Error) {
        self.done += 1;
        self.failed += 1;
        println!("FAIL {subject} ended early: {error:#}");
    }

    /// Notes how far numbers are from those of a reference.
    pub(super) fn compare(&mut self, name: &str, ours: &[f32], wanted: &[f32], limit: f64) {
        let wanted: Vec<f64> = wanted.iter().copied().map(f64::from).collect();
        self.add(name, relative_error(ours, &wanted), limit);
    }

    /// Notes how far a pass is from a reference: its output, the state behind it, and the tail of its
    /// convolution.
    pub(super) fn compare_passes(&mut self, name: &str, ours: &Pass, wanted: &Pass, limit: f64) {
        let output = |pass: &Pass| values(pass.output.clone());
        self.compare(name, &output(ours), &output(wanted), limit);
        let state = |pass: &Pass| values(pass.state.memory.clone());
        self.compare(&format!("{name}, state"), &state(ours), &state(wanted), limit);
        let tail = |pass: &Pass| pass.state.conv.clone().map(values);
        if let (Some(ours), Some(wanted)) = (tail(ours), tail(wanted)) {
            self.compare(&format!("{name}, tail"), &ours, &wanted, limit);
        }
    }

    /// Notes whether something holds.
    pub(super) fn holds(&mut self, name: &str, good: bool) {
        self.add(name, f64::from(u8::from(!good)), 0.0);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} checks, {} failed", self.done, self.failed)
    }
}
