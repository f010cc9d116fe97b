//! The checks, and the report that counts them.

pub(super) mod gradients;
mod inputs;
pub(super) mod layer;
pub(super) mod loaded;
pub(super) mod others;
pub(super) mod padding;
pub(super) mod peers;
pub(super) mod product;
pub(super) mod ragged;
mod recurrence;
mod report;
pub(super) mod rule;
pub(super) mod transformer;

pub(super) use self::report::Report;
