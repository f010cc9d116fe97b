//! The operations of [`crate::core`] on NVIDIA GPUs of the Hopper generation (H100, H200), bf16.
//!
//! Kernels in CUDA C (`attention/kernels`), compiled by NVRTC at run time, and products by cuBLASLt (`liquid-cuda`), both
//! on burn's own memory and ordered with burn's work by events. Neither is needed to build or to start: the libraries
//! are loaded when the first operation runs. What the kernels do not serve (other chips, other element types, head sizes
//! but 64, 128 and 256, a missing library) runs in burn's own operations, with one warning a reason.
//!
//! | file | what |
//! |---|---|
//! | `gpu` | context, streams, the border to burn |
//! | `buffer` | burn's tensors as device memory |
//! | `queue` | the thread on which burn submits |
//! | `program`, `launch` | the kernels: compiled, and called |
//! | `delta` | the rule, the step, the norm |
//! | `backward` | their gradients |
//! | `layer`, `held`, `weights` | a whole layer, its weights looked up once |
//! | `pass`, `segment`, `decode` | its pass in pieces of the sequence; one token |
//! | `convolution` | the short convolution of a piece |
//! | [`timing`] | kernels alone, for the benchmark |
//!
//! # Safety
//! Three promises hold all unsafe calls: a buffer's address is valid while its `Buffer` lives; work on our streams
//! starts behind everything burn submitted before and ends before anything burn submits later
//! (`Gpu::inside`), which includes the reuse of memory; a parameter list is that of the kernel (`launch`).

#![allow(
    unsafe_code,
    reason = "calls of the CUDA driver and libraries; see Safety above"
)]

mod backward;
mod buffer;
mod convolution;
mod decode;
mod delta;
mod error;
mod gpu;
mod held;
mod launch;
mod layer;
mod pass;
mod program;
mod queue;
mod segment;
pub mod timing;
mod weights;

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock};

use burn::backend::DispatchDevice;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Device};
use burn_cubecl::{CubeBackend, CubeDevice};
use liquid_cuda::{Element, Operands, Shape};

pub use self::error::CudaError;
pub use self::held::Slot;
pub(crate) use self::held::{HeldLayer, WeightTensors, may_serve};
pub(crate) use self::layer::lay_out;
pub use self::layer::{InputWeights, LayerMatrices, LayerOps, LayerOutput, LayerRule, LayerWeights};
use crate::core::{
    DeltaGradients, DeltaInputs, DeltaOutput, DeltaRule, DeltaTraining, GatedNormGradients, LiquidBackend,
    NormGradients,
};
use crate::portable;

impl LiquidBackend for CubeBackend {
    fn gated_delta(inputs: DeltaInputs<Self>, rule: DeltaRule) -> DeltaOutput<Self> {
        match delta::forward(copy(&inputs), rule) {
            Ok(output) => output,
            Err(error) => {
                warn(&error);
                portable::forward::<Self>(inputs, rule)
            }
        }
    }

    fn gated_delta_training(inputs: DeltaInputs<Self>, rule: DeltaRule) -> DeltaTraining<Self> {
        match delta::forward_saving(copy(&inputs), rule) {
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
        let given = (saved.clone(), d_output.clone(), d_state.clone());
        match backward::gated_delta_backward(copy(&inputs), given, rule) {
            Ok(gradients) => gradients,
            Err(error) => {
                warn(&error);
                portable::backward::<Self>(inputs, saved, d_output, d_state, rule)
            }
        }
    }

    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        match multiply(x.clone(), weight.clone()) {
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
        let (output, gamma, _) = head_norm_backward(output, gamma, None, gradient, epsilon);
        NormGradients { output, gamma }
    }

    fn gated_head_norm_backward(
        output: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> GatedNormGradients<Self> {
        let (output, gamma, by_gate) =
            head_norm_backward(output, gamma, Some(gate.clone()), gradient, epsilon);
        GatedNormGradients {
            output,
            gamma,
            gate: by_gate.unwrap_or(gate),
        }
    }
}

/// The norm of every head's output, with the output gate if there is one.
fn head_norm(
    output: FloatTensor<CubeBackend>,
    gamma: FloatTensor<CubeBackend>,
    gate: Option<FloatTensor<CubeBackend>>,
    epsilon: f64,
) -> FloatTensor<CubeBackend> {
    match delta::head_norm(output.clone(), number(gamma.clone()), gate.clone(), epsilon) {
        Ok(output) => output,
        Err(error) => {
            warn(&error);
            portable::head_norm::<CubeBackend>(output, gamma, gate, epsilon)
        }
    }
}

/// Gradients of the norm by output, weights (in their own type) and gate.
fn head_norm_backward(
    output: FloatTensor<CubeBackend>,
    gamma: FloatTensor<CubeBackend>,
    gate: Option<FloatTensor<CubeBackend>>,
    gradient: FloatTensor<CubeBackend>,
    epsilon: f64,
) -> backward::NormGiven {
    let given = (
        output.clone(),
        number(gamma.clone()),
        gate.clone(),
        gradient.clone(),
    );
    match backward::head_norm_backward(given, epsilon) {
        Ok((by_output, by_gamma, by_gate)) if gamma.dtype == DType::F32 => (by_output, by_gamma, by_gate),
        Ok((by_output, by_gamma, by_gate)) => {
            let by_gamma = CubeBackend::float_cast(by_gamma, gamma.dtype.into());
            (by_output, by_gamma, by_gate)
        }
        Err(error) => {
            warn(&error);
            portable::head_norm_backward::<CubeBackend>(output, gamma, gate, gradient, epsilon)
        }
    }
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

/// A few numbers, as f32.
fn number(tensor: FloatTensor<CubeBackend>) -> FloatTensor<CubeBackend> {
    if tensor.dtype == DType::F32 {
        return tensor;
    }
    CubeBackend::float_cast(tensor, burn::tensor::FloatDType::F32)
}

/// `x [rows, depth]` times `weight [depth, columns]` by cuBLASLt.
fn multiply(
    x: FloatTensor<CubeBackend>,
    weight: FloatTensor<CubeBackend>,
) -> Result<FloatTensor<CubeBackend>, CudaError> {
    let element = match x.dtype {
        DType::BF16 => Element::Bf16,
        DType::F16 => Element::F16,
        DType::F32 => Element::F32,
        other => return Err(CudaError::Unsupported(format!("a product of {other:?}"))),
    };
    let client = x.client.clone();
    queue::on_device(&client, move || {
        let mut gpu = gpu::acquire(buffer::device_index(&x)?)?;
        let dtype = x.dtype;
        let x = buffer::Buffer::matrix(x)?;
        let weight = buffer::Buffer::matrix(weight)?.typed(dtype)?;
        let ([rows, depth], [_, columns]) = (x.buffer.shape()?, weight.buffer.shape()?);
        let y = buffer::Buffer::new(&x.buffer.tensor, [rows, columns], dtype)?;
        let shape = Shape {
            operands: element,
            y: element,
            rows,
            depth,
            columns,
            x_layout: x.layout,
            weight_layout: weight.layout,
            y_stride: columns,
        };
        let operands = Operands {
            x: x.buffer.address,
            weight: weight.buffer.address,
            y: y.address,
            bias: 0,
        };
        if !operands.are_aligned() {
            return Err(CudaError::Unsupported(
                "a matrix that starts at an odd address".to_owned(),
            ));
        }
        gpu.inside(|gpu| {
            // SAFETY: the buffers have the extent of their shapes and outlive the stream's work, as `inside` orders
            // everything later behind it.
            unsafe { gpu.multiply(shape, operands) }
        })?;
        Ok(y.tensor)
    })
}

/// Says once for each reason why the kernels do not serve.
fn warn(error: &CudaError) {
    static SAID: OnceLock<Mutex<HashSet<String>>> = OnceLock::new();
    let text = error.to_string();
    let said = SAID.get_or_init(Mutex::default);
    if said.lock().is_ok_and(|mut said| said.insert(text.clone())) {
        log::warn!("the CUDA kernels do not serve this: {text}");
    }
}

/// A CUDA device and its number; none of a device that records gradients, or of another kind.
fn cuda_device(device: &Device) -> Option<(&CubeDevice, usize)> {
    match device.as_dispatch() {
        DispatchDevice::Cube(device @ CubeDevice::Cuda(cuda)) => Some((device, cuda.index)),
        _ => None,
    }
}

fn device_number(device: &Device) -> Option<usize> {
    cuda_device(device).map(|(_, number)| number)
}

/// The name of a CUDA device and the version of CUDA that its driver speaks; none of other devices.
pub fn device_name(device: &Device) -> Option<String> {
    let gpu = gpu::acquire(device_number(device)?).ok()?;
    let name = gpu.context.name().ok()?;
    let mut version = 0;
    // SAFETY: writes one number.
    unsafe { cudarc::driver::sys::cuDriverGetVersion(&raw mut version).result() }.ok()?;
    Some(format!("{name}, CUDA {}.{}", version / 1000, version % 1000 / 10))
}

/// Whether kernels and products are there. Asked once: the thread that enqueues must not be waited for.
fn products_ready(index: usize) -> bool {
    static READY: [OnceLock<bool>; gpu::SLOTS] = [const { OnceLock::new() }; gpu::SLOTS];
    let ready = || gpu::acquire(index).is_ok_and(|gpu| gpu.products.is_some());
    READY.get(index).is_some_and(|slot| *slot.get_or_init(ready))
}
