//! Numbers between host and device.

use burn::module::{ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};

/// Puts values onto a device, in a type.
pub(super) fn tensor<const D: usize>(
    values: &[f32],
    shape: [usize; D],
    dtype: DType,
    device: &Device,
) -> Tensor<D> {
    Tensor::<D>::from_data(TensorData::new(values.to_vec(), shape), (device, DType::F32)).cast(dtype)
}

/// Reads all values of a tensor; none, which no check takes for right, where that fails.
pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .cast(DType::F32)
        .into_data()
        .try_to_vec()
        .unwrap_or_default()
}

/// Copies weights to a device in a type, as leaves that record gradients if the device does.
pub(super) struct CopyTo<'a> {
    pub(super) dtype: DType,
    pub(super) device: &'a Device,
}

impl ModuleMapper for CopyTo<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let weights = param.val();
        let shape = weights.dims();
        Param::from_tensor(tensor(&values(weights), shape, self.dtype, self.device))
    }
}
