#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod aggregates;
mod costs;
mod plans;
mod prices;

use std::fmt::Write;

/// A report of `sentences` sentences in paragraphs of eight; about 15 tokens each.
pub(crate) fn report(sentences: usize) -> String {
    let mut text = String::new();
    for number in 0..sentences {
        write!(
            text,
            "The {number}th delivery to plant {} arrived on day {} and was accepted.",
            number % 7,
            number * 3
        )
        .unwrap();
        text.push_str(if number % 8 == 7 { "\n\n" } else { " " });
    }
    text.trim_end().to_owned()
}
