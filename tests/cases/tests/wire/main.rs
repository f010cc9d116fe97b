//! Calls and answers on the wire: the path that a call comes by, what a translated request says, how a stream ends.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod paths;
mod streams;
mod translation;

/// An Anthropic model that answers OpenAI's calls.
const CLAUDE: &str = "[upstream]\nmodel = \"anthropic/claude-sonnet-4-5\"\n";
