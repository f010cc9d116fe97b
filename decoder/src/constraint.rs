//! What an answer must be: JSON, of a schema or any, a text that a regular expression matches, or a quote. Before each token
//! those that would lead away from it are masked, so a model can write nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::SimpleVob;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Map, Value, json};

use crate::tokenizer::Tokenizer;

mod quote;
#[cfg(test)]
mod tests;

pub(crate) use quote::AFTER_QUOTE;
use quote::Copier;
pub use quote::Quote;

/// Most bytes of a schema or a regular expression.
const MOST_BYTES: usize = 1 << 18;

/// What an answer must be. An answer that ends by itself is whole; one that ends by its length, its deadline or a stop
/// string may be cut. JSON comes without white space between its parts.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// JSON of a schema, an object as in <https://json-schema.org>. References within it are followed, others refused.
    JsonSchema(Value),
    /// Any JSON object.
    JsonObject,
    /// A text that the whole regular expression matches; syntax of the crate `regex`.
    Regex(String),
    /// The beginning or the end of a quote from a passage, as facts are written.
    Quote(Quote),
}

/// Why an answer cannot be constrained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConstraintError {
    /// The schema or expression is longer than it may be.
    #[error("a constraint of {bytes} bytes: must be at most {limit}")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// The schema or expression is wrong, or uses what is not supported.
    #[error("the constraint cannot be used: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// No text meets it, or none that this vocabulary can write.
    #[error("no text that the model could write meets the constraint; allow more")]
    Unmeetable,
    /// No token of the tokenizer ends an answer.
    #[error("the tokenizer names no token that ends an answer (eos_token), so answers cannot be constrained")]
    NoEnd,
    /// The answer cannot go on: what the constraint allows is too complex, or cannot be written.
    #[error("the constraint cannot be followed any further: {reason}; make it simpler")]
    Stuck {
        /// What happened.
        reason: String,
    },
}

/// A constraint on its way through an answer.
pub(crate) struct Grammar {
    rule: Rule,
}

enum Rule {
    Matcher(Box<Matcher>),
    Quote(Copier),
}

impl std::fmt::Debug for Grammar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammar").finish_non_exhaustive()
    }
}

/// Tokens that may come next.
pub(crate) struct Allowed(SimpleVob);

impl Allowed {
    pub(crate) fn contains(&self, token: usize) -> bool {
        token < self.0.len() && self.0.get(token)
    }
}

impl Grammar {
    /// Compiles a constraint: milliseconds, more for large schemas, within limits.
    pub(crate) fn compile(tokenizer: &Tokenizer, constraint: &Constraint) -> Result<Self, ConstraintError> {
        let rule = match top_level(constraint)? {
            Top::Quote(quote) => Rule::Quote(Copier::new(tokenizer, quote)),
            Top::Grammar(grammar) => {
                let factory = tokenizer.grammars().ok_or(ConstraintError::NoEnd)?;
                Rule::Matcher(Box::new(matcher(factory, grammar)?))
            }
        };
        let mut grammar = Self { rule };
        // One that cannot begin is refused, not begun.
        match grammar.allowed() {
            Ok(_) => Ok(grammar),
            Err(_) => Err(ConstraintError::Unmeetable),
        }
    }

    /// Returns the tokens that may come next.
    pub(crate) fn allowed(&mut self) -> Result<Allowed, ConstraintError> {
        let allowed = match &mut self.rule {
            Rule::Matcher(matcher) => matcher.compute_mask_or_eos().map_err(stuck)?,
            Rule::Quote(copier) => copier.allowed(),
        };
        match allowed.is_zero() {
            true => Err(stuck("no token may follow")),
            false => Ok(Allowed(allowed)),
        }
    }

    /// Takes a token that was allowed. Returns whether the answer is whole and nothing can follow.
    pub(crate) fn take(&mut self, token: u32) -> Result<bool, ConstraintError> {
        let matcher = match &mut self.rule {
            Rule::Matcher(matcher) => matcher,
            Rule::Quote(copier) => return copier.take(token),
        };
        matcher.consume_token(token).map_err(stuck)?;
        let stopped = matcher.is_stopped();
        match stopped && !matcher.stop_reason().is_ok() {
            true => Err(stuck(matcher.stop_reason())),
            false => Ok(stopped),
        }
    }
}

fn stuck(reason: impl std::fmt::Display) -> ConstraintError {
    ConstraintError::Stuck {
        reason: reason.to_string(),
    }
}

fn malformed(reason: impl std::fmt::Display) -> ConstraintError {
    ConstraintError::Malformed {
        reason: reason.to_string(),
    }
}

/// What is compiled, once its size is checked.
enum Top<'a> {
    Grammar(TopLevelGrammar),
    Quote(&'a Quote),
}

fn top_level(constraint: &Constraint) -> Result<Top<'_>, ConstraintError> {
    let check = |bytes: usize| match bytes > MOST_BYTES {
        true => Err(ConstraintError::TooLarge {
            bytes,
            limit: MOST_BYTES,
        }),
        false => Ok(()),
    };
    match constraint {
        Constraint::JsonSchema(Value::Object(schema)) => {
            let text = serde_json::to_string(schema).map_err(malformed)?;
            check(text.len())?;
            Ok(Top::Grammar(of_schema(schema.clone())))
        }
        Constraint::JsonSchema(_) => Err(malformed("the schema must be an object")),
        Constraint::JsonObject => {
            let object = Map::from_iter([("type".to_owned(), json!("object"))]);
            Ok(Top::Grammar(of_schema(object)))
        }
        Constraint::Quote(quote) => Ok(Top::Quote(quote)),
        Constraint::Regex(expression) => {
            check(expression.len())?;
            Ok(Top::Grammar(TopLevelGrammar::from_regex(expression)))
        }
    }
}

/// Makes the grammar of a schema without white space: a model that likes it would write it until its tokens are spent.
fn of_schema(mut schema: Map<String, Value>) -> TopLevelGrammar {
    schema.insert("x-guidance".to_owned(), json!({"whitespace_flexible": false}));
    TopLevelGrammar::from_json_schema(Value::Object(schema))
}

fn matcher(factory: &ParserFactory, grammar: TopLevelGrammar) -> Result<Matcher, ConstraintError> {
    let parser = catch_unwind(AssertUnwindSafe(|| factory.create_parser(grammar)));
    let parser = parser.map_err(|_| malformed("it makes the compiler of grammars panic"))?;
    Ok(Matcher::new(Ok(parser.map_err(malformed)?)))
}
