//! Keeps what the cluster has, where only the operator is new.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use liquid_contract::files::WORKER_CONFIG;

use super::meta::{Component, ProxyRef, build_config_map};
use super::{Inputs, Objects, short_sum};
use crate::names::{INPUTS_ANNOTATION, workers};

/// Annotation of the Deployment: the pod template as it was applied, JSON. The one in `spec` may have been
/// edited.
pub(super) const TEMPLATE_ANNOTATION: &str = "liquidmemory.dev/template";
/// Annotation of the workers' ConfigMap: the checksum of its text.
const TEXT_ANNOTATION: &str = "liquidmemory.dev/text";

/// Builds the workers' ConfigMap, marked with the checksum of what it was made from.
pub(super) fn build_worker_config(owner: &ProxyRef<'_>, text: String, inputs: &Inputs) -> ConfigMap {
    let sum = short_sum(text.as_bytes());
    let mut config = build_config_map(
        owner.build_meta(workers(owner.name), Component::Worker),
        WORKER_CONFIG,
        text,
    );
    config.metadata.annotations = Some(
        [
            (INPUTS_ANNOTATION.to_owned(), inputs.sum.clone()),
            (TEXT_ANNOTATION.to_owned(), sum),
        ]
        .into(),
    );
    config
}

/// Takes template and configuration from the cluster, both or neither: an image and its configuration belong
/// together.
pub(super) fn keep_live(wanted: &mut Objects, live: &Deployment, config: &ConfigMap) {
    let inputs = read_annotation(&wanted.deployment.metadata, INPUTS_ANNOTATION);
    if inputs != read_annotation(&live.metadata, INPUTS_ANNOTATION)
        || inputs != read_annotation(&config.metadata, INPUTS_ANNOTATION)
    {
        return;
    }
    let Some(written) = read_annotation(&live.metadata, TEMPLATE_ANNOTATION) else {
        return;
    };
    let Ok(template) = serde_json::from_str::<PodTemplateSpec>(written) else {
        return;
    };
    let Some(text) = config.data.as_ref().and_then(|data| data.get(WORKER_CONFIG)) else {
        return;
    };
    let sum = short_sum(text.as_bytes());
    if read_annotation(&config.metadata, TEXT_ANNOTATION) != Some(&sum) {
        return;
    }
    if let Some(spec) = wanted.deployment.spec.as_mut() {
        spec.template = template;
    }
    set_annotation(&mut wanted.deployment.metadata, TEMPLATE_ANNOTATION, written);
    wanted.worker_config.data = Some([(WORKER_CONFIG.to_owned(), text.clone())].into());
    set_annotation(&mut wanted.worker_config.metadata, TEXT_ANNOTATION, &sum);
}

fn read_annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

fn set_annotation(meta: &mut ObjectMeta, name: &str, value: &str) {
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(name.into(), value.into());
}
