//! The tiers: each turns a reading into one score a unit for each thing that is asked.

use std::time::Duration;

use super::encode::{self, EncoderAsk, EncoderPass, Reading, WindowCost};
use super::input::{AskInput, PieceInput, ScoringInput};
use super::memory::Memory;
use super::reading::{self, ReadError};
use super::{ExtractError, RequestLimits, Tier, TierReason};
use crate::model::{EmbeddingTable, EncodeError, Encoder};
use crate::scoring::recipe::{self, EncoderSignals};
use crate::scoring::{WindowMatches, rarity};

mod ranker;

pub(super) use ranker::RankerEngine;

/// The scores of a document's units, and what they cost.
pub(super) struct Scores {
    /// For each ask, in the order of the input, a score for each unit, standardised.
    pub(super) values: Vec<Vec<f32>>,
    pub(super) encoded_tokens: u64,
    /// Time spent with the encoder or ranker.
    pub(super) encoding: Duration,
    /// The tier that scored. If it is cheaper than chosen, or did less than it may, `instead` says why.
    pub(super) tier: Tier,
    pub(super) instead: Option<TierReason>,
}

impl Scores {
    /// Makes the scores of a tier that runs no model, or did not come to use it.
    pub(super) fn without_model(values: Vec<Vec<f32>>, tier: Tier) -> Self {
        Self {
            values,
            encoded_tokens: 0,
            encoding: Duration::ZERO,
            tier,
            instead: None,
        }
    }

    /// Makes the scores of the static tier, which answers instead of the encoder or ranker.
    fn instead_of_model(scores: Vec<StaticScores>, reason: TierReason) -> Self {
        Self {
            instead: Some(reason),
            ..Self::without_model(into_values(scores), Tier::Static)
        }
    }
}

/// A way to score the units of a document.
pub(super) trait Engine {
    /// Scores every unit for each ask. `input` has pieces if the engine needs a model.
    fn score(&mut self, input: &ScoringInput<'_>, limits: &RequestLimits<'_>)
    -> Result<Scores, ExtractError>;
}

/// The lexical tier: words only.
pub(super) struct LexicalEngine;

impl Engine for LexicalEngine {
    fn score(
        &mut self,
        input: &ScoringInput<'_>,
        limits: &RequestLimits<'_>,
    ) -> Result<Scores, ExtractError> {
        let document = &input.source.document;
        let score = |ask: &AskInput| {
            limits.check()?;
            Ok(recipe::finish(
                document,
                recipe::sum_lexical(document, &ask.lexical),
            ))
        };
        let values = input
            .asks
            .iter()
            .map(score)
            .collect::<Result<_, ExtractError>>()?;
        Ok(Scores::without_model(values, Tier::Lexical))
    }
}

/// The static tier: words and input embeddings.
pub(super) struct StaticEngine<'m> {
    pub(super) embeddings: &'m EmbeddingTable,
    /// The document that is scored.
    pub(super) pieces: &'m PieceInput,
}

/// What the static tier finds out for one ask.
struct StaticScores {
    /// Sum of the lexical signals of each unit.
    lexical: Vec<f32>,
    /// Rarity of the question's pieces.
    rarity: Vec<f32>,
    /// Sum of all signals of each unit.
    total: Vec<f32>,
    /// Score of each unit, standardised.
    values: Vec<f32>,
}

impl StaticEngine<'_> {
    /// Scores every unit for each ask. What embeddings say for one ask is dropped before the next.
    fn score_asks(
        &self,
        input: &ScoringInput<'_>,
        limits: &RequestLimits<'_>,
    ) -> Result<Vec<StaticScores>, ExtractError> {
        let document = &input.source.document;
        let windows = &self.pieces.windows;
        let ids = self.pieces.window_ids();
        let score = |ask: &AskInput| {
            limits.check()?;
            let lexical = recipe::sum_lexical(document, &ask.lexical);
            let rarity = rarity(&ask.ids, &ids);
            let matches = WindowMatches::of_embeddings(self.embeddings, &ask.ids, rarity.clone(), &ids);
            let total = recipe::add_static(document, lexical.clone(), windows, &matches);
            let values = recipe::finish(document, total.clone());
            Ok(StaticScores {
                lexical,
                rarity,
                total,
                values,
            })
        };
        input.asks.iter().map(score).collect()
    }
}

fn into_values(scores: Vec<StaticScores>) -> Vec<Vec<f32>> {
    scores.into_iter().map(|scores| scores.values).collect()
}

impl Engine for StaticEngine<'_> {
    fn score(
        &mut self,
        input: &ScoringInput<'_>,
        limits: &RequestLimits<'_>,
    ) -> Result<Scores, ExtractError> {
        let scores = self.score_asks(input, limits)?;
        Ok(Scores::without_model(into_values(scores), Tier::Static))
    }
}

/// The encoder tier: words, input embeddings, and hidden states of the windows that those two rank high.
pub(super) struct EncoderEngine<'m> {
    pub(super) cheaper: StaticEngine<'m>,
    pub(super) encoder: &'m mut dyn Encoder,
    pub(super) memory: &'m Memory,
    /// Most tokens to encode for one request.
    pub(super) tokens: usize,
}

impl Engine for EncoderEngine<'_> {
    fn score(
        &mut self,
        input: &ScoringInput<'_>,
        limits: &RequestLimits<'_>,
    ) -> Result<Scores, ExtractError> {
        let scores = self.cheaper.score_asks(input, limits)?;
        let pieces = self.cheaper.pieces;
        let ids = pieces.window_ids();
        let budget = reading::token_budget(self.tokens, limits, &self.memory.encoder_speed);
        let values: Vec<&[f32]> = scores.iter().map(|scores| scores.values.as_slice()).collect();
        let cost = WindowCost::of(self.encoder, input.asks.len());
        let chosen = encode::choose_windows(pieces, &ids, &values, cost, budget);
        if ids.iter().all(|ids| ids.is_empty()) {
            // White space only: all that there is has been read.
            return Ok(Scores::without_model(into_values(scores), Tier::Encoder));
        }
        if chosen.is_empty() {
            return Ok(Scores::instead_of_model(scores, TierReason::NoTime));
        }
        let reading = Reading {
            memory: self.memory,
            limits,
            pieces,
            asks: encoder_asks(input, &scores),
            chosen: &chosen,
        };
        let pass = match reading.read(self.encoder) {
            Ok(pass) => pass,
            Err(error) => return Ok(Scores::instead_of_model(scores, explain(error, limits)?)),
        };
        let readable = ids.iter().filter(|ids| !ids.is_empty()).count();
        let planned_less = budget < self.tokens && chosen.len() < readable;
        Ok(Scores {
            values: add_encoder(input, pieces, scores, &pass),
            encoded_tokens: pass.encoded_tokens,
            encoding: pass.encoding,
            tier: Tier::Encoder,
            instead: (planned_less || pass.cut_short).then_some(TierReason::FewerWindows),
        })
    }
}

/// Pairs what is asked with how rare its pieces are.
fn encoder_asks<'a>(input: &'a ScoringInput<'_>, scores: &[StaticScores]) -> Vec<EncoderAsk<'a>> {
    let asks = input.asks.iter().zip(scores);
    let of_ask = |(ask, scores): (&'a AskInput, &StaticScores)| EncoderAsk {
        ids: &ask.ids,
        rarity: scores.rarity.clone(),
    };
    asks.map(of_ask).collect()
}

/// Adds what the encoder said to the scores of each ask.
fn add_encoder(
    input: &ScoringInput<'_>,
    pieces: &PieceInput,
    scores: Vec<StaticScores>,
    pass: &EncoderPass,
) -> Vec<Vec<f32>> {
    let document = &input.source.document;
    let of_ask = |(scores, signals): (StaticScores, &EncoderSignals)| {
        let StaticScores { lexical, values, .. } = scores;
        let total = recipe::add_encoder(document, lexical, &values, &pieces.windows, signals);
        recipe::finish(document, total)
    };
    scores.into_iter().zip(&pass.signals).map(of_ask).collect()
}

/// Names the reason for which the answer does without a model that failed, and logs a failure.
///
/// # Errors
/// [`ExtractError`] if the request ends here.
fn explain(error: ReadError, limits: &RequestLimits<'_>) -> Result<TierReason, ExtractError> {
    let error = match error {
        ReadError::Request(error) => return Err(error),
        ReadError::Model(error) => error,
    };
    limits.check_cancelled()?;
    let reason = match error {
        EncodeError::Cancelled => return Ok(TierReason::EncoderBusy),
        EncodeError::OutOfMemory { .. } => TierReason::OutOfMemory,
        EncodeError::Device(_) | EncodeError::TooLong { .. } => TierReason::EncoderFailed,
    };
    tracing::warn!(%error, "the answer does without one of the tier's models");
    Ok(reason)
}
