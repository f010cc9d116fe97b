//! Conversations as prompts, by the template that a model folder brings along. Templates are Jinja with Python's methods
//! on strings and dictionaries, as `apply_chat_template` of transformers runs them.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value};

use crate::tokenizer::Tokenizer;

mod json;
#[cfg(test)]
mod tests;

/// File of the template.
const FILE: &str = "chat_template.jinja";
/// Name of the template in its environment; without an ending, so that nothing is escaped.
const TEMPLATE: &str = "chat_template";

/// Why a conversation cannot be made a prompt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The folder has no template.
    #[error("{folder}: no chat_template.jinja, and no chat_template in tokenizer_config.json; use a model that was tuned for conversations, or give it a plain prompt", folder = .folder.display())]
    Missing {
        /// The model folder.
        folder: PathBuf,
    },
    /// The file cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The template is not one that can be run.
    #[error("the chat template cannot be read: {0}")]
    Template(#[source] minijinja::Error),
    /// The template refuses the conversation, in its own words.
    #[error("the model's chat template refuses the conversation: {0}")]
    Refused(String),
    /// The template fails on the conversation.
    #[error("the chat template cannot be applied: {0}")]
    Apply(#[source] minijinja::Error),
}

/// What a template is told.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// Messages in the form of OpenAI's API: `role`, `content`, and what else the template reads.
    pub messages: Vec<serde_json::Value>,
    /// Tools that the model may call, in the form of OpenAI's API; none is unlike an empty list.
    pub tools: Option<Vec<serde_json::Value>>,
    /// Whether the prompt ends where the model's answer begins.
    pub add_generation_prompt: bool,
}

/// A model's chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    specials: Vec<(&'static str, String)>,
}

impl ChatTemplate {
    /// Reads the template of a model folder: `chat_template.jinja`, or the default one in `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`ChatError::Missing`], [`ChatError::Unreadable`] and [`ChatError::Template`].
    pub fn read(folder: &Path, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        let path = folder.join(FILE);
        let source = match std::fs::read_to_string(&path) {
            Ok(source) => source,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let stored = tokenizer.special().chat_template().and_then(default_template);
                stored.ok_or_else(|| ChatError::Missing {
                    folder: folder.to_owned(),
                })?
            }
            Err(source) => return Err(ChatError::Unreadable { path, source }),
        };
        let specials = tokenizer.special().texts().iter();
        let specials = specials.map(|(role, text)| (*role, text.clone())).collect();
        Self::new(source, specials)
    }

    fn new(source: String, specials: Vec<(&'static str, String)>) -> Result<Self, ChatError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(ChatError::Template)?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", json::tojson);
        environment.add_function("raise_exception", raise_exception);
        environment
            .add_template_owned(TEMPLATE, source)
            .map_err(ChatError::Template)?;
        Ok(Self {
            environment,
            specials,
        })
    }

    /// Returns whether the template writes tools into the prompt. One that does not would drop them without a word.
    pub fn takes_tools(&self) -> bool {
        let template = self.environment.get_template(TEMPLATE);
        template.is_ok_and(|template| template.undeclared_variables(false).contains("tools"))
    }

    /// Makes the prompt of a conversation. It holds its own special tokens: encode it without a frame.
    ///
    /// # Errors
    /// [`ChatError::Refused`] and [`ChatError::Apply`].
    pub fn apply(&self, conversation: &Conversation) -> Result<String, ChatError> {
        let template = self
            .environment
            .get_template(TEMPLATE)
            .map_err(ChatError::Template)?;
        let mut values: Vec<(&str, Value)> = vec![
            ("messages", json::values(&conversation.messages)),
            (
                "add_generation_prompt",
                Value::from(conversation.add_generation_prompt),
            ),
        ];
        if let Some(tools) = &conversation.tools {
            values.push(("tools", json::values(tools)));
        }
        let specials = self
            .specials
            .iter()
            .map(|(role, text)| (*role, Value::from(text.as_str())));
        values.extend(specials);
        template
            .render(Value::from_pairs(values))
            .map_err(|error| match raised(&error) {
                Some(reason) => ChatError::Refused(reason),
                None => ChatError::Apply(error),
            })
    }
}

/// Begins what `raise_exception` was told.
const RAISED: &str = "raise_exception: ";

fn raise_exception(reason: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(
        ErrorKind::InvalidOperation,
        format!("{RAISED}{reason}"),
    ))
}

/// Returns the words of a template that refuses.
fn raised(error: &minijinja::Error) -> Option<String> {
    let reason = error.detail()?.strip_prefix(RAISED)?;
    Some(reason.to_owned())
}

/// Returns the template of `tokenizer_config.json`: one text, or the one called `default` of several.
fn default_template(value: &serde_json::Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let named = value
        .as_array()?
        .iter()
        .find(|entry| entry["name"] == "default")?;
    named["template"].as_str().map(str::to_owned)
}
