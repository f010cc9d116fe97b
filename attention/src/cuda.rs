//! The operations of [`crate::core`] on NVIDIA GPUs of the Hopper generation (H100, H200), bf16.
//!
//! Kernels in CUDA C and products by cuBLASLt, both of the crate `liquid-cuda`, on burn's own memory and
//! ordered with burn's work by events. Neither is needed to build or to start: the libraries are loaded when
//! the first operation runs. What the kernels do not serve (other chips, other element types, head sizes but
//! 64, 128 and 256, a missing library) runs in burn's own operations, with one warning a reason.
//!
//! | folder | what |
//! |---|---|
//! | `device` | the border to burn: its tensors as device memory, its order of work, a GPU |
//! | `rule` | the operations of [`crate::core`]: the rule, the norm, their gradients, a product |
//! | `layer` | a whole layer as one operation, its weights looked up once |
//!
//! # Safety
//! Three promises hold all unsafe calls: a tensor's address is valid while its `DeviceTensor` lives; work on
//! our streams starts behind everything burn submitted before and ends before anything burn submits later
//! (`Gpu::inside`), which includes the reuse of memory; the extents that a launch is given are those of the
//! tensors, which are checked where they are looked up.

#![allow(unsafe_code, reason = "launches kernels on burn's memory; see Safety above")]

mod device;
mod error;
mod layer;
mod rule;

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock};

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, FloatDType};
use burn_cubecl::CubeBackend;

pub use self::device::device_name;
pub(crate) use self::device::may_serve;
pub use self::error::CudaError;
pub use self::layer::{
    InputWeights, LayerInput, LayerMatrices, LayerOps, LayerOutput, LayerRule, LayerSlot, LayerWeights,
    OptionalTensor,
};
pub(crate) use self::layer::{LayerMemory, PreparedLayer, WeightTensors, lay_out};
use self::rule::{NormGrads, NormInputs, SavedGradients};
use crate::core::{
    DeltaGradients, DeltaInputs, DeltaOutput, DeltaRule, DeltaTraining, GatedNormGradients, LiquidBackend,
    NormGradients,
};
use crate::portable;

impl LiquidBackend for CubeBackend {
    fn gated_delta(inputs: DeltaInputs<Self>, rule: DeltaRule) -> DeltaOutput<Self> {
        match rule::forward(copy(&inputs), rule) {
            Ok(output) => output,
            Err(error) => {
                warn(&error);
                portable::forward::<Self>(inputs, rule)
            }
        }
    }

    fn gated_delta_training(inputs: DeltaInputs<Self>, rule: DeltaRule) -> DeltaTraining<Self> {
        match rule::forward_saving(copy(&inputs), rule) {
            Ok(output) => output,
            Err(error) => {
                warn(&error);
                portable::forward_saving::<Self>(inputs, rule)
            }
        }
    }

    fn gated_delta_backward(
        inputs: DeltaInputs<Self>,
        saved: FloatTensor<Self>,
        d_output: FloatTensor<Self>,
        d_state: FloatTensor<Self>,
        rule: DeltaRule,
    ) -> DeltaGradients<Self> {
        let given = SavedGradients {
            saved: saved.clone(),
            output: d_output.clone(),
            state: d_state.clone(),
        };
        match rule::gated_delta_backward(copy(&inputs), given, rule) {
            Ok(gradients) => gradients,
            Err(error) => {
                warn(&error);
                portable::backward::<Self>(inputs, saved, d_output, d_state, rule)
            }
        }
    }

    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        match rule::multiply(x.clone(), weight.clone()) {
            Ok(product) => product,
            Err(error) => {
                warn(&error);
                Self::float_matmul(x, weight)
            }
        }
    }

    fn head_norm(output: FloatTensor<Self>, gamma: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        head_norm(output, gamma, None, epsilon)
    }

    fn gated_head_norm(
        output: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        head_norm(output, gamma, Some(gate), epsilon)
    }

    fn head_norm_backward(
        output: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> NormGradients<Self> {
        let inputs = norm_inputs(&output, &gamma, None, epsilon);
        match norm_gradients(inputs, &gamma, &gradient) {
            Ok(NormGrads { output, gamma, .. }) => NormGradients { output, gamma },
            Err(error) => {
                warn(&error);
                portable::head_norm_backward::<Self>(output, gamma, gradient, epsilon)
            }
        }
    }

    fn gated_head_norm_backward(
        output: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> GatedNormGradients<Self> {
        let inputs = norm_inputs(&output, &gamma, Some(&gate), epsilon);
        let gradients = norm_gradients(inputs, &gamma, &gradient).and_then(NormGrads::gated);
        match gradients {
            Ok(gradients) => gradients,
            Err(error) => {
                warn(&error);
                portable::gated_head_norm_backward::<Self>(output, gamma, gate, gradient, epsilon)
            }
        }
    }
}

/// Norm of every head's output, with the output gate if there is one.
fn head_norm(
    output: FloatTensor<CubeBackend>,
    gamma: FloatTensor<CubeBackend>,
    gate: Option<FloatTensor<CubeBackend>>,
    epsilon: f64,
) -> FloatTensor<CubeBackend> {
    match rule::head_norm(norm_inputs(&output, &gamma, gate.as_ref(), epsilon)) {
        Ok(output) => output,
        Err(error) => {
            warn(&error);
            portable::head_norm::<CubeBackend>(output, gamma, gate, epsilon)
        }
    }
}

/// Another handle of each tensor of a norm; the weights in f32.
fn norm_inputs(
    output: &FloatTensor<CubeBackend>,
    gamma: &FloatTensor<CubeBackend>,
    gate: Option<&FloatTensor<CubeBackend>>,
    epsilon: f64,
) -> NormInputs {
    NormInputs {
        output: output.clone(),
        gamma: single(gamma.clone()),
        gate: gate.cloned(),
        epsilon,
    }
}

/// Gradients of the norm, that with respect to the weights in the weights' own type.
fn norm_gradients(
    inputs: NormInputs,
    gamma: &FloatTensor<CubeBackend>,
    gradient: &FloatTensor<CubeBackend>,
) -> Result<NormGrads, CudaError> {
    let mut gradients = rule::head_norm_backward(inputs, gradient.clone())?;
    if gamma.dtype != DType::F32 {
        gradients.gamma = CubeBackend::float_cast(gradients.gamma, gamma.dtype.into());
    }
    Ok(gradients)
}

/// Another handle of each tensor, so that the portable path still has them when the kernels refuse.
fn copy(inputs: &DeltaInputs<CubeBackend>) -> DeltaInputs<CubeBackend> {
    DeltaInputs {
        q: inputs.q.clone(),
        k: inputs.k.clone(),
        v: inputs.v.clone(),
        g: inputs.g.clone(),
        beta: inputs.beta.clone(),
        state: inputs.state.clone(),
    }
}

/// A few numbers, in f32.
fn single(tensor: FloatTensor<CubeBackend>) -> FloatTensor<CubeBackend> {
    if tensor.dtype == DType::F32 {
        return tensor;
    }
    CubeBackend::float_cast(tensor, FloatDType::F32)
}

/// Logs why the kernels do not serve, once for each reason.
fn warn(error: &CudaError) {
    static SAID: OnceLock<Mutex<HashSet<String>>> = OnceLock::new();
    let text = error.to_string();
    let said = SAID.get_or_init(Mutex::default);
    if said.lock().is_ok_and(|mut said| said.insert(text.clone())) {
        log::warn!("the CUDA kernels do not serve this: {text}");
    }
}
