//! What a request holds, as data: turns, the texts in them that may be documents, and all that may be asked of those.

use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use crate::api::Reason;
use crate::need::{Need, judge};
use crate::request::Text;

/// A request, read into turns.
#[derive(Debug, Clone, Default)]
pub struct Reading<'a> {
    /// The turns, in order. Each depends on nothing that stands behind it.
    pub turns: Vec<Turn<'a>>,
}

/// What stands between two things that the model said. System texts belong to the first one that follows them.
#[derive(Debug, Clone)]
pub struct Turn<'a> {
    /// Which of the request's parts stand in it.
    pub parts: Range<usize>,
    /// Texts that hold documents, in the order in which the model reads them.
    pub sites: Vec<Site<'a>>,
    /// All that may be asked of the sites, known at the end of the turn: the weightiest first, at most
    /// [`MAX_ASKS`](super::MAX_ASKS). Empty before the conversation's first site.
    pub asks: Vec<Ask>,
    /// The most demanding need of what the user, the task and their labels ask now. `None` if nothing is asked.
    pub need: Need,
    /// Where the user's own words of this turn begin.
    pub words: Option<Words<'a>>,
}

/// The place where the user's own words of a turn begin.
#[derive(Debug, Clone)]
pub struct Words<'a> {
    /// Position of the part in the request.
    pub part: usize,
    /// The text that holds them.
    pub text: Arc<Text<'a>>,
    /// Their first byte in what the text says.
    pub start: usize,
}

/// A text that holds a document.
#[derive(Debug, Clone)]
pub struct Site<'a> {
    /// Position of the part in the request.
    pub part: usize,
    /// Who put the document where it stands.
    pub kind: SiteKind,
    /// Name of the tool that answered with it.
    pub tool: Option<String>,
    /// The text that holds it.
    pub text: Arc<Text<'a>>,
    /// Bytes of what the text says that are the document; the rest are instructions and stay.
    pub document: Range<usize>,
    /// Whether somebody else cut it out as a passage: it is kept whole or left out whole.
    pub passage: bool,
    /// The reason to leave it as it is, whatever is asked.
    pub keep: Option<Reason>,
}

impl Site<'_> {
    /// Returns the document.
    pub fn document_text(&self) -> &str {
        self.text.as_str().get(self.document.clone()).unwrap_or_default()
    }
}

/// Who put a document where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteKind {
    /// The user, in a text.
    User,
    /// The application, in a system or developer text.
    System,
    /// A tool, in what it answered.
    ToolResult,
    /// The user, in a block that is named a document.
    Document,
    /// The application, in the prompt of a plain completion.
    Prompt,
}

impl SiteKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::User,
        Self::System,
        Self::ToolResult,
        Self::Document,
        Self::Prompt,
    ];

    /// Returns the stable name, for metrics and manifests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
            Self::ToolResult => "tool_result",
            Self::Document => "document",
            Self::Prompt => "prompt",
        }
    }
}

/// Something that may be asked of the documents of a turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// What is asked.
    pub text: String,
    /// How much it counts beside the others, above 0 and at most 1.
    pub weight: f32,
    /// Where it was found.
    pub source: AskSource,
}

/// Most weight of words that only state something beside others that ask.
pub(super) const STATED: f32 = 0.3;

impl Ask {
    /// Returns whether it asks, and does not only state something beside what does.
    pub fn asks(&self) -> bool {
        self.weight > STATED
    }

    /// Judges how much of a document its answer needs: of a field, what bears on it.
    pub fn need(&self) -> Need {
        match self.source {
            AskSource::Field => Need::Evidence,
            _ => judge(&self.text).need,
        }
    }
}

/// Where an ask was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AskSource {
    /// What the user says now.
    Words,
    /// The task in the system text.
    Task,
    /// Behind a label or in a tag that is named for a question.
    Label,
    /// An item of a list of questions.
    Numbered,
    /// A field that the answer must have.
    Field,
    /// The arguments of the call that a tool answered.
    Arguments,
    /// What the model said before that call.
    Said,
    /// The user's words of an earlier turn.
    Goal,
}

impl AskSource {
    /// Returns whether the user says it now: his words, what he labels, what he lists.
    pub const fn is_said_now(self) -> bool {
        matches!(self, Self::Words | Self::Label | Self::Numbered)
    }

    /// Returns the stable name, for manifests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Task => "task",
            Self::Label => "label",
            Self::Numbered => "numbered",
            Self::Field => "field",
            Self::Arguments => "arguments",
            Self::Said => "said",
            Self::Goal => "goal",
        }
    }
}
