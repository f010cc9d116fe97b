//! Every case by name, in the order in which they run.

mod charts;
mod crd;
mod faults;
mod gpu;
mod injection;
mod models;
mod operator;
mod path;
mod rights;
mod scheduling;
mod security;
mod uninstall;

use anyhow::Result;

use crate::world::World;

type Case = fn(&'static World) -> Result<()>;

/// Name and case.
pub(crate) fn all() -> Vec<(&'static str, Case)> {
    let groups: [&[(&'static str, Case)]; 12] = [
        charts::CASES,
        crd::CASES,
        path::CASES,
        injection::CASES,
        security::CASES,
        models::CASES,
        scheduling::CASES,
        gpu::CASES,
        operator::CASES,
        faults::CASES,
        uninstall::CASES,
        rights::CASES,
    ];
    groups.concat()
}
