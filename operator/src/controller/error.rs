//! Why a resource could not be reconciled.

use kube::core::Status;

use crate::api::reasons::ConditionReason;
use crate::objects::BuildError;

/// Why a resource could not be reconciled. It is tried again, later each time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The resource gives no objects.
    #[error("{0}")]
    Build(#[from] BuildError),
    /// An object of the name is there and is not this proxy's.
    #[error(
        "{kind} {name} exists and does not belong to this LiquidMemoryProxy; remove it, or give the proxy another name"
    )]
    NotOurs {
        /// The object's kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The API server understood and refused.
    #[error("the API server refuses {kind} {name}: {}", .status.message)]
    Refused {
        /// The object's kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Its answer.
        status: Box<Status>,
    },
    /// The API server did not answer, or failed.
    #[error("cannot {action} {kind} {name}: {source}")]
    Api {
        /// What was tried.
        action: &'static str,
        /// The object's kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the client says.
        source: Box<kube::Error>,
    },
}

impl Error {
    /// From the client's error about an object.
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

    /// The reason in the conditions.
    pub fn reason(&self) -> ConditionReason {
        match self {
            Self::Build(_) | Self::Refused { .. } => ConditionReason::Refused,
            Self::NotOurs { .. } => ConditionReason::NotOurs,
            Self::Api { .. } => ConditionReason::ApiUnavailable,
        }
    }
}
