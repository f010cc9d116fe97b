//! burn's tensors as device memory.

use std::any::Any;

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use liquid_cuda::Layout;

use super::error::CudaError;
use super::queue::Server;

/// A tensor, row after row, and where it lies. The memory stays its own as long as this lives.
pub(super) struct Buffer {
    pub(super) tensor: CubeTensor,
    pub(super) address: u64,
    _held: Box<dyn Any>,
}

/// A matrix whose rows, or columns, are dense: a view of a wider one, or of a transposed one.
pub(super) struct Matrix {
    pub(super) buffer: Buffer,
    pub(super) layout: Layout,
}

impl Matrix {
    /// Row after row; copied if its columns are dense instead.
    pub(super) fn into_rows(self) -> Result<Self, CudaError> {
        if self.layout.transposed {
            Self::rows(self.buffer.tensor)
        } else {
            Ok(self)
        }
    }

    /// Copies the tensor if its elements are not in the order of its shape.
    fn rows(tensor: CubeTensor) -> Result<Self, CudaError> {
        let buffer = Buffer::of(tensor)?;
        let [_, columns] = buffer.shape()?;
        Ok(Self {
            buffer,
            layout: Layout::rows(columns),
        })
    }

    /// [`Buffer::typed`].
    pub(super) fn typed(self, dtype: DType) -> Result<Self, CudaError> {
        Ok(Self {
            buffer: self.buffer.typed(dtype)?,
            ..self
        })
    }
}

/// How a [`Matrix`] lies; none if the tensor is not such a matrix.
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
pub(super) fn empty(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, dtype)
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
        Self::as_it_lies(into_contiguous(tensor))
    }

    fn as_it_lies(tensor: CubeTensor) -> Result<Self, CudaError> {
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
        Self::of(empty(like, shape.into(), dtype))
    }

    /// The dimensions, if there are as many as expected.
    pub(super) fn shape<const N: usize>(&self) -> Result<[usize; N], CudaError> {
        let shape = &self.tensor.meta.shape()[..];
        <[usize; N]>::try_from(shape).map_err(|_| {
            let text = format!("a tensor of shape {shape:?} where {N} dimensions are expected");
            CudaError::Unsupported(text)
        })
    }

    /// A matrix as it lies, if its rows or its columns are dense; copied otherwise.
    pub(super) fn matrix(tensor: CubeTensor) -> Result<Matrix, CudaError> {
        let Some(layout) = layout(&tensor) else {
            return Matrix::rows(tensor);
        };
        Ok(Matrix {
            buffer: Self::as_it_lies(tensor)?,
            layout,
        })
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
