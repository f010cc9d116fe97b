//! What calls have come to, and whether a report of it has arrived at a worker.

use std::error::Error;

use liquid_proto::worker::v1::ReportRequest;
use tonic::{Code, ConnectError, Status};

/// Calls that were sent on, and their estimated prompt tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallTotals {
    /// Calls on a surface that were read and sent on, compressed or not.
    pub calls: u64,
    /// Prompt tokens of these calls as they came.
    pub tokens_before: u64,
    /// Prompt tokens of these calls as they went on.
    pub tokens_after: u64,
}

impl CallTotals {
    /// Returns what was added since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(earlier.calls),
            tokens_before: self.tokens_before.saturating_sub(earlier.tokens_before),
            tokens_after: self.tokens_after.saturating_sub(earlier.tokens_after),
        }
    }
}

impl From<CallTotals> for ReportRequest {
    fn from(totals: CallTotals) -> Self {
        Self {
            calls: totals.calls,
            tokens_before: totals.tokens_before,
            tokens_after: totals.tokens_after,
        }
    }
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum ReportOutcome {
    /// It is not to be sent again: it was counted, or may have been, or no worker would ever take it.
    Settled,
    /// No worker has counted it: send it again later.
    NotCounted,
}

impl ReportOutcome {
    /// Reads it from a failure. A connection that breaks may have brought the report before: rather lost than
    /// counted twice.
    pub(super) fn from_status(status: &Status) -> Self {
        let mut causes = std::iter::successors(status.source(), |&cause| cause.source());
        let unsent = causes.any(|cause| cause.is::<ConnectError>());
        let refused =
            status.source().is_none() && matches!(status.code(), Code::Unavailable | Code::Unimplemented);
        if unsent || refused {
            Self::NotCounted
        } else {
            Self::Settled
        }
    }
}
