//! Decides what may be compressed: a pure function from a reading, the settings and what is known of a
//! document to a plan with a reason for each site. Between `reading` and `extract`.
//!
//! It is asked three times, each time when more is known: [`plan()`] sees the call alone, [`packs_pay`] how
//! many questions its document was asked, and [`accept`] the packs that would stand in the documents' places.
//! What prompts cost is computed in [`cost`].

pub mod cost;
mod plan;
mod price;
mod retrieval;
mod rows;
mod settings;
pub mod tokens;
mod tools;
mod whole;

#[cfg(test)]
mod tests;

pub use plan::{Further, Plan, SitePlan, TurnPlan, plan, reason_to_pass};
pub use price::{HeldSize, History, Sha256, TextSize, accept, expected_ratio, further_tokens, packs_pay};
pub use retrieval::Retrieval;
pub use settings::{Budget, CachedPrefix, EarlierTurns, Settings, WholeDocument};
pub use tools::{ToolMode, Tools};
pub use whole::{Fate, Replaced, covers, holds_whole_text};
