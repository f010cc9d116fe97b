//! `spec.injection.tlsInterception`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// TLS to `api.openai.com` and `api.anthropic.com` ends in the sidecar, so that an application is served that has such a
/// URL in its code. The names lead to the pod itself, and its containers trust an authority that vouches for these names
/// and no others; what an application must not do is pin certificates.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsInterception {
    /// Whose TLS it is.
    #[serde(default)]
    pub pods: InterceptedPods,
}

/// Which of the injected pods are intercepted.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterceptedPods {
    /// Those with the annotation `liquidmemory.dev/tls-interception: "true"`.
    #[default]
    Annotated,
    /// All, but for those with the annotation `liquidmemory.dev/tls-interception: "false"`.
    All,
}
