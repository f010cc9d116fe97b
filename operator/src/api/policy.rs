//! `spec.policy`.

use std::collections::BTreeMap;

use kube::KubeSchema;
use liquid_contract::defaults;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Decimal;

/// When a document is replaced by its evidence.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.minSaving >= 0.0 && self.minSaving < 1.0")
        .message("spec.policy.minSaving is a share of the document's tokens: 0 or more, below 1"),
    validation = Rule::new("self.minSavedTokens >= 0")
        .message("spec.policy.minSavedTokens is not negative: 0 takes every saving"),
    validation = Rule::new("self.unreadAllow.all(path, path.matches('^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$'))")
        .message("spec.policy.unreadAllow names paths below the API's version, such as /embeddings"),
    validation = Rule::new("self.tools.all(name, name.matches('^[!-~]{1,128}$'))")
        .message("spec.policy.tools names tools by 1 to 128 visible ASCII characters, such as web_search, or read_* for \
            several")
)]
pub struct Policy {
    /// Whether documents are replaced at all.
    #[serde(default)]
    pub mode: Mode,
    /// What happens to a call when no worker answers in time. `Forward`: the whole document goes to the LLM.
    /// `Reject`: it does not leave, and the application gets an error.
    #[serde(default)]
    pub on_worker_unavailable: OnWorkerUnavailable,
    /// The least share of a document's tokens that must be saved: 0 to 1.
    #[serde(default = "min_saving")]
    pub min_saving: Decimal,
    /// The fewest tokens that must be saved.
    #[serde(default = "min_saved_tokens")]
    pub min_saved_tokens: i64,
    /// What happens when no question can be found.
    #[serde(default)]
    pub no_question: WholeDocument,
    /// What happens when the question asks for an overview, such as a summary.
    #[serde(default)]
    pub overview: WholeDocument,
    /// What happens to documents in earlier turns of the conversation.
    #[serde(default)]
    pub earlier_turns: EarlierTurns,
    /// What happens to a text of `spec.extraction.minDocumentTokens` that was read and would leave whole, for
    /// whatever reason but a missing worker: no question, a question that needs all of it, code, instructions, the
    /// result of a tool that stays. `Refuse`: nothing of the call leaves, and the application gets an error.
    #[serde(default)]
    pub whole: Whole,
    /// What happens to a request body that the sidecar does not read: another path, a compressed body, a
    /// WebSocket. `Refuse`: it does not leave if it may hold a document of
    /// `spec.extraction.minDocumentTokens`, and the application gets an error.
    #[serde(default)]
    pub unread: Unread,
    /// Paths that `unread` lets through, with all that is below them, such as `/embeddings`; without the
    /// API's version.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(max = 256)))]
    pub unread_allow: Vec<String>,
    /// What happens to the results of tools, by the tool's name, in which `*` stands for any characters; of several
    /// names that fit the longest decides. `Auto` for every tool that no name fits.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 64))]
    pub tools: BTreeMap<String, ToolMode>,
    /// What the LLM's provider charges for text that it has seen before.
    #[serde(default)]
    pub cached_prefix: CachedPrefix,
}

/// Whether documents are replaced.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Documents are replaced where it pays.
    #[default]
    Auto,
    /// Documents are never replaced.
    Off,
    /// Documents are replaced wherever it is allowed, also where it does not pay.
    Force,
}

impl Mode {
    /// Returns the sidecar's mode.
    pub fn to_contract(self) -> liquid_contract::Mode {
        match self {
            Self::Auto => liquid_contract::Mode::Auto,
            Self::Off => liquid_contract::Mode::Off,
            Self::Force => liquid_contract::Mode::Force,
        }
    }
}

/// What happens to a call without evidence.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnWorkerUnavailable {
    /// The whole document goes to the LLM.
    #[default]
    Forward,
    /// The document does not leave; the application gets an error.
    Reject,
}

impl OnWorkerUnavailable {
    /// Returns the name in the sidecar's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reject => "reject",
        }
    }
}

/// What happens where the whole document matters.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WholeDocument {
    /// The document stays as it is.
    #[default]
    Pass,
    /// What represents it best is kept, whatever the question.
    Coverage,
}

impl WholeDocument {
    /// Returns the name in the sidecar's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Coverage => "coverage",
        }
    }
}

/// What happens to documents in earlier turns.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EarlierTurns {
    /// The same evidence again, byte for byte; what a later turn asks beyond it is added to that turn.
    #[default]
    Replay,
    /// The documents stay as they are.
    Untouched,
}

impl EarlierTurns {
    /// Returns the name in the sidecar's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Untouched => "untouched",
        }
    }
}

/// What happens to a text as long as a document that would leave whole.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whole {
    /// It leaves whole.
    #[default]
    Forward,
    /// A selection that does not depend on the question leaves in its place, where it can be cut.
    Coverage,
    /// It does not leave; the application gets an error.
    Refuse,
}

impl Whole {
    /// Returns the sidecar's choice.
    pub fn to_contract(self) -> liquid_contract::Whole {
        match self {
            Self::Forward => liquid_contract::Whole::Forward,
            Self::Coverage => liquid_contract::Whole::Coverage,
            Self::Refuse => liquid_contract::Whole::Refuse,
        }
    }
}

/// What happens to a request body that the sidecar does not read.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unread {
    /// It leaves as it came.
    #[default]
    Forward,
    /// It does not leave if it may hold a document; the application gets an error.
    Refuse,
}

impl Unread {
    /// Returns the sidecar's choice.
    pub fn to_contract(self) -> liquid_contract::Unread {
        match self {
            Self::Forward => liquid_contract::Unread::Forward,
            Self::Refuse => liquid_contract::Unread::Refuse,
        }
    }
}

/// What happens to the results of a tool.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToolMode {
    /// Prose, tables and pages are replaced by their evidence; code, listings, hits, logs and configuration stay word
    /// for word.
    #[default]
    Auto,
    /// They stay word for word.
    Keep,
    /// They are replaced by their evidence, whatever they hold.
    Compress,
}

impl ToolMode {
    /// Returns the name in the sidecar's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Keep => "keep",
            Self::Compress => "compress",
        }
    }
}

/// What the LLM's provider charges for text that it has seen before, against its plain input price.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.write > 0.0 && self.write <= 100.0 && self.read >= 0.0 && self.read <= \
        self.write")
        .message("spec.policy.cachedPrefix.write and read are prices against plain input, 0 <= read <= \
            write <= 100: take them from the provider's price list"),
    validation = Rule::new("self.ttlSeconds >= 1 && self.ttlSeconds <= 86400")
        .message("spec.policy.cachedPrefix.ttlSeconds is 1 to 86400: how long the provider keeps a prefix")
)]
pub struct CachedPrefix {
    /// Weigh it. `false` for providers that do not sell cached prefixes.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Price of writing a prefix to the cache.
    #[serde(default = "write")]
    pub write: Decimal,
    /// Price of reading a prefix from the cache.
    #[serde(default = "read")]
    pub read: Decimal,
    /// What is sent where the cached prefix is cheaper.
    #[serde(default)]
    pub instead: WholeDocument,
    /// How long a prefix is kept after its last use, in seconds: 1 to 86400.
    #[serde(default = "ttl_seconds")]
    pub ttl_seconds: i64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            on_worker_unavailable: OnWorkerUnavailable::default(),
            min_saving: min_saving(),
            min_saved_tokens: min_saved_tokens(),
            no_question: WholeDocument::default(),
            overview: WholeDocument::default(),
            earlier_turns: EarlierTurns::default(),
            whole: Whole::default(),
            unread: Unread::default(),
            unread_allow: Vec::new(),
            tools: BTreeMap::new(),
            cached_prefix: CachedPrefix::default(),
        }
    }
}

impl Default for CachedPrefix {
    fn default() -> Self {
        Self {
            enabled: true,
            write: write(),
            read: read(),
            instead: WholeDocument::default(),
            ttl_seconds: ttl_seconds(),
        }
    }
}

fn min_saving() -> Decimal {
    defaults::MIN_SAVING.into()
}

fn min_saved_tokens() -> i64 {
    defaults::MIN_SAVED_TOKENS.into()
}

fn yes() -> bool {
    true
}

fn write() -> Decimal {
    defaults::CACHED_PREFIX_WRITE.into()
}

fn read() -> Decimal {
    defaults::CACHED_PREFIX_READ.into()
}

fn ttl_seconds() -> i64 {
    defaults::CACHED_PREFIX_TTL_SECONDS.into()
}
