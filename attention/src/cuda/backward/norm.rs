//! Gradients of the norm over every head's output.

use std::ffi::c_int;

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use crate::cuda::buffer::{Buffer, device_index, on_device};
use crate::cuda::error::CudaError;
use crate::cuda::gpu::{Gpu, acquire};
use crate::cuda::launch::{parameter, serves};
use crate::cuda::program::Kernel;

/// Blocks that walk the rows, each with its part of the gradient by the weights: four for a multiprocessor.
const PARTS: usize = 528;

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
        let norm = Norm::new(
            (rows(output)?, Buffer::of(gamma)?.typed(DType::F32)?),
            gate.map(rows).transpose()?,
            rows(gradient)?,
            epsilon as f32,
        )?;
        gpu.inside(|gpu| norm.run(gpu))?;
        let by_gate = norm.by_gate.map(|buffer| buffer.tensor);
        Ok((norm.by_output.tensor, norm.by_gamma.tensor, by_gate))
    })
}

struct Norm {
    output: Buffer,
    gamma: Buffer,
    gate: Option<Buffer>,
    gradient: Buffer,
    by_output: Buffer,
    by_gamma: Buffer,
    by_gate: Option<Buffer>,
    parts: Buffer,
    rows: usize,
    width: usize,
    epsilon: f32,
}

impl Norm {
    fn new(
        (output, gamma): (Buffer, Buffer),
        gate: Option<Buffer>,
        gradient: Buffer,
        epsilon: f32,
    ) -> Result<Self, CudaError> {
        let [batch, tokens, heads, width] = output.shape()?;
        if !serves(heads, width, width) {
            return Err(CudaError::Unsupported(format!("heads of {width} numbers")));
        }
        let like =
            |buffer: &Buffer| Buffer::new(&buffer.tensor, buffer.tensor.meta.shape().clone(), DType::BF16);
        Ok(Self {
            by_output: like(&output)?,
            by_gamma: Buffer::new(&output.tensor, [width], DType::F32)?,
            by_gate: gate.as_ref().map(like).transpose()?,
            parts: Buffer::new(&output.tensor, [PARTS, width], DType::F32)?,
            rows: batch * tokens * heads,
            output,
            gamma,
            gate,
            gradient,
            width,
            epsilon,
        })
    }

    fn run(&self, gpu: &mut Gpu) -> Result<(), CudaError> {
        let address = |buffer: &Option<Buffer>| buffer.as_ref().map_or(0, |buffer| buffer.address);
        let (gate, by_gate, rows, parts) = (
            address(&self.gate),
            address(&self.by_gate),
            self.rows as i64,
            PARTS as c_int,
        );
        let stream = gpu.stream.cu_stream();
        let mut parameters = [
            parameter(&self.output.address),
            parameter(&self.gamma.address),
            parameter(&gate),
            parameter(&self.gradient.address),
            parameter(&self.by_output.address),
            parameter(&by_gate),
            parameter(&self.parts.address),
            parameter(&rows),
            parameter(&self.epsilon),
        ];
        let what = (Kernel::NormBackward, self.width, false, 0);
        gpu.launch(what, [PARTS, 1, 1], 256, stream, &mut parameters)?;
        let mut parameters = [
            parameter(&self.parts.address),
            parameter(&self.by_gamma.address),
            parameter(&parts),
        ];
        let what = (Kernel::SumParts, self.width, false, 0);
        gpu.launch(what, [self.width, 1, 1], 256, stream, &mut parameters)
    }
}
