//! The vocabulary of the API: what a call may be, what it may ask for, and why it was treated as it was. Everything
//! else builds on this; nothing here imports another module of the crate.

pub mod header_names;
mod overrides;
mod provider;
mod reason;
mod surface;
mod usage;

pub use overrides::{Mode, OverrideError, Overrides, Tier};
pub use provider::ProviderKind;
pub use reason::Reason;
pub use surface::{Surface, Wire};
pub use usage::Usage;
