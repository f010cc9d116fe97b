//! A worker's answers, and whether two devices write the same.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::client::Client;

/// Tokens of an answer.
const TOKENS: usize = 96;

/// Difference of the logarithms below which another token is no wrong one: what rounding to bf16 moves.
const CLEAR: f64 = 0.5;

/// What a worker wrote.
pub(super) struct Answers {
    /// The tokens of a plain answer.
    tokens: Vec<Token>,
    /// Tokens that the streamed one found in memory.
    cached: u64,
    /// The answer that was held to a schema.
    object: Value,
    tokens_per_second: f64,
}

/// A token, and how much likelier it was than the next likeliest one, as a difference of the logarithms.
struct Token {
    text: String,
    lead: f64,
}

impl Answers {
    /// Asks for all kinds of answers.
    pub(super) fn ask(client: &Client, messages: &Value) -> Result<Self> {
        let logprobs = json!({ "max_tokens": TOKENS, "logprobs": true, "top_logprobs": 2 });
        let whole = client.ask(messages, logprobs)?;
        let started = Instant::now();
        let events = client.stream(messages, json!({ "max_tokens": TOKENS }))?;
        let seconds = started.elapsed().as_secs_f64();
        let streamed: Vec<&str> = events
            .iter()
            .filter_map(|event| event.pointer("/choices/0/delta/content")?.as_str())
            .collect();
        let usage = events.iter().find_map(|event| event.get("usage")?.as_object());
        let usage = usage.context("the stream has no usage")?;
        let finish = events
            .iter()
            .find_map(|event| event.pointer("/choices/0/finish_reason")?.as_str());
        ensure!(
            matches!(finish, Some("stop" | "length")),
            "the stream ends with {finish:?}"
        );
        ensure!(streamed.len() > 1, "the stream is one piece");
        let written = usage
            .get("completion_tokens")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        let cached = usage
            .get("prompt_tokens_details")
            .and_then(|details| details.get("cached_tokens")?.as_u64());
        let tokens = tokens(&whole)?;
        check_stream(&tokens, &streamed.concat())?;
        Ok(Self {
            tokens,
            cached: cached.unwrap_or(0),
            object: object(client, messages)?,
            tokens_per_second: written as f64 / seconds,
        })
    }

    fn text(&self) -> String {
        self.tokens.iter().map(|token| token.text.as_str()).collect()
    }

    pub(super) fn summary(&self) -> String {
        format!(
            "wrote {:?}; the same streamed, {} tokens of the prompt in memory, {:.0} tokens/s in all; as JSON {}",
            self.text(),
            self.cached,
            self.tokens_per_second,
            self.object
        )
    }

    /// Checks that another device wrote what this one did, up to where this one's lead was within rounding.
    pub(super) fn compare(&self, other: &Self) -> Result<()> {
        let pairs = self.tokens.iter().zip(&other.tokens);
        let same = pairs
            .take_while(|(mine, theirs)| mine.text == theirs.text)
            .count();
        match (self.tokens.get(same), other.tokens.get(same)) {
            (Some(mine), Some(theirs)) => {
                ensure!(
                    mine.lead.min(theirs.lead) < CLEAR,
                    "token {same} is {:?} on the processor, clear by {:.2}, and {:?} on the GPU",
                    mine.text,
                    mine.lead,
                    theirs.text
                );
                println!(
                    "both devices: {same} tokens the same, then a tie within {:.2}",
                    mine.lead
                );
            }
            _ => println!("both devices: all {same} tokens the same"),
        }
        ensure!(same > 0, "no token is the same");
        ensure!(
            other.cached > 0,
            "the GPU's second request found nothing in memory"
        );
        Ok(())
    }
}

fn tokens(answer: &Value) -> Result<Vec<Token>> {
    let content = answer
        .pointer("/choices/0/logprobs/content")
        .and_then(Value::as_array);
    let content = content.with_context(|| format!("no logprobs: {answer}"))?;
    let tokens = content.iter().map(|token| {
        let text = token.get("token")?.as_str()?.to_owned();
        let logprob = |place: &str| token.pointer(place)?.as_f64();
        let lead = logprob("/top_logprobs/0/logprob")? - logprob("/top_logprobs/1/logprob")?;
        Some(Token { text, lead })
    });
    let tokens: Option<Vec<Token>> = tokens.collect();
    let tokens = tokens.with_context(|| format!("logprobs of another form: {answer}"))?;
    ensure!(!tokens.is_empty(), "the answer is empty");
    Ok(tokens)
}

/// Checks that a streamed text is that of tokens, up to where another one was as likely: its prompt was found in memory, so
/// its sums were made in other passes.
fn check_stream(tokens: &[Token], streamed: &str) -> Result<()> {
    let mut rest = streamed;
    for token in tokens {
        // The end of an answer has no text, and half a character none of its own.
        if rest.is_empty() || token.text.contains(char::REPLACEMENT_CHARACTER) {
            return Ok(());
        }
        match rest.strip_prefix(token.text.as_str()) {
            Some(behind) => rest = behind,
            None => {
                ensure!(
                    token.lead < CLEAR,
                    "the stream goes on with {rest:?} and not with {:?}",
                    token.text
                );
                return Ok(());
            }
        }
    }
    Ok(())
}

/// An answer that can be nothing but JSON of a schema.
fn object(client: &Client, messages: &Value) -> Result<Value> {
    let schema = json!({
        "type": "object",
        "properties": {
            "kind": { "type": "string", "enum": ["contract", "letter", "report"] },
            "parties": { "type": "integer", "minimum": 0, "maximum": 99 },
            "signed": { "type": "boolean" }
        },
        "required": ["kind", "parties", "signed"],
        "additionalProperties": false
    });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "document", "schema": schema } });
    let answer = client.ask(messages, json!({ "max_tokens": 64, "response_format": format }))?;
    let text = answer
        .pointer("/choices/0/message/content")
        .and_then(Value::as_str);
    let text = text.with_context(|| format!("no text: {answer}"))?;
    let object: Value = serde_json::from_str(text).with_context(|| format!("no JSON: {text:?}"))?;
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    ensure!(
        ["contract", "letter", "report"].contains(&kind)
            && object.get("parties").is_some_and(Value::is_u64)
            && object.get("signed").is_some_and(Value::is_boolean),
        "not of the schema: {object}"
    );
    Ok(object)
}
