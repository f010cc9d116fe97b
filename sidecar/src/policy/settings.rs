//! The policy's settings: section `[policy]`.

use liquid_contract::{Unread, Whole, defaults};
use liquid_process::Invalid;
use serde::{Deserialize, Serialize};

use super::retrieval::Retrieval;
use super::tools::Tools;
use crate::api::{Mode, Overrides, Tier};

/// When to compress, and how far. Section `[policy]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `off`, `auto` or `force`; the header `x-liquid-mode` goes first. Default `auto`.
    pub mode: Mode,
    /// Shorter documents pass. Tokens, estimated. Default 2000.
    pub min_document_tokens: u64,
    /// Longer documents pass. Bytes of text. Default 67108864 (64 MiB).
    pub max_document_bytes: u64,
    /// A pack must save at least this share of the document's tokens, 0 to 1. Default 0.2.
    pub min_saving: f64,
    /// A pack must save at least this many tokens. Default 500.
    pub min_saved_tokens: u64,
    /// The engine to ask for evidence; without it the worker chooses. Where `pack.style` has facts, the worker chooses too.
    /// Default: the worker chooses.
    pub tier: Option<Tier>,
    /// What to do when no question can be found. Default `pass`.
    pub no_question: WholeDocument,
    /// What to do when the question asks for an overview ("summarise this"). Default `pass`.
    pub overview: WholeDocument,
    /// What to do with a document in an earlier turn of the conversation. Default `replay`.
    pub earlier_turns: EarlierTurns,
    /// What to do with a text of `min_document_tokens` that was read and would leave whole, for whatever reason
    /// but a missing worker, which is `extract.on_worker_unavailable`: `forward`, `coverage` (a selection that
    /// does not depend on the question, where the text can be cut) or `refuse` (an error; nothing leaves).
    /// Default `forward`.
    pub whole: Whole,
    /// What to do with a body that was not read as a call on a surface: `forward`, or `refuse` (an error) where
    /// the body, at one token a byte, is longer than `min_document_tokens`, is compressed, or is a stream
    /// without an end, such as a WebSocket. Default `forward`.
    pub unread: Unread,
    /// Paths below the API's version that `unread` lets through, with all that is below them, such as
    /// `/embeddings`. Default: none.
    pub unread_allow: Vec<String>,
    /// What becomes of tools' results, by the tool's name, in which `*` stands for any characters: `auto` (code,
    /// listings, hits, logs and configuration stay), `keep` or `compress`. Section `[policy.tools]`. Default: `auto`
    /// for every tool.
    pub tools: Tools,
    /// How much to keep. Section `[policy.budget]`.
    pub budget: Budget,
    /// The price of the alternative. Section `[policy.cached_prefix]`.
    pub cached_prefix: CachedPrefix,
    /// The model's way back to a document. Section `[policy.retrieval]`.
    pub retrieval: Retrieval,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            min_document_tokens: defaults::MIN_DOCUMENT_TOKENS.into(),
            max_document_bytes: 64 << 20,
            min_saving: defaults::MIN_SAVING,
            min_saved_tokens: defaults::MIN_SAVED_TOKENS.into(),
            tier: None,
            no_question: WholeDocument::Pass,
            overview: WholeDocument::Pass,
            earlier_turns: EarlierTurns::Replay,
            whole: Whole::Forward,
            unread: Unread::Forward,
            unread_allow: Vec::new(),
            tools: Tools::default(),
            budget: Budget::default(),
            cached_prefix: CachedPrefix::default(),
            retrieval: Retrieval::default(),
        }
    }
}

/// What to do where the whole document matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WholeDocument {
    /// Leave the document as it is.
    #[default]
    Pass,
    /// Keep what represents it best, whatever the question.
    Coverage,
}

/// What to do with a document in an earlier turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EarlierTurns {
    /// Send the identical pack again; what a later turn asks beyond it is added to that turn.
    #[default]
    Replay,
    /// Leave the document as it is.
    Untouched,
}

/// How much of a document to keep. Section `[policy.budget]`; one of the three.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Keep at most one word in so many: 1 to 1000. Used where neither of the others is set. Default 5.5.
    pub ratio: f64,
    /// Keep at most so many tokens.
    pub max_tokens: Option<u64>,
    /// Keep the smallest pack that is estimated to hold the share `floor` of the evidence. Default false.
    pub auto: bool,
    /// With `auto`: the share of the evidence, above 0 to 1. Default 0.95.
    pub floor: f64,
    /// With `auto`: never keep more than one word in so many. Default 1.25.
    pub min_ratio: f64,
    /// With `auto`: never keep less than one word in so many. Default 20.
    pub max_ratio: f64,
    /// Of documents of earlier turns, a later turn that asks beyond their packs is given what they lack of its evidence:
    /// at least one word in so many where there is so much, and more while packs and excerpts together are no more than
    /// a pack's budget, a fifth of it, and two words in so many for each later question. Default 20.
    pub further_ratio: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            ratio: defaults::BUDGET_RATIO,
            max_tokens: None,
            auto: false,
            floor: defaults::BUDGET_FLOOR,
            min_ratio: defaults::BUDGET_MIN_RATIO,
            max_ratio: defaults::BUDGET_MAX_RATIO,
            further_ratio: defaults::BUDGET_FURTHER_RATIO,
        }
    }
}

/// What a provider charges for a prefix that it has seen before, against its plain input price. Section
/// `[policy.cached_prefix]`.
///
/// A pack that depends on the question is new text in every call. For `q` questions on one document it beats
/// the cached whole only at a ratio above `q / (write + read (q - 1))`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CachedPrefix {
    /// Weigh it. Switch off for upstreams that do not sell cached prefixes. Default true.
    pub enabled: bool,
    /// Price of writing a prefix to the cache, in plain input prices. Default 1.25.
    pub write: f64,
    /// Price of reading a cached prefix. Default 0.1.
    pub read: f64,
    /// What to send where the cached prefix is cheaper: `pass` or `coverage` (one question-independent pack,
    /// which the provider can cache in turn). Default `pass`.
    pub instead: WholeDocument,
    /// Documents that are remembered. Default 4096.
    pub documents: usize,
    /// How long a document is remembered after its last question. Seconds. Default 1800, which is what the
    /// longer of the providers' caches keep.
    pub ttl_s: u64,
}

impl Default for CachedPrefix {
    fn default() -> Self {
        Self {
            enabled: true,
            write: defaults::CACHED_PREFIX_WRITE,
            read: defaults::CACHED_PREFIX_READ,
            instead: WholeDocument::Pass,
            documents: 4_096,
            ttl_s: defaults::CACHED_PREFIX_TTL_SECONDS.into(),
        }
    }
}

/// The dearest write of a cached prefix that is believed, in plain input prices.
const MAX_PREFIX_PRICE: f64 = 100.0;

impl Settings {
    /// Returns these settings with a caller's overrides on top.
    pub fn with(&self, overrides: &Overrides) -> Self {
        let mut settings = self.clone();
        settings.mode = overrides.mode.unwrap_or(settings.mode);
        settings.tier = overrides.tier.or(settings.tier);
        if let Some(ratio) = overrides.ratio {
            settings.budget = Budget {
                ratio,
                max_tokens: None,
                auto: false,
                ..settings.budget
            };
        }
        if let Some(max_tokens) = overrides.max_tokens {
            settings.budget = Budget {
                max_tokens: Some(max_tokens),
                auto: false,
                ..settings.budget
            };
        }
        settings
    }

    /// Returns whether a body of so many bytes that nobody has read may hold a document: a token is at least a
    /// byte, so what has no more bytes has no more tokens than `min_document_tokens`.
    pub fn may_be_document(&self, bytes: u64) -> bool {
        bytes > self.min_document_tokens
    }

    /// Lists every value that cannot be used, fields named below `[policy]`.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut wrong = self.budget.validate();
        wrong.extend(self.tools.validate());
        wrong.extend(self.retrieval.validate());
        let mut check = |ok: bool, field: &str, value: String, remedy: &str| {
            if !ok {
                wrong.push(Invalid::new(field, value, remedy));
            }
        };
        check(
            (0.0..=1.0).contains(&self.min_saving),
            "min_saving",
            self.min_saving.to_string(),
            "set a share from 0 to 1",
        );
        check(
            self.tier != Some(Tier::Decoder),
            "tier",
            "decoder".to_owned(),
            "set pack.style to facts or both instead, which asks for it",
        );
        check(
            self.max_document_bytes > 0,
            "max_document_bytes",
            self.max_document_bytes.to_string(),
            "set at least 1",
        );
        for path in &self.unread_allow {
            let odd = |c: char| c.is_whitespace() || "?#;\\%".contains(c);
            let dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
            check(
                path.len() > 1 && path.starts_with('/') && !path.contains(odd) && !dots,
                "unread_allow",
                format!("{path:?}"),
                "write a path below the API's version, such as \"/embeddings\"",
            );
        }
        let prefix = &self.cached_prefix;
        check(
            prefix.write > 0.0 && prefix.write <= MAX_PREFIX_PRICE,
            "cached_prefix.write",
            prefix.write.to_string(),
            "set a multiple of the input price, above 0, at most 100",
        );
        check(
            (0.0..=prefix.write).contains(&prefix.read),
            "cached_prefix.read",
            prefix.read.to_string(),
            "set a multiple of the input price, from 0 to cached_prefix.write",
        );
        check(
            prefix.documents > 0 || !prefix.enabled,
            "cached_prefix.documents",
            prefix.documents.to_string(),
            "set at least 1, or cached_prefix.enabled = false",
        );
        wrong
    }
}

impl Budget {
    fn validate(&self) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        let ratios = [
            ("ratio", self.ratio),
            ("min_ratio", self.min_ratio),
            ("max_ratio", self.max_ratio),
            ("further_ratio", self.further_ratio),
        ];
        for (field, value) in ratios {
            if !defaults::BUDGET_RATIOS.contains(&value) {
                wrong.push(Invalid::new(field, value, "set a number from 1 to 1000"));
            }
        }
        if !(self.floor > 0.0 && self.floor <= 1.0) {
            wrong.push(Invalid::new(
                "floor",
                self.floor,
                "set a share above 0, at most 1",
            ));
        }
        if self.min_ratio > self.max_ratio {
            wrong.push(Invalid::new(
                "min_ratio",
                self.min_ratio,
                "set it at most as high as max_ratio",
            ));
        }
        if self.max_tokens == Some(0) {
            wrong.push(Invalid::new("max_tokens", 0, "set at least 1"));
        }
        if self.max_tokens.is_some() && self.auto {
            wrong.push(Invalid::new("auto", true, "set either auto or max_tokens"));
        }
        wrong
            .into_iter()
            .map(|invalid| invalid.within("budget"))
            .collect()
    }
}
