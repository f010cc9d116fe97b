//! Reads why the API server refuses to create a worker's pod: which object refuses, and what to set. Pure.
//!
//! The texts are those of Kubernetes' admission (`resourcequota`, `limitranger`) and of OpenShift's, which have no form
//! but this. One that is not recognised is repeated as it is.

use k8s_openapi::api::core::v1::LimitRange;

/// Remedy of a refused user or group.
const USER: &str = "set spec.workers.user to Platform, or podUser=Platform for the whole installation, so that pods \
                    name no user and the platform assigns it";

/// Returns the message of a condition: what refuses and the remedy, then the API server's words. `limits` are the
/// LimitRanges of the namespace.
pub(super) fn explain_refusal(message: &str, limits: &[LimitRange]) -> String {
    let remedies: Vec<String> = explain_exceeded_quota(message)
        .or_else(|| explain_unmet_quota(message))
        .or_else(|| explain_uncounted_quota(message))
        .map_or_else(|| explain_limits(message, limits), |remedy| vec![remedy]);
    match remedies[..] {
        [] if names_user(message) => format!("{USER}; the API server says: {message}"),
        [] => message.to_owned(),
        _ => format!("{}; the API server says: {message}", remedies.join("; ")),
    }
}

/// Returns true if a message can only be explained with the LimitRanges of the namespace.
pub(super) fn names_limit(message: &str) -> bool {
    !Violation::read_all(message).is_empty()
}

fn names_user(message: &str) -> bool {
    let fields = [
        "runAsUser",
        "runAsGroup",
        "fsGroup",
        "security context constraint",
    ];
    fields.iter().any(|field| message.contains(field))
}

/// Returns the field of a proxy that sets what a quota counts.
fn find_field(counted: &str) -> String {
    let (side, resource) = counted.split_once('.').unwrap_or(("", counted));
    match (side, resource) {
        (_, "pods" | "count/pods") => "spec.workers.replicas".into(),
        (_, device) if device.contains('/') => "spec.workers.gpu.count".into(),
        ("limits", resource) => format!("spec.workers.resources.limits.{resource}"),
        ("requests", resource) => format!("spec.workers.resources.requests.{resource}"),
        _ => format!("spec.workers.resources.requests.{counted}"),
    }
}

/// `exceeded quota: NAME, requested: A=1,B=2, used: A=3,B=4, limited: A=3,B=5`: what is named is what exceeds.
fn explain_exceeded_quota(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("exceeded quota: ")?;
    let (name, rest) = rest.split_once(", requested: ")?;
    let (requested, rest) = rest.split_once(", used: ")?;
    let (used, limited) = rest.split_once(", limited: ")?;
    let amount = |list: &str, counted: &str| {
        let mut pairs = list.split(',').filter_map(|pair| pair.trim().split_once('='));
        let found = pairs.find(|(name, _)| *name == counted);
        found.map_or_else(|| "?".to_owned(), |(_, amount)| amount.to_owned())
    };
    let counted = requested
        .split(',')
        .filter_map(|pair| pair.trim().split_once('='));
    let parts: Vec<String> = counted
        .map(|(counted, wanted)| {
            let (used, limited) = (amount(used, counted), amount(limited, counted));
            let field = find_field(counted);
            format!(
                "lower {field} ({counted} {wanted} beside {used} of {limited} used), or raise {counted} of it"
            )
        })
        .collect();
    Some(format!(
        "ResourceQuota {name} has no room for a worker: {}; fewer spec.workers.replicas need less too",
        parts.join("; ")
    ))
}

/// `failed quota: NAME: must specify limits.cpu for: worker; limits.memory for: worker`.
fn explain_unmet_quota(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("failed quota: ")?;
    let (name, rest) = rest.split_once(": must specify ")?;
    let counted = rest
        .split([';', ','])
        .filter_map(|part| part.split_whitespace().next());
    let fields: Vec<String> = counted.map(find_field).collect();
    Some(format!(
        "ResourceQuota {name} takes only pods that state what it counts: set {}",
        fields.join(" and ")
    ))
}

/// `status unknown for quota: NAME, resources: A,B`: a quota is new. A ReplicaSet keeps the first refusal in its
/// condition, so that this one stays while others may have followed.
fn explain_uncounted_quota(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("status unknown for quota: ")?;
    let (name, counted) = rest.split_once(", resources: ")?;
    let fields: Vec<String> = counted
        .split(',')
        .map(|counted| find_field(counted.trim()))
        .collect();
    Some(format!(
        "ResourceQuota {name} was new when it refused a worker: compare kubectl describe resourcequota {name} with {}",
        fields.join(" and ")
    ))
}

/// What a LimitRange finds wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Maximum,
    Minimum,
    Ratio,
}

impl Bound {
    /// The words around resource, kind and amount in the API server's message.
    const ALL: [(Self, &'static str, &'static str); 3] = [
        (Self::Maximum, "maximum ", " usage per "),
        (Self::Minimum, "minimum ", " usage per "),
        (Self::Ratio, "", " max limit to request ratio per "),
    ];
}

/// One thing that a LimitRange finds wrong: `maximum memory usage per Container is 1Gi, but limit is 2Gi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Violation<'a> {
    bound: Bound,
    resource: &'a str,
    /// `Container` or `Pod`.
    kind: &'a str,
    amount: &'a str,
}

impl<'a> Violation<'a> {
    fn read_all(message: &'a str) -> Vec<Self> {
        let list = message
            .split_once("is forbidden: ")
            .map_or(message, |(_, list)| list);
        let parts = list.trim_start_matches('[').split(", ");
        let starts = parts.filter(|part| part.contains(" per ")).filter_map(Self::read);
        starts.collect()
    }

    fn read(text: &'a str) -> Option<Self> {
        Bound::ALL.into_iter().find_map(|(bound, start, middle)| {
            let (resource, rest) = text.strip_prefix(start)?.split_once(middle)?;
            let (kind, amount) = rest.split_once(" is ")?;
            let plain = !resource.is_empty() && !resource.contains(' ');
            plain.then_some(Self {
                bound,
                resource,
                kind,
                // A dot and two spaces, where nothing is specified.
                amount: amount.split(".  ").next().unwrap_or(amount).trim_end_matches(']'),
            })
        })
    }

    /// Returns true if this LimitRange has the bound.
    fn comes_from(&self, limits: &LimitRange) -> bool {
        let items = limits.spec.iter().flat_map(|spec| &spec.limits);
        let mut of_kind = items.filter(|item| item.type_ == self.kind);
        of_kind.any(|item| {
            let bounds = match self.bound {
                Bound::Maximum => &item.max,
                Bound::Minimum => &item.min,
                Bound::Ratio => &item.max_limit_request_ratio,
            };
            let bound = bounds.as_ref().and_then(|bounds| bounds.get(self.resource));
            bound.is_some_and(|bound| bound.0 == self.amount)
        })
    }

    fn explain(&self, limits: &[LimitRange]) -> String {
        let Self {
            bound,
            resource,
            kind,
            amount,
        } = self;
        let found = limits.iter().find(|limits| self.comes_from(limits));
        let name = found.and_then(|found| found.metadata.name.as_deref());
        let name = name.map_or_else(|| "A LimitRange".to_owned(), |name| format!("LimitRange {name}"));
        let field = |side: &str| format!("spec.workers.resources.{side}.{resource}");
        match bound {
            Bound::Maximum => format!(
                "{name} allows a {kind} at most {amount} of {resource}: set {} to {amount} or less, or raise its max",
                field("limits")
            ),
            Bound::Minimum => format!(
                "{name} asks a {kind} for at least {amount} of {resource}: set {} to {amount} or more, or lower its \
                 min",
                field("requests")
            ),
            Bound::Ratio => format!(
                "{name} allows a {kind} limits of {amount} times its requests of {resource} at most: set {} closer to \
                 {}, or raise its maxLimitRequestRatio",
                field("requests"),
                field("limits")
            ),
        }
    }
}

fn explain_limits(message: &str, limits: &[LimitRange]) -> Vec<String> {
    let violations = Violation::read_all(message);
    violations
        .iter()
        .map(|violation| violation.explain(limits))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn limits() -> Vec<LimitRange> {
        let range = |name: &str, kind: &str, limits: serde_json::Value| {
            let mut item = limits;
            item["type"] = kind.into();
            serde_json::from_value(json!({ "metadata": { "name": name }, "spec": { "limits": [item] } }))
                .unwrap()
        };
        vec![
            range(
                "small",
                "Container",
                json!({ "max": { "memory": "1Gi" }, "min": { "cpu": "600m" } }),
            ),
            range("pods", "Pod", json!({ "max": { "memory": "512Mi" } })),
            range(
                "ratio",
                "Container",
                json!({ "maxLimitRequestRatio": { "memory": "1500m" } }),
            ),
        ]
    }

    /// The explanation, without the API server's words, which have to follow it.
    #[track_caller]
    fn explained(refusal: &str) -> String {
        let message = format!("pods \"docs-workers-6d5f-\" is forbidden: {refusal}");
        let text = explain_refusal(&message, &limits());
        let (explanation, words) = text.split_once("; the API server says: ").unwrap();
        assert_eq!(words, message);
        explanation.to_owned()
    }

    #[test]
    fn a_quota_is_named_with_the_fields_that_it_counts() {
        assert_eq!(
            explained(
                "exceeded quota: team, requested: requests.cpu=500m,requests.memory=1Gi, used: \
                 requests.cpu=1900m,requests.memory=3584Mi, limited: requests.cpu=2,requests.memory=4Gi"
            ),
            "ResourceQuota team has no room for a worker: lower spec.workers.resources.requests.cpu (requests.cpu 500m \
             beside 1900m of 2 used), or raise requests.cpu of it; lower spec.workers.resources.requests.memory \
             (requests.memory 1Gi beside 3584Mi of 4Gi used), or raise requests.memory of it; fewer \
             spec.workers.replicas need less too"
        );
        for (counted, field) in [
            ("limits.memory=2Gi", "spec.workers.resources.limits.memory"),
            ("cpu=500m", "spec.workers.resources.requests.cpu"),
            ("pods=1", "spec.workers.replicas"),
            ("count/pods=1", "spec.workers.replicas"),
            ("requests.nvidia.com/gpu=1", "spec.workers.gpu.count"),
        ] {
            let refusal =
                format!("exceeded quota: q, requested: {counted}, used: {counted}, limited: {counted}");
            let text = explained(&refusal);
            assert!(
                text.starts_with(&format!(
                    "ResourceQuota q has no room for a worker: lower {field} ("
                )),
                "{text}"
            );
        }
    }

    #[test]
    fn a_quota_that_wants_a_statement_is_named_with_the_fields_to_set() {
        let wanted = "ResourceQuota team takes only pods that state what it counts: set \
                      spec.workers.resources.limits.cpu and spec.workers.resources.limits.memory";
        for refusal in [
            "failed quota: team: must specify limits.cpu for: worker; limits.memory for: worker",
            "failed quota: team: must specify limits.cpu,limits.memory",
        ] {
            assert_eq!(explained(refusal), wanted);
        }
    }

    #[test]
    fn a_quota_that_was_not_counted_yet_is_named() {
        assert_eq!(
            explained("status unknown for quota: team, resources: requests.memory,pods"),
            "ResourceQuota team was new when it refused a worker: compare kubectl describe resourcequota team with \
             spec.workers.resources.requests.memory and spec.workers.replicas"
        );
    }

    #[test]
    fn a_limit_range_is_found_by_its_bound() {
        for (refusal, expected) in [
            (
                "maximum memory usage per Container is 1Gi, but limit is 2Gi",
                "LimitRange small allows a Container at most 1Gi of memory: set spec.workers.resources.limits.memory \
                 to 1Gi or less, or raise its max",
            ),
            (
                "maximum memory usage per Container is 1Gi.  No limit is specified",
                "LimitRange small allows a Container at most 1Gi of memory: set spec.workers.resources.limits.memory \
                 to 1Gi or less, or raise its max",
            ),
            (
                "maximum memory usage per Pod is 512Mi, but limit is 2147483648",
                "LimitRange pods allows a Pod at most 512Mi of memory: set spec.workers.resources.limits.memory to \
                 512Mi or less, or raise its max",
            ),
            (
                "minimum cpu usage per Container is 600m, but request is 500m",
                "LimitRange small asks a Container for at least 600m of cpu: set spec.workers.resources.requests.cpu \
                 to 600m or more, or lower its min",
            ),
            (
                "memory max limit to request ratio per Container is 1500m, but provided ratio is 2.000000",
                "LimitRange ratio allows a Container limits of 1500m times its requests of memory at most: set \
                 spec.workers.resources.requests.memory closer to spec.workers.resources.limits.memory, or raise its \
                 maxLimitRequestRatio",
            ),
        ] {
            assert_eq!(explained(refusal), expected);
        }
        let both = "[maximum memory usage per Container is 1Gi, but limit is 2Gi, minimum cpu usage per Container is \
                    600m, but request is 500m]";
        let text = explained(both);
        assert!(
            text.contains("at most 1Gi of memory") && text.contains("at least 600m of cpu"),
            "{text}"
        );
        // One that was deleted meanwhile, or may not be read.
        let unknown = explain_refusal("maximum cpu usage per Container is 1, but limit is 2", &[]);
        assert!(
            unknown.starts_with("A LimitRange allows a Container at most 1 of cpu: set"),
            "{unknown}"
        );
    }

    #[test]
    fn a_refused_user_is_explained_and_all_else_repeated() {
        for refusal in [
            "unable to validate against any security context constraint: [provider restricted-v2: .containers[0]\
             .runAsUser: Invalid value: 65532: must be in the ranges: [1000920000, 1000929999]]",
            "ValidatingAdmissionPolicy 'user-range' with binding 'user-range' denied request: runAsUser must be in the \
             ranges [1000920000, 1000929999]",
        ] {
            assert!(explained(refusal).starts_with("set spec.workers.user to Platform"));
        }
        for message in ["exceeded quota", "violates PodSecurity \"restricted:latest\"", ""] {
            assert_eq!(explain_refusal(message, &limits()), message);
            assert!(!names_limit(message));
        }
        assert!(names_limit(
            "x is forbidden: maximum cpu usage per Pod is 1, but limit is 2"
        ));
    }
}
