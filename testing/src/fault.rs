//! Scripted faults: how a test tells the mock upstream to misbehave.
//!
//! A fault is written the same way in a model name (`mock-429-2`), in the header `x-mock-fault: 429-2` and in
//! `POST /mock/faults`. Several are joined by `+`: `gzip+chunk-3`. In a model name everything after `:` is a
//! label, which keeps the counters of two tests apart: `mock-429-2:retries`.

use std::str::FromStr;
use std::time::Duration;

/// Header that carries faults for one request.
pub(crate) const HEADER: &str = "x-mock-fault";

/// Faults to apply to one answer; the default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// `429`, `500`, ...: answer with this status; `429-2`: only the first two requests of the same name.
    pub status: Option<(u16, Option<u32>)>,
    /// `retry-after-1`: seconds in the `retry-after` header of an answer with `status`.
    pub retry_after: Option<u64>,
    /// `slow-first-byte-500`: milliseconds before the answer's head leaves.
    pub slow_first_byte: Option<Duration>,
    /// `pace-20`: milliseconds between two events of a stream.
    pub pace: Option<Duration>,
    /// `cut` or `cut-5`: break the connection after so many events (2 if not said), without a clean end.
    pub cut_after: Option<usize>,
    /// `error-event` or `error-event-5`: after so many events the provider's error event, then the end.
    pub error_after: Option<usize>,
    /// `chunk-3`: at most so many bytes in one write.
    pub chunk: Option<usize>,
    /// `split-17`: two writes, the first of so many bytes.
    pub split: Option<usize>,
    /// `gzip`: compressed body and `content-encoding: gzip`, whatever the client accepts.
    pub gzip: bool,
    /// `wrong-content-type`: `text/html` with the right body.
    pub wrong_content_type: bool,
    /// `invalid-json`: a body that breaks off in the middle of a JSON string.
    pub invalid_json: bool,
    /// `hang`: no answer, ever.
    pub hang: bool,
}

/// The error for a fault that does not exist: a misspelt fault must not pass as a test without one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "unknown fault '{0}'; known: STATUS[-TIMES], retry-after-S, slow-first-byte-MS, pace-MS, cut[-EVENTS], \
     error-event[-EVENTS], chunk-BYTES, split-BYTES, gzip, wrong-content-type, invalid-json, hang; join with '+'"
)]
pub struct UnknownFault(pub String);

impl FromStr for Faults {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let mut faults = Self::default();
        for name in text.split('+').filter(|name| !name.is_empty()) {
            faults.add(name).ok_or_else(|| UnknownFault(name.to_owned()))?;
        }
        Ok(faults)
    }
}

impl Faults {
    /// Returns the faults that a model name asks for: `mock-FAULTS[:LABEL]`; any other name asks for none.
    pub(crate) fn of_model(model: &str) -> Result<Self, UnknownFault> {
        let Some(rest) = model.strip_prefix("mock-") else {
            return Ok(Self::default());
        };
        rest.split(':').next().unwrap_or_default().parse()
    }

    fn add(&mut self, name: &str) -> Option<()> {
        let (word, number) = match name.rsplit_once('-') {
            Some((word, digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                (word, digits.parse::<u64>().ok())
            }
            _ => (name, None),
        };
        let count = number.and_then(|n| usize::try_from(n).ok());
        let millis = number.map(Duration::from_millis);
        match word {
            "retry-after" => self.retry_after = Some(number?),
            "slow-first-byte" => self.slow_first_byte = Some(millis?),
            "pace" => self.pace = Some(millis?),
            "cut" => self.cut_after = Some(count.unwrap_or(2)),
            "error-event" => self.error_after = Some(count.unwrap_or(2)),
            "chunk" => self.chunk = Some(count.filter(|n| *n > 0)?),
            "split" => self.split = Some(count?),
            "gzip" => self.gzip = true,
            "wrong-content-type" => self.wrong_content_type = true,
            "invalid-json" => self.invalid_json = true,
            "hang" => self.hang = true,
            code => {
                let code = code.parse().ok().filter(|code| (400..600).contains(code))?;
                self.status = Some((code, number.and_then(|n| u32::try_from(n).ok())));
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn reads_every_fault_it_documents() {
        let all = "429-2+retry-after-1+slow-first-byte-500+pace-20+cut-5+error-event+chunk-3+split-17+gzip\
                   +wrong-content-type+invalid-json+hang";
        let expected = Faults {
            status: Some((429, Some(2))),
            retry_after: Some(1),
            slow_first_byte: Some(Duration::from_millis(500)),
            pace: Some(Duration::from_millis(20)),
            cut_after: Some(5),
            error_after: Some(2),
            chunk: Some(3),
            split: Some(17),
            gzip: true,
            wrong_content_type: true,
            invalid_json: true,
            hang: true,
        };
        assert_eq!(all.parse::<Faults>().unwrap(), expected);
    }

    #[test]
    fn a_model_name_may_carry_faults_and_a_label() {
        assert_eq!(Faults::of_model("gpt-5").unwrap(), Faults::default());
        assert_eq!(
            Faults::of_model("mock-500:mine").unwrap().status,
            Some((500, None))
        );
    }

    #[test]
    fn a_misspelt_fault_is_refused() {
        for text in ["gzipp", "chunk-0", "chunk", "200", "999", "pace-x"] {
            assert_eq!(text.parse::<Faults>(), Err(UnknownFault(text.to_owned())));
        }
    }
}
