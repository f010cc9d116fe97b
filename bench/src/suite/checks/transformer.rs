//! The kernels of a decoder with softmax attention against f64: awkward numbers of rows, ragged sequences, pages in any
//! order whose unused places hold no numbers.

#![allow(unsafe_code, reason = "launches kernels; see SAFETY at each")]

mod attention;
mod cache;
mod chain;
mod fp8;
mod products;
mod rotary;
mod rows;
mod sampling;

use anyhow::Result;

use super::Report;
use crate::suite::gpu::Gpu;

/// Bits of a bf16 that is no number: what nobody may read.
const POISON: u16 = 0x7fff;

/// Largest relative error of results that are rounded to bf16 once: half a step of its eight bits.
const ROUNDED: f64 = 4e-3;

/// Checks all launches of `liquid_cuda::transformer`.
pub(in crate::suite) fn check(report: &mut Report) -> Result<()> {
    let mut gpu = Gpu::open()?;
    rows::check(&mut gpu, report)?;
    products::check(&mut gpu, report)?;
    rotary::check(&mut gpu, report)?;
    attention::check(&mut gpu, report)?;
    sampling::check(&mut gpu, report)?;
    chain::check(&mut gpu, report)
}
