//! The faults from public reports: every test whose name contains `case_` and a number, in the workspace and on a cluster.

use anyhow::Result;

use super::{Wanted, checks, cluster};
use crate::count::Count;
use crate::nextest;

/// The filter of nextest that is [`is_case`].
const FILTER: &str = "test(/case_[0-9][0-9]/)";

/// Runs the cases; those of the cluster are skipped by name where none can run.
pub(super) fn cases(wanted: &Wanted) -> Result<Count> {
    let mut count = checks::weights()?;
    let mut workspace = nextest::run(FILTER, &wanted.names)?;
    // What the filter does not select counts as skipped there.
    workspace.skipped.retain(|name| is_case(name));
    count.add(&workspace);
    count.add(&cluster::cases(wanted)?);
    Ok(count)
}

/// Returns whether a test's name is that of a case.
pub(super) fn is_case(name: &str) -> bool {
    name.match_indices("case_").any(|(at, found)| {
        let behind = name.as_bytes().get(at + found.len()..).unwrap_or_default();
        behind.len() >= 2 && behind.iter().take(2).all(u8::is_ascii_digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_has_a_number_of_two_digits() {
        for name in ["case_01_x", "injection::case_33_windows", "a_case_of_case_40_y"] {
            assert!(is_case(name), "{name}");
        }
        for name in ["case_", "case_1_x", "a_selected_case_brings", "cases_01"] {
            assert!(!is_case(name), "{name}");
        }
    }
}
