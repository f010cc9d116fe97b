//! `liquid-worker extract --tier decoder --facts`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Facts about a document.
#[derive(Deserialize)]
pub(super) struct Extraction {
    facts: Vec<Fact>,
    counts: Counts,
}

#[derive(Deserialize)]
struct Fact {
    fact: String,
    quote: String,
    start: usize,
    end: usize,
    origin: String,
}

#[derive(Deserialize)]
struct Counts {
    passages: usize,
    dropped: usize,
    read_tokens: usize,
    written_tokens: usize,
    milliseconds: f64,
}

impl Extraction {
    /// Runs the command for a document and a question.
    pub(super) fn run(
        program: &Path,
        variables: &[(&str, String)],
        document: &Path,
        question: &str,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["extract", "--tier", "decoder", "--facts", "--json", "--document"]);
        command.arg(document).arg("--question").arg(question);
        for (name, value) in variables {
            command.env(name, value);
        }
        let output = command.output().context("cannot start the worker")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ended with {}: {errors}", output.status);
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("no facts: {}", String::from_utf8_lossy(&output.stdout)))
    }

    /// Checks that there are facts, and that every quote is what its range of the document says.
    pub(super) fn check(&self, document: &str) -> Result<()> {
        ensure!(!self.facts.is_empty(), "no facts were written");
        for fact in &self.facts {
            let said = document.get(fact.start..fact.end);
            ensure!(
                said == Some(fact.quote.as_str()) && !fact.fact.is_empty(),
                "bytes {}..{} are not the quote {:?} of {:?}",
                fact.start,
                fact.end,
                fact.quote,
                fact.fact
            );
            ensure!(
                fact.origin == "constrained",
                "a fact was not held to its form: {}",
                fact.origin
            );
        }
        Ok(())
    }

    pub(super) fn summary(&self) -> String {
        let counts = &self.counts;
        format!(
            "{} facts of {} passages, {} left out; {} tokens read, {} written; {:.0} ms",
            self.facts.len(),
            counts.passages,
            counts.dropped,
            counts.read_tokens,
            counts.written_tokens,
            counts.milliseconds
        )
    }

    /// Says how many quotes another device has chosen too.
    pub(super) fn compare(&self, other: &Self) -> String {
        let ranges = |of: &Self| -> BTreeSet<(usize, usize)> {
            of.facts.iter().map(|fact| (fact.start, fact.end)).collect()
        };
        let (mine, theirs) = (ranges(self), ranges(other));
        format!(
            "{} of {} quotes are the same on both devices",
            mine.intersection(&theirs).count(),
            mine.len()
        )
    }
}
