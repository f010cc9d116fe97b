//! The benchmark runs on a CPU, and its report says what was skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use burn::tensor::{DType, Device};

use super::benchmark::{Benchmark, Measured};
use super::report::{Outcome, Report, Row};
use super::subjects::Subject;

fn small() -> Benchmark {
    Benchmark {
        embed_dim: 32,
        num_heads: 2,
        seq_lengths: vec![16, 100],
        dtype: DType::F32,
        device: Device::flex(),
        runs: 1,
        python: None,
        ..Benchmark::default()
    }
}

#[test]
fn measures_every_subject_at_every_length() {
    let mut lines = 0;
    let report = small().run(|_: &Report| lines += 1).expect("a report");
    assert_eq!((report.rows.len(), lines), (8, 8));
    for row in &report.rows {
        assert!(
            matches!(row.outcome, Outcome::Measured { ms, .. } if ms > 0.0),
            "{row}"
        );
    }
    assert!(report.outcome("LiquidAttention", 100).is_some());
    let table = report.to_string();
    assert!(
        table.contains("burn MultiHeadAttention") && table.contains("extra GiB"),
        "{table}"
    );
}

#[test]
fn skips_what_does_not_fit_and_says_so() {
    let benchmark = Benchmark {
        memory_limit_gib: 1e-5,
        ..small()
    };
    let report = benchmark.run(|_| ()).expect("a report");
    let naive = report.outcome("burn MultiHeadAttention", 100).expect("a row");
    assert_eq!(naive.ms(), None);
    assert!(report.to_string().contains("GiB for the scores"));
}

#[test]
fn leaves_out_what_would_take_too_long() {
    let benchmark = small();
    let outcome = |subject, ms| {
        let last = Some(Measured { tokens: 50, ms });
        benchmark.measure(subject, 100, last).expect("an outcome")
    };
    // Two times the tokens, four times the time.
    let refused = outcome(Subject::Flash, 15_001.0);
    assert!(matches!(refused, Outcome::Skipped(reason) if reason.contains("60 s")));
    assert!(matches!(
        outcome(Subject::Flash, 14_999.0),
        Outcome::Measured { .. }
    ));
    assert!(matches!(
        outcome(Subject::Liquid, 15_001.0),
        Outcome::Measured { .. }
    ));
}

#[test]
fn tells_how_time_grows_rested_and_at_work() {
    let row = |tokens, ms, sustained| Row {
        name: "LiquidAttention".to_owned(),
        tokens,
        outcome: Outcome::Measured {
            ms,
            waited_ms: None,
            sustained_ms: Some(sustained),
            extra_gib: None,
            first_ms: None,
        },
    };
    let report = Report {
        // The shortest does not count.
        rows: vec![row(10, 9.0, 9.0), row(20, 1.0, 2.0), row(40, 4.0, 4.0)],
        ..small().report()
    };
    let table = report.to_string();
    let line = "time grows with tokens^2.000 from 20 to 40, at work with tokens^1.000";
    assert!(table.contains(line), "{table}");
}

#[test]
fn a_python_that_is_not_there_is_a_row() {
    let benchmark = Benchmark {
        python: Some("no-such-python".into()),
        ..small()
    };
    let report = benchmark.run(|_| ()).expect("a report");
    let row = report.rows.iter().find(|row| row.tokens == 0).expect("a row");
    assert!(
        matches!(&row.outcome, Outcome::Skipped(reason) if reason.contains("no-such-python")),
        "{row}"
    );
}
