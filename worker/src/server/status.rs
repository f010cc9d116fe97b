//! Errors as gRPC statuses with `google.rpc` details, as the contract promises them.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::requests::{CUT_OFF, Phase};
use crate::runtime::JobError;

/// Time after which another try is worth it while the worker cannot answer at all.
const RETRY_LATER: Duration = Duration::from_secs(1);

/// Makes INVALID_ARGUMENT with the field and what to send instead.
pub(super) fn invalid(field: &str, remedy: impl Into<String>) -> Status {
    let remedy = remedy.into();
    let details = ErrorDetails::with_bad_request_violation(field, remedy.as_str());
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {remedy}"), details)
}

/// Makes UNAVAILABLE in a phase in which requests are refused.
pub(super) fn refusal(phase: Phase) -> Option<Status> {
    phase.refusal().map(try_another)
}

/// Makes UNAVAILABLE for a request that outlived the time of the drain.
pub(super) fn cut_off() -> Status {
    try_another(CUT_OFF)
}

fn try_another(text: &str) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_LATER));
    Status::with_error_details(Code::Unavailable, text, details)
}

/// Makes the status of a job without an answer; `request_id` names it in the log.
pub(super) fn job_status(error: &JobError, request_id: &str) -> Status {
    match error {
        JobError::Busy { retry_after, .. } => {
            let details = ErrorDetails::with_retry_info(Some(*retry_after));
            Status::with_error_details(Code::ResourceExhausted, error.to_string(), details)
        }
        JobError::DeadlineExceeded => Status::deadline_exceeded(error.to_string()),
        JobError::Cancelled => Status::cancelled(error.to_string()),
        JobError::Internal(_) => {
            tracing::error!(request_id, %error, "request failed");
            Status::internal(format!(
                "internal error; the worker's log has it under request {request_id}"
            ))
        }
    }
}
