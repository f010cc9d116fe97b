//! A decision as data: what is answered, and what is said about it.

use json_patch::Patch;

pub use crate::api::reasons::EventReason as Reason;

/// What was decided about a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The answer.
    pub decision: Decision,
    /// What people should know: Events and warnings.
    pub notes: Vec<Note>,
    /// The proxy that serves the pod, where one was chosen.
    pub proxy: Option<String>,
}

impl Outcome {
    /// Lets the pod pass unchanged.
    pub(super) fn pass(notes: Vec<Note>) -> Self {
        Self {
            decision: Decision::Pass,
            notes,
            proxy: None,
        }
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Allowed, with these changes. None means that the pod has all it needs.
    Patch(Patch),
    /// Allowed as it is.
    Pass,
    /// Refused.
    Deny(Denial),
}

/// Something people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Why.
    pub reason: Reason,
    /// One sentence: what, and the remedy.
    pub text: String,
}

impl Note {
    /// Whether somebody should look at it.
    pub fn is_warning(&self) -> bool {
        !matches!(self.reason, Reason::Injected | Reason::BaseUrlAdopted)
    }

    /// A note.
    pub(super) fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self {
            reason,
            text: text.into(),
        }
    }
}

/// Why an opted-in pod passes without the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    HostNetwork,
    Windows,
}

impl Skip {
    pub(super) fn note(self) -> Note {
        let text = match self {
            Self::HostNetwork => {
                "spec.hostNetwork = true: the sidecar's ports would be the node's; leave it out, or label the pod \
                 liquidmemory.dev/inject: disabled"
            }
            Self::Windows => {
                "spec.os.name = windows: there is no sidecar for Windows; label the pod \
                 liquidmemory.dev/inject: disabled"
            }
        };
        Note::new(Reason::InjectionSkipped, text)
    }
}

/// Why a pod is refused. Each names the field, its value and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No pod.
    #[error("{field}: missing or of the wrong type; send a Pod")]
    Shape {
        /// The field.
        field: &'static str,
    },
    /// The label that opts in or out.
    #[error("metadata.labels[liquidmemory.dev/inject] = {value:?}: write \"enabled\" or \"disabled\"")]
    Label {
        /// Its value.
        value: String,
    },
    /// An annotation that cannot be used.
    #[error("metadata.annotations[{name}] = {value:?}: {remedy}")]
    Annotation {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong, and what to write.
        remedy: String,
    },
    /// Nothing to inject from.
    #[error(
        "no LiquidMemoryProxy in namespace {namespace:?}: apply one, or take the label liquidmemory.dev/inject from \
         the namespace or set it to \"disabled\" on the pod"
    )]
    NoProxy {
        /// The pod's namespace.
        namespace: String,
    },
    /// The proxy that the pod names.
    #[error(
        "metadata.annotations[liquidmemory.dev/proxy] = {name:?}: no such LiquidMemoryProxy in namespace \
         {namespace:?}; there is {known}"
    )]
    UnknownProxy {
        /// What the pod names.
        name: String,
        /// The pod's namespace.
        namespace: String,
        /// The proxies there.
        known: String,
    },
    /// A container listens where the sidecar would.
    #[error(
        "spec.containers[{container}] has containerPort {port}, which the sidecar needs: set the annotation \
         liquidmemory.dev/{annotation} to another port"
    )]
    PortTaken {
        /// The container.
        container: String,
        /// The port.
        port: u16,
        /// The annotation that moves the sidecar.
        annotation: &'static str,
    },
    /// Something of ours that is not ours.
    #[error("{field} is named {name:?}, which is kept for the injected sidecar: choose another name")]
    NameTaken {
        /// The field.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// Our own fault.
    #[error(
        "a fault in the operator: its log says where, please report it; label the pod liquidmemory.dev/inject: disabled \
         to go on without the sidecar"
    )]
    Fault,
}
