//! Why there is no evidence, and what a worker's status means for the next attempt.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::cause::innermost;

/// Why a document was not extracted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// No worker is reachable, or all are full or draining.
    #[error("no worker is available: {message}")]
    Unavailable {
        /// The last worker's error.
        message: String,
        /// The wait that a worker asked for.
        retry_after: Option<Duration>,
    },
    /// No worker answered in time.
    #[error("no worker answered in time; raise extract.deadline_ms or add workers")]
    Timeout,
    /// A worker refused the document or the question.
    #[error("worker {worker} refused the document: {message}")]
    Refused {
        /// `address:port`.
        worker: String,
        /// The worker's error.
        message: String,
    },
    /// A worker's answer does not fit the document.
    #[error("worker {worker} gave an answer that does not fit the document: {message}")]
    Invalid {
        /// `address:port`.
        worker: String,
        /// What is wrong with the answer.
        message: String,
    },
    /// The TLS files cannot be used.
    #[error("{path}: {message}; check [extract.tls]")]
    Tls {
        /// The file.
        path: String,
        /// What is wrong with the file.
        message: String,
    },
}

/// The meaning of a failed attempt for the worker and for the next attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttemptFailure {
    /// The worker cannot be reached or drains: it is ejected, another one is tried.
    Down,
    /// The worker is full for so long: another one is tried, the worker is as healthy as before.
    Busy(Option<Duration>),
    /// The worker failed on this document, or took too long: another one is tried; too many of these in a row
    /// and it is ejected.
    Fault,
    /// Every worker would refuse this.
    Refused,
}

impl AttemptFailure {
    pub(super) fn from_status(status: &Status) -> Self {
        let hint = || status.get_details_retry_info().and_then(|info| info.retry_delay);
        match status.code() {
            Code::ResourceExhausted => Self::Busy(hint()),
            Code::Unavailable | Code::Cancelled => Self::Down,
            Code::InvalidArgument
            | Code::OutOfRange
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::Unauthenticated
            | Code::PermissionDenied => Self::Refused,
            _ => Self::Fault,
        }
    }
}

impl ExtractError {
    /// Says why no worker can be asked.
    pub(super) fn unavailable(message: String) -> Self {
        Self::Unavailable {
            message,
            retry_after: None,
        }
    }

    /// Stands for the answer of a call that ended without one: by a panic, or because its last caller went
    /// away.
    pub(super) fn aborted() -> Self {
        Self::unavailable("the call to the workers was aborted".to_owned())
    }

    pub(super) fn from_status(status: &Status, worker: &str) -> Self {
        // A worker's text may be long; ours goes to logs and headers.
        let message = match std::error::Error::source(status) {
            Some(cause) => innermost(cause),
            None => status.message().to_owned(),
        };
        let message: String = message.chars().filter(|c| !c.is_control()).take(300).collect();
        if status.code() == Code::DeadlineExceeded {
            return Self::Timeout;
        }
        match AttemptFailure::from_status(status) {
            AttemptFailure::Refused => Self::Refused {
                worker: worker.to_owned(),
                message,
            },
            AttemptFailure::Busy(retry_after) => Self::Unavailable { message, retry_after },
            AttemptFailure::Down | AttemptFailure::Fault => Self::unavailable(format!("{worker}: {message}")),
        }
    }
}
