//! Gives every unit of a document one number for each thing that is asked: how well it answers that.
//!
//! Second step of an extraction, between `document` and `select`. Signals are computed over windows of whole
//! units, handed down to the units, standardised over the document, added up, and smoothed along the document;
//! `recipe` says which signals and how much of each. Every signal is linear in the document's length.

mod antecedents;
mod coverage;
mod lexical;
mod maxsim;
mod question;
pub mod recipe;
mod smooth;
mod terms;
#[cfg(test)]
mod tests;
mod windows;

pub use antecedents::lift_antecedents;
pub use coverage::score_coverage;
pub use lexical::TermCounts;
pub use maxsim::{WindowMatches, rarity};
pub use question::{Question, asks_for_data};
pub use smooth::{add_scaled, smooth, standardise};
pub use terms::{count_shared, is_stop_word, words};
pub use windows::{Window, spread, windows};
