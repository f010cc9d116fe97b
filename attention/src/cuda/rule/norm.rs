//! The norm of every head's output, and its gradients.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use liquid_cuda::device::Address;
use liquid_cuda::rule::backward::{NORM_PARTS, NormGradients};
use liquid_cuda::rule::{HeadNorm, NormRows, Rows, SmallParameter, serves};

use crate::core::GatedNormGradients;
use crate::cuda::device::{DeviceTensor, acquire, device_index, on_device};
use crate::cuda::error::CudaError;

/// What a norm reads.
pub(in crate::cuda) struct NormInputs {
    /// Output of the heads, `[B, N, H, D]`, bf16.
    pub(in crate::cuda) output: CubeTensor,
    /// Weights `[D]`, f32.
    pub(in crate::cuda) gamma: CubeTensor,
    /// The output gate before its `silu`, as the output.
    pub(in crate::cuda) gate: Option<CubeTensor>,
    pub(in crate::cuda) epsilon: f64,
}

/// Gradients of a norm.
pub(in crate::cuda) struct NormGrads {
    /// Gradient with respect to the output, `[B, N, H, D]`, bf16.
    pub(in crate::cuda) output: CubeTensor,
    /// Gradient with respect to the weights, `[D]`.
    pub(in crate::cuda) gamma: CubeTensor,
    /// Gradient with respect to the gate, where there is one.
    pub(in crate::cuda) gate: Option<CubeTensor>,
}

impl NormGrads {
    /// The gradients of a norm with a gate.
    ///
    /// # Errors
    /// [`CudaError::NoGradient`]: there was no gate.
    pub(in crate::cuda) fn gated(self) -> Result<GatedNormGradients<CubeBackend>, CudaError> {
        Ok(GatedNormGradients {
            output: self.output,
            gamma: self.gamma,
            gate: self.gate.ok_or(CudaError::NoGradient("the gate"))?,
        })
    }
}

/// The inputs in device memory, and their sizes.
struct Inputs {
    output: DeviceTensor,
    gamma: DeviceTensor,
    gate: Option<DeviceTensor>,
    tokens: usize,
    heads: usize,
    width: usize,
    epsilon: f32,
}

impl Inputs {
    fn new(inputs: NormInputs) -> Result<Self, CudaError> {
        let rows = |tensor| DeviceTensor::of(tensor)?.typed(DType::BF16);
        let gamma = DeviceTensor::of(inputs.gamma)?.typed(DType::F32)?;
        let gate = inputs.gate.map(rows).transpose()?;
        let output = rows(inputs.output)?;
        let [batch, tokens, heads, width] = output.shape()?;
        if !serves(heads, width, width) {
            return Err(CudaError::Unsupported(format!("heads of {width} numbers")));
        }
        Ok(Self {
            output,
            gamma,
            gate,
            tokens: batch * tokens,
            heads,
            width,
            epsilon: inputs.epsilon as f32,
        })
    }
}

/// Address of a tensor, if there is one.
fn address(tensor: Option<&DeviceTensor>) -> Address {
    tensor.map_or(Address::NULL, |tensor| tensor.address)
}

/// Memory for rows shaped as others.
fn like(tensor: &DeviceTensor) -> Result<DeviceTensor, CudaError> {
    DeviceTensor::new(&tensor.tensor, tensor.tensor.meta.shape().clone(), DType::BF16)
}

/// Norm of every head's output, times the weights `gamma`, times `silu(gate)` where there is one.
pub(in crate::cuda) fn head_norm(inputs: NormInputs) -> Result<CubeTensor, CudaError> {
    let client = inputs.output.client.clone();
    on_device(&client, move || {
        let mut gpu = acquire(device_index(&inputs.output)?)?;
        let inputs = Inputs::new(inputs)?;
        let normed = like(&inputs.output)?;
        let rows = |address| Rows {
            address,
            stride: inputs.heads * inputs.width,
        };
        let launch = NormRows {
            from: rows(inputs.output.address),
            to: normed.address,
            tokens: inputs.tokens,
            heads: inputs.heads,
            width: inputs.width,
            norm: HeadNorm {
                gamma: SmallParameter {
                    address: inputs.gamma.address,
                    narrow: false,
                },
                epsilon: inputs.epsilon,
            },
            gate: rows(address(inputs.gate.as_ref())),
        };
        // SAFETY: the tensors have these extents (`Inputs::new`), and `inside` orders what comes later behind
        // it.
        gpu.inside(|gpu| unsafe { Ok(gpu.kernels.norm(&gpu.stream, &launch)?) })?;
        Ok(normed.tensor)
    })
}

/// Gradients of [`head_norm`], given that with respect to its result.
pub(in crate::cuda) fn head_norm_backward(
    inputs: NormInputs,
    gradient: CubeTensor,
) -> Result<NormGrads, CudaError> {
    let client = inputs.output.client.clone();
    on_device(&client, move || {
        let mut gpu = acquire(device_index(&inputs.output)?)?;
        let inputs = Inputs::new(inputs)?;
        let gradient = DeviceTensor::of(gradient)?.typed(DType::BF16)?;
        let numbers = |shape: &[usize]| DeviceTensor::new(&inputs.output.tensor, shape.to_vec(), DType::F32);
        let by_output = like(&inputs.output)?;
        let by_gate = inputs.gate.as_ref().map(like).transpose()?;
        let by_gamma = numbers(&[inputs.width])?;
        let parts = numbers(&[NORM_PARTS, inputs.width])?;
        let launch = NormGradients {
            output: inputs.output.address,
            gamma: inputs.gamma.address,
            gate: address(inputs.gate.as_ref()),
            gradient: gradient.address,
            by_output: by_output.address,
            by_gamma: by_gamma.address,
            by_gate: address(by_gate.as_ref()),
            parts: parts.address,
            rows: inputs.tokens * inputs.heads,
            width: inputs.width,
            epsilon: inputs.epsilon,
        };
        // SAFETY: as in `head_norm`.
        gpu.inside(|gpu| unsafe { Ok(gpu.kernels.norm_gradients(&gpu.stream, &launch)?) })?;
        Ok(NormGrads {
            output: by_output.tensor,
            gamma: by_gamma.tensor,
            gate: by_gate.map(|tensor| tensor.tensor),
        })
    })
}
