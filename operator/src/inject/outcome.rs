//! A decision as data: what is answered, and what is said about it.

use json_patch::Patch;
use liquid_contract::ports::HTTPS;

use crate::names::{INTERCEPTION_ANNOTATION, PORT_START};

pub use crate::api::reasons::EventReason as Reason;

/// The decision about a pod, and what is said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The answer to the API server.
    pub decision: Decision,
    /// What people should know: each becomes an Event, some a warning too.
    pub notes: Vec<Note>,
    /// The proxy that serves the pod, where one was chosen.
    pub proxy: Option<String>,
}

impl Outcome {
    /// Passes the pod unchanged.
    pub(super) fn pass(notes: Vec<Note>) -> Self {
        Self {
            decision: Decision::Pass,
            notes,
            proxy: None,
        }
    }
}

/// The answer about a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The pod is allowed, with these changes. An empty patch means that it has all it needs.
    Patch(Patch),
    /// The pod is allowed as it is.
    Pass,
    /// The pod is refused.
    Deny(Denial),
}

/// Something that people should know about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The reason of the Event.
    pub reason: Reason,
    /// One sentence: what happened, and the remedy.
    pub text: String,
}

impl Note {
    /// Returns true if somebody should look at it.
    pub fn is_warning(&self) -> bool {
        !matches!(self.reason, Reason::Injected | Reason::BaseUrlAdopted)
    }

    /// Creates a note.
    pub(super) fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self {
            reason,
            text: text.into(),
        }
    }
}

/// Why an opted-in pod passes without the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SkipReason {
    HostNetwork,
    Windows {
        /// The field that leaves no node but those with Windows.
        field: &'static str,
    },
}

impl SkipReason {
    pub(super) fn to_note(self) -> Note {
        let text = match self {
            Self::HostNetwork => {
                "spec.hostNetwork = true: the sidecar's ports would be the node's; leave it \
                 out, or label the pod liquidmemory.dev/inject: disabled"
                    .to_owned()
            }
            Self::Windows { field } => format!(
                "{field} = windows: there is no sidecar for Windows; label the pod \
                 liquidmemory.dev/inject: disabled"
            ),
        };
        Note::new(Reason::InjectionSkipped, text)
    }
}

/// Why a pod is refused. Each names the field, its value and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The object is not a pod.
    #[error("{field}: missing or of the wrong type; send a Pod")]
    Shape {
        /// The field that is missing or of the wrong type.
        field: &'static str,
    },
    /// The label that opts in or out has another value than these two.
    #[error("metadata.labels[liquidmemory.dev/inject] = {value:?}: write \"enabled\" or \"disabled\"")]
    Label {
        /// Value of the label.
        value: String,
    },
    /// An annotation has a value that cannot be used.
    #[error("metadata.annotations[{name}] = {value:?}: {remedy}")]
    Annotation {
        /// Name of the annotation.
        name: String,
        /// Value of the annotation.
        value: String,
        /// What is wrong with it, and what to write.
        remedy: String,
    },
    /// The namespace has no proxy.
    #[error(
        "no LiquidMemoryProxy in namespace {namespace:?}: apply one, or take the label \
         liquidmemory.dev/inject from the namespace or set it to \"disabled\" on the pod"
    )]
    NoProxy {
        /// The pod's namespace.
        namespace: String,
    },
    /// The namespace has no proxy of the name that the pod gives.
    #[error(
        "metadata.annotations[liquidmemory.dev/proxy] = {name:?}: no such LiquidMemoryProxy in namespace \
         {namespace:?}; there is {known}"
    )]
    UnknownProxy {
        /// Name that the pod gives.
        name: String,
        /// The pod's namespace.
        namespace: String,
        /// Names of the proxies there.
        known: String,
    },
    /// A container listens on a port of the sidecar.
    #[error(
        "spec.containers[{container}] has containerPort {port}, which the sidecar needs: set the annotation \
         liquidmemory.dev/{annotation} to another port"
    )]
    PortTaken {
        /// Name of the container.
        container: String,
        /// The port that both need.
        port: u16,
        /// The annotation that moves the sidecar.
        annotation: &'static str,
    },
    /// A container listens on the port of intercepted TLS.
    #[error(
        "spec.containers[{container}] has containerPort {HTTPS}, at which the sidecar intercepts TLS: listen on another port, \
         or set the annotation {INTERCEPTION_ANNOTATION} to \"false\""
    )]
    HttpsTaken {
        /// Name of the container.
        container: String,
    },
    /// The pod keeps low ports from processes without privileges.
    #[error(
        "spec.securityContext.sysctls[{PORT_START}] = {value:?}: the sidecar intercepts TLS at port {HTTPS} without \
         privileges; set {HTTPS} or less, or set the annotation {INTERCEPTION_ANNOTATION} to \"false\""
    )]
    Sysctl {
        /// Value of the sysctl.
        value: String,
    },
    /// A name that is reserved for the sidecar is taken by something else.
    #[error("{field} is named {name:?}, which is kept for the injected sidecar: choose another name")]
    NameTaken {
        /// The list that holds the other object.
        field: &'static str,
        /// The reserved name.
        name: String,
    },
    /// The operator has a fault.
    #[error(
        "a fault in the operator: its log says where, please report it; label the pod \
         liquidmemory.dev/inject: disabled to go on without the sidecar"
    )]
    Fault,
}
