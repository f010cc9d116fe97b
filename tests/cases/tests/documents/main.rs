//! One test for each folder of `inputs` with a document, and for each tier: what of the document leaves.
//!
//! A folder has `case.toml` and either `input.json` (and `input-b.json` and so on), or `document.txt` and `question.txt`.
//! Each line of `expect.txt` must be in the request that leaves, byte for byte, and none of `expect_not.txt`; the words of
//! `expect_decision.txt` are those of the decision. `path.txt` has the path where it is not that of a chat completion.
//! The encoder's tests are listed as ignored where there are no weights: `cargo xtask model` fetches them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod case;
mod check;

use std::process::ExitCode;

use case::Case;
use libtest_mimic::{Arguments, Trial};
use liquid_cases::{Tiers, inputs, weights};

fn main() -> ExitCode {
    let cases: Vec<Case> = inputs().iter().filter_map(|name| Case::read(name)).collect();
    let trials = cases.iter().flat_map(|case| {
        let lexical = Some((Tiers::Lexical, "lexical", false));
        let encoder = (!case.rules.lexical_only).then(|| (Tiers::All, "encoder", weights().is_none()));
        [lexical, encoder]
            .into_iter()
            .flatten()
            .map(|(tiers, tier, absent)| {
                let name = format!("{}_in_the_{tier}_tier", case.test_name());
                let case = case.clone();
                Trial::test(name, move || check::run(&case, tiers, tier)).with_ignored_flag(absent)
            })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
