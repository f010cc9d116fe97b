//! Runs a request: checks it, reads the document, picks the tier, scores, chooses, verifies.

use std::num::NonZeroU64;
use std::time::Instant;

use super::encode;
use super::input::{ScoringInput, SourceInput, TextToRead};
use super::languages;
use super::memory::Memory;
use super::rank;
use super::tiers::{EncoderEngine, Engine, LexicalEngine, RankerEngine, Scores, StaticEngine};
use super::training;
use super::{
    Budget, Counts, ExtractError, Extraction, READING_SHARE, Ratio, Request, RequestLimits, Settings, Span,
    Tier, TierChoice, TierReason, Timing, end_of_reading,
};
use crate::document::{Document, Unit};
use crate::model::Models;
use crate::scoring::score_coverage;
use crate::select::{self, Candidates, EvidenceShares, RankedAsk, Selection, WholeTexts};

/// Score of a unit that holds no evidence, in standard deviations.
const FILLER_SCORE: f32 = -100.0;

/// A finder of evidence: the models, and what is remembered about windows. One request at a time.
pub struct Extractor {
    models: Option<Models>,
    settings: Settings,
    memory: Memory,
    reading_share: f64,
}

impl Extractor {
    /// Makes an extractor with a memory of its own. Without models only the lexical tier runs.
    pub fn new(models: Option<Models>, settings: Settings) -> Self {
        Self {
            models,
            memory: Memory::new(settings.memory_bytes),
            settings,
            reading_share: READING_SHARE,
        }
    }

    /// Replaces the memory by one that other extractors share.
    #[must_use]
    pub fn with_memory(self, memory: Memory) -> Self {
        Self { memory, ..self }
    }

    /// Sets the share of the time left after which a model stops reading.
    #[must_use]
    pub(crate) fn with_reading_share(self, reading_share: f64) -> Self {
        Self {
            reading_share,
            ..self
        }
    }

    /// Finds what to keep of a document.
    ///
    /// # Errors
    /// [`ExtractError::Cancelled`] and [`ExtractError::DeadlineExceeded`] if the caller or the clock ended
    /// the request.
    pub fn extract(&mut self, request: &Request<'_>) -> Result<Extraction, ExtractError> {
        let limits = RequestLimits {
            deadline: request.deadline,
            read_until: request
                .deadline
                .map(|deadline| end_of_reading(deadline, self.reading_share)),
            cancelled: request.cancelled,
        };
        limits.check()?;
        let start = Instant::now();
        let text = TextToRead {
            document: request.document,
            texts: request.texts,
            asks: request.asks,
        };
        let input = ScoringInput::new(&text, self.models.as_ref());
        limits.check()?;
        let prepared = Instant::now();
        let other_language = languages::differ(&input.source.document, request.asks);
        let (mut scores, reason) = self.score(request, &input, &limits)?;
        hide_data(&input, &mut scores.values);
        limits.check()?;
        let scored = Instant::now();
        let choice = choose(&input, &scores, request.budget);
        let spans = join_spans(&input.source.document, &choice)?;
        let timing = Timing {
            prepare: prepared - start,
            score: scored - prepared,
            encode: scores.encoding,
            select: scored.elapsed(),
        };
        Ok(Extraction {
            spans,
            counts: count(&input.source, &choice.selection),
            tier: scores.tier,
            limited: scores.instead.is_some(),
            tier_reason: if other_language {
                TierReason::OtherLanguage
            } else {
                scores.instead.unwrap_or(reason)
            },
            estimated_recall: (!request.asks.is_empty()).then_some(choice.recall),
            below_floor: !request.asks.is_empty() && choice.misses(request.budget),
            timing,
            encoded_tokens: scores.encoded_tokens,
            facts: None,
        })
    }

    /// Scores with the tier that was chosen, or the best one below it that can run.
    fn score(
        &mut self,
        request: &Request<'_>,
        input: &ScoringInput<'_>,
        limits: &RequestLimits<'_>,
    ) -> Result<(Scores, TierReason), ExtractError> {
        if input.asks.is_empty() {
            let values = score_coverage(&input.source.document);
            let scores = Scores::without_model(vec![values], Tier::Lexical);
            return Ok((scores, TierReason::NoQuestion));
        }
        let choice = self.suit(request, input);
        let (Some(models), Some(pieces)) = (&mut self.models, &input.source.pieces) else {
            return Ok((LexicalEngine.score(input, limits)?, choice.reason));
        };
        let cheaper = StaticEngine {
            embeddings: &models.embeddings,
            pieces,
        };
        let mut engine: Box<dyn Engine + '_> = match (choice.tier, &mut models.ranker) {
            (Tier::Lexical, _) => Box::new(LexicalEngine),
            (Tier::Static, _) => Box::new(cheaper),
            (Tier::Ranker, Some(model)) => Box::new(RankerEngine {
                cheaper,
                tokens: rank::token_limit(
                    self.settings.ranker_tokens,
                    model.ranker.as_ref(),
                    &input.source.document,
                    &input.source.unit_tokens,
                ),
                ranker: model.ranker.as_mut(),
                encoder: models.encoder.as_mut(),
                memory: &self.memory,
            }),
            (Tier::Encoder | Tier::Ranker | Tier::Decoder, _) => Box::new(EncoderEngine {
                cheaper,
                tokens: encode::token_limit(self.settings.encode_tokens, models.encoder.as_mut()),
                encoder: models.encoder.as_mut(),
                memory: &self.memory,
            }),
        };
        Ok((engine.score(input, limits)?, choice.reason))
    }

    /// Replaces the tier that was chosen where there is no model for it, or where its model was not trained for the
    /// request.
    fn suit(&self, request: &Request<'_>, input: &ScoringInput<'_>) -> TierChoice {
        let chosen = request.tier;
        let cheaper = |tier, reason| TierChoice { tier, reason };
        match (chosen.tier, &self.models) {
            (Tier::Lexical, _) => chosen,
            (_, None) => cheaper(Tier::Lexical, TierReason::NoModel),
            // Whoever writes facts names the tier of their evidence.
            (Tier::Decoder, Some(_)) => cheaper(Tier::Encoder, chosen.reason),
            (Tier::Ranker, Some(Models { ranker: None, .. })) => cheaper(Tier::Encoder, TierReason::NoModel),
            (Tier::Ranker, Some(_)) if !training::covers(&input.source.document, request.asks) => {
                cheaper(Tier::Encoder, TierReason::NotTrainedFor)
            }
            _ => chosen,
        }
    }
}

/// Gives what is no text a score that no evidence has, for the asks that are not about such things.
fn hide_data(input: &ScoringInput<'_>, scores: &mut [Vec<f32>]) {
    for (number, scores) in scores.iter_mut().enumerate() {
        if input.asks.get(number).is_some_and(|ask| ask.about_data) {
            continue;
        }
        for (score, data) in scores.iter_mut().zip(&input.source.data) {
            if *data {
                *score = FILLER_SCORE;
            }
        }
    }
}

/// What is kept of a document.
struct Choice {
    selection: Selection,
    whole: WholeTexts,
    /// Score of each unit for the ask that it answers best.
    scores: Vec<f32>,
    /// Share of the evidence that the selection is estimated to hold, 0 to 1.
    recall: f64,
}

impl Choice {
    /// Returns whether the budget has a floor that the selection is estimated to miss.
    fn misses(&self, budget: Budget) -> bool {
        matches!(budget, Budget::Auto(auto) if self.recall < auto.floor())
    }
}

fn choose(input: &ScoringInput<'_>, scores: &Scores, budget: Budget) -> Choice {
    let document = &input.source.document;
    let words: Vec<u32> = document.units.iter().map(|unit| unit.words).collect();
    let of_ratio = |ratio: Ratio| ratio.words_of(document.budget_words);
    let number = |limit: NonZeroU64| usize::try_from(limit.get()).unwrap_or(usize::MAX);
    let (costs, most) = match budget {
        Budget::Ratio(ratio) => (&words, of_ratio(ratio)),
        Budget::MaxWords(limit) => (&words, number(limit)),
        Budget::MaxTokens(limit) => (&input.source.unit_tokens, number(limit)),
        Budget::Auto(auto) => (&words, of_ratio(auto.min_ratio())),
    };
    let asks = weigh(input, scores);
    let whole = WholeTexts::find(document, costs, most);
    let shares = EvidenceShares::new(document, &asks, scores.tier);
    let best = best_scores(&asks);
    let mut order = if input.asks.is_empty() {
        select::rank_in_proportion(document, &whole, &best)
    } else {
        select::rank_by_asks(&document.units, &asks, &shares)
    };
    whole.keep_first(&document.units, &mut order);
    let candidates = Candidates {
        units: &document.units,
        costs,
        whole: &whole,
        order: &order,
        gap_words: if document.transcript {
            select::TRANSCRIPT_GAP_WORDS
        } else {
            select::GAP_WORDS
        },
    };
    let selection = match budget {
        Budget::Auto(auto) => {
            let range = of_ratio(auto.max_ratio())..=most;
            select::take_smallest(range, auto.floor(), &shares, |budget| candidates.take(budget))
        }
        _ => candidates.take(most),
    };
    Choice {
        recall: shares.recall(&selection.taken),
        scores: best,
        selection,
        whole,
    }
}

/// Pairs the scores with the weights of the asks; those of coverage count alone.
fn weigh<'s>(input: &ScoringInput<'_>, scores: &'s Scores) -> Vec<RankedAsk<'s>> {
    let weight_of = |number: usize| input.asks.get(number).map_or(1.0, |ask| ask.weight);
    let weigh = |(number, scores): (usize, &'s Vec<f32>)| RankedAsk {
        scores,
        weight: weight_of(number),
    };
    scores.values.iter().enumerate().map(weigh).collect()
}

/// Returns each unit's score for the ask that it answers best.
fn best_scores(asks: &[RankedAsk<'_>]) -> Vec<f32> {
    let mut asks = asks.iter().map(|ask| ask.scores);
    let mut best = asks.next().unwrap_or_default().to_vec();
    for scores in asks {
        for (best, score) in best.iter_mut().zip(scores) {
            *best = best.max(*score);
        }
    }
    best
}

fn count(source: &SourceInput<'_>, selection: &Selection) -> Counts {
    let units = &source.document.units;
    let taken = || {
        selection
            .taken
            .iter()
            .enumerate()
            .filter(|(_, taken)| **taken)
            .map(|(unit, _)| unit)
    };
    Counts {
        document_units: units.len() as u64,
        kept_units: taken().count() as u64,
        document_words: source.document.words as u64,
        kept_words: taken().map(|unit| u64::from(units[unit].words)).sum(),
        document_tokens: source.tokens,
        kept_tokens: taken().map(|unit| u64::from(source.unit_tokens[unit])).sum(),
    }
}

/// Joins taken neighbours of the same block and kind, and all units of a text that is kept whole, and verifies each
/// span against the document.
fn join_spans(document: &Document<'_>, choice: &Choice) -> Result<Vec<Span>, ExtractError> {
    let mut spans: Vec<Span> = Vec::new();
    let mut last: Option<&Unit> = None;
    let taken = |(index, _): &(usize, &Unit)| choice.selection.taken[*index];
    for (index, unit) in document.units.iter().enumerate().filter(taken) {
        let score = choice.scores[index];
        let neighbour = last.filter(|_| index > 0 && choice.selection.taken[index - 1]);
        let whole = choice.whole.units_of(unit).is_some();
        let joins = neighbour.is_some_and(|before| {
            let same = before.block == unit.block && before.kind == unit.kind;
            same || (whole && before.text == unit.text)
        });
        match spans.last_mut() {
            Some(span) if joins => {
                if score > span.score {
                    (span.score, span.kind) = (score, unit.kind);
                }
                span.end = unit.end;
            }
            _ => spans.push(Span {
                start: unit.start,
                end: unit.end,
                score,
                kind: unit.kind,
            }),
        }
        last = Some(unit);
    }
    for span in &spans {
        if document.text.get(span.start..span.end).is_none_or(str::is_empty) {
            return Err(ExtractError::BadSpan {
                start: span.start,
                end: span.end,
                length: document.text.len(),
            });
        }
    }
    Ok(spans)
}
