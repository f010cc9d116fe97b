//! The measurements of the suite.

mod clock;
pub(super) mod kernels;
pub(super) mod layer;
mod rounds;
pub(super) mod table;
pub(super) mod training;
pub(super) mod transformer;
