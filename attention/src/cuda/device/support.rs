//! Which devices the kernels serve.

use std::sync::OnceLock;

use burn::backend::DispatchDevice;
use burn::tensor::Device;
use burn_cubecl::CubeDevice;
use liquid_cuda::device::driver_version;

use super::gpu::{DEVICES, acquire};

/// A CUDA device and its number; none of a device that records gradients, or of another kind.
pub(in crate::cuda) fn cuda_device(device: &Device) -> Option<(&CubeDevice, usize)> {
    match device.as_dispatch() {
        DispatchDevice::Cube(device @ CubeDevice::Cuda(cuda)) => Some((device, cuda.index)),
        _ => None,
    }
}

/// Whether there are kernels and products for layers on a device: a Hopper GPU, without gradients.
pub(crate) fn may_serve(device: &Device) -> bool {
    cuda_device(device).is_some_and(|(_, number)| products_ready(number))
}

/// Whether kernels and products are there. Asked once: the thread that enqueues must not be waited for.
fn products_ready(index: usize) -> bool {
    static READY: [OnceLock<bool>; DEVICES] = [const { OnceLock::new() }; DEVICES];
    let ready = || acquire(index).is_ok_and(|gpu| gpu.products.is_some());
    READY.get(index).is_some_and(|known| *known.get_or_init(ready))
}

/// Returns the name of a CUDA device and the version of CUDA that its driver speaks; none of other devices.
pub fn device_name(device: &Device) -> Option<String> {
    let (_, number) = cuda_device(device)?;
    let name = acquire(number).ok()?.context.name().ok()?;
    let (major, minor) = driver_version().ok()?;
    Some(format!("{name}, CUDA {major}.{minor}"))
}
