//! burn's tensors as device memory.

use std::any::Any;

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::cuda::CudaRuntime;
use cubecl_runtime::runtime::Runtime;

use super::error::CudaError;

type Server = <CudaRuntime as Runtime>::Server;

/// A tensor, row after row, and where it lies. The memory stays its own as long as this lives.
pub(super) struct Buffer {
    pub(super) tensor: CubeTensor,
    pub(super) address: u64,
    _held: Box<dyn Any>,
}

/// Runs a task on the thread on which burn submits to the device.
pub(super) fn on_device<R: Send + 'static>(
    client: &Client,
    task: impl FnOnce() -> Result<R, CudaError> + Send,
) -> Result<R, CudaError> {
    client
        .exclusive(task)
        .map_err(|error| CudaError::Buffer(format!("{error:?}")))?
}

/// Number of the CUDA device that holds a tensor.
pub(super) fn device_index(tensor: &CubeTensor) -> Result<usize, CudaError> {
    match &tensor.device {
        CubeDevice::Cuda(device) => Ok(device.index),
        other => Err(CudaError::Unsupported(format!("{other:?} is not a CUDA device"))),
    }
}

impl Buffer {
    /// Copies the tensor if its elements are not in the order of its shape.
    pub(super) fn of(tensor: CubeTensor) -> Result<Self, CudaError> {
        let tensor = into_contiguous(tensor);
        let resource = tensor
            .client
            .get_resource::<Server>(tensor.handle.clone())
            .map_err(|error| CudaError::Buffer(format!("{error:?}")))?;
        Ok(Self {
            address: resource.resource().ptr,
            tensor,
            _held: Box::new(resource),
        })
    }

    /// Memory for a tensor on the device of another; its elements are not set.
    pub(super) fn new(like: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> Result<Self, CudaError> {
        let (client, device) = (like.client.clone(), like.device.clone());
        Self::of(empty_device_contiguous_dtype(client, device, shape.into(), dtype))
    }

    /// The dimensions, if there are as many as expected.
    pub(super) fn shape<const N: usize>(&self) -> Result<[usize; N], CudaError> {
        let shape = self.tensor.meta.shape().to_vec();
        let text = format!("a tensor of shape {shape:?} where {N} dimensions are expected");
        shape.try_into().map_err(|_| CudaError::Unsupported(text))
    }

    /// An error unless the elements are of that type.
    pub(super) fn typed(self, dtype: DType) -> Result<Self, CudaError> {
        if self.tensor.dtype == dtype {
            return Ok(self);
        }
        Err(CudaError::Unsupported(format!(
            "elements of {:?}, the kernels take {dtype:?}",
            self.tensor.dtype
        )))
    }
}
