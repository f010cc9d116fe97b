//! Decides what may be compressed: a pure function from a parsed request, the settings and what is known of the
//! document to a plan with a reason. Between `request` and `extract`.

mod content;
mod need;
mod plan;
mod price;
mod question;
mod settings;
mod split;
pub mod tokens;

#[cfg(test)]
mod tests;

pub use need::{Need, need};
pub use plan::{Plan, Turn, accept, plan, price};
pub use price::{History, Sha256, expected_ratio, pays};
pub use settings::{Budget, CachedPrefix, EarlierTurns, Settings, WholeDocument};
pub use split::{Marks, Split, by_marks, by_reading};
