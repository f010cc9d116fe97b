//! Fits the sidecar's requests and limits into those of the whole pod (`spec.resources`, KEP-2837).
//!
//! The API server refuses a container's limit above the pod's, and requests that add up to more than the pod's. What
//! a pod with limits leaves out of its own requests, it fills in from the containers before it calls the webhook,
//! so that nothing may be left for the sidecar.

use serde_json::Value;

use super::outcome::Denial;
use super::pod::{Container, ContainerList, Pod};
use super::quantity::parse_quantity;
use super::settings::SidecarResources;

/// Rounding of sums of quantities, in units of [`Kind::smallest`].
const ROUNDING: f64 = 1e-6;

/// A kind of resource that a sidecar requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cpu,
    Memory,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    /// Returns the smallest amount that a container can state: a thousandth of a core, or a byte.
    fn smallest(self) -> f64 {
        match self {
            Self::Cpu => 1e-3,
            Self::Memory => 1.0,
        }
    }

    /// Writes an amount, rounded down.
    fn write(self, amount: f64) -> String {
        let whole = (amount / self.smallest() + ROUNDING).floor();
        let unit = |size: f64| whole % size == 0.0;
        match self {
            _ if whole <= 0.0 => "0".into(),
            Self::Cpu => format!("{whole}m"),
            Self::Memory if unit(1_048_576.0) => format!("{}Mi", whole / 1_048_576.0),
            Self::Memory if unit(1024.0) => format!("{}Ki", whole / 1024.0),
            Self::Memory => whole.to_string(),
        }
    }
}

/// What a container states of one kind of resource.
#[derive(Clone, Copy, Debug)]
struct Stated<'a> {
    request: Option<&'a str>,
    limit: Option<&'a str>,
}

impl Kind {
    fn read(self, resources: &SidecarResources) -> Stated<'_> {
        let (request, limit) = match self {
            Self::Cpu => (&resources.cpu_request, &resources.cpu_limit),
            Self::Memory => (&resources.memory_request, &resources.memory_limit),
        };
        Stated {
            request: request.as_deref(),
            limit: limit.as_deref(),
        }
    }
}

/// Returns the sidecar's resources, reduced to what the pod's own leave it. `asked` are those that the pod's
/// annotations ask for: they are not reduced.
///
/// # Errors
/// What an annotation asks for does not fit.
pub(super) fn fit_into_pod(
    wanted: &SidecarResources,
    asked: &SidecarResources,
    pod: &Pod<'_>,
) -> Result<SidecarResources, Denial> {
    let fit = |kind: Kind| PodBudget::new(kind, pod).fit(kind.read(wanted), kind.read(asked));
    let (cpu_request, cpu_limit) = fit(Kind::Cpu)?;
    let (memory_request, memory_limit) = fit(Kind::Memory)?;
    Ok(SidecarResources {
        cpu_request,
        cpu_limit,
        memory_request,
        memory_limit,
    })
}

/// What a pod states of one kind of resource for all its containers together.
struct PodBudget<'a> {
    kind: Kind,
    request: Option<&'a Value>,
    limit: Option<&'a Value>,
    /// What its containers request together.
    requested: f64,
}

impl<'a> PodBudget<'a> {
    fn new(kind: Kind, pod: &Pod<'a>) -> Self {
        let read = |side| pod.spec.get("resources")?.get(side)?.get(kind.name());
        Self {
            kind,
            request: read("requests"),
            limit: read("limits"),
            requested: sum_requests(pod, kind),
        }
    }

    fn fit(&self, wanted: Stated<'_>, asked: Stated<'_>) -> Result<(Option<String>, Option<String>), Denial> {
        let limit = self.fit_limit(wanted, asked)?;
        let request = self.fit_request(wanted, asked, limit.as_deref())?;
        Ok((request, limit))
    }

    fn fit_limit(&self, wanted: Stated<'_>, asked: Stated<'_>) -> Result<Option<String>, Denial> {
        let (Some(own), Some(most)) = (wanted.limit, self.limit) else {
            return Ok(wanted.limit.map(str::to_owned));
        };
        if amount(own) <= read_amount(most) {
            return Ok(Some(own.into()));
        }
        match asked.limit {
            None => Ok(Some(self.kind.write(read_amount(most)))),
            Some(asked) => {
                let field = format!("spec.resources.limits.{} = {}", self.kind.name(), show(most));
                let remedy = format!("above the pod's own {field}; lower it, or raise that");
                Err(self.deny("limit", asked, remedy))
            }
        }
    }

    fn fit_request(
        &self,
        wanted: Stated<'_>,
        asked: Stated<'_>,
        limit: Option<&str>,
    ) -> Result<Option<String>, Denial> {
        // The pod's request is never above its limit.
        let bound = [("requests", self.request), ("limits", self.limit)];
        let bound = bound.into_iter().find_map(|(side, value)| Some((side, value?)));
        // A limit without a request would be taken for the request too.
        let (Some((side, most)), Some(own)) = (bound, wanted.request.or(wanted.limit)) else {
            return Ok(wanted.request.map(str::to_owned));
        };
        let left = (read_amount(most) - self.requested).max(0.0);
        let room = limit.map_or(left, |limit| left.min(amount(limit)));
        if amount(own) <= room + ROUNDING * self.kind.smallest() {
            return Ok(Some(own.into()));
        }
        match asked.request {
            None => Ok(Some(self.kind.write(room))),
            Some(asked) => {
                let field = format!("spec.resources.{side}.{} = {}", self.kind.name(), show(most));
                let left = self.kind.write(left);
                let remedy =
                    format!("the pod's own {field} leaves {left} for the sidecar; lower it, or raise that");
                Err(self.deny("request", asked, remedy))
            }
        }
    }

    fn deny(&self, side: &str, value: &str, remedy: String) -> Denial {
        Denial::Annotation {
            name: format!("liquidmemory.dev/{}-{side}", self.kind.name()),
            value: value.into(),
            remedy,
        }
    }
}

/// Sums what a pod's containers request, as the API server does: native sidecars run beside all that start after
/// them, ordinary init containers one after the other.
fn sum_requests(pod: &Pod<'_>, kind: Kind) -> f64 {
    let request = |container: &Container<'_>| {
        let read = |side| container.value.get("resources")?.get(side)?.get(kind.name());
        read("requests")
            .or_else(|| read("limits"))
            .map_or(0.0, read_amount)
    };
    let (mut beside, mut most) = (0.0, 0.0_f64);
    for container in pod.containers(ContainerList::Init) {
        let own = request(&container);
        most = most.max(beside + own);
        if container.is_native_sidecar() {
            beside += own;
        }
    }
    let main: f64 = pod
        .containers(ContainerList::Main)
        .map(|container| request(&container))
        .sum();
    most.max(beside + main)
}

fn read_amount(quantity: &Value) -> f64 {
    amount(&show(quantity))
}

/// Returns a quantity as it is written; the API server takes numbers too.
fn show(quantity: &Value) -> String {
    quantity
        .as_str()
        .map_or_else(|| quantity.to_string(), str::to_owned)
}

/// Returns the amount of a quantity; 0 for what is none, which the API server refuses.
fn amount(quantity: &str) -> f64 {
    parse_quantity(quantity).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn resources([cpu_request, cpu_limit, memory_request, memory_limit]: [&str; 4]) -> SidecarResources {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        SidecarResources {
            cpu_request: some(cpu_request),
            cpu_limit: some(cpu_limit),
            memory_request: some(memory_request),
            memory_limit: some(memory_limit),
        }
    }

    /// What the default sidecar gets in a pod with this spec.
    fn fitted(spec: &Value) -> SidecarResources {
        let pod = json!({ "spec": spec });
        let wanted = resources(["50m", "", "64Mi", "512Mi"]);
        fit_into_pod(&wanted, &resources([""; 4]), &Pod::read(&pod).unwrap()).unwrap()
    }

    fn container(requests: &Value) -> Value {
        json!({ "name": "app", "resources": { "requests": requests } })
    }

    #[test]
    fn case_35_the_sidecar_gets_what_the_pods_own_resources_leave() {
        let app = container(&json!({ "cpu": "80m", "memory": "100Mi" }));
        for (pod, expected) in [
            (json!({}), ["50m", "", "64Mi", "512Mi"]),
            (
                json!({ "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "cpu": "500m", "memory": "256Mi" } }),
                ["20m", "", "28Mi", "256Mi"],
            ),
            // Wide enough: nothing changes.
            (
                json!({ "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "cpu": 2, "memory": "1Gi" } }),
                ["50m", "", "64Mi", "512Mi"],
            ),
            // Nothing is left; a request that is missing would be as large as the limit.
            (
                json!({ "requests": { "cpu": "80m", "memory": "100Mi" } }),
                ["0", "", "0", "512Mi"],
            ),
            (
                json!({ "limits": { "memory": "130Mi" } }),
                ["50m", "", "30Mi", "130Mi"],
            ),
            (
                json!({ "requests": { "cpu": 0.1 } }),
                ["20m", "", "64Mi", "512Mi"],
            ),
            (
                json!({ "limits": { "hugepages-2Mi": "4Mi" } }),
                ["50m", "", "64Mi", "512Mi"],
            ),
        ] {
            let spec = json!({ "resources": pod, "containers": [app] });
            assert_eq!(fitted(&spec), resources(expected), "{pod}");
        }
    }

    #[test]
    fn case_35_requests_are_summed_as_the_api_server_does() {
        let init = |memory: &str, restart: Option<&str>| {
            let mut container = container(&json!({ "memory": memory }));
            container["restartPolicy"] = json!(restart);
            container
        };
        let left = |init: Value, main: &[Value]| {
            let pod = json!({ "requests": { "memory": "256Mi" } });
            let spec = json!({ "resources": pod, "initContainers": init, "containers": main });
            fitted(&spec).memory_request.unwrap()
        };
        let main = [
            container(&json!({ "memory": "100Mi" })),
            container(&json!({ "memory": "100Mi" })),
        ];
        assert_eq!(left(json!([]), &main), "56Mi");
        // An ordinary one ends before the others start.
        assert_eq!(left(json!([init("150Mi", None)]), &main), "56Mi");
        assert_eq!(left(json!([init("240Mi", None)]), &main), "16Mi");
        // A native sidecar runs beside them, and beside init containers after it.
        assert_eq!(left(json!([init("50Mi", Some("Always"))]), &main), "6Mi");
        let both = json!([init("50Mi", Some("Always")), init("200Mi", None)]);
        assert_eq!(left(both, &main), "6Mi");
        let both = json!([init("200Mi", None), init("50Mi", Some("Always"))]);
        assert_eq!(left(both, &main), "6Mi");
        // A limit alone is a request too.
        let limit = json!({ "name": "app", "resources": { "limits": { "memory": "196Mi" } } });
        assert_eq!(left(json!([]), &[limit]), "60Mi");
    }

    #[test]
    fn case_35_what_an_annotation_asks_for_is_not_reduced() {
        let pod = json!({ "spec": {
            "resources": { "requests": { "cpu": "100m" }, "limits": { "memory": "256Mi" } },
            "containers": [container(&json!({ "cpu": "80m" }))],
        } });
        let pod = Pod::read(&pod).unwrap();
        let denied = |asked: [&str; 4]| {
            let asked = resources(asked);
            fit_into_pod(&asked, &asked, &pod).unwrap_err().to_string()
        };
        assert_eq!(
            denied(["50m", "", "", ""]),
            "metadata.annotations[liquidmemory.dev/cpu-request] = \"50m\": the pod's own \
             spec.resources.requests.cpu = 100m leaves 20m for the sidecar; lower it, or raise that"
        );
        assert_eq!(
            denied(["", "", "", "512Mi"]),
            "metadata.annotations[liquidmemory.dev/memory-limit] = \"512Mi\": above the pod's own \
             spec.resources.limits.memory = 256Mi; lower it, or raise that"
        );
        let asked = resources(["20m", "", "", "256Mi"]);
        assert_eq!(
            fit_into_pod(&asked, &asked, &pod).unwrap().cpu_request.unwrap(),
            "20m"
        );
    }
}
