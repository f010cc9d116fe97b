//! `POST /v1/completions`: plain prompts, one or several, as text or as tokens.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use liquid_decoder::{Event, FinishReason, Sampling, Tokenizer};
use serde::Serialize;
use serde_json::Value;

use super::answers::Answers;
use super::error::ApiError;
use super::events::{self, Chunks, EventWriter};
use super::fields::Fields;
use super::logprobs::{Chosen, TextLogprobs};
use super::options::{Limit, MOST_ANSWERS, Options};
use super::usage::UsageObject;
use super::{Gateway, Head, finish_name, json, tokens, with_name};
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

pub(super) async fn answer(State(gateway): State<Gateway>, body: Body) -> Result<Response, ApiError> {
    let admitted = gateway.admit()?;
    let decoder = Arc::clone(&admitted.decoder);
    let request = gateway.read(body, &decoder, TextRequest::read).await?;
    let id = format!("cmpl-{}", gateway.0.names.next());
    let head = Head::new(&id, "text_completion", &decoder);
    let of_prompt = |prompt: &Prompt| request.options.requests(&prompt.tokens, decoder.context_tokens);
    let requests = request.prompts.iter().flat_map(of_prompt).collect();
    let answers = Answers::submit(&gateway, admitted, requests, "prompt").await?;
    let response = match request.options.stream {
        true => events::respond(answers, TextChunks::new(head, &request, &decoder)).await?,
        false => whole(answers, head, &request, &decoder).await?,
    };
    Ok(with_name(response, &id))
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

    /// Makes a reader for each answer, those to one prompt beside each other.
    fn readers(&self) -> Vec<TextReader> {
        let reader = |prompt: &Prompt| TextReader {
            echo: self.echo.then(|| prompt.text.clone()),
            characters: 0,
            logprobs: self.options.logprobs(),
        };
        let of_prompt = |prompt| std::iter::repeat_with(move || reader(prompt)).take(self.options.n);
        self.prompts.iter().flat_map(of_prompt).collect()
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
struct TextReader {
    /// The prompt, until it is written.
    echo: Option<String>,
    /// Characters of the answer so far.
    characters: usize,
    logprobs: bool,
}

/// What an event brings.
struct Step {
    text: String,
    logprobs: Option<TextLogprobs>,
    end: Option<(FinishReason, liquid_decoder::Usage)>,
}

impl TextReader {
    fn take(&mut self, event: Event, tokenizer: &Tokenizer) -> Step {
        let begin = self.echo.take().unwrap_or_default();
        let mut step = match event {
            Event::Token {
                token,
                text,
                logprob,
                top,
            } => {
                let logprobs = self.logprobs.then(|| {
                    let chosen = Chosen { token, logprob, top };
                    let mut logprobs = TextLogprobs::default();
                    logprobs.push(&chosen, self.characters, tokenizer);
                    logprobs
                });
                Step {
                    text,
                    logprobs,
                    end: None,
                }
            }
            Event::Finished { text, reason, usage } => Step {
                text,
                logprobs: None,
                end: Some((reason, usage)),
            },
        };
        if !begin.is_empty() {
            step.text.insert_str(0, &begin);
        }
        self.characters += step.text.chars().count();
        step
    }
}

#[derive(Serialize)]
struct Completion<'a> {
    #[serde(flatten)]
    head: &'a Head,
    choices: &'a [TextChoice],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageObject>>,
}

#[derive(Serialize)]
struct TextChoice {
    index: usize,
    text: String,
    logprobs: Option<TextLogprobs>,
    finish_reason: Option<&'static str>,
}

/// Waits for all answers.
async fn whole(
    mut answers: Answers,
    head: Head,
    request: &TextRequest,
    decoder: &Decoder,
) -> Result<Response, ApiError> {
    let mut readers = request.readers();
    let choice = |index| TextChoice {
        index,
        text: String::new(),
        logprobs: request.options.logprobs().then(TextLogprobs::default),
        finish_reason: None,
    };
    let mut choices: Vec<TextChoice> = (0..readers.len()).map(choice).collect();
    let mut usage = UsageObject::default();
    while let Some(event) = answers.next().await {
        let (index, event) = event?;
        let (Some(reader), Some(choice)) = (readers.get_mut(index), choices.get_mut(index)) else {
            continue;
        };
        let step = reader.take(event, &decoder.tokenizer);
        choice.text.push_str(&step.text);
        if let (Some(all), Some(more)) = (choice.logprobs.as_mut(), step.logprobs) {
            all.append(more);
        }
        if let Some((reason, used)) = step.end {
            choice.finish_reason = Some(finish_name(reason));
            usage.add(used, index.is_multiple_of(request.options.n));
        }
    }
    Ok(json(&Completion {
        head: &head,
        choices: &choices,
        usage: Some(Some(usage)),
    }))
}

/// The chunks of streamed answers.
struct TextChunks {
    head: Head,
    tokenizer: Arc<Tokenizer>,
    readers: Vec<TextReader>,
    n: usize,
    include_usage: bool,
    usage: UsageObject,
}

impl TextChunks {
    fn new(head: Head, request: &TextRequest, decoder: &Decoder) -> Self {
        Self {
            head,
            tokenizer: Arc::clone(&decoder.tokenizer),
            readers: request.readers(),
            n: request.options.n,
            include_usage: request.options.include_usage,
            usage: UsageObject::default(),
        }
    }

    fn write(&self, choices: &[TextChoice], usage: Option<UsageObject>, out: &mut EventWriter) {
        out.write(&Completion {
            head: &self.head,
            choices,
            usage: self.include_usage.then_some(usage),
        });
    }
}

impl Chunks for TextChunks {
    fn event(&mut self, index: usize, event: Event, out: &mut EventWriter) {
        let Some(reader) = self.readers.get_mut(index) else {
            return;
        };
        let step = reader.take(event, &self.tokenizer);
        if let Some((_, used)) = step.end {
            self.usage.add(used, index.is_multiple_of(self.n));
        }
        if !step.text.is_empty() || step.logprobs.is_some() || step.end.is_some() {
            let choice = TextChoice {
                index,
                text: step.text,
                logprobs: step.logprobs,
                finish_reason: step.end.map(|(reason, _)| finish_name(reason)),
            };
            self.write(&[choice], None, out);
        }
    }

    fn end(&mut self, out: &mut EventWriter) {
        if self.include_usage {
            self.write(&[], Some(self.usage), out);
        }
    }
}
