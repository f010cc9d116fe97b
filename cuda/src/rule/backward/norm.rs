//! Gradients of the norm over every head's output, and strengths that the backward pass can divide by.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `rule`")]

use std::ffi::c_int;

use crate::device::{Address, Launch, Parameter, Stream};
use crate::error::Error;
use crate::program::Definition;
use crate::rule::program::{Kernel, Kernels, Variant};

pub(in crate::rule) static NORM_BACKWARD: Kernel = kernel(c"rms_norm_backward");
static SUM_PARTS: Kernel = kernel(c"sum_parts");
static RAISE_STRENGTHS: Kernel = kernel(c"raise_strengths");

const fn kernel(entry: &'static std::ffi::CStr) -> Kernel {
    Kernel {
        file: "norm_backward.cu",
        text: include_str!("../../../kernels/norm_backward.cu"),
        entry,
        sizes,
        shared: |_| 0,
    }
}

fn sizes(_ragged: bool) -> Vec<Definition> {
    vec![("RUST_THREADS", THREADS as usize)]
}

/// Threads of a block.
const THREADS: u32 = 256;

/// Blocks that walk a norm's rows, each with its part of the gradient with respect to the weights: four for a
/// multiprocessor.
pub const NORM_PARTS: usize = 528;

/// A norm's inputs, the gradient with respect to its result, and the gradients to be written. All rows lie
/// behind each other and are bf16.
#[derive(Clone, Copy, Debug)]
pub struct NormGradients {
    /// Output of the heads that was normed, `[rows, width]`.
    pub output: Address,
    /// Weights `[width]`, f32.
    pub gamma: Address,
    /// The output gate before its `silu`, `[rows, width]`; null without.
    pub gate: Address,
    /// Gradient with respect to the result, `[rows, width]`.
    pub gradient: Address,
    /// Gradient with respect to the output, `[rows, width]`, written.
    pub by_output: Address,
    /// Gradient with respect to the weights, `[width]`, f32, written.
    pub by_gamma: Address,
    /// Gradient with respect to the gate, `[rows, width]`, written; null without a gate.
    pub by_gate: Address,
    /// Work space `[NORM_PARTS, width]`, f32.
    pub parts: Address,
    /// Rows: tokens times heads.
    pub rows: usize,
    /// Numbers of a row: 64, 128 or 256.
    pub width: usize,
    /// Number added to the mean of the squares.
    pub epsilon: f32,
}

/// Strengths, and where those go that the backward pass can divide by.
#[derive(Clone, Copy, Debug)]
pub struct RaisedStrengths {
    /// Strengths, f32.
    pub from: Address,
    /// The same, those below 1e-12 raised to it, f32.
    pub to: Address,
    /// Number of strengths.
    pub count: usize,
}

impl Kernels {
    /// Enqueues the gradients of a norm.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: a width that no kernel has, or a gate without a place for its gradient;
    /// [`Error::Compile`] at the first call; [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::rule`]. Written are the three gradients and `parts`; everything else is read.
    pub unsafe fn norm_gradients(&mut self, stream: &Stream, norm: &NormGradients) -> Result<(), Error> {
        check(norm)?;
        let (rows, parts) = (norm.rows as i64, NORM_PARTS as c_int);
        let variant = Variant::of(norm.width);
        let parameters = [
            Parameter::new(&norm.output),
            Parameter::new(&norm.gamma),
            Parameter::new(&norm.gate),
            Parameter::new(&norm.gradient),
            Parameter::new(&norm.by_output),
            Parameter::new(&norm.by_gate),
            Parameter::new(&norm.parts),
            Parameter::new(&rows),
            Parameter::new(&norm.epsilon),
        ];
        let launch = Launch::new(self.get(&NORM_BACKWARD, variant)?, [NORM_PARTS, 1, 1], THREADS);
        // SAFETY: the parameters are those of `rms_norm_backward`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters)? };
        let parameters = [
            Parameter::new(&norm.parts),
            Parameter::new(&norm.by_gamma),
            Parameter::new(&parts),
        ];
        let launch = Launch::new(self.get(&SUM_PARTS, variant)?, [norm.width, 1, 1], THREADS);
        // SAFETY: the parameters are those of `sum_parts`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters) }
    }

    /// Enqueues copying strengths, those below 1e-12 raised to it, so that the backward pass can divide by
    /// them.
    ///
    /// # Errors
    /// [`Error::Compile`] at the first call; [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::rule`]. Written is `to`; read is `from`.
    pub unsafe fn raise_strengths(
        &mut self,
        stream: &Stream,
        strengths: &RaisedStrengths,
    ) -> Result<(), Error> {
        let RaisedStrengths { from, to, count } = strengths;
        if *count == 0 {
            return Ok(());
        }
        let number = *count as i64;
        let parameters = [Parameter::new(from), Parameter::new(to), Parameter::new(&number)];
        let blocks = count.div_ceil(THREADS as usize);
        let function = self.get(&RAISE_STRENGTHS, Variant::of(128))?;
        // SAFETY: the parameters are those of `raise_strengths`; addresses are the caller's promise.
        unsafe { Launch::new(function, [blocks, 1, 1], THREADS).enqueue(stream, &parameters) }
    }
}

/// An error unless there are kernels for a norm, and a gate's gradient has a place.
fn check(norm: &NormGradients) -> Result<(), Error> {
    let width = norm.width;
    if !crate::rule::serves(1, width, width) {
        return Err(Error::Unsupported(format!(
            "gradients of a norm over {width} numbers; the kernels take 64, 128 or 256"
        )));
    }
    if norm.gate.is_null() != norm.by_gate.is_null() {
        return Err(Error::Unsupported(
            "a gate without a place for its gradient, or the other way round; give both or none".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_goes_with_its_gradient() {
        let norm = |gate, by_gate, width| {
            check(&NormGradients {
                output: Address::new(16),
                gamma: Address::new(16),
                gate: Address::new(gate),
                gradient: Address::new(16),
                by_output: Address::new(16),
                by_gamma: Address::new(16),
                by_gate: Address::new(by_gate),
                parts: Address::new(16),
                rows: 1,
                width,
                epsilon: 1e-6,
            })
        };
        assert!(norm(0, 0, 64).is_ok() && norm(16, 32, 256).is_ok());
        for (gate, by_gate) in [(16, 0), (0, 16)] {
            assert!(norm(gate, by_gate, 64).is_err_and(|error| error.to_string().contains("both or none")));
        }
        assert!(norm(0, 0, 96).is_err());
    }
}
