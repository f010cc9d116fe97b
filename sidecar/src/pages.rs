//! The pages for a browser on this machine, `/liquid/`: recent calls, what was decided about them and, if texts are
//! kept, what of those. Off unless `pages.enabled`; what may leave and to whom is `access`.

pub mod access;
mod page;
mod recent;
mod settings;

#[cfg(test)]
mod tests;

pub use page::{CONTENT_SECURITY_POLICY, HTML};
pub use recent::{CallDetail, CallRecord, RecentCalls};
pub use settings::Settings;
