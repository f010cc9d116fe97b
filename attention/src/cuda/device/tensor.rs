//! burn's tensors as device memory.

use std::any::Any;

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use liquid_cuda::device::{Address, Layout};

use super::queue::Server;
use crate::cuda::error::CudaError;

/// A tensor, row after row, and where it lies. The memory stays its own as long as this lives.
pub(in crate::cuda) struct DeviceTensor {
    pub(in crate::cuda) tensor: CubeTensor,
    pub(in crate::cuda) address: Address,
    _held: Box<dyn Any>,
}

/// A matrix whose rows, or columns, are dense: a view of a wider one, or of a transposed one.
pub(in crate::cuda) struct DeviceMatrix {
    pub(in crate::cuda) tensor: DeviceTensor,
    pub(in crate::cuda) layout: Layout,
}

impl DeviceMatrix {
    /// Row after row; copied if its columns are dense instead.
    pub(in crate::cuda) fn into_rows(self) -> Result<Self, CudaError> {
        if self.layout.transposed {
            Self::rows(self.tensor.tensor)
        } else {
            Ok(self)
        }
    }

    /// Copies the tensor if its elements are not in the order of its shape.
    fn rows(tensor: CubeTensor) -> Result<Self, CudaError> {
        let tensor = DeviceTensor::of(tensor)?;
        let [_, columns] = tensor.shape()?;
        Ok(Self {
            tensor,
            layout: Layout::rows(columns),
        })
    }

    /// [`DeviceTensor::typed`].
    pub(in crate::cuda) fn typed(self, dtype: DType) -> Result<Self, CudaError> {
        Ok(Self {
            tensor: self.tensor.typed(dtype)?,
            ..self
        })
    }
}

/// How a [`DeviceMatrix`] lies; none if the tensor is not such a matrix.
fn layout(tensor: &CubeTensor) -> Option<Layout> {
    let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
    let ([rows, columns], [down, across]) = (
        <[usize; 2]>::try_from(shape.to_vec()).ok()?,
        <[usize; 2]>::try_from(strides.to_vec()).ok()?,
    );
    if across == 1 && down >= columns {
        return Some(Layout::rows(down));
    }
    (down == 1 && across >= rows).then(|| Layout::columns(across))
}

/// A tensor on the device of another, row after row; its elements are not set.
pub(in crate::cuda) fn empty(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, dtype)
}

/// Number of the CUDA device that holds a tensor.
pub(in crate::cuda) fn device_index(tensor: &CubeTensor) -> Result<usize, CudaError> {
    match &tensor.device {
        CubeDevice::Cuda(device) => Ok(device.index),
        other => Err(CudaError::Unsupported(format!("{other:?} is not a CUDA device"))),
    }
}

impl DeviceTensor {
    /// Looks a tensor up, copied if its elements are not in the order of its shape.
    pub(in crate::cuda) fn of(tensor: CubeTensor) -> Result<Self, CudaError> {
        Self::as_it_lies(into_contiguous(tensor))
    }

    fn as_it_lies(tensor: CubeTensor) -> Result<Self, CudaError> {
        let resource = tensor
            .client
            .get_resource::<Server>(tensor.handle.clone())
            .map_err(|error| CudaError::Buffer(format!("{error:?}")))?;
        Ok(Self {
            address: Address::new(resource.resource().ptr),
            tensor,
            _held: Box::new(resource),
        })
    }

    /// Memory for a tensor on the device of another; its elements are not set.
    pub(in crate::cuda) fn new(
        like: &CubeTensor,
        shape: impl Into<Shape>,
        dtype: DType,
    ) -> Result<Self, CudaError> {
        Self::of(empty(like, shape.into(), dtype))
    }

    /// The dimensions, if there are as many as expected.
    pub(in crate::cuda) fn shape<const N: usize>(&self) -> Result<[usize; N], CudaError> {
        let shape = &self.tensor.meta.shape()[..];
        <[usize; N]>::try_from(shape).map_err(|_| {
            let text = format!("a tensor of shape {shape:?} where {N} dimensions are expected");
            CudaError::Unsupported(text)
        })
    }

    /// Looks a matrix up as it lies, if its rows or its columns are dense; copied otherwise.
    pub(in crate::cuda) fn matrix(tensor: CubeTensor) -> Result<DeviceMatrix, CudaError> {
        let Some(layout) = layout(&tensor) else {
            return DeviceMatrix::rows(tensor);
        };
        Ok(DeviceMatrix {
            tensor: Self::as_it_lies(tensor)?,
            layout,
        })
    }

    /// An error unless the elements are of that type.
    pub(in crate::cuda) fn typed(self, dtype: DType) -> Result<Self, CudaError> {
        if self.tensor.dtype == dtype {
            return Ok(self);
        }
        Err(CudaError::Unsupported(format!(
            "elements of {:?}, the kernels take {dtype:?}",
            self.tensor.dtype
        )))
    }
}
