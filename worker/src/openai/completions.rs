//! `POST /v1/completions`: plain prompts, one or several, as text or as tokens.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use liquid_decoder::{Event, Sampling, Tokenizer};
use serde::Serialize;
use serde_json::Value;

use super::answers::Answers;
use super::error::ApiError;
use super::fields::Fields;
use super::logprobs::{Chosen, TextLogprobs};
use super::options::{Limit, MOST_ANSWERS, Options};
use super::reply::{Choice, Reply};
use super::{Gateway, Head, finish_name, tokens, with_name};
use crate::runtime::Decoder;

/// Fields that change the answer and are not served.
const UNSUPPORTED: [&str; 1] = ["suffix"];

/// Most tokens of an answer where the request names none; OpenAI's number.
const MAX_TOKENS: usize = 16;

/// A request that is read.
struct TextRequest {
    options: Options,
    prompts: Vec<Prompt>,
    /// Whether answers begin with their prompt.
    echo: bool,
}

struct Prompt {
    tokens: Vec<u32>,
    text: String,
}

pub(super) async fn answer(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (admitted, request) = gateway.open(&headers, body, TextRequest::read).await?;
    let decoder = Arc::clone(&admitted.decoder);
    let id = format!("cmpl-{}", gateway.0.names.next());
    let head = Head::new(&id, "text_completion", &decoder);
    let of_prompt = |prompt: &Prompt| request.options.requests(&prompt.tokens, decoder.context_tokens);
    let requests = request.prompts.iter().flat_map(of_prompt).collect();
    let answers = Answers::submit(&gateway, admitted, requests, "prompt").await?;
    let reply = Reply::new(head, request.choices(&decoder), &request.options);
    Ok(with_name(reply.respond(answers).await?, &id))
}

impl TextRequest {
    fn read(fields: &Fields<'_>, decoder: &Decoder) -> Result<Self, ApiError> {
        fields.refuse(&UNSUPPORTED)?;
        let limit = Limit {
            names: &["max_tokens"],
            default: Some(MAX_TOKENS),
        };
        let logprobs = fields.count("logprobs", 0..=Sampling::MOST_LOGPROBS)?;
        let options = Options::read(fields, limit, logprobs)?;
        if fields
            .count("best_of", 0..=MOST_ANSWERS)?
            .is_some_and(|best_of| best_of > options.n)
        {
            return Err(ApiError::unsupported("best_of", "must not be more than n"));
        }
        let echo = fields.flag("echo")?;
        if echo && options.logprobs() {
            return Err(ApiError::unsupported("echo", "is not supported with logprobs"));
        }
        let prompts = prompts(fields, &decoder.tokenizer)?;
        if prompts.len() * options.n > MOST_ANSWERS {
            let remedy = format!("prompts times n must be at most {MOST_ANSWERS}");
            return Err(fields.wrong("prompt", &remedy));
        }
        Ok(Self {
            options,
            prompts,
            echo,
        })
    }

    /// Makes a choice for each answer, those to one prompt beside each other.
    fn choices(&self, decoder: &Decoder) -> Vec<TextChoice> {
        let prompts = self.prompts.iter();
        let of_prompt = |prompt| std::iter::repeat_n(prompt, self.options.n);
        let choice = |(index, prompt): (usize, &Prompt)| TextChoice {
            index,
            tokenizer: Arc::clone(&decoder.tokenizer),
            echo: self.echo.then(|| prompt.text.clone()),
            characters: 0,
            logprobs: self.options.logprobs(),
        };
        prompts.flat_map(of_prompt).enumerate().map(choice).collect()
    }
}

/// Reads the prompts: a text, a list of texts, tokens, or a list of tokens for each.
fn prompts(fields: &Fields<'_>, tokenizer: &Tokenizer) -> Result<Vec<Prompt>, ApiError> {
    let wrong = || fields.wrong("prompt", "must be a text, texts, tokens, or lists of tokens");
    let of_text = |text: &str| -> Result<Prompt, ApiError> {
        Ok(Prompt {
            tokens: tokenizer.encode(text, true)?,
            text: text.to_owned(),
        })
    };
    let of_tokens = |list: &[Value], path: &str| -> Result<Prompt, ApiError> {
        let tokens = tokens::tokens(list, path, tokenizer)?;
        Ok(Prompt {
            text: tokenizer.decode(&tokens),
            tokens,
        })
    };
    let path = fields.path("prompt");
    match fields.get("prompt") {
        Some(Value::String(text)) => Ok(vec![of_text(text)?]),
        Some(Value::Array(list)) if list.first().is_some_and(Value::is_number) => {
            Ok(vec![of_tokens(list, &path)?])
        }
        Some(Value::Array(list)) if !list.is_empty() && list.len() <= MOST_ANSWERS => {
            let one = |(index, value): (usize, &Value)| match value {
                Value::String(text) => of_text(text),
                Value::Array(list) => of_tokens(list, &format!("{path}[{index}]")),
                _ => Err(wrong()),
            };
            list.iter().enumerate().map(one).collect()
        }
        _ => Err(wrong()),
    }
}

/// An answer as it is read.
struct TextChoice {
    index: usize,
    tokenizer: Arc<Tokenizer>,
    /// The prompt, until it is written.
    echo: Option<String>,
    /// Characters of the answer so far.
    characters: usize,
    logprobs: bool,
}

/// A piece of an answer, or the whole.
#[derive(Serialize)]
struct TextPiece {
    index: usize,
    text: String,
    logprobs: Option<TextLogprobs>,
    finish_reason: Option<&'static str>,
}

impl Choice for TextChoice {
    type Chunk = TextPiece;
    type Whole = TextPiece;

    fn read(&mut self, event: Event) -> Vec<TextPiece> {
        let mut piece = TextPiece {
            index: self.index,
            text: self.echo.take().unwrap_or_default(),
            logprobs: None,
            finish_reason: None,
        };
        match event {
            Event::Token {
                token,
                text,
                logprob,
                top,
            } => {
                if self.logprobs {
                    let chosen = Chosen { token, logprob, top };
                    let logprobs = piece.logprobs.get_or_insert_default();
                    logprobs.push(&chosen, self.characters, &self.tokenizer);
                }
                piece.text.push_str(&text);
            }
            Event::Finished { text, reason, .. } => {
                piece.text.push_str(&text);
                piece.finish_reason = Some(finish_name(reason));
            }
        }
        self.characters += piece.text.chars().count();
        let empty = piece.text.is_empty() && piece.logprobs.is_none() && piece.finish_reason.is_none();
        if empty { Vec::new() } else { vec![piece] }
    }

    fn begin(&self) -> TextPiece {
        TextPiece {
            index: self.index,
            text: String::new(),
            logprobs: self.logprobs.then(TextLogprobs::default),
            finish_reason: None,
        }
    }

    fn add(whole: &mut TextPiece, chunk: TextPiece) {
        whole.text.push_str(&chunk.text);
        if let (Some(all), Some(more)) = (whole.logprobs.as_mut(), chunk.logprobs) {
            all.append(more);
        }
        whole.finish_reason = chunk.finish_reason.or(whole.finish_reason);
    }
}
