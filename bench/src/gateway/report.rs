//! The figures of a run: medians over its rounds, what a peer adds to a direct call, and the table.

use serde::Serialize;

use super::body::Body;
use super::load::Sample;

/// The name of the peer that is none: calls go straight to the upstream.
pub(super) const DIRECT: &str = "direct";

/// All rounds of a peer at a number of connections.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    pub(super) peer: &'static str,
    pub(super) connections: u32,
    pub(super) rounds: Vec<Sample>,
}

/// A peer's memory.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    pub(super) peer: &'static str,
    /// Resident after its start, children included, in MiB.
    pub(super) idle_mib: f64,
    /// Resident after the last round, in MiB.
    pub(super) loaded_mib: f64,
}

/// All figures of a run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) cores: usize,
    pub(super) seconds_a_round: u64,
    pub(super) cells: Vec<Cell>,
    pub(super) memory: Vec<Memory>,
    pub(super) bodies: Vec<Body>,
    /// Parts that could not be measured, and why.
    pub(super) skipped: Vec<String>,
}

/// The median of figures; NaN of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (
        values.len() % 2,
        values.get(middle),
        middle.checked_sub(1).and_then(|at| values.get(at)),
    ) {
        (1, Some(value), _) => *value,
        (_, Some(high), Some(low)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

impl Cell {
    fn median(&self, of: fn(&Sample) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect())
    }
}

impl Report {
    /// Notes a sample.
    pub(super) fn note(&mut self, peer: &'static str, connections: u32, sample: Sample) {
        let known = self
            .cells
            .iter_mut()
            .find(|cell| cell.peer == peer && cell.connections == connections);
        match known {
            Some(cell) => cell.rounds.push(sample),
            None => self.cells.push(Cell {
                peer,
                connections,
                rounds: vec![sample],
            }),
        }
    }

    fn cell(&self, peer: &str, connections: u32) -> Option<&Cell> {
        self.cells
            .iter()
            .find(|cell| cell.peer == peer && cell.connections == connections)
    }

    /// Microseconds that a peer adds to the median of a direct call: the median of the rounds' differences, each
    /// taken between measurements that follow one another.
    pub(super) fn added(&self, peer: &str, connections: u32) -> Option<f64> {
        let (cell, direct) = (self.cell(peer, connections)?, self.cell(DIRECT, connections)?);
        let rounds = cell.rounds.iter().zip(&direct.rounds);
        Some(median(
            rounds
                .map(|(with, without)| with.p50_us - without.p50_us)
                .collect(),
        ))
    }

    /// Ratio of what the sidecar adds to what nginx adds.
    pub(super) fn times_nginx(&self, connections: u32) -> Option<f64> {
        Some(self.added("sidecar", connections)? / self.added("nginx", connections)?)
    }

    /// Ratio of the calls that the sidecar takes to those that LiteLLM takes.
    pub(super) fn times_litellm(&self, connections: u32) -> Option<f64> {
        let rps = |peer| Some(self.cell(peer, connections)?.median(|sample| sample.rps));
        Some(rps("sidecar")? / rps("litellm")?)
    }

    fn connections(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.cells.iter().map(|cell| cell.connections).collect();
        all.dedup();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The points of a peer's line in the drawing.
    pub(super) fn line(&self, peer: &str) -> Vec<(f64, f64)> {
        let connections = self.connections().into_iter();
        connections
            .filter_map(|count| Some((f64::from(count), self.added(peer, count)?)))
            .collect()
    }

    /// The tables, as text.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        if !self.cells.is_empty() {
            text += "peer      connections   p50 us   p99 us    calls/s  added p50 us  errors\n";
        }
        for cell in &self.cells {
            let added = self.added(cell.peer, cell.connections);
            let added = added.filter(|_| cell.peer != DIRECT);
            text += &format!(
                "{:9} {:>11} {:>8.0} {:>8.0} {:>10.0} {:>13} {:>7}\n",
                cell.peer,
                cell.connections,
                cell.median(|sample| sample.p50_us),
                cell.median(|sample| sample.p99_us),
                cell.median(|sample| sample.rps),
                added.map_or_else(|| "-".to_owned(), |added| format!("{added:.0}")),
                cell.rounds.iter().map(|sample| sample.errors).sum::<u64>(),
            );
        }
        for count in self.connections() {
            if let Some(times) = self.times_nginx(count) {
                text += &format!("{count} connections: the sidecar adds {times:.2} times what nginx adds\n");
            }
            if let Some(times) = self.times_litellm(count) {
                text += &format!("{count} connections: {times:.0} times LiteLLM's calls a second\n");
            }
        }
        if !self.memory.is_empty() {
            text += "\npeer      idle MiB  after load MiB\n";
        }
        for memory in &self.memory {
            text += &format!(
                "{:9} {:>8.1} {:>15.1}\n",
                memory.peer, memory.idle_mib, memory.loaded_mib
            );
        }
        if !self.bodies.is_empty() {
            text += "\nlarge body  MiB of body  before MiB  peak MiB  added / body  seconds\n";
        }
        for body in &self.bodies {
            text += &format!(
                "{:11} {:>11.1} {:>11.1} {:>9.1} {:>13.2} {:>8.1}\n",
                body.decision,
                super::mib(body.bytes),
                body.before_mib,
                body.peak_mib,
                body.times,
                body.seconds,
            );
        }
        for skipped in &self.skipped {
            text += &format!("skipped: {skipped}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn sample(p50_us: f64, rps: f64) -> Sample {
        Sample {
            p50_us,
            p99_us: 2.0 * p50_us,
            rps,
            errors: 0,
        }
    }

    #[test]
    fn compares_rounds_with_their_own_neighbours() {
        let mut report = Report::default();
        // A slow second round raises all three alike.
        for slow in [0.0, 100.0, 0.0] {
            report.note(DIRECT, 1, sample(70.0 + slow, 9_000.0));
            report.note("nginx", 1, sample(110.0 + slow, 8_000.0));
            report.note("sidecar", 1, sample(130.0 + slow, 7_000.0));
            report.note("litellm", 1, sample(9_000.0 + slow, 70.0));
        }
        assert_eq!(report.added("nginx", 1), Some(40.0));
        assert_eq!(report.times_nginx(1), Some(1.5));
        assert_eq!(report.times_litellm(1), Some(100.0));
        assert_eq!(report.times_nginx(16), None);
        assert_eq!(report.line("sidecar"), [(1.0, 60.0)]);
        assert!(report.table().contains("adds 1.50 times what nginx adds"));
    }

    #[test]
    fn takes_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }
}
