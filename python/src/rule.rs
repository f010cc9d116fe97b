//! The rule and its gradients.

#![allow(unsafe_code, reason = "enqueues passes; see SAFETY below")]

use liquid_cuda::pass::{self, RuleGradients, RulePass, RuleSizes};
use liquid_cuda::rule::{Rows, RuleOptions};
use pyo3::prelude::*;

use crate::gpu::{Place, Pointer};

/// Sizes of a pass.
#[derive(Clone, Copy, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Sizes {
    batch: usize,
    tokens: usize,
    heads: usize,
    width: usize,
}

impl From<Sizes> for RuleSizes {
    fn from(sizes: Sizes) -> Self {
        let Sizes {
            batch,
            tokens,
            heads,
            width,
        } = sizes;
        Self {
            batch,
            tokens,
            heads,
            width,
        }
    }
}

/// A forward pass; `..._stride` are elements between the rows of two tokens.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Forward {
    sizes: Sizes,
    q: Pointer,
    q_stride: usize,
    k: Pointer,
    k_stride: usize,
    v: Pointer,
    v_stride: usize,
    g: Pointer,
    beta: Pointer,
    initial: Pointer,
    output: Pointer,
    last: Pointer,
    saved: Pointer,
    work: Pointer,
    scale: f32,
    erase: bool,
    precise: bool,
}

/// The gradients of a forward pass.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Gradients {
    by_output: Pointer,
    by_last: Pointer,
    by_q: Pointer,
    by_k: Pointer,
    by_v: Pointer,
    by_g: Pointer,
    by_beta: Pointer,
    by_initial: Pointer,
}

fn rows(pointer: Pointer, stride: usize) -> Rows {
    Rows {
        address: pointer.0,
        stride,
    }
}

impl Forward {
    /// Elements between the rows of a tensor without gaps.
    fn dense(&self) -> usize {
        self.sizes.heads * self.sizes.width
    }

    fn pass(&self) -> RulePass {
        RulePass {
            sizes: self.sizes.into(),
            q: rows(self.q, self.q_stride),
            k: rows(self.k, self.k_stride),
            v: rows(self.v, self.v_stride),
            gates: self.g.0,
            strengths: self.beta.0,
            initial: self.initial.0,
            output: rows(self.output, self.dense()),
            last: self.last.0,
            saved: self.saved.0,
            work: self.work.0,
            options: RuleOptions {
                erase: self.erase,
                normalise: true,
                scale: self.scale,
                precise: self.precise,
            },
        }
    }
}

/// Bytes of work space of a forward pass.
#[pyfunction]
pub(crate) fn rule_work(sizes: Sizes, saved: bool) -> usize {
    pass::rule_work(&sizes.into(), saved)
}

/// Bytes of work space of a backward pass.
#[pyfunction]
pub(crate) fn gradient_work(sizes: Sizes) -> usize {
    pass::gradient_work(&sizes.into())
}

/// States that a forward pass of so many tokens saves for its gradients.
#[pyfunction]
pub(crate) fn segments(tokens: usize) -> usize {
    pass::segments(tokens)
}

/// Enqueues the rule.
#[pyfunction]
pub(crate) fn gated_delta(py: Python<'_>, place: Place, forward: Forward) -> PyResult<()> {
    let pass = forward.pass();
    // SAFETY: `liquid_memory.kernels` passes tensors of these extents, and PyTorch's allocator hands their memory on to
    // later work of the same stream alone.
    place.run(py, |gpu| unsafe { pass.run(gpu.kernels, gpu.stream) })
}

/// Enqueues the gradients of the rule.
#[pyfunction]
pub(crate) fn gated_delta_backward(
    py: Python<'_>,
    place: Place,
    forward: Forward,
    gradients: Gradients,
) -> PyResult<()> {
    let dense = forward.dense();
    let pass = RuleGradients {
        by_output: rows(gradients.by_output, dense),
        by_last: gradients.by_last.0,
        by_q: rows(gradients.by_q, dense),
        by_k: rows(gradients.by_k, dense),
        by_v: rows(gradients.by_v, dense),
        by_gates: gradients.by_g.0,
        by_strengths: gradients.by_beta.0,
        by_initial: gradients.by_initial.0,
        forward: forward.pass(),
    };
    // SAFETY: as in `gated_delta`.
    place.run(py, |gpu| unsafe { pass.run(gpu.kernels, gpu.stream) })
}
