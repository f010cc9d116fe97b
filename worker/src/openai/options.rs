//! What chat and plain completions have in common: how tokens are chosen, where an answer ends, how it is sent.

use liquid_decoder::{Request, Sampling};
use serde_json::Value;

use super::constraint;
use super::error::ApiError;
use super::fields::Fields;

/// Most answers to a request.
pub(super) const MOST_ANSWERS: usize = 128;

/// Fields of OpenAI's API and vLLM's that change the answer and are not served.
const UNSUPPORTED: [&str; 15] = [
    "allowed_token_ids",
    "bad_words",
    "chat_template",
    "chat_template_kwargs",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "length_penalty",
    "logit_bias",
    "min_tokens",
    "prompt_logprobs",
    "stop_token_ids",
    "structured_outputs",
    "use_beam_search",
];

/// How a request is to be answered.
#[derive(Debug)]
pub(super) struct Options {
    /// What all answers have in common; without prompt, and without the default of `max_tokens`.
    base: Request,
    max_tokens: Option<usize>,
    /// Answers to each prompt.
    pub(super) n: usize,
    /// Whether the answer is sent as it is written.
    pub(super) stream: bool,
    /// Whether a stream ends with the usage.
    pub(super) include_usage: bool,
}

/// The names of a field that differs, and what it is if it is absent.
pub(super) struct Limit {
    /// Fields with the most tokens of an answer, the one that goes first first.
    pub(super) names: &'static [&'static str],
    /// The most where none is there; none for what the context has room for.
    pub(super) default: Option<usize>,
}

impl Options {
    /// Reads the options; `logprobs` is how many of the likeliest tokens are reported.
    pub(super) fn read(fields: &Fields<'_>, limit: Limit, logprobs: Option<usize>) -> Result<Self, ApiError> {
        fields.refuse(&UNSUPPORTED)?;
        let sampling = sampling(fields, logprobs)?;
        sampling.check()?;
        let mut max_tokens = limit.default;
        for name in limit.names.iter().rev() {
            max_tokens = fields.count(name, 1..=u32::MAX as usize)?.or(max_tokens);
        }
        let stream = fields.flag("stream")?;
        let streaming = fields.object("stream_options")?;
        if let (Some(_), false) = (&streaming, stream) {
            return Err(fields.wrong("stream_options", "is only for stream = true"));
        }
        let include_usage = match streaming {
            Some(options) => options.flag("include_usage")?,
            None => false,
        };
        Ok(Self {
            base: Request {
                sampling,
                stop: stop(fields)?,
                ignore_end: fields.flag("ignore_eos")?,
                constraint: constraint::of_format(fields)?,
                ..Request::default()
            },
            max_tokens,
            n: fields.count("n", 1..=MOST_ANSWERS)?.unwrap_or(1),
            stream,
            include_usage,
        })
    }

    /// Demands that each answer is a call of one of these tools.
    pub(super) fn demand_call(&mut self, tools: &[Value]) -> Result<(), ApiError> {
        let demanded = constraint::of_calls(tools);
        match self.base.constraint.replace(demanded) {
            None => Ok(()),
            Some(_) => {
                let remedy =
                    "cannot be met by a call of a tool, which tool_choice demands; leave one of both out";
                Err(ApiError::unsupported("response_format", remedy))
            }
        }
    }

    /// Returns whether the tokens' logarithms are reported.
    pub(super) fn logprobs(&self) -> bool {
        self.base.sampling.logprobs.is_some()
    }

    /// Makes the engine's requests for a prompt, one an answer. Answers with a seed have seeds of their own.
    pub(super) fn requests(&self, prompt: &[u32], context_tokens: usize) -> Vec<Request> {
        let room = context_tokens.saturating_sub(prompt.len()).max(1);
        let one = |index: usize| {
            let mut request = self.base.clone();
            request.prompt = prompt.to_vec();
            request.max_tokens = self.max_tokens.unwrap_or(room);
            let seed = request.sampling.seed;
            request.sampling.seed = seed.map(|seed| seed.wrapping_add(index as u64));
            request
        };
        (0..self.n).map(one).collect()
    }
}

fn sampling(fields: &Fields<'_>, logprobs: Option<usize>) -> Result<Sampling, ApiError> {
    let default = Sampling::default();
    // vLLM takes -1 and 0 for all tokens.
    let top_k = match fields.integer("top_k")? {
        None | Some(-1 | 0) => None,
        Some(count) => Some(usize::try_from(count).map_err(|_| {
            let remedy = "must be -1, 0, or how many of the likeliest tokens to choose from";
            fields.wrong("top_k", remedy)
        })?),
    };
    Ok(Sampling {
        // OpenAI's default, not the engine's.
        temperature: fields.number("temperature")?.unwrap_or(1.0),
        top_k,
        top_p: fields.number("top_p")?.unwrap_or(default.top_p),
        min_p: fields.number("min_p")?.unwrap_or(default.min_p),
        repetition_penalty: fields
            .number("repetition_penalty")?
            .unwrap_or(default.repetition_penalty),
        presence_penalty: fields
            .number("presence_penalty")?
            .unwrap_or(default.presence_penalty),
        frequency_penalty: fields
            .number("frequency_penalty")?
            .unwrap_or(default.frequency_penalty),
        seed: fields.integer("seed")?.map(i64::cast_unsigned),
        logprobs,
    })
}

/// Reads the stop strings: one, or a list.
fn stop(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    let wrong = || fields.wrong("stop", "must be a string or a list of strings");
    let Some(value) = fields.get("stop") else {
        return Ok(Vec::new());
    };
    if let Some(text) = value.as_str() {
        return Ok(vec![text.to_owned()]);
    }
    let texts = value.as_array().ok_or_else(wrong)?.iter();
    texts
        .map(|text| text.as_str().map(str::to_owned).ok_or_else(wrong))
        .collect()
}
