//! Why a resource could not be reconciled.

use kube::core::Status;

use crate::api::reasons::ConditionReason;
use crate::objects::BuildError;

/// Why a resource could not be reconciled. It is tried again, later each time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The resource has no objects.
    #[error("{0}")]
    Build(#[from] BuildError),
    /// An object of the name exists and does not belong to this proxy.
    #[error(
        "{kind} {name} exists and does not belong to this LiquidMemoryProxy; remove it, or give the proxy \
         another name"
    )]
    NotOurs {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
    },
    /// The API server refused a request.
    #[error("the API server refuses {kind} {name}: {}", .status.message)]
    Refused {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// The API server's answer.
        status: Box<Status>,
    },
    /// The API server did not answer, or failed to.
    #[error("cannot {action} {kind} {name}: {source}")]
    Api {
        /// The verb of the request.
        action: &'static str,
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
}

impl Error {
    /// Converts the client's error about an object.
    pub(super) fn api(action: &'static str, kind: &'static str, name: &str, source: kube::Error) -> Self {
        let name = name.to_owned();
        match source {
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 409 | 422) => {
                Self::Refused { kind, name, status }
            }
            source => Self::Api {
                action,
                kind,
                name,
                source: Box::new(source),
            },
        }
    }

    /// Returns the reason that the conditions give.
    pub fn reason(&self) -> ConditionReason {
        match self {
            Self::Build(_) | Self::Refused { .. } => ConditionReason::Refused,
            Self::NotOurs { .. } => ConditionReason::NotOurs,
            Self::Api { .. } => ConditionReason::ApiUnavailable,
        }
    }
}
