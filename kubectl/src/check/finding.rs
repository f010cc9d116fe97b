//! A fault and how it is said: what is wrong, where, what was seen, and what to do.

use std::fmt;

use liquid_operator::api::reasons::{ConditionReason, EventReason};
use serde::Serialize;

/// How bad a finding is. Errors set the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Calls fail, or documents leave whole, or will soon.
    Error,
    /// Calls are served, and not as they should be.
    Warning,
}

impl Severity {
    /// Returns the word in front of a finding.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
        }
    }
}

/// The enum of faults: name, severity, meaning.
macro_rules! faults {
    ($($name:ident $severity:ident: $meaning:literal;)*) => {
        /// What `check` looks for. Faults of workers have the names of the operator's conditions, those of base URLs and
        /// annotations the names of its Events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault {
            $(#[doc = $meaning] $name,)*
        }

        impl Fault {
            /// Every fault, in the order of the documentation.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the name, which programs may compare.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// Returns how bad it is.
            pub(crate) fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity),* }
            }

            /// Returns what it means.
            #[cfg(test)]
            pub(crate) fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning),* }
            }
        }
    };
}

faults! {
    DefinitionMissing Error: "The cluster does not know the resource LiquidMemoryProxy.";
    DefinitionOutdated Error: "The definition of LiquidMemoryProxy lacks fields of this version; the API server drops them from resources without a word.";
    OperatorMissing Error: "No operator is installed.";
    OperatorNotReady Error: "No replica of the operator is ready, or fewer than asked for.";
    OperatorTwice Error: "Two operators are installed, and both write the same objects.";
    OperatorVersions Warning: "Replicas of the operator run different images.";
    PluginVersion Warning: "The plugin and the operator are of different versions.";
    RightsMissing Error: "The operator's account lacks rights that it uses.";
    NoLeader Error: "No replica of the operator leads, so no one writes.";
    WebhookMissing Error: "The webhook configuration is missing: no pod gets a sidecar.";
    WebhookMisdirected Error: "The webhook configuration calls another Service than the operator's.";
    WebhookWithoutEndpoints Error: "No ready pod stands behind the webhook's Service.";
    WebhookBundle Error: "The API server cannot trust the webhook: its bundle of authorities is empty, wrong or expired.";
    AuthorityMissing Error: "The Secret with the certificate authority is missing or cannot be read.";
    CertificateMissing Error: "A proxy's workers or sidecars have no certificate.";
    CertificateExpired Error: "A certificate or its authority has expired.";
    CertificateNearEnd Warning: "A certificate should have been renewed by now.";
    CertificatesDisagree Error: "Sidecars and workers do not trust each other's certificates.";
    ProxyMalformed Error: "A stored proxy does not fit the types of this version.";
    ClaimMissing Error: "The claim with a proxy's model does not exist.";
    ClaimPending Error: "The claim with a proxy's model is not bound to a volume.";
    SecretMissing Error: "A Secret with a provider's key does not exist.";
    SecretKeyMissing Error: "A Secret does not have the key that the proxy names, or it is empty.";
    LabelUnknown Error: "The label that opts in or out has a value that means nothing.";
    NamespaceWithoutProxy Error: "A namespace opts in and has no proxy: its pods are refused.";
    NamespaceNotOptedIn Warning: "A namespace has a proxy, and no pod of it is opted in.";
    PodsRefused Error: "Pods of a Deployment cannot be created.";
    PodNotInjected Error: "A pod is opted in and has no sidecar: its documents leave whole.";
    InjectionIncomplete Warning: "Another webhook has changed a pod after the injection; parts of it are missing.";
    SidecarNotReady Error: "A pod's sidecar does not run.";
    SidecarOutdated Warning: "A pod's sidecar has another image than new pods get.";
    ProxyDeleted Error: "A pod's sidecar belongs to a proxy that does not exist.";
    BaseUrlElsewhere Error: "A container's base URL leads to a port of the pod where no sidecar listens.";
    PolicyBlocksWorkers Error: "A NetworkPolicy keeps sidecars from their workers.";
    PolicyBlocksProvider Error: "A NetworkPolicy keeps sidecars from the provider.";
}

/// The object that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct ObjectName {
    /// Kind, such as `Pod`.
    pub(crate) kind: &'static str,
    /// Namespace; none for kinds that have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    /// Name.
    pub(crate) name: String,
}

impl ObjectName {
    /// Names an object in a namespace.
    pub(crate) fn new(kind: &'static str, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: Some(namespace.into()),
            name: name.into(),
        }
    }

    /// Names an object of the cluster.
    pub(crate) fn cluster(kind: &'static str, name: &str) -> Self {
        Self {
            kind,
            namespace: None,
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// A fault of this cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) severity: Severity,
    /// Name of the fault.
    pub(crate) fault: &'static str,
    /// Where it is.
    pub(crate) object: ObjectName,
    /// What is wrong, with the values seen.
    pub(crate) message: String,
    /// What to do: a command, or a line of YAML.
    pub(crate) remedy: String,
}

impl Finding {
    /// Describes a fault.
    pub(crate) fn new(
        fault: Fault,
        object: ObjectName,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity: fault.severity(),
            fault: fault.name(),
            object,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// Describes what the operator's conditions have a reason for.
    pub(crate) fn condition(
        severity: Severity,
        reason: ConditionReason,
        object: ObjectName,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            fault: reason.as_str(),
            object,
            message: message.into(),
            remedy: reason.remedy().into(),
        }
    }

    /// Describes what the operator's Events have a reason for.
    pub(crate) fn event(reason: EventReason, object: ObjectName, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            fault: reason.as_str(),
            object,
            message: message.into(),
            remedy: reason.remedy().into(),
        }
    }

    /// Renders it for people.
    pub(crate) fn to_text(&self) -> String {
        format!(
            "{} {}: {}\n    {}\n    remedy: {}\n",
            self.severity.word(),
            self.fault,
            self.object,
            self.message.trim().replace('\n', "\n    "),
            self.remedy
        )
    }

    /// Returns the same as a warning.
    #[must_use]
    pub(crate) fn lowered(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}
