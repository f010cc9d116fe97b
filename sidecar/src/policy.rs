//! Decides what may be compressed: a pure function from a parsed request, the settings and what is known of the
//! document to a plan with a reason. Between `request` and `extract`.
//!
//! It is asked three times, each time when more is known: [`plan()`] sees the request alone, [`price()`] how
//! many questions its document was asked, and [`accept`] the pack that would stand in the document's place.

mod need;
mod plan;
mod price;
mod question;
mod rows;
mod settings;
pub mod tokens;
mod whole;

#[cfg(test)]
mod tests;

pub use need::{Need, assess_need};
pub use plan::{Plan, Turn, plan};
pub use price::{History, Sha256, TextSize, accept, expected_ratio, pays, price};
pub use rows::assess_need_of;
pub use settings::{Budget, CachedPrefix, EarlierTurns, Settings, WholeDocument};
pub use whole::{Fate, Replaced, covers, holds_whole_text};
