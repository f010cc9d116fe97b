//! Writes a proxy's status, with server-side apply.

use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Resource};
use serde_json::{Value, json};

use super::context::{Context, ProxyKey};
use super::error::Error;
use crate::api::LiquidMemoryProxy;
use crate::names::FIELD_MANAGER;

/// A proxy without its content, which may be malformed.
type ProxyMetadata = PartialObjectMeta<LiquidMemoryProxy>;

/// Writes the status of a proxy. One that was deleted meanwhile needs none.
pub(super) async fn write_status(context: &Context, key: &ProxyKey, status: Value) -> Result<(), Error> {
    let proxies = Api::<ProxyMetadata>::namespaced(context.client.clone(), &key.namespace);
    let patch = json!({
        "apiVersion": LiquidMemoryProxy::api_version(&()),
        "kind": LiquidMemoryProxy::kind(&()),
        "status": status,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let written = proxies
        .patch_status(&key.name, &parameters, &Patch::Apply(&patch))
        .await;
    match written {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(Error::api(
            "write the status of",
            "LiquidMemoryProxy",
            &key.name,
            error,
        )),
    }
}
