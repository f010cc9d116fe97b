//! Matrix products.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use liquid_cuda::device::{Address, Element, Operands, Shape};

use crate::cuda::device::{DeviceTensor, acquire, device_index, on_device};
use crate::cuda::error::CudaError;

/// Multiplies `x [rows, depth]` with `weight [depth, columns]` by cuBLASLt.
pub(in crate::cuda) fn multiply(x: CubeTensor, weight: CubeTensor) -> Result<CubeTensor, CudaError> {
    let element = match x.dtype {
        DType::BF16 => Element::Bf16,
        DType::F16 => Element::F16,
        DType::F32 => Element::F32,
        other => return Err(CudaError::Unsupported(format!("a product of {other:?}"))),
    };
    let client = x.client.clone();
    on_device(&client, move || {
        let mut gpu = acquire(device_index(&x)?)?;
        let dtype = x.dtype;
        let x = DeviceTensor::matrix(x)?;
        let weight = DeviceTensor::matrix(weight)?.typed(dtype)?;
        let ([rows, depth], [_, columns]) = (x.tensor.shape()?, weight.tensor.shape()?);
        let y = DeviceTensor::new(&x.tensor.tensor, [rows, columns], dtype)?;
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
            x: x.tensor.address,
            weight: weight.tensor.address,
            y: y.address,
            bias: Address::NULL,
        };
        if !operands.are_aligned() {
            return Err(CudaError::Unsupported(
                "a matrix that starts at an odd address".to_owned(),
            ));
        }
        gpu.inside(|gpu| {
            // SAFETY: the tensors have the extent of their shapes and outlive the stream's work, as `inside`
            // orders everything later behind it.
            unsafe { gpu.multiply(shape, operands) }
        })?;
        Ok(y.tensor)
    })
}
