//! Documents that would leave whole: which reasons let them, which of them can be cut, and whether a request
//! holds a text that `policy.whole` must keep in.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use liquid_contract::Whole;

use super::settings::Settings;
use super::tokens;
use crate::api::Reason;
use crate::request::Request;

/// What becomes of a document for a reason, and which setting decides about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A pack stands in its place.
    Packed,
    /// There is none: no text is long enough.
    Absent,
    /// It would leave whole, and a selection of it could leave instead: `policy.whole`. With the remedy.
    Divisible(&'static str),
    /// It would leave whole, and cannot be cut: `policy.whole`. With the remedy.
    Indivisible(&'static str),
    /// It was not read: `policy.unread`.
    Unread,
    /// No worker gave evidence: `extract.on_worker_unavailable`.
    WithoutWorker,
}

impl Fate {
    /// Returns what becomes of a document for this reason: the one table of all of them.
    pub fn from_reason(reason: Reason) -> Self {
        match reason {
            Reason::Question | Reason::Coverage | Reason::Replayed | Reason::FollowUp => Self::Packed,
            Reason::NoUserText | Reason::TooShort => Self::Absent,
            Reason::NoQuestion => Self::Divisible("ask a question about it"),
            Reason::NeedsEverything | Reason::NeedsOverview => {
                Self::Divisible("ask for something that stands in a part of it")
            }
            Reason::EarlierTurn => Self::Divisible("set policy.earlier_turns to replay"),
            Reason::CacheMarked => Self::Divisible("send it without cache_control"),
            Reason::Stateful => {
                Self::Divisible("send the conversation itself, without state that the provider keeps")
            }
            Reason::CachedPrefix => Self::Divisible("set policy.cached_prefix.instead to coverage"),
            Reason::ModeOff => Self::Indivisible("switch compression on (x-liquid-mode, policy.mode)"),
            Reason::TooLong => Self::Indivisible("raise policy.max_document_bytes, or send a part of it"),
            Reason::ToolKept => Self::Indivisible("let policy.tools compress the tool's results"),
            Reason::Code | Reason::NotProse => Self::Indivisible("leave it out, or send a part of it"),
            Reason::ToolOutput => Self::Indivisible("have the tool answer with less"),
            Reason::Citations => Self::Indivisible("send it with citations off"),
            Reason::Attachment => Self::Indivisible("send its text"),
            Reason::DuplicateKey => Self::Indivisible("send each key once"),
            Reason::LoneSurrogate => Self::Indivisible("send text that is valid Unicode"),
            Reason::TooManyParts => Self::Indivisible("send fewer messages and parts"),
            Reason::NotSmaller => {
                Self::Indivisible("ask for less of it, or lower the budget (policy.budget)")
            }
            Reason::BelowFloor => Self::Indivisible(
                "ask for less of it, or lower policy.budget.floor, or set policy.budget.ratio",
            ),
            Reason::WholeText => Self::Indivisible("shorten every text that is not the document"),
            Reason::Unreadable | Reason::Unread => Self::Unread,
            Reason::WorkerUnavailable
            | Reason::WorkerTimeout
            | Reason::WorkerRefused
            | Reason::WorkerInvalid => Self::WithoutWorker,
        }
    }

    /// Returns what the caller can do so that the document need not leave whole.
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Divisible(remedy) | Self::Indivisible(remedy) => Some(remedy),
            Self::Packed | Self::Absent | Self::Unread | Self::WithoutWorker => None,
        }
    }
}

/// Returns whether a selection is to take the place of a document that would leave whole for this reason.
pub fn covers(reason: Reason, settings: &Settings) -> bool {
    settings.whole == Whole::Coverage && matches!(Fate::from_reason(reason), Fate::Divisible(_))
}

/// A string of a request in which packs are to stand.
#[derive(Debug, Clone)]
pub struct Replaced {
    /// The JSON string in the body, its quotes included.
    pub quoted: Range<usize>,
    /// Estimated tokens of what stays: what stands before, between and behind the documents.
    pub stays: u64,
}

/// Returns whether a request holds a text of `min_document_tokens` beside those that are replaced.
///
/// Whatever holds a text counts: any string anywhere in the body, keys and unknown fields included, and what one
/// speaker says in a row, so that a document does not leave in pieces. `body` is what the request was read from.
pub fn holds_whole_text(
    body: &[u8],
    request: &Request<'_>,
    replaced: &[Replaced],
    settings: &Settings,
) -> bool {
    let least = settings.min_document_tokens.max(1);
    let stays: HashMap<usize, u64> = replaced.iter().map(|one| (one.quoted.start, one.stays)).collect();
    if stays.values().any(|stays| *stays >= least) || request.too_many_parts && body.len() as u64 >= least {
        return true;
    }
    strings(body).any(|quoted| {
        // A token is at least a byte.
        (quoted.len() as u64) > least && !stays.contains_key(&quoted.start) && count(&body[quoted]) >= least
    }) || longest_run(request, &stays) >= least
}

/// Estimates the tokens of the most that one speaker says in a row.
fn longest_run(request: &Request<'_>, stays: &HashMap<usize, u64>) -> u64 {
    let (mut longest, mut run, mut speaker) = (0, 0, None);
    for part in &request.parts {
        if speaker != Some(part.role) {
            (run, speaker) = (0, Some(part.role));
        }
        run += match part.text {
            Some(text) => match stays.get(&text.range().start) {
                Some(stays) => *stays,
                None => tokens::estimate(&text.decode_lossy()),
            },
            None => 0,
        };
        longest = run.max(longest);
    }
    longest
}

/// Estimates the tokens of a JSON string with its quotes.
fn count(quoted: &[u8]) -> u64 {
    let decoded = serde_json::from_slice::<Cow<'_, str>>(quoted);
    match decoded {
        Ok(text) => tokens::estimate(&text),
        // A lone surrogate: as it is escaped, which is more.
        Err(_) => tokens::estimate(&String::from_utf8_lossy(quoted)),
    }
}

/// Finds every string of a valid JSON text, quotes included.
fn strings(json: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + memchr::memchr(b'"', json.get(at..)?)?;
        let mut end = start + 1;
        loop {
            let next = end + memchr::memchr2(b'"', b'\\', json.get(end..)?)?;
            if json[next] == b'"' {
                at = next + 1;
                return Some(start..at);
            }
            end = next + 2;
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::api::Surface;

    #[test]
    fn finds_every_string() {
        let json = br#"{"a":"x\"y\\","b":["",{"\u0063":1}]}"#;
        let found: Vec<_> = strings(json)
            .map(|range| std::str::from_utf8(&json[range]).unwrap())
            .collect();
        assert_eq!(found, [r#""a""#, r#""x\"y\\""#, r#""b""#, r#""""#, r#""\u0063""#]);
        for cut in [&b"\"a"[..], b"\"a\\", b"\"a\\\"", b""] {
            assert_eq!(strings(cut).count(), 0);
        }
    }

    fn holds(body: &str) -> bool {
        let request = Request::read(Surface::ChatCompletions, body.as_bytes()).unwrap();
        let settings = Settings {
            min_document_tokens: 50,
            ..Settings::default()
        };
        holds_whole_text(body.as_bytes(), &request, &[], &settings)
    }

    #[test]
    fn a_long_text_is_found_wherever_it_stands() {
        let long = "one two three ".repeat(30);
        let piece = "one two three ".repeat(10);
        for (body, want) in [
            (
                format!(r#"{{"messages":[{{"role":"user","content":"{piece}"}}]}}"#),
                false,
            ),
            (
                format!(r#"{{"messages":[{{"role":"system","content":"{long}"}}]}}"#),
                true,
            ),
            (format!(r#"{{"messages":[],"unknown":{{"{long}":1}}}}"#), true),
            (
                format!(r#"{{"messages":[],"tools":[{{"description":"{long}"}}]}}"#),
                true,
            ),
            (
                format!(
                    r#"{{"messages":[{{"role":"user","content":"{piece}"}},{{"role":"user","content":"{piece}"}}]}}"#
                ),
                true,
            ),
            (
                format!(
                    r#"{{"messages":[{{"role":"user","content":"{piece}"}},{{"role":"assistant","content":"{piece}"}}]}}"#
                ),
                false,
            ),
        ] {
            assert_eq!(holds(&body), want, "{body}");
        }
    }
}
