//! `spec.extraction`.

use kube::KubeSchema;
use liquid_contract::defaults;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Decimal;

/// What is asked of the workers.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.minDocumentTokens >= 0")
        .message("spec.extraction.minDocumentTokens is not negative: 0 looks at every document"),
    validation = Rule::new("self.deadlineMilliseconds >= 50 && self.deadlineMilliseconds <= 60000")
        .message("spec.extraction.deadlineMilliseconds is 50 to 60000: what an application's call may wait \
            for evidence"),
    validation = Rule::new("self.deadlinePerMebibyteMilliseconds >= 0 && \
        self.deadlinePerMebibyteMilliseconds <= 60000")
        .message("spec.extraction.deadlinePerMebibyteMilliseconds is 0 to 60000: what each MiB of a \
            document adds")
)]
pub struct Extraction {
    /// How evidence is looked for.
    #[serde(default)]
    pub tier: Tier,
    /// How much is kept: by itself `ratio: 5.5`.
    #[serde(default)]
    pub budget: Budget,
    /// Shorter documents pass as they are. Tokens, estimated.
    #[serde(default = "min_document_tokens")]
    pub min_document_tokens: i64,
    /// What a call may wait for evidence, in milliseconds: 50 to 60000. After it,
    /// `policy.onWorkerUnavailable` holds.
    #[serde(default = "deadline")]
    pub deadline_milliseconds: i64,
    /// What each MiB of the document adds to the deadline, in milliseconds: 0 to 60000.
    #[serde(default = "deadline_per_mebibyte")]
    pub deadline_per_mebibyte_milliseconds: i64,
    /// What stands in a document's place. `Facts` and `Both` need `spec.decoder`, and a deadline that leaves it seconds a
    /// passage.
    #[serde(default)]
    pub pack_style: PackStyle,
}

/// How evidence is looked for.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tier {
    /// The worker chooses.
    #[default]
    Auto,
    /// Scores by words only; needs no model.
    Lexical,
    /// Scores by words and by the model's word vectors.
    Static,
    /// Scores by words, by word vectors and by the model itself.
    Encoder,
    /// Scores by words, by word vectors and by a second model, `spec.model.ranker`, which reads passages together with
    /// the question.
    Ranker,
}

impl Tier {
    /// Returns the worker's tier; none for [`Self::Auto`], where the worker chooses.
    pub fn to_contract(self) -> Option<liquid_contract::Tier> {
        match self {
            Self::Auto => None,
            Self::Lexical => Some(liquid_contract::Tier::Lexical),
            Self::Static => Some(liquid_contract::Tier::Static),
            Self::Encoder => Some(liquid_contract::Tier::Encoder),
            Self::Ranker => Some(liquid_contract::Tier::Ranker),
        }
    }

    /// Returns true if workers of this tier read a model.
    pub fn needs_model(self) -> bool {
        self.to_contract().is_none_or(liquid_contract::Tier::needs_model)
    }
}

/// What stands in a document's place.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PackStyle {
    /// Excerpts, word for word.
    #[default]
    Quotes,
    /// Facts that the workers' language model writes, and the quotes that prove them.
    Facts,
    /// Both.
    Both,
}

impl PackStyle {
    /// Returns the sidecar's style.
    pub fn to_contract(self) -> liquid_contract::PackStyle {
        match self {
            Self::Quotes => liquid_contract::PackStyle::Quotes,
            Self::Facts => liquid_contract::PackStyle::Facts,
            Self::Both => liquid_contract::PackStyle::Both,
        }
    }
}

/// How much of a document is kept: exactly one of `ratio`, `maxTokens` and `auto`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.ratio), has(self.maxTokens), has(self.auto)].filter(set, set).size() \
        == 1")
        .message("spec.extraction.budget takes exactly one of ratio, maxTokens and auto: set one, remove the others"),
    validation = Rule::new("!has(self.ratio) || (self.ratio >= 1.0 && self.ratio <= 1000.0)")
        .message("spec.extraction.budget.ratio is 1 to 1000: 5.5 keeps at most one word in five and a half"),
    validation = Rule::new("!has(self.maxTokens) || (self.maxTokens >= 50 && self.maxTokens <= 1000000)")
        .message("spec.extraction.budget.maxTokens is 50 to 1000000: the most tokens that stay of a document"),
    validation = Rule::new("self.furtherRatio >= 1.0 && self.furtherRatio <= 1000.0")
        .message("spec.extraction.budget.furtherRatio is 1 to 1000: 20 gives a later turn one word in twenty or more")
)]
pub struct Budget {
    /// Keep at most one word in so many: 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Decimal>,
    /// Keep at most so many tokens: 50 to 1000000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<i64>,
    /// Keep the least that is estimated to hold the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto: Option<AutoBudget>,
    /// What a later turn is given of documents of earlier turns where it asks beyond their evidence: one word in so many,
    /// and more while packs and excerpts together hold no more than a pack's budget, a fifth of it, and two words in so
    /// many for each later question: 1 to 1000.
    #[serde(default = "further_ratio")]
    pub further_ratio: Decimal,
}

/// Keep the least that is estimated to hold the share `floor` of the evidence.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.floor > 0.0 && self.floor <= 1.0")
        .message("spec.extraction.budget.auto.floor is a share: above 0, at most 1"),
    validation = Rule::new("self.minRatio >= 1.0 && self.minRatio <= self.maxRatio && self.maxRatio <= 1000.0")
        .message("spec.extraction.budget.auto needs 1 <= minRatio <= maxRatio <= 1000: swap or correct them")
)]
pub struct AutoBudget {
    /// The share of the evidence that must be kept: above 0, at most 1.
    #[serde(default = "floor")]
    pub floor: Decimal,
    /// Never keep more than one word in so many.
    #[serde(default = "min_ratio")]
    pub min_ratio: Decimal,
    /// Never keep less than one word in so many.
    #[serde(default = "max_ratio")]
    pub max_ratio: Decimal,
}

impl Default for Extraction {
    fn default() -> Self {
        Self {
            tier: Tier::default(),
            budget: Budget::default(),
            min_document_tokens: min_document_tokens(),
            deadline_milliseconds: deadline(),
            deadline_per_mebibyte_milliseconds: deadline_per_mebibyte(),
            pack_style: PackStyle::default(),
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            ratio: Some(defaults::BUDGET_RATIO.into()),
            max_tokens: None,
            auto: None,
            further_ratio: further_ratio(),
        }
    }
}

fn further_ratio() -> Decimal {
    defaults::BUDGET_FURTHER_RATIO.into()
}

fn min_document_tokens() -> i64 {
    defaults::MIN_DOCUMENT_TOKENS.into()
}

fn deadline() -> i64 {
    defaults::DEADLINE_MS.into()
}

fn deadline_per_mebibyte() -> i64 {
    defaults::DEADLINE_PER_MIB_MS.into()
}

fn floor() -> Decimal {
    defaults::BUDGET_FLOOR.into()
}

fn min_ratio() -> Decimal {
    defaults::BUDGET_MIN_RATIO.into()
}

fn max_ratio() -> Decimal {
    defaults::BUDGET_MAX_RATIO.into()
}
