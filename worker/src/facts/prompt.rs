//! The prompt of facts: the task, then the passage, then the question, so that a passage is read once for all that is asked
//! about it.

use liquid_decoder::{ChatError, ChatTemplate, Conversation, Tokenizer, TokenizerError};
use serde_json::json;

const TASK: &str = "Read the passage and answer the question with facts. Every fact has a quote, copied from the passage word \
    for word, and a short sentence that says what the quote means for the question. Answer with JSON only: \
    {\"facts\":[{\"quote\":\"...\",\"fact\":\"...\"}]}. If the passage does not answer the question, answer {\"facts\":[]}.";

/// Where passage and question are put into what the template makes. No template and no language has these characters.
const PASSAGE: &str = "\u{f8f1}\u{e0d1}";
const QUESTION: &str = "\u{f8f1}\u{e0d2}";

/// Why no prompt can be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PromptError {
    #[error(transparent)]
    Template(#[from] ChatError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("the chat template does not keep a message as it is; use a model whose template does")]
    Altered,
}

/// A prompt without passage and question, as tokens.
#[derive(Debug)]
pub(super) struct Prompt {
    before: Vec<u32>,
    between: Vec<u32>,
    after: Vec<u32>,
}

impl Prompt {
    /// Makes the prompt in the words of the model's chat template; a plain one if it has none.
    pub(super) fn new(tokenizer: &Tokenizer, template: Option<&ChatTemplate>) -> Result<Self, PromptError> {
        let content = format!("{TASK}\n\nPassage:\n{PASSAGE}\n\nQuestion: {QUESTION}");
        let text = match template {
            Some(template) => template.apply(&Conversation {
                messages: vec![json!({"role": "user", "content": content})],
                tools: None,
                add_generation_prompt: true,
            })?,
            None => format!("{content}\n\nAnswer:\n"),
        };
        let (before, rest) = text.split_once(PASSAGE).ok_or(PromptError::Altered)?;
        let (between, after) = rest.split_once(QUESTION).ok_or(PromptError::Altered)?;
        Ok(Self {
            // A template writes the tokens itself that a text begins with.
            before: tokenizer.encode(before, template.is_none())?,
            between: tokenizer.encode_plain(between)?,
            after: tokenizer.encode(after, false)?,
        })
    }

    /// Returns how many tokens there are beside those of passage and question.
    pub(super) fn len(&self) -> usize {
        self.before.len() + self.between.len() + self.after.len()
    }

    /// Returns the tokens of the whole prompt.
    pub(super) fn fill(&self, passage: &[u32], question: &[u32]) -> Vec<u32> {
        [&self.before, passage, &self.between, question, &self.after].concat()
    }
}
