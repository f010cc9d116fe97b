//! The time that a caller gives an answer: the header [`liquid_contract::headers::TIMEOUT_MS`], as gRPC has `grpc-timeout`.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use liquid_contract::headers::{MOST_TIMEOUT_MS, TIMEOUT_MS};

use super::error::ApiError;

/// Milliseconds that may be asked for.
const RANGE: RangeInclusive<u64> = 1..=MOST_TIMEOUT_MS;

/// Reads by when an answer must have ended; none where the caller does not say.
pub(super) fn read(headers: &HeaderMap) -> Result<Option<Instant>, ApiError> {
    let Some(value) = headers.get(TIMEOUT_MS) else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    let time = number.filter(|number| RANGE.contains(number));
    let time = time.ok_or_else(|| {
        let remedy = format!("must be milliseconds from {} to {}", RANGE.start(), RANGE.end());
        ApiError::invalid(TIMEOUT_MS, remedy)
    })?;
    Ok(Some(Instant::now() + Duration::from_millis(time)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn milliseconds_become_a_time_and_all_else_an_error() {
        let with =
            |value: &str| HeaderMap::from_iter([(TIMEOUT_MS.parse().unwrap(), value.parse().unwrap())]);
        assert_eq!(read(&HeaderMap::new()), Ok(None));
        let before = Instant::now();
        let deadline = read(&with("1500")).unwrap().unwrap();
        assert!(deadline >= before + Duration::from_millis(1500));
        for wrong in ["", "0", "-1", "1.5", "2S", "86400001", "99999999999999999999"] {
            let error = read(&with(wrong)).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(TIMEOUT_MS), "{wrong}");
        }
    }
}
