//! The border to burn: its tensors as device memory, its order of work, and one GPU with what was prepared on
//! it.

mod gpu;
mod queue;
mod support;
mod tensor;

pub(super) use gpu::{Gpu, acquire};
pub(super) use queue::{Queue, on_device};
pub(super) use support::cuda_device;
pub use support::device_name;
pub(crate) use support::may_serve;
pub(super) use tensor::{DeviceMatrix, DeviceTensor, device_index, empty};
