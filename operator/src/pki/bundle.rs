//! The bundle of authorities in the webhook configuration: by it the API server recognises our webhook.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::ResourceExt;
use serde_json::{Value, json};

/// Builds the patch that corrects every wrong bundle: a strategic merge, which finds the entries by name.
/// None if all are right. It carries the version that was read, so that it never overwrites a change it has
/// not seen.
pub fn build_repair(configuration: &MutatingWebhookConfiguration, bundle: &str) -> Option<Value> {
    let wanted = ByteString(bundle.as_bytes().to_vec());
    let wrong: Vec<Value> = configuration
        .webhooks
        .iter()
        .flatten()
        .filter(|webhook| webhook.client_config.ca_bundle.as_ref() != Some(&wanted))
        .map(|webhook| json!({ "name": webhook.name, "clientConfig": { "caBundle": wanted } }))
        .collect();
    (!wrong.is_empty()).then(|| {
        json!({
            "metadata": { "resourceVersion": configuration.resource_version() },
            "webhooks": wrong,
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn configuration(bundles: &[Option<&str>]) -> MutatingWebhookConfiguration {
        let webhooks: Vec<Value> = bundles
            .iter()
            .enumerate()
            .map(|(number, bundle)| {
                let bundle = bundle.map(|text| ByteString(text.as_bytes().to_vec()));
                json!({
                    "name": format!("w{number}.x.y"),
                    "clientConfig": { "service": { "name": "s", "namespace": "n" }, "caBundle": bundle },
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                })
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": { "name": "x", "resourceVersion": "7" },
            "webhooks": webhooks,
        }))
        .unwrap()
    }

    #[test]
    fn repairs_only_what_is_wrong() {
        assert_eq!(build_repair(&configuration(&[Some("A"), Some("A")]), "A"), None);
        assert_eq!(build_repair(&configuration(&[]), "A"), None);
        let patch = build_repair(&configuration(&[Some("A"), None, Some("B")]), "A").unwrap();
        assert_eq!(
            patch,
            json!({
                "metadata": { "resourceVersion": "7" },
                "webhooks": [
                    { "name": "w1.x.y", "clientConfig": { "caBundle": "QQ==" } },
                    { "name": "w2.x.y", "clientConfig": { "caBundle": "QQ==" } },
                ],
            })
        );
    }
}
