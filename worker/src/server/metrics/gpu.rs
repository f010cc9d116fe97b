//! Metrics of the GPU, read from NVML when Prometheus asks. NVML comes with the driver and is loaded at
//! run time; without it, or without a GPU, there are no such metrics.

use std::sync::{Arc, OnceLock};

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Unit;

use super::ReasonLabel;

/// Reasons for lowered clocks; idle is none of them.
const REASONS: [(&str, ThrottleReasons); 6] = [
    ("power_cap", ThrottleReasons::SW_POWER_CAP),
    ("power_brake", ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN),
    ("thermal_software", ThrottleReasons::SW_THERMAL_SLOWDOWN),
    ("thermal_hardware", ThrottleReasons::HW_THERMAL_SLOWDOWN),
    ("hardware", ThrottleReasons::HW_SLOWDOWN),
    ("application_clocks", ThrottleReasons::APPLICATIONS_CLOCKS_SETTING),
];

/// The metrics of a GPU, once it is known. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct GpuMetrics(Arc<OnceLock<Watched>>);

#[derive(Debug)]
struct Watched {
    nvml: Nvml,
    uuid: String,
}

impl GpuMetrics {
    /// Reads the metrics of this GPU from now on: its UUID, as `nvidia-smi -L` prints it.
    pub(super) fn watch(&self, uuid: &str) {
        match Nvml::init() {
            // Set once, at the start.
            Ok(nvml) => drop(self.0.set(Watched {
                nvml,
                uuid: uuid.to_owned(),
            })),
            Err(error) => tracing::warn!(%error, "no metrics of the GPU: NVML cannot be used"),
        }
    }
}

impl Collector for GpuMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(watched) = self.0.get() else {
            return Ok(());
        };
        let Ok(device) = watched.nvml.device_by_uuid(watched.uuid.as_str()) else {
            return Ok(());
        };
        for gauge in gauges(&device) {
            gauge.encode(&mut encoder)?;
        }
        if let Ok(reasons) = device.current_throttle_reasons() {
            throttling(reasons, &mut encoder)?;
        }
        Ok(())
    }
}

/// A metric of the GPU; left out where the GPU does not report it.
struct Figure {
    name: &'static str,
    help: &'static str,
    unit: Unit,
    value: Result<f64, NvmlError>,
}

fn gauges(device: &Device<'_>) -> Vec<Figure> {
    let memory = device.memory_info();
    let bytes = |of: fn(&nvml_wrapper::struct_wrappers::device::MemoryInfo) -> u64| match &memory {
        Ok(memory) => Ok(of(memory) as f64),
        Err(_) => Err(NvmlError::NotSupported),
    };
    let busy = device.utilization_rates();
    vec![
        Figure {
            name: "gpu_memory_used",
            help: "Memory in use on the GPU, by all processes",
            unit: Unit::Bytes,
            value: bytes(|memory| memory.used),
        },
        Figure {
            name: "gpu_memory_total",
            help: "Memory of the GPU",
            unit: Unit::Bytes,
            value: bytes(|memory| memory.total),
        },
        Figure {
            name: "gpu_utilization",
            help: "Share of the last moments in which a kernel ran on the GPU",
            unit: Unit::Other("ratio".to_owned()),
            value: busy.map(|busy| f64::from(busy.gpu) / 100.0),
        },
        Figure {
            name: "gpu_temperature",
            help: "Temperature of the GPU's chip",
            unit: Unit::Celsius,
            value: device.temperature(TemperatureSensor::Gpu).map(f64::from),
        },
    ]
}

impl Figure {
    fn encode(self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Ok(value) = self.value else { return Ok(()) };
        let metric = encoder.encode_descriptor(self.name, self.help, Some(&self.unit), MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }
}

fn throttling(reasons: ThrottleReasons, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let family = Family::<ReasonLabel, Gauge>::default();
    for (reason, bit) in REASONS {
        family
            .get_or_create(&ReasonLabel { reason })
            .set(i64::from(reasons.contains(bit)));
    }
    let help = "1 while the GPU's clocks are lowered for this reason";
    let metric = encoder.encode_descriptor("gpu_throttled", help, None, MetricType::Gauge)?;
    family.encode(metric)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn without_nvml_or_such_a_gpu_there_are_no_metrics() {
        let metrics = GpuMetrics::default();
        metrics.watch("GPU-00000000-0000-0000-0000-000000000000");
        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert_eq!(text, "# EOF\n");
    }

    #[test]
    fn every_reason_is_a_label() {
        #[derive(Debug)]
        struct Hot;

        impl Collector for Hot {
            fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
                throttling(ThrottleReasons::HW_THERMAL_SLOWDOWN, &mut encoder)?;
                let value = Ok(0.5);
                let (name, help, unit) = ("gpu_utilization", "Share", Unit::Other("ratio".to_owned()));
                Figure {
                    name,
                    help,
                    unit,
                    value,
                }
                .encode(&mut encoder)
            }
        }

        let mut registry = Registry::with_prefix("liquid_worker");
        registry.register_collector(Box::new(Hot));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(
            text.contains("liquid_worker_gpu_throttled{reason=\"thermal_hardware\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("liquid_worker_gpu_throttled{reason=\"power_cap\"} 0\n"),
            "{text}"
        );
        assert!(
            text.contains("liquid_worker_gpu_utilization_ratio 0.5\n"),
            "{text}"
        );
    }
}
