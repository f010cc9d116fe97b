//! Keeps what the cluster has, where only the operator is new.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::meta::{Of, config_map};
use super::{Inputs, Objects, short_sum};
use crate::names::{INPUTS_ANNOTATION, workers};

/// On the Deployment: the pod template as it was applied, JSON. The one in `spec` may have been edited.
pub(super) const TEMPLATE_ANNOTATION: &str = "liquidmemory.dev/template";
/// On the workers' ConfigMap: the sum of its text.
const TEXT_ANNOTATION: &str = "liquidmemory.dev/text";
/// The key of the workers' ConfigMap.
const FILE: &str = "worker.toml";

/// The workers' ConfigMap, marked with what it was made from.
pub(super) fn worker_config(of: &Of<'_>, text: String, inputs: &Inputs) -> ConfigMap {
    let sum = short_sum(text.as_bytes());
    let mut config = config_map(of, workers(of.name), FILE, text);
    config.metadata.annotations = Some(
        [
            (INPUTS_ANNOTATION.to_owned(), inputs.sum.clone()),
            (TEXT_ANNOTATION.to_owned(), sum),
        ]
        .into(),
    );
    config
}

/// Takes template and configuration from the cluster, both or neither: an image and its configuration belong together.
pub(super) fn keep(wanted: &mut Objects, live: &Deployment, config: &ConfigMap) {
    let inputs = annotation(&wanted.deployment.metadata, INPUTS_ANNOTATION);
    if inputs != annotation(&live.metadata, INPUTS_ANNOTATION)
        || inputs != annotation(&config.metadata, INPUTS_ANNOTATION)
    {
        return;
    }
    let Some(written) = annotation(&live.metadata, TEMPLATE_ANNOTATION) else {
        return;
    };
    let Ok(template) = serde_json::from_str::<PodTemplateSpec>(written) else {
        return;
    };
    let Some(text) = config.data.as_ref().and_then(|data| data.get(FILE)) else {
        return;
    };
    let sum = short_sum(text.as_bytes());
    if annotation(&config.metadata, TEXT_ANNOTATION) != Some(&sum) {
        return;
    }
    if let Some(spec) = wanted.deployment.spec.as_mut() {
        spec.template = template;
    }
    set(&mut wanted.deployment.metadata, TEMPLATE_ANNOTATION, written);
    wanted.worker_config.data = Some([(FILE.to_owned(), text.clone())].into());
    set(&mut wanted.worker_config.metadata, TEXT_ANNOTATION, &sum);
}

fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

fn set(meta: &mut ObjectMeta, name: &str, value: &str) {
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(name.into(), value.into());
}
