//! Decides what may be compressed: a pure function from a parsed request, the settings and what is known of the
//! document to a plan with a reason. Between `request` and `extract`.

mod settings;

pub use settings::{Budget, CachedPrefix, EarlierTurns, Settings, WholeDocument};
