//! An answer that becomes facts, request by request: where a quote begins, whether it goes on, what it says, whether more
//! follows.

use std::ops::Range;
use std::sync::Arc;

use super::parse::{Reading, parse};
use super::{Fact, FactOrigin, FactsAnswer, FactsEnd, FactsError, FactsRequest, MOST_FACTS};
use crate::constraint::{AFTER_QUOTE, Constraint, ConstraintError, Quote};
use crate::engine::{Engine, Refusal};
use crate::generate::{Event, FinishReason, GenerateError, Request};
use crate::sample::Sampling;
use crate::tokenizer::Tokenizer;

/// Most tokens that say where a quote begins; then the first of the places that are left is it.
const PLACE_TOKENS: usize = 8;
/// Most units that a quote goes on for after its first.
const MORE_UNITS: usize = 3;
/// Most tokens of a fact's text, and of the end of its object.
const FACT_TOKENS: usize = 96;
/// Most tokens of an answer that is not held to a form, for each fact.
const FREE_TOKENS: usize = 160;

const BEGIN: &str = "{\"facts\":[";
const BEGIN_FACT: &str = "{\"quote\":\"";
/// No fact, or one.
const NONE_OR_ONE: &str = "\\]\\}|\\{\"quote\":\"";
/// A fact's text, and whether another follows. Without escapes, so that it ends at the first quotation mark.
const FACT: &str = "[^\"\\\\\\x00-\\x1f\\x7f]{1,240}\"\\}[,\\]]";

/// What an answer of the engine says.
#[derive(Default)]
struct Said {
    tokens: Vec<u32>,
    text: String,
    /// Sum of the logarithms of the tokens' probabilities, by the model alone.
    logprob: f64,
    reason: Option<FinishReason>,
}

impl Said {
    /// Returns the geometric mean of the tokens' probabilities.
    fn confidence(&self) -> f32 {
        match self.tokens.len() {
            0 => 0.0,
            count => (self.logprob / count as f64).exp().clamp(0.0, 1.0) as f32,
        }
    }

    fn is_late(&self) -> bool {
        self.reason == Some(FinishReason::Deadline)
    }
}

/// The place of a quote in the passage's written text.
struct Place {
    start: usize,
    /// How much of it the model has written.
    at: usize,
    confidence: f32,
}

pub(super) struct Writer<'a> {
    engine: &'a Engine,
    tokenizer: &'a Tokenizer,
    request: &'a FactsRequest,
    /// The answer so far.
    json: String,
    /// What was quoted, in the passage's written text.
    quoted: Vec<Range<usize>>,
    answer: FactsAnswer,
}

impl<'a> Writer<'a> {
    pub(super) fn new(engine: &'a Engine, tokenizer: &'a Tokenizer, request: &'a FactsRequest) -> Self {
        Self {
            engine,
            tokenizer,
            request,
            json: String::new(),
            quoted: Vec::new(),
            answer: FactsAnswer {
                facts: Vec::new(),
                dropped: 0,
                read_tokens: 0,
                written_tokens: 0,
                end: FactsEnd::Cut,
            },
        }
    }

    /// Ends the answer. What has no room behind facts is cut.
    pub(super) fn finish(self, end: Result<FactsEnd, FactsError>) -> FactsAnswer {
        let end = match end {
            Err(FactsError::Refused(Refusal::TooLong { .. })) if !self.answer.facts.is_empty() => {
                FactsEnd::Cut
            }
            end => end.unwrap_or_else(FactsEnd::Failed),
        };
        FactsAnswer { end, ..self.answer }
    }

    fn most(&self) -> usize {
        self.request.facts.clamp(1, MOST_FACTS)
    }

    /// Writes facts that can be nothing else.
    pub(super) async fn write_constrained(&mut self) -> Result<FactsEnd, FactsError> {
        self.json = BEGIN.to_owned();
        let first = self.go_on(1, Constraint::Regex(NONE_OR_ONE.to_owned())).await?;
        if first.is_late() {
            return Ok(FactsEnd::Deadline);
        }
        if first.text.starts_with(']') {
            return Ok(FactsEnd::Whole);
        }
        for _ in 0..self.most() {
            if let Some(end) = self.write_fact().await? {
                return Ok(end);
            }
        }
        Ok(FactsEnd::Cut)
    }

    /// Writes one fact. Returns the end, if none may follow.
    async fn write_fact(&mut self) -> Result<Option<FactsEnd>, FactsError> {
        self.json.push_str(BEGIN_FACT);
        let place = match self.choose_place().await {
            Ok(Some(place)) => place,
            Ok(None) => return Ok(Some(FactsEnd::Deadline)),
            // Everything was quoted.
            Err(error) if is_unmeetable(&error) && !self.answer.facts.is_empty() => {
                return Ok(Some(FactsEnd::Cut));
            }
            Err(error) => return Err(error),
        };
        let passage = Arc::clone(&self.request.passage);
        let end = self.choose_end(&place).await?;
        let quote = place.start..end;
        let Some(source) = passage.source_of_written(quote.clone()) else {
            return Ok(Some(FactsEnd::Cut));
        };
        self.json
            .push_str(passage.written().get(quote.clone()).unwrap_or_default());
        self.json.push_str(AFTER_QUOTE);
        self.quoted.push(quote);
        let said = match self.go_on(FACT_TOKENS, Constraint::Regex(FACT.to_owned())).await {
            Ok(said) => said,
            Err(error) => {
                // The quote stands for itself.
                self.add(String::new(), source, place.confidence, FactOrigin::Constrained);
                return Err(error);
            }
        };
        let (text, after) = said.text.split_once('"').unwrap_or((&said.text, ""));
        self.add(text.to_owned(), source, place.confidence, FactOrigin::Constrained);
        self.json.push_str(text);
        self.json.push_str("\"},");
        Ok(match (after.strip_prefix('}'), said.is_late()) {
            (Some(","), _) => None,
            (Some("]"), _) => Some(FactsEnd::Whole),
            (_, true) => Some(FactsEnd::Deadline),
            // Its text does not end.
            _ => Some(FactsEnd::Cut),
        })
    }

    /// Lets the model choose where a quote begins; none if the time is over before its first token.
    async fn choose_place(&mut self) -> Result<Option<Place>, FactsError> {
        let passage = Arc::clone(&self.request.passage);
        let quote = Quote::place(Arc::clone(&passage), self.quoted.clone());
        let said = self.go_on(PLACE_TOKENS, Constraint::Quote(quote)).await?;
        if said.tokens.is_empty() {
            return Ok(None);
        }
        let bytes: Vec<u8> = said
            .tokens
            .iter()
            .flat_map(|token| self.bytes(*token))
            .copied()
            .collect();
        let text = passage.written().as_bytes();
        let free = |start: &&usize| {
            let written = text.get(**start..).is_some_and(|text| text.starts_with(&bytes));
            written && !self.quoted.iter().any(|quoted| quoted.contains(start))
        };
        let start = passage.starts().iter().find(free).copied();
        Ok(start.map(|start| Place {
            start,
            at: start + bytes.len(),
            confidence: said.confidence(),
        }))
    }

    fn bytes(&self, token: u32) -> &'a [u8] {
        self.tokenizer.bytes(token).unwrap_or_default()
    }

    /// Takes the rest of the unit in which a quote begins, and further ones as long as the model goes on.
    async fn choose_end(&mut self, place: &Place) -> Result<usize, FactsError> {
        let passage = Arc::clone(&self.request.passage);
        let before = self.json.len();
        let mut end = passage.end_from(place.start, place.at);
        for _ in 0..MORE_UNITS {
            let Some(next) = passage.end_after(place.start, end) else {
                break;
            };
            let so_far = passage.written().get(place.start..end).unwrap_or_default();
            self.json.push_str(so_far);
            let onward = Quote::onward(Arc::clone(&passage), end);
            let said = self.go_on(1, Constraint::Quote(onward)).await;
            self.json.truncate(before);
            // What is written by itself stands, whatever comes of this.
            match said {
                Ok(said)
                    if said
                        .tokens
                        .first()
                        .is_some_and(|token| !self.bytes(*token).starts_with(b"\"")) =>
                {
                    end = next;
                }
                _ => break,
            }
        }
        Ok(end)
    }

    /// Writes what the model likes, and reads facts out of it.
    pub(super) async fn write_freely(&mut self) -> Result<FactsEnd, FactsError> {
        self.json.clear();
        let mut request = self.new_request(FREE_TOKENS * self.most(), None)?;
        let said = match self.ask(request.clone()).await {
            // As much as there is room for.
            Err(FactsError::Refused(Refusal::TooLong {
                prompt_tokens,
                context_tokens,
                ..
            })) if prompt_tokens < context_tokens => {
                request.max_tokens = context_tokens - prompt_tokens;
                self.ask(request).await?
            }
            said => said?,
        };
        let Some(parsed) = parse(&said.text) else {
            return Ok(match said.is_late() {
                true => FactsEnd::Deadline,
                false => FactsEnd::Unread,
            });
        };
        let origin = match parsed.reading {
            Reading::Strict => FactOrigin::Strict,
            Reading::Repaired => FactOrigin::Repaired,
            Reading::Picked => FactOrigin::Picked,
        };
        let claimed = !parsed.facts.is_empty();
        for fact in parsed.facts.into_iter().take(self.most()) {
            match self.request.passage.find(&fact.quote) {
                None => self.answer.dropped += 1,
                Some(quote) => self.add(fact.fact, quote, said.confidence(), origin),
            }
        }
        Ok(match said.reason {
            _ if claimed && self.answer.facts.is_empty() => FactsEnd::Unread,
            Some(FinishReason::Deadline) => FactsEnd::Deadline,
            Some(FinishReason::Length) => FactsEnd::Cut,
            _ => FactsEnd::Whole,
        })
    }

    /// Adds a fact, unless one with this quote is there.
    fn add(&mut self, text: String, quote: Range<usize>, confidence: f32, origin: FactOrigin) {
        if self.answer.facts.iter().any(|fact| fact.quote == quote) {
            return;
        }
        let text = match one_line(&text) {
            text if text.is_empty() => one_line(&self.request.passage.text_of(&quote)),
            text => text,
        };
        self.answer.facts.push(Fact {
            text,
            quote,
            confidence,
            origin,
        });
    }

    /// Continues the answer under a constraint.
    async fn go_on(&mut self, max_tokens: usize, constraint: Constraint) -> Result<Said, FactsError> {
        let request = self.new_request(max_tokens, Some(constraint))?;
        self.ask(request).await
    }

    fn new_request(&self, max_tokens: usize, constraint: Option<Constraint>) -> Result<Request, FactsError> {
        let mut prompt = self.request.prompt.clone();
        // As one text: some tokenizers begin every text with a space.
        prompt.extend(self.tokenizer.encode_plain(&self.json)?);
        Ok(Request {
            prompt,
            max_tokens,
            sampling: Sampling {
                logprobs: Some(0),
                ..Sampling::default()
            },
            constraint,
            ..Request::default()
        })
    }

    async fn ask(&mut self, request: Request) -> Result<Said, FactsError> {
        let mut answer = self.engine.submit(request, self.request.deadline)?;
        let mut said = Said::default();
        while let Some(event) = answer.next().await {
            match event? {
                Event::Token {
                    token, text, logprob, ..
                } => {
                    said.tokens.push(token);
                    said.text.push_str(&text);
                    said.logprob += f64::from(logprob.unwrap_or_default());
                }
                Event::Finished { text, reason, usage } => {
                    said.text.push_str(&text);
                    said.reason = Some(reason);
                    self.answer.read_tokens +=
                        usage.prompt_tokens - usage.cached_tokens.min(usage.prompt_tokens);
                    self.answer.written_tokens += usage.completion_tokens;
                }
            }
        }
        Ok(said)
    }
}

/// Returns true if nothing that is free could be quoted.
fn is_unmeetable(error: &FactsError) -> bool {
    matches!(
        error,
        FactsError::Refused(Refusal::Invalid(GenerateError::Constraint(
            ConstraintError::Unmeetable
        )))
    )
}

/// Returns a text on one line, without control characters, cut to [`Fact::MOST_BYTES`].
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        let space = usize::from(!line.is_empty());
        if line.len() + space + word.len() > Fact::MOST_BYTES {
            if line.is_empty() {
                let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= Fact::MOST_BYTES;
                line.extend(word.char_indices().take_while(fits).map(|(_, c)| c));
            }
            break;
        }
        line.extend(std::iter::repeat_n(' ', space));
        line.push_str(word);
    }
    line
}
