//! The vocabulary of the API: what a call may be, what it may ask for, and why it was treated as it was.
//! Everything else builds on this; nothing here imports another module of the crate.

pub mod header_names;
mod overrides;
mod reason;
mod surface;
mod usage;

pub use overrides::{OverrideError, Overrides};
pub use reason::Reason;
pub use surface::{Surface, Wire};
pub use usage::Usage;

pub use liquid_contract::{Mode, Provider as ProviderKind, Tier};
