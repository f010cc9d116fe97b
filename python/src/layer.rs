//! A layer without gradients.

#![allow(unsafe_code, reason = "enqueues passes; see SAFETY below")]

use liquid_cuda::pass::{self, LayerPass, LayerSizes, LayerWeights};
use liquid_cuda::rule::{HeadNorm, RuleOptions, SmallParameter};
use pyo3::prelude::*;

use crate::gpu::{Place, Pointer};

/// Sizes of a layer and of its input.
#[derive(Clone, Copy, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Sizes {
    batch: usize,
    tokens: usize,
    embed: usize,
    heads: usize,
    width: usize,
}

impl From<Sizes> for LayerSizes {
    fn from(sizes: Sizes) -> Self {
        let Sizes {
            batch,
            tokens,
            embed,
            heads,
            width,
        } = sizes;
        Self {
            batch,
            tokens,
            embed,
            heads,
            width,
        }
    }
}

/// A layer's pass; `..._narrow` says whether a small parameter is bf16 rather than f32.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Layer {
    sizes: Sizes,
    x: Pointer,
    state: Pointer,
    y: Pointer,
    work: Pointer,
    in_weight: Pointer,
    in_bias: Pointer,
    gate_weight: Pointer,
    a_log: Pointer,
    a_log_narrow: bool,
    dt_bias: Pointer,
    dt_bias_narrow: bool,
    norm_weight: Pointer,
    norm_weight_narrow: bool,
    out_weight: Pointer,
    out_bias: Pointer,
    epsilon: f32,
    scale: f32,
    erase: bool,
    precise: bool,
}

fn small(pointer: Pointer, narrow: bool) -> SmallParameter {
    SmallParameter {
        address: pointer.0,
        narrow,
    }
}

impl Layer {
    fn pass(&self) -> LayerPass {
        LayerPass {
            sizes: self.sizes.into(),
            weights: LayerWeights {
                input: self.in_weight.0,
                input_bias: self.in_bias.0,
                gates: self.gate_weight.0,
                a_log: small(self.a_log, self.a_log_narrow),
                dt_bias: small(self.dt_bias, self.dt_bias_narrow),
                norm: HeadNorm {
                    gamma: small(self.norm_weight, self.norm_weight_narrow),
                    epsilon: self.epsilon,
                },
                output: self.out_weight.0,
                output_bias: self.out_bias.0,
            },
            x: self.x.0,
            state: self.state.0,
            y: self.y.0,
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

/// Bytes of work space of a layer's pass.
#[pyfunction]
pub(crate) fn layer_work(sizes: Sizes) -> usize {
    pass::layer_work(&sizes.into())
}

/// Enqueues a layer's pass.
#[pyfunction]
pub(crate) fn layer(py: Python<'_>, place: Place, layer: Layer) -> PyResult<()> {
    let pass = layer.pass();
    // SAFETY: `liquid_memory.kernels` passes tensors of these extents, and PyTorch's allocator hands their memory on to
    // later work of the same stream alone, which the pass ends on.
    place.run(py, |gpu| unsafe { pass.run(gpu) })
}
