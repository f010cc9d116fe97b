//! A long contract with a clause that answers a question: the document of many tests.

pub(crate) const QUESTION: &str = "How many days of notice does a termination need?";
pub(crate) const EVIDENCE: &str = "A termination needs ninety days of written notice.";

/// The contract, with the evidence as one of its 600 clauses.
pub(crate) fn document() -> String {
    with_clauses(&[(300, EVIDENCE)])
}

/// A contract of 600 clauses, some of which are these.
pub(crate) fn with_clauses(clauses: &[(usize, &str)]) -> String {
    let mut lines: Vec<String> = (0..600)
        .map(|number| format!("Clause {number} says that the parties meet and shake hands."))
        .collect();
    for (number, clause) in clauses {
        lines[*number] = (*clause).into();
    }
    lines.join("\n")
}
