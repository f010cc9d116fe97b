//! Costs by the number of turns, as a table, as JSON, and as lines to draw.

use std::fmt::{self, Write};

use liquid_sidecar::policy::cost::{Prices, Prompt};
use liquid_worker::engine::Tier;
use serde::Serialize;

use super::script::SHOWN;
use super::size;
use crate::chart::Series;

/// What providers charge, with the name by which the tables call it.
const TABLES: [(&str, Prices); 3] = [
    ("write 1.25, read 0.1", Prices::WRITE_CHARGED),
    ("write 1, read 0.1", Prices::WRITE_FREE),
    ("no cache", Prices::UNCACHED),
];

/// One conversation.
pub(super) struct Run {
    pub(super) name: String,
    pub(super) steps: Vec<Step>,
}

/// One call of it.
pub(super) struct Step {
    /// The prompt as the application sent it.
    pub(super) whole: Prompt,
    /// The prompt as it left.
    pub(super) packed: Prompt,
    /// Whether all that left before left again.
    pub(super) stable: bool,
    /// Share of the labelled evidence that left, 0 to 1; `None` where the question has no label.
    pub(super) recall: Option<f64>,
    pub(super) action: &'static str,
    pub(super) reason: &'static str,
}

/// The conversations of a set with one engine.
#[derive(Serialize)]
pub(super) struct Report {
    tier: Tier,
    set: String,
    conversations: usize,
    /// The first `turns` turns, for each number of them.
    lengths: Vec<Length>,
    /// Mean share of the labelled evidence that left, over all labelled questions behind the first turn.
    later_recall: Option<f64>,
    /// Their number.
    later_labelled: usize,
    calls: Vec<Call>,
}

/// Means over conversations of so many turns.
#[derive(Serialize)]
struct Length {
    turns: usize,
    costs: Vec<Cost>,
    /// Conversations in which every call so far began with all that the call before had sent.
    stable: usize,
    /// Mean share of the labelled evidence that left with the last turn.
    recall: Option<f64>,
    /// Conversations whose last question has a label.
    labelled: usize,
}

/// What all calls of a conversation cost so far, in plain tokens.
#[derive(Serialize)]
struct Cost {
    prices: &'static str,
    /// With whole documents, the mean.
    whole: f64,
    /// With what left, the mean.
    packed: f64,
    /// Conversations that cost more than with whole documents.
    dearer: usize,
}

/// A call, as it is written to JSON.
#[derive(Serialize)]
struct Call {
    conversation: String,
    turn: usize,
    whole_tokens: u64,
    whole_seen: u64,
    packed_tokens: u64,
    packed_seen: u64,
    stable: bool,
    recall: Option<f64>,
    action: &'static str,
    reason: &'static str,
}

impl Report {
    pub(super) fn new(tier: Tier, set: &str, runs: Vec<Run>) -> Self {
        let most = runs.iter().map(|run| run.steps.len()).max().unwrap_or(0);
        let lengths = (1..=most).map(|turns| Length::new(turns, &runs)).collect();
        let later = runs.iter().flat_map(|run| run.steps.iter().skip(1));
        let later: Vec<f64> = later.filter_map(|step| step.recall).collect();
        Self {
            tier,
            set: set.to_owned(),
            conversations: runs.len(),
            lengths,
            later_recall: mean(&later),
            later_labelled: later.len(),
            calls: runs.into_iter().flat_map(calls).collect(),
        }
    }

    /// The numbers of turns to print: the common ones, and the last.
    fn shown(&self) -> impl Iterator<Item = &Length> {
        let last = self.lengths.len();
        let shown = move |length: &&Length| SHOWN.contains(&length.turns) || length.turns == last;
        self.lengths.iter().filter(shown)
    }

    /// Counts the lengths, of all conversations and prices, at which packs are dearer.
    fn dearer(&self) -> usize {
        let costs = self.lengths.iter().flat_map(|length| &length.costs);
        costs.map(|cost| cost.dearer).sum()
    }

    /// The first turn in which a conversation did not begin with all that had left before.
    fn unstable(&self) -> Option<usize> {
        let length = self
            .lengths
            .iter()
            .find(|length| length.stable < self.conversations);
        length.map(|length| length.turns)
    }
}

impl Length {
    fn new(turns: usize, runs: &[Run]) -> Self {
        let steps = || runs.iter().filter_map(|run| run.steps.get(..turns));
        let recalls: Vec<f64> = steps().filter_map(|steps| steps.last()?.recall).collect();
        Self {
            turns,
            costs: TABLES
                .iter()
                .map(|(name, prices)| Cost::new(name, prices, steps()))
                .collect(),
            stable: steps()
                .filter(|steps| steps.iter().all(|step| step.stable))
                .count(),
            recall: mean(&recalls),
            labelled: recalls.len(),
        }
    }
}

impl Cost {
    fn new<'a>(name: &'static str, prices: &Prices, runs: impl Iterator<Item = &'a [Step]>) -> Self {
        let cost = |steps: &[Step], prompt: fn(&Step) -> Prompt| prices.total(steps.iter().map(prompt));
        let both = runs.map(|steps| {
            let (whole, packed) = (cost(steps, |step| step.whole), cost(steps, |step| step.packed));
            (whole, packed)
        });
        let (whole, packed): (Vec<f64>, Vec<f64>) = both.unzip();
        Self {
            prices: name,
            dearer: whole
                .iter()
                .zip(&packed)
                .filter(|(whole, packed)| packed > whole)
                .count(),
            whole: mean(&whole).unwrap_or(0.0),
            packed: mean(&packed).unwrap_or(0.0),
        }
    }

    /// How many times whole documents cost what left costs.
    fn ratio(&self) -> f64 {
        self.whole / self.packed.max(1.0)
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Writes a share of so many questions in percent.
fn percent(share: Option<f64>, questions: usize) -> String {
    share.map_or_else(
        || "-".to_owned(),
        |share| format!("{:.1} ({questions})", 100.0 * share),
    )
}

fn calls(run: Run) -> impl Iterator<Item = Call> {
    let Run { name, steps } = run;
    (1..).zip(steps).map(move |(turn, step)| Call {
        conversation: name.clone(),
        turn,
        whole_tokens: size(step.whole),
        whole_seen: step.whole.seen,
        packed_tokens: size(step.packed),
        packed_seen: step.packed.seen,
        stable: step.stable,
        recall: step.recall,
        action: step.action,
        reason: step.reason,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, tier {}, conversations: {}. Mean cost of all prompts so far in plain tokens, whole / as it left, \
             and the first by the second\n",
            self.set, self.tier, self.conversations
        )?;
        let mut head = "turns".to_owned();
        for (name, _) in &TABLES {
            write!(head, "{name:>32}")?;
        }
        writeln!(f, "{head}  dearer  stable  evidence recall, %")?;
        for length in self.shown() {
            write!(f, "{:>5}", length.turns)?;
            for cost in &length.costs {
                let both = format!("{:.0} / {:.0}", cost.whole, cost.packed);
                write!(f, "{both:>24}{:>8.2}", cost.ratio())?;
            }
            let dearer = length.costs.iter().map(|cost| cost.dearer).max().unwrap_or(0);
            let stable = if length.stable == self.conversations {
                "yes"
            } else {
                "no"
            };
            let recall = percent(length.recall, length.labelled);
            writeln!(f, "{dearer:>8}{stable:>8}{recall:>20}")?;
        }
        let later = percent(self.later_recall, self.later_labelled);
        writeln!(f, "evidence recall behind the first turn, %: {later}")?;
        let lengths = self.conversations * self.lengths.len() * TABLES.len();
        let cost = match self.dearer() {
            0 => "never dearer than whole documents".to_owned(),
            count => format!("dearer than whole documents at {count} of {lengths} lengths and prices"),
        };
        match self.unstable() {
            None => writeln!(f, "{cost}; all that left came again, to the last turn"),
            Some(turn) => writeln!(
                f,
                "{cost}; what left before did not all come again in turn {turn}"
            ),
        }
    }
}

/// Returns the lines of the chart, one for each set and engine: what left costs, as a share of what whole documents
/// cost where writes are charged, in percent.
pub(super) fn series(reports: &[Report]) -> Vec<Series> {
    let line = |report: &Report| {
        let points = report.lengths.iter().filter_map(|length| {
            let cost = length.costs.first()?;
            Some((length.turns as f64, 100.0 / cost.ratio()))
        });
        Series {
            name: format!("{}, {}", report.set, report.tier),
            points: points.collect(),
        }
    };
    reports.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(whole: u64, packed: u64, stable: bool, recall: Option<f64>) -> Step {
        let prompt = |new| Prompt { seen: 0, new };
        Step {
            whole: prompt(whole),
            packed: prompt(packed),
            stable,
            recall,
            action: "compressed",
            reason: "question",
        }
    }

    fn report() -> Report {
        let run = |steps| Run {
            name: "a conversation".to_owned(),
            steps,
        };
        let runs = vec![
            run(vec![
                step(2_000, 500, true, Some(1.0)),
                step(2_000, 4_000, false, None),
            ]),
            run(vec![
                step(4_000, 1_000, true, Some(0.5)),
                step(2_000, 1_000, true, Some(0.2)),
            ]),
        ];
        Report::new(Tier::Lexical, "set", runs)
    }

    #[test]
    fn costs_add_up_and_recall_is_that_of_the_last_turn() {
        let report = report();
        let [one, two] = report.lengths.as_slice() else {
            unreachable!("two turns")
        };
        let plain = |length: &Length| {
            (
                length.costs[2].whole,
                length.costs[2].packed,
                length.costs[2].dearer,
            )
        };
        assert_eq!(plain(one), (3_000.0, 750.0, 0));
        assert_eq!(
            plain(two),
            (5_000.0, 3_250.0, 1),
            "the first costs 4,500, which is more than 4,000"
        );
        assert_eq!((one.stable, one.recall, one.labelled), (2, Some(0.75), 2));
        assert_eq!((two.stable, two.recall, two.labelled), (1, Some(0.2), 1));
        assert_eq!(one.costs[0].whole, 3_750.0, "writes are charged");
    }

    #[test]
    fn the_table_says_where_packs_are_dearer_and_where_the_prefix_breaks() {
        let table = report().to_string();
        assert!(
            table.contains("what left before did not all come again in turn 2"),
            "{table}"
        );
        assert!(
            table.contains("dearer than whole documents at 3 of 12 lengths"),
            "{table}"
        );
        assert!(table.contains("behind the first turn, %: 20.0 (1)"), "{table}");
        let lines = series(&[report()]);
        assert_eq!(
            lines[0].points[0],
            (1.0, 20.0),
            "750 of 3,750: too short to be written"
        );
    }
}
