//! Where the model runs.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A device that can run encoder and ranker. Configurations and command lines write `cpu`, `cuda`, or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The processor of this machine, through burn's flex backend.
    #[default]
    Cpu,
    /// The NVIDIA GPU with this number, as CUDA counts the ones that are visible.
    Cuda(usize),
}

/// The text names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no device; write cpu, cuda (the first GPU) or cuda:N")]
pub struct UnknownDevice(String);

/// Returns how many batches are worth running side by side on the processor. Each core takes whole batches:
/// what lies between the products runs on one core, so that spreading single products would leave the others
/// idle.
pub(super) fn lanes() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(name: &str) -> Result<Self, UnknownDevice> {
        match name.split_once(':') {
            None if name == "cpu" => Ok(Self::Cpu),
            None if name == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", number)) if !number.starts_with('+') => number
                .parse()
                .map(Self::Cuda)
                .map_err(|_| UnknownDevice(name.to_owned())),
            _ => Err(UnknownDevice(name.to_owned())),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = UnknownDevice;

    fn try_from(name: String) -> Result<Self, UnknownDevice> {
        name.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        match device {
            Device::Cpu => "cpu".to_owned(),
            Device::Cuda(number) => format!("cuda:{number}"),
        }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu (flex, {} threads)", lanes()),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (name, device, full) in [
            ("cpu", Device::Cpu, "cpu"),
            ("cuda", Device::Cuda(0), "cuda:0"),
            ("cuda:3", Device::Cuda(3), "cuda:3"),
        ] {
            assert_eq!(name.parse(), Ok(device));
            assert_eq!(String::from(device), full);
        }
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "CPU"] {
            let error = wrong.parse::<Device>().unwrap_err().to_string();
            assert!(error.contains("cuda:N"), "{error}");
        }
    }
}
