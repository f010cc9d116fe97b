//! Tells what a text is that somebody sends to a model: how much of a document a request needs, and whether a
//! sentence asks, rules or is a document's. A small model over character n-grams; how it is trained and what on:
//! `sidecar/needs/README.md`.
//!
//! Wrong in one direction only costs money (a document goes out whole); wrong in the other costs the answer. So
//! [`judge`] says `Evidence` or `Aspect` only where it is sure enough.

pub mod features;
pub mod model;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use model::Model;

/// The trained model, as `examples/train_needs` writes it.
static FILE: &[u8] = include_bytes!("need/model.bin");
static MODEL: LazyLock<Option<Model<'static>>> = LazyLock::new(|| Model::read(FILE));

/// Marks that end questions.
pub const QUESTION_MARKS: [char; 3] = ['?', '？', '؟'];

/// The least probability that passages are enough with which a request is taken for one of those.
pub const SURE: f32 = 0.55;

/// The least confidence with which a question of one line is taken for one that needs more than passages.
const SURE_OF_MORE: f32 = 0.67;

/// What kind of request a text is, by how much of the document its answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// The passages that bear on the question.
    Evidence,
    /// The passages about one subject, wherever they stand: a summary of one topic, risks, obligations, decisions.
    Aspect,
    /// The whole in outline: a summary without a focus.
    Overview,
    /// Every item: counts, totals, extremes, complete lists.
    Aggregate,
    /// Every word: a translation, a rewriting, a correction, a continuation.
    Transform,
    /// Nothing is asked of the document: thanks, greetings, rules of style.
    None,
}

impl Need {
    /// All needs, in the order of the model's classes.
    pub const ALL: [Self; 6] = [
        Self::Evidence,
        Self::Aspect,
        Self::Overview,
        Self::Aggregate,
        Self::Transform,
        Self::None,
    ];

    /// Returns the stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::Aspect => "aspect",
            Self::Overview => "overview",
            Self::Aggregate => "aggregate",
            Self::Transform => "transform",
            Self::None => "none",
        }
    }
}

/// What a request needs, and how sure that is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// What is needed.
    pub need: Need,
    /// Probability, 0 to 1, that this decides rightly whether passages are enough.
    pub confidence: f32,
}

/// What a sentence or paragraph is in a call to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Speech {
    /// Somebody asks or orders now.
    Request,
    /// A standing instruction to an assistant: a persona, house rules, a policy.
    Rule,
    /// Text of a document of any kind.
    Content,
}

impl Speech {
    /// All kinds of speech, in the order of the model's classes.
    pub const ALL: [Self; 3] = [Self::Request, Self::Rule, Self::Content];
}

/// Judges how much of the document a request needs. Of a long text the ends are read.
pub fn judge(request: &str) -> Judgement {
    let Some(model) = *MODEL else {
        return Judgement {
            need: Need::Transform,
            confidence: 0.0,
        };
    };
    judge_with(&model, request)
}

/// Judges with a given model what [`judge`] judges with the embedded one.
pub fn judge_with(model: &Model<'_>, request: &str) -> Judgement {
    let judgement = decide(model.need.classify(request));
    // Most questions of one line ask for a point; the model knows the others well.
    if judgement.confidence < SURE_OF_MORE && is_one_question(request) {
        return Judgement {
            need: Need::Evidence,
            ..judgement
        };
    }
    judgement
}

/// Returns whether a request is one line that ends in a question mark.
fn is_one_question(request: &str) -> bool {
    let request = request.trim();
    request.ends_with(QUESTION_MARKS) && !request.contains('\n')
}

/// Decides by the probabilities of [`Need::ALL`]: first whether passages are enough, then which need it is.
fn decide(probabilities: [f32; 6]) -> Judgement {
    let [evidence, aspect, rest @ ..] = probabilities;
    let enough = evidence + aspect;
    if enough >= SURE {
        let need = if evidence >= aspect {
            Need::Evidence
        } else {
            Need::Aspect
        };
        return Judgement {
            need,
            confidence: enough,
        };
    }
    let others = Need::ALL.into_iter().skip(2).zip(rest);
    let (need, _) = others.fold(
        (Need::Transform, 0.0),
        |best, next| if next.1 > best.1 { next } else { best },
    );
    Judgement {
        need,
        confidence: 1.0 - enough,
    }
}

/// Tells whether a sentence or paragraph asks, rules, or is a document's, and with which probability.
pub fn speech(text: &str) -> (Speech, f32) {
    let Some(model) = *MODEL else {
        return (Speech::Request, 0.0);
    };
    let probabilities: [f32; 3] = model.speech.classify(text);
    let kinds = Speech::ALL.into_iter().zip(probabilities);
    kinds.fold(
        (Speech::Request, 0.0),
        |best, next| if next.1 > best.1 { next } else { best },
    )
}
