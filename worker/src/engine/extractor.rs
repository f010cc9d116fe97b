//! Runs a request: checks it, reads the document, picks the tier, scores, chooses, verifies.

use std::num::NonZeroU64;
use std::time::Instant;

use super::encode;
use super::input::ScoringInput;
use super::memory::Memory;
use super::tiers::{EncoderEngine, Engine, LexicalEngine, Scores, StaticEngine};
use super::{
    Budget, Counts, ExtractError, Extraction, Ratio, Request, RequestLimits, Settings, Span, Tier,
    TierReason, Timing, end_of_encoding,
};
use crate::document::Unit;
use crate::model::Models;
use crate::scoring::score_coverage;
use crate::select::{self, EvidenceShares, Selection};

/// Score of a unit that holds no evidence, in standard deviations.
const FILLER_SCORE: f32 = -100.0;

/// A finder of evidence: the models, and what is remembered about windows. One request at a time.
pub struct Extractor {
    models: Option<Models>,
    settings: Settings,
    memory: Memory,
}

impl Extractor {
    /// Makes an extractor with a memory of its own. Without models only the lexical tier runs.
    pub fn new(models: Option<Models>, settings: Settings) -> Self {
        Self {
            models,
            memory: Memory::new(settings.memory_bytes),
            settings,
        }
    }

    /// Replaces the memory by one that other extractors share.
    #[must_use]
    pub fn with_memory(self, memory: Memory) -> Self {
        Self { memory, ..self }
    }

    /// Finds what to keep of a document.
    ///
    /// # Errors
    /// [`ExtractError::Cancelled`] and [`ExtractError::DeadlineExceeded`] if the caller or the clock ended
    /// the request.
    pub fn extract(&mut self, request: &Request<'_>) -> Result<Extraction, ExtractError> {
        let limits = RequestLimits {
            deadline: request.deadline,
            encode_until: request.deadline.map(end_of_encoding),
            cancelled: request.cancelled,
        };
        limits.check()?;
        let start = Instant::now();
        let input = ScoringInput::new(
            request.document,
            request.question,
            self.models.as_ref(),
            self.settings.contract_thesaurus,
        );
        limits.check()?;
        let prepared = Instant::now();
        let (mut scores, reason) = self.score(request, &input, &limits)?;
        for (score, unit) in scores.values.iter_mut().zip(&input.document.units) {
            if unit.filler {
                *score = FILLER_SCORE;
            }
        }
        limits.check()?;
        let scored = Instant::now();
        let answers_question = !request.question.trim().is_empty();
        let shares = EvidenceShares::new(&input.document, &scores.values, scores.tier);
        let selection = select_units(&input, &scores.values, &shares, request.budget);
        let spans = join_spans(
            request.document,
            &input.document.units,
            &selection.taken,
            &scores.values,
        )?;
        let timing = Timing {
            prepare: prepared - start,
            score: scored - prepared,
            encode: scores.encoding,
            select: scored.elapsed(),
        };
        Ok(Extraction {
            spans,
            counts: count(&input, &selection),
            tier: scores.tier,
            limited: scores.instead.is_some(),
            tier_reason: scores.instead.unwrap_or(reason),
            estimated_recall: answers_question.then(|| shares.recall(&selection.taken)),
            timing,
            encoded_tokens: scores.encoded_tokens,
        })
    }

    /// Scores with the tier that was chosen, or the best one below it that can run.
    fn score(
        &mut self,
        request: &Request<'_>,
        input: &ScoringInput<'_>,
        limits: &RequestLimits<'_>,
    ) -> Result<(Scores, TierReason), ExtractError> {
        if request.question.trim().is_empty() {
            let values = score_coverage(&input.document);
            let scores = Scores::without_encoder(values, Tier::Lexical);
            return Ok((scores, TierReason::NoQuestion));
        }
        let Some(models) = &mut self.models else {
            let reason = match request.tier.tier {
                Tier::Lexical => request.tier.reason,
                Tier::Static | Tier::Encoder => TierReason::NoModel,
            };
            return Ok((LexicalEngine.score(input, limits)?, reason));
        };
        let cheaper = StaticEngine {
            embeddings: &models.embeddings,
        };
        let mut engine: Box<dyn Engine + '_> = match request.tier.tier {
            Tier::Lexical => Box::new(LexicalEngine),
            Tier::Static => Box::new(cheaper),
            Tier::Encoder => Box::new(EncoderEngine {
                cheaper,
                tokens: encode::token_limit(self.settings.encode_tokens, models.encoder.as_mut()),
                encoder: models.encoder.as_mut(),
                memory: &self.memory,
            }),
        };
        Ok((engine.score(input, limits)?, request.tier.reason))
    }
}

fn select_units(
    input: &ScoringInput<'_>,
    scores: &[f32],
    shares: &EvidenceShares,
    budget: Budget,
) -> Selection {
    let units = &input.document.units;
    let order = select::rank(scores);
    let words: Vec<u32> = units.iter().map(|unit| unit.words).collect();
    let of_ratio = |ratio: Ratio| ratio.words_of(input.document.budget_words);
    let gap = if input.document.transcript {
        select::TRANSCRIPT_GAP_WORDS
    } else {
        select::GAP_WORDS
    };
    let take = |costs: &[u32], budget| select::take(units, costs, &order, budget, gap);
    let most = |limit: NonZeroU64| usize::try_from(limit.get()).unwrap_or(usize::MAX);
    match budget {
        Budget::Ratio(ratio) => take(&words, of_ratio(ratio)),
        Budget::MaxWords(limit) => take(&words, most(limit)),
        Budget::MaxTokens(limit) => take(&input.unit_tokens, most(limit)),
        Budget::Auto(auto) => {
            let range = of_ratio(auto.max_ratio())..=of_ratio(auto.min_ratio());
            select::take_smallest(range, auto.floor(), shares, |budget| take(&words, budget))
        }
    }
}

fn count(input: &ScoringInput<'_>, selection: &Selection) -> Counts {
    let units = &input.document.units;
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
        document_words: input.document.words as u64,
        kept_words: taken().map(|unit| u64::from(units[unit].words)).sum(),
        document_tokens: input.tokens,
        kept_tokens: taken().map(|unit| u64::from(input.unit_tokens[unit])).sum(),
    }
}

/// Joins taken neighbours of the same block and kind, and verifies each span against the document.
fn join_spans(
    document: &str,
    units: &[Unit],
    taken: &[bool],
    scores: &[f32],
) -> Result<Vec<Span>, ExtractError> {
    let mut spans: Vec<Span> = Vec::new();
    let mut last: Option<(usize, u32)> = None;
    for (index, unit) in units.iter().enumerate().filter(|(index, _)| taken[*index]) {
        let joins = last == index.checked_sub(1).map(|before| (before, unit.block));
        match spans.last_mut() {
            Some(span) if joins && span.kind == unit.kind => {
                span.end = unit.end;
                span.score = span.score.max(scores[index]);
            }
            _ => spans.push(Span {
                start: unit.start,
                end: unit.end,
                score: scores[index],
                kind: unit.kind,
            }),
        }
        last = Some((index, unit.block));
    }
    for span in &spans {
        if document.get(span.start..span.end).is_none_or(str::is_empty) {
            return Err(ExtractError::BadSpan {
                start: span.start,
                end: span.end,
                length: document.len(),
            });
        }
    }
    Ok(spans)
}
