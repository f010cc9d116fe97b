//! The decoder tier: a language model reads the passages that hold the most evidence, and writes facts with quotes.
//!
//! The evidence is there before: what the cheaper tiers chose says which passages are read, and is the answer where the
//! model has no time or fails. The model is the one behind the HTTP routes, with its queue.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use liquid_decoder::engine::Engine;
use liquid_decoder::facts::{FactsAnswer, FactsEnd, FactsRequest, Passage, write_facts};
use liquid_decoder::{ChatTemplate, Tokenizer, TokenizerError};

use crate::config;
use crate::document::{Document, Unit};
use crate::engine::{Ask, Asks, Fact, FactOrigin, Facts, Span, Texts, TierReason};

mod passages;
mod prompt;
#[cfg(test)]
mod tests;

use passages::bytes_of;
use prompt::{Prompt, PromptError};

/// Bytes of a document for each of its tokens, about.
const BYTES_PER_TOKEN: usize = 4;
/// Passages and questions that are before the model at a time, of one request.
const AT_ONCE: usize = 4;
/// Tokens that a fact and its quote may take in the model's context.
const TOKENS_PER_FACT: usize = 192;
/// Most bytes of evidence that stands for facts.
const MOST_EVIDENCE_BYTES: usize = 600;

/// A language model that writes facts.
#[derive(Clone, Copy)]
pub(crate) struct FactWriter<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) template: Option<&'a ChatTemplate>,
    /// Most tokens of prompt and answer together.
    pub(crate) context_tokens: usize,
    pub(crate) settings: &'a config::Facts,
}

/// What facts are to be written about.
#[derive(Clone, Copy)]
pub(crate) struct FactsTask<'a> {
    pub(crate) document: &'a str,
    pub(crate) texts: &'a Texts,
    /// All that is asked; nothing gives no facts.
    pub(crate) asks: &'a Asks,
    /// The evidence.
    pub(crate) spans: &'a [Span],
}

/// What is put before the model.
pub(crate) struct Work {
    prompt: Prompt,
    questions: Vec<Question>,
    /// The passages, best first.
    pieces: Vec<Piece>,
    wanted: usize,
}

/// The facts, and why they are fewer than they could be, if they are.
pub(crate) struct Written {
    pub(crate) facts: Facts,
    pub(crate) instead: Option<TierReason>,
}

impl Written {
    /// No facts, and why.
    pub(crate) fn nothing(reason: TierReason) -> Self {
        Self {
            facts: Facts::default(),
            instead: Some(reason),
        }
    }
}

/// A passage that is to be read.
struct Piece {
    passage: Arc<Passage>,
    tokens: Vec<u32>,
    /// Where it stands in the document.
    bytes: Range<usize>,
    /// Its best evidence, and where that stands.
    evidence: (String, Range<usize>),
}

/// What is asked, and its tokens.
struct Question {
    ask: Box<str>,
    tokens: Vec<u32>,
}

impl FactWriter<'_> {
    /// Chooses the passages and makes the prompts: work for a processor, in proportion to the document.
    ///
    /// # Errors
    /// [`PromptError`] if the model's template or tokenizer refuses.
    pub(crate) fn prepare(&self, task: &FactsTask<'_>) -> Result<Work, PromptError> {
        let prompt = Prompt::new(self.tokenizer, self.template)?;
        let question = |ask: &Ask| {
            let tokens = self.tokenizer.encode_plain(ask.text())?;
            Ok::<_, TokenizerError>(Question {
                ask: ask.text().into(),
                tokens,
            })
        };
        let questions: Vec<_> = task.asks.iter().map(question).collect::<Result<_, _>>()?;
        let longest = questions.iter().map(|question| question.tokens.len()).max();
        let answer = TOKENS_PER_FACT * self.settings.per_passage;
        let taken = prompt.len() + longest.unwrap_or_default() + answer;
        let room = self.context_tokens.saturating_sub(taken);
        let most = self.settings.passage_tokens.min(room);
        let document = Document::parse_texts(task.document, task.texts);
        let bytes = self.settings.passage_tokens.saturating_mul(BYTES_PER_TOKEN);
        let pieces = passages::cut(&document, bytes);
        let chosen = passages::choose(&document.units, pieces, task.spans, self.settings.passages);
        let wanted = chosen.len();
        let mut pieces = Vec::with_capacity(wanted);
        for units in chosen {
            pieces.extend(self.fit(task, &document.units, units, most)?);
        }
        Ok(Work {
            prompt,
            questions,
            pieces,
            wanted,
        })
    }

    /// Has the model read every passage with every question, some at a time, and write until `until`.
    pub(crate) async fn write(&self, work: &Work, until: Option<Instant>) -> Written {
        let start = Instant::now();
        let count = work.pieces.len() * work.questions.len();
        let answers = futures::stream::iter(0..count).map(|number| self.ask(work, number, until));
        let mut answers = answers.buffered(AT_ONCE);
        let mut tally = Tally::new(work);
        let mut number = 0;
        while let Some(answer) = answers.next().await {
            if let (Some(answer), Some(pair)) = (answer, work.pair(number)) {
                tally.add(&pair, answer);
            }
            number += 1;
        }
        tally.finish(start.elapsed())
    }

    async fn ask(&self, work: &Work, number: usize, until: Option<Instant>) -> Option<FactsAnswer> {
        let Pair { piece, question, .. } = work.pair(number)?;
        let request = FactsRequest {
            prompt: work.prompt.fill(&piece.tokens, &question.tokens),
            passage: Arc::clone(&piece.passage),
            facts: self.settings.per_passage,
            constrained: self.settings.constrained,
            deadline: until,
        };
        Some(write_facts(self.engine, self.tokenizer, &request).await)
    }

    /// Makes a passage of at most `most` tokens of the first of some units; none if the first is longer.
    fn fit(
        &self,
        task: &FactsTask<'_>,
        all: &[Unit],
        mut units: Range<usize>,
        most: usize,
    ) -> Result<Option<Piece>, TokenizerError> {
        while !units.is_empty() {
            let bytes = bytes_of(all, &units);
            let ends = all.get(units.clone()).unwrap_or_default().iter();
            let ends: Vec<usize> = ends.map(|unit| unit.end - bytes.start).collect();
            let text = task.document.get(bytes.clone()).unwrap_or_default();
            let passage = Passage::new(text, &ends);
            let tokens = self.tokenizer.encode_plain(passage.text())?;
            if tokens.is_empty() {
                // Nothing that the model knows.
                break;
            }
            if tokens.len() <= most {
                return Ok(Some(Piece {
                    passage: Arc::new(passage),
                    evidence: evidence(task, best_evidence(all, &units, task.spans)),
                    tokens,
                    bytes,
                }));
            }
            let share = units.len() * most / tokens.len();
            units.end = units.start + share.min(units.len() - 1);
        }
        Ok(None)
    }
}

/// A passage and a question about it.
struct Pair<'a> {
    piece: &'a Piece,
    question: &'a Question,
    /// Number of the passage.
    index: usize,
}

impl Work {
    /// Returns a pair by its number: all questions of a passage, then those of the next.
    fn pair(&self, number: usize) -> Option<Pair<'_>> {
        let index = number.checked_div(self.questions.len())?;
        Some(Pair {
            piece: self.pieces.get(index)?,
            question: self.questions.get(number % self.questions.len())?,
            index,
        })
    }
}

impl Pair<'_> {
    /// Makes the passage's best evidence stand for facts that could not be read.
    fn evidence(&self) -> Option<Fact> {
        let (text, bytes) = &self.piece.evidence;
        (!text.is_empty()).then(|| Fact {
            text: text.clone(),
            quote: bytes.clone(),
            confidence: 0.0,
            ask: self.question.ask.clone(),
            passage: self.piece.bytes.clone(),
            origin: FactOrigin::Evidence,
        })
    }
}

/// Answers as they come.
struct Tally<'a> {
    work: &'a Work,
    /// The facts of each passage.
    facts: Vec<Vec<Fact>>,
    /// Whether the time was over before each passage was read for every question.
    late: Vec<bool>,
    failed: bool,
    sums: Facts,
}

impl<'a> Tally<'a> {
    fn new(work: &'a Work) -> Self {
        Self {
            facts: work.pieces.iter().map(|_| Vec::new()).collect(),
            late: vec![false; work.pieces.len()],
            // What does not fit the model's context cannot be read.
            failed: work.pieces.len() < work.wanted,
            sums: Facts::default(),
            work,
        }
    }

    fn add(&mut self, pair: &Pair<'_>, answer: FactsAnswer) {
        let Pair {
            piece,
            question,
            index,
        } = *pair;
        self.sums.dropped += answer.dropped;
        self.sums.read_tokens += answer.read_tokens;
        self.sums.written_tokens += answer.written_tokens;
        let Some(facts) = self.facts.get_mut(index) else {
            return;
        };
        let unused = match &answer.end {
            FactsEnd::Whole | FactsEnd::Cut => false,
            FactsEnd::Deadline => {
                self.late.get_mut(index).into_iter().for_each(|late| *late = true);
                false
            }
            FactsEnd::Unread => true,
            FactsEnd::Failed(error) => {
                tracing::warn!(%error, "facts end before they are whole");
                self.failed = true;
                true
            }
        };
        if unused && answer.facts.is_empty() {
            facts.extend(pair.evidence());
        }
        facts.extend(answer.facts.into_iter().map(|fact| Fact {
            text: fact.text,
            quote: piece.bytes.start + fact.quote.start..piece.bytes.start + fact.quote.end,
            confidence: fact.confidence,
            ask: question.ask.clone(),
            passage: piece.bytes.clone(),
            origin: origin(fact.origin),
        }));
    }

    fn finish(self, time: Duration) -> Written {
        let mut order: Vec<_> = self.work.pieces.iter().zip(self.facts).collect();
        order.sort_by_key(|(piece, _)| piece.bytes.start);
        let passages = self.late.iter().filter(|late| !**late).count();
        let late = passages < self.late.len();
        let mut facts: Vec<Fact> = order.into_iter().flat_map(|(_, facts)| facts).collect();
        // Passages overlap, and two may quote the same.
        let mut seen = HashSet::new();
        facts.retain(|fact| seen.insert((fact.ask.clone(), fact.quote.clone())));
        let facts = Facts {
            facts,
            passages,
            wanted: self.work.wanted,
            time,
            ..self.sums
        };
        let instead = match (self.failed, late, facts.facts.is_empty() && passages == 0) {
            (true, ..) => Some(TierReason::DecoderFailed),
            (false, true, true) => Some(TierReason::NoTimeForFacts),
            (false, true, false) => Some(TierReason::FewerPassages),
            (false, false, _) => None,
        };
        Written { facts, instead }
    }
}

fn origin(origin: liquid_decoder::facts::FactOrigin) -> FactOrigin {
    use liquid_decoder::facts::FactOrigin as Read;
    match origin {
        Read::Constrained => FactOrigin::Constrained,
        Read::Strict => FactOrigin::Strict,
        Read::Repaired => FactOrigin::Repaired,
        Read::Picked => FactOrigin::Picked,
    }
}

/// Returns a part of the document, on one line, with its place.
fn evidence(task: &FactsTask<'_>, bytes: Range<usize>) -> (String, Range<usize>) {
    let text = task.document.get(bytes.clone()).unwrap_or_default();
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    (words.join(" "), bytes)
}

/// Returns the units, of a piece, with which its best span begins, or itself where no span is in it: at least one, together
/// [`MOST_EVIDENCE_BYTES`] at most.
fn best_evidence(all: &[Unit], units: &Range<usize>, spans: &[Span]) -> Range<usize> {
    let bytes = bytes_of(all, units);
    let within = spans
        .iter()
        .filter(|span| span.start < bytes.end && span.end > bytes.start);
    let best = within.max_by(|a, b| a.score.total_cmp(&b.score));
    let best = best.map_or(bytes.clone(), |span| span.start..span.end);
    let units = all.get(units.clone()).unwrap_or_default().iter();
    let mut inside = units.filter(|unit| unit.start >= best.start && unit.end <= best.end);
    let Some(first) = inside.next() else {
        return bytes.start..bytes.start;
    };
    let fits = |unit: &&Unit| unit.end - first.start <= MOST_EVIDENCE_BYTES;
    let end = inside.take_while(fits).last().map_or(first.end, |unit| unit.end);
    first.start..end
}
