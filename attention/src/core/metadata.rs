//! Shapes and types of what the operations return, for the lazy (fused) form of a backend: it plans with them
//! before anything has run, so they must be what the implementation will give.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::{DType, Shape};

use super::{
    DeltaInputsMetadata, DeltaOutputMetadata, DeltaRule, DeltaTrainingMetadata, GatedNormGradientsMetadata,
    NormGradientsMetadata,
};
use crate::portable;

fn output(inputs: &DeltaInputsMetadata) -> TensorSpec {
    TensorSpec::new(inputs.v.shape.clone(), inputs.v.dtype)
}

pub(super) fn forward(inputs: &DeltaInputsMetadata, _rule: &DeltaRule) -> DeltaOutputMetadata {
    DeltaOutputMetadata {
        output: output(inputs),
        state: inputs.state.clone(),
    }
}

pub(super) fn training(inputs: &DeltaInputsMetadata, rule: &DeltaRule) -> DeltaTrainingMetadata {
    DeltaTrainingMetadata {
        output: output(inputs),
        state: inputs.state.clone(),
        saved: saved(inputs, rule),
    }
}

/// Returns shape and type of what a Cube backend keeps for its backward pass.
fn saved(inputs: &DeltaInputsMetadata, _rule: &DeltaRule) -> TensorSpec {
    let state = &inputs.state.shape;
    let segments = portable::segments(inputs.q.shape[1]);
    TensorSpec::new(
        Shape::from([segments, state[0], state[1], state[2], state[3]]),
        DType::F32,
    )
}

pub(super) fn backward(
    inputs: &DeltaInputsMetadata,
    _saved: &TensorSpec,
    _d_output: &TensorSpec,
    _d_state: &TensorSpec,
    _rule: &DeltaRule,
) -> DeltaInputsMetadata {
    inputs.clone()
}

pub(super) fn product(x: &TensorSpec, weight: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::from([x.shape[0], weight.shape[1]]), x.dtype)
}

pub(super) fn head_norm(output: &TensorSpec, _gamma: &TensorSpec, _epsilon: &f64) -> TensorSpec {
    output.clone()
}

pub(super) fn gated_head_norm(
    output: &TensorSpec,
    _gamma: &TensorSpec,
    _gate: &TensorSpec,
    _epsilon: &f64,
) -> TensorSpec {
    output.clone()
}

pub(super) fn head_norm_backward(
    output: &TensorSpec,
    gamma: &TensorSpec,
    _gradient: &TensorSpec,
    _epsilon: &f64,
) -> NormGradientsMetadata {
    NormGradientsMetadata {
        output: output.clone(),
        gamma: gamma.clone(),
    }
}

pub(super) fn gated_head_norm_backward(
    output: &TensorSpec,
    gamma: &TensorSpec,
    gate: &TensorSpec,
    _gradient: &TensorSpec,
    _epsilon: &f64,
) -> GatedNormGradientsMetadata {
    GatedNormGradientsMetadata {
        output: output.clone(),
        gamma: gamma.clone(),
        gate: gate.clone(),
    }
}
