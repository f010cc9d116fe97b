//! Why a call was compressed, passed or rejected.

use serde::{Serialize, Serializer};

/// Why a call was treated as it was. The names are stable: they stand in headers, metrics, logs and manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Compressed: the evidence for the question.
    Question,
    /// Compressed: a question-independent selection.
    Coverage,
    /// Compressed: the packs that earlier calls of this conversation were given, the same bytes again.
    Replayed,
    /// Compressed: further excerpts of documents of earlier turns, for what is asked now.
    FollowUp,
    /// The settings or the caller's header switch compression off.
    ModeOff,
    /// No user text in the request.
    NoUserText,
    /// The longest text is shorter than `min_document_tokens`.
    TooShort,
    /// The document is longer than `max_document_bytes`.
    TooLong,
    /// No question was found.
    NoQuestion,
    /// The question needs the whole document: translate, rewrite, count, list every.
    NeedsEverything,
    /// The question asks for an overview, and `overview` is `pass`.
    NeedsOverview,
    /// The document stands in an earlier turn, and `earlier_turns` is `untouched`.
    EarlierTurn,
    /// The document is a tool's result, and `policy.tools` keeps it.
    ToolKept,
    /// The document is under a cache marker of the provider.
    CacheMarked,
    /// The document is a block with citations on: the answer cites it by offsets, which a pack would shift.
    Citations,
    /// The document is attached as a PDF, a file or an address, which is not read.
    Attachment,
    /// The request leans on state of the provider (`previous_response_id`, `conversation`, `prediction`, ...), or its
    /// prompt comes back in the answer or is filled in (`echo`, `suffix`).
    Stateful,
    /// The document is source code or a diff.
    Code,
    /// The document is not text: encoded data, very long runs without white space.
    NotProse,
    /// A tool answered with something that a later step must match exactly: a listing, search hits, a log, the output
    /// of tests, a configuration.
    ToolOutput,
    /// A key that the decision needs occurs twice.
    DuplicateKey,
    /// A string that the decision needs is not representable text (a lone surrogate).
    LoneSurrogate,
    /// More messages or parts than the sidecar looks at.
    TooManyParts,
    /// So many questions on one document that the provider's cached prefix is cheaper.
    CachedPrefix,
    /// The pack would not save enough.
    NotSmaller,
    /// Even the largest pack of an automatic budget is estimated to hold less of the evidence than its floor.
    BelowFloor,
    /// The body is not what its surface says: the upstream reports what is wrong.
    Unreadable,
    /// Refused: the body could not be read, and `policy.unread` keeps it in.
    Unread,
    /// Refused: a text that is not the document (system text, another document, a tool's result, an attachment) is
    /// as long as one, and `policy.whole` keeps it in.
    WholeText,
    /// No worker answered.
    WorkerUnavailable,
    /// No worker answered in time.
    WorkerTimeout,
    /// A worker refused the document or the question.
    WorkerRefused,
    /// A worker's answer failed the check of its spans.
    WorkerInvalid,
}

impl Reason {
    /// Returns the stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Coverage => "coverage",
            Self::Replayed => "replayed",
            Self::FollowUp => "follow_up",
            Self::ModeOff => "mode_off",
            Self::NoUserText => "no_user_text",
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::NoQuestion => "no_question",
            Self::NeedsEverything => "needs_everything",
            Self::NeedsOverview => "needs_overview",
            Self::EarlierTurn => "earlier_turn",
            Self::ToolKept => "tool_kept",
            Self::CacheMarked => "cache_marked",
            Self::Citations => "citations",
            Self::Attachment => "attachment",
            Self::Stateful => "stateful",
            Self::Code => "code",
            Self::NotProse => "not_prose",
            Self::ToolOutput => "tool_output",
            Self::DuplicateKey => "duplicate_key",
            Self::LoneSurrogate => "lone_surrogate",
            Self::TooManyParts => "too_many_parts",
            Self::CachedPrefix => "cached_prefix",
            Self::NotSmaller => "not_smaller",
            Self::BelowFloor => "below_floor",
            Self::Unreadable => "unreadable",
            Self::Unread => "unread",
            Self::WholeText => "whole_text",
            Self::WorkerUnavailable => "worker_unavailable",
            Self::WorkerTimeout => "worker_timeout",
            Self::WorkerRefused => "worker_refused",
            Self::WorkerInvalid => "worker_invalid",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
