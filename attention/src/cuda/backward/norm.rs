//! Gradients of the norm over every head's output.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use super::launch::{Norm, PARTS};
use crate::cuda::buffer::{Buffer, device_index};
use crate::cuda::error::CudaError;
use crate::cuda::gpu::acquire;
use crate::cuda::launch::serves;
use crate::cuda::queue::on_device;

/// What the backward pass of a norm gives: by output, by weights (f32), by gate.
pub(in crate::cuda) type Given = (CubeTensor, CubeTensor, Option<CubeTensor>);

/// Gradients of `head_norm` and `gated_head_norm`. `gamma` is f32.
pub(in crate::cuda) fn head_norm_backward(
    (output, gamma, gate, gradient): (CubeTensor, CubeTensor, Option<CubeTensor>, CubeTensor),
    epsilon: f64,
) -> Result<Given, CudaError> {
    let client = output.client.clone();
    on_device(&client, move || {
        let mut gpu = acquire(device_index(&output)?)?;
        let rows = |tensor| Buffer::of(tensor)?.typed(DType::BF16);
        let (output, gradient) = (rows(output)?, rows(gradient)?);
        let gamma = Buffer::of(gamma)?.typed(DType::F32)?;
        let gate = gate.map(rows).transpose()?;
        let [batch, tokens, heads, width] = output.shape()?;
        if !serves(heads, width, width) {
            return Err(CudaError::Unsupported(format!("heads of {width} numbers")));
        }
        let like =
            |buffer: &Buffer| Buffer::new(&buffer.tensor, buffer.tensor.meta.shape().clone(), DType::BF16);
        let by_output = like(&output)?;
        let by_gate = gate.as_ref().map(like).transpose()?;
        let by_gamma = Buffer::new(&output.tensor, [width], DType::F32)?;
        let parts = Buffer::new(&output.tensor, [PARTS, width], DType::F32)?;
        let address = |buffer: &Option<Buffer>| buffer.as_ref().map_or(0, |buffer| buffer.address);
        let norm = Norm {
            output: output.address,
            gamma: gamma.address,
            gate: address(&gate),
            gradient: gradient.address,
            by_output: by_output.address,
            by_gamma: by_gamma.address,
            by_gate: address(&by_gate),
            parts: parts.address,
            rows: batch * tokens * heads,
            width,
            epsilon: epsilon as f32,
        };
        gpu.inside(|gpu| gpu.norm_backward(&norm))?;
        let by_gate = by_gate.map(|buffer| buffer.tensor);
        Ok((by_output.tensor, by_gamma.tensor, by_gate))
    })
}
