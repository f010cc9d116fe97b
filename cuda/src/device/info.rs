//! What a GPU is called. Takes none of its memory.

#![allow(unsafe_code, reason = "calls of the CUDA driver; see SAFETY below")]

use cudarc::driver::{CudaContext, result, sys};

use super::library::Library;
use crate::error::Error;

/// Name, memory and UUID of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Name, as `NVIDIA H200`.
    pub name: String,
    /// Memory in bytes.
    pub memory: usize,
    /// UUID, as `nvidia-smi -L` prints it.
    pub uuid: String,
}

impl DeviceInfo {
    /// Looks up the GPU of this number without opening it.
    ///
    /// # Errors
    /// [`Error::Library`] without a driver, [`Error::Absent`] without such a GPU, [`Error::Driver`].
    pub fn of(number: usize) -> Result<Self, Error> {
        Library::Cuda.require()?;
        let count = CudaContext::device_count()?;
        let absent = Error::Absent { number, count };
        let index = i32::try_from(number).ok().filter(|index| *index < count);
        let device = result::device::get(index.ok_or(absent)?)?;
        // SAFETY: `device` was just given out by the driver.
        let memory = unsafe { result::device::total_mem(device) }?;
        let bytes = result::device::get_uuid(device)?.bytes;
        Ok(Self {
            name: result::device::get_name(device)?,
            memory,
            uuid: uuid(&bytes.map(|byte| byte as u8)),
        })
    }
}

/// The version of CUDA that the driver speaks, as `(13, 0)`.
///
/// # Errors
/// [`Error::Library`] without a driver, [`Error::Driver`].
pub fn driver_version() -> Result<(i32, i32), Error> {
    Library::Cuda.require()?;
    let mut version = 0;
    // SAFETY: writes one number.
    unsafe { sys::cuDriverGetVersion(&raw mut version).result()? };
    Ok((version / 1000, version % 1000 / 10))
}

fn uuid(bytes: &[u8; 16]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digits[range]);
    format!("GPU-{}", groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_printed_as_nvidia_smi_prints_it() {
        let bytes = std::array::from_fn(|i| (17 * i) as u8);
        assert_eq!(uuid(&bytes), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_with_a_remedy() {
        // Without a driver it is the driver that is missing.
        let text = DeviceInfo::of(usize::MAX).map_err(|error| error.to_string());
        let remedies = ["install", "CUDA_VISIBLE_DEVICES", "driver"];
        assert!(
            text.as_ref()
                .is_err_and(|text| remedies.iter().any(|remedy| text.contains(remedy))),
            "{text:?}"
        );
    }
}
