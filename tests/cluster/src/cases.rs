//! Every case by name, in the order in which they run.

mod charts;
mod crd;

use anyhow::Result;

use crate::world::World;

type Case = fn(&'static World) -> Result<()>;

/// Name and case.
pub(crate) fn all() -> Vec<(&'static str, Case)> {
    let groups: [&[(&'static str, Case)]; 2] = [charts::CASES, crd::CASES];
    groups.concat()
}
