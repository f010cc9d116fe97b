//! What a worker's pod is made from, and its checksum. The operator's version and its default image are no
//! part of it.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Platform;
use crate::api::{LiquidMemoryProxy, Model, PodUser, Workers};
use crate::names::ROLLOUT_ANNOTATION;

/// Everything in a proxy that a worker's pod is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Checksum of the inputs, 16 hexadecimal digits.
    pub sum: String,
}

impl Inputs {
    /// Reads the inputs of a proxy's workers.
    ///
    /// Fields that have their default are left out, so that a field that a later version adds changes nothing.
    /// Two things are the installation's. Where the user is the platform's to assign, pods of before may never have been
    /// created; and a key that has to have signed the models has to hold for those that run.
    ///
    /// # Errors
    /// Errors of the JSON writer.
    pub fn from_proxy(proxy: &LiquidMemoryProxy, platform: &Platform) -> Result<Self, serde_json::Error> {
        let workers = Workers {
            replicas: Workers::default().replicas,
            autoscaling: None,
            user: None,
            ..proxy.spec.workers.clone()
        };
        let mut value = json!({
            "workers": keep_differing(
                serde_json::to_value(workers)?,
                &serde_json::to_value(Workers::default())?,
            ),
            "model": keep_differing(
                serde_json::to_value(&proxy.spec.model)?,
                &serde_json::to_value(Model::default())?,
            ),
            "lexical": !proxy.spec.extraction.tier.needs_model(),
            "rollout": proxy.metadata.annotations.as_ref().and_then(|all| all.get(ROLLOUT_ANNOTATION)),
        });
        if proxy.spec.workers.user.unwrap_or(platform.pod_user) == PodUser::Platform {
            value["user"] = serde_json::to_value(PodUser::Platform)?;
        }
        if let Some(key) = &platform.model_public_key {
            value["modelPublicKey"] = key.to_string().into();
        }
        if let Some(decoder) = &proxy.spec.decoder {
            value["decoder"] = serde_json::to_value(decoder)?;
        }
        Ok(Self {
            sum: short_sum(value.to_string().as_bytes()),
        })
    }
}

/// Returns the entries of an object that differ from the default, at every level; other values as they are.
fn keep_differing(value: Value, default: &Value) -> Value {
    let Value::Object(fields) = value else {
        return value;
    };
    let kept = fields
        .into_iter()
        .filter_map(|(name, value)| match default.get(&name) {
            Some(default) if *default == value => None,
            Some(default) => Some((name, keep_differing(value, default))),
            None => Some((name, value)),
        });
    let mut kept: Vec<(String, Value)> = kept.collect();
    kept.sort_by(|(a, _), (b, _)| a.cmp(b));
    Value::Object(Map::from_iter(kept))
}

/// Returns the first 16 hexadecimal digits of the SHA-256.
pub fn short_sum(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    base16ct::lower::encode_string(&digest[..8])
}
