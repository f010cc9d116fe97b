//! The tiers: each turns a reading into one score a unit.

use std::time::Duration;

use super::encode::{self, ReadError};
use super::input::{PieceInput, ScoringInput};
use super::memory::Memory;
use super::{ExtractError, RequestLimits, Tier, TierReason};
use crate::model::{EmbeddingTable, EncodeError, Encoder};
use crate::scoring::{WindowMatches, rarity, recipe};

/// The scores of a document's units, and what they cost.
pub(super) struct Scores {
    /// A score for each unit, standardised.
    pub(super) values: Vec<f32>,
    pub(super) encoded_tokens: u64,
    /// Time spent with the encoder.
    pub(super) encoding: Duration,
    /// The tier that scored. If it is cheaper than chosen, or did less than it may, `instead` says why.
    pub(super) tier: Tier,
    pub(super) instead: Option<TierReason>,
}

impl Scores {
    /// Makes the scores of a tier that needs no encoder, or did not come to use it.
    pub(super) fn without_encoder(values: Vec<f32>, tier: Tier) -> Self {
        Self {
            values,
            encoded_tokens: 0,
            encoding: Duration::ZERO,
            tier,
            instead: None,
        }
    }

    /// Makes the scores of the static tier, which answers instead of the encoder.
    fn instead_of_encoder(values: Vec<f32>, reason: TierReason) -> Self {
        Self {
            instead: Some(reason),
            ..Self::without_encoder(values, Tier::Static)
        }
    }
}

/// A way to score the units of a document.
pub(super) trait Engine {
    /// Scores every unit. `input` has pieces if the engine needs a model.
    fn score(&mut self, input: &ScoringInput<'_>, limits: &RequestLimits<'_>)
    -> Result<Scores, ExtractError>;
}

/// The lexical tier: words only.
pub(super) struct LexicalEngine;

impl Engine for LexicalEngine {
    fn score(&mut self, input: &ScoringInput<'_>, _: &RequestLimits<'_>) -> Result<Scores, ExtractError> {
        let total = recipe::sum_lexical(&input.document, &input.lexical);
        let values = recipe::finish(&input.document, total);
        Ok(Scores::without_encoder(values, Tier::Lexical))
    }
}

/// The static tier: words and input embeddings.
pub(super) struct StaticEngine<'m> {
    pub(super) embeddings: &'m EmbeddingTable,
}

impl StaticEngine<'_> {
    fn values(
        &self,
        input: &ScoringInput<'_>,
        pieces: &PieceInput,
        lexical: Vec<f32>,
        rarity: &[f32],
    ) -> Vec<f32> {
        let ids = pieces.window_ids();
        let matches = WindowMatches::of_embeddings(self.embeddings, &pieces.question, rarity.to_vec(), &ids);
        recipe::finish(
            &input.document,
            recipe::add_static(lexical, &pieces.windows, &matches),
        )
    }
}

impl Engine for StaticEngine<'_> {
    fn score(
        &mut self,
        input: &ScoringInput<'_>,
        limits: &RequestLimits<'_>,
    ) -> Result<Scores, ExtractError> {
        let Some(pieces) = &input.pieces else {
            return LexicalEngine.score(input, limits);
        };
        let lexical = recipe::sum_lexical(&input.document, &input.lexical);
        let rarity = rarity(&pieces.question, &pieces.window_ids());
        let values = self.values(input, pieces, lexical, &rarity);
        Ok(Scores::without_encoder(values, Tier::Static))
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
        let Some(pieces) = &input.pieces else {
            return LexicalEngine.score(input, limits);
        };
        let lexical = recipe::sum_lexical(&input.document, &input.lexical);
        let ids = pieces.window_ids();
        let rarity = rarity(&pieces.question, &ids);
        let values = self.cheaper.values(input, pieces, lexical.clone(), &rarity);
        let budget = encode::token_budget(self.tokens, limits, self.memory);
        let chosen = encode::choose_windows(pieces, &ids, &values, self.encoder.max_tokens(), budget);
        if ids.iter().all(|ids| ids.is_empty()) {
            // White space only: all that there is has been read.
            return Ok(Scores::without_encoder(values, Tier::Encoder));
        }
        if chosen.is_empty() {
            return Ok(Scores::instead_of_encoder(values, TierReason::NoTime));
        }
        let pass = match encode::read_windows(self.encoder, self.memory, limits, pieces, rarity, &chosen) {
            Ok(pass) => pass,
            Err(ReadError::Request(error)) => return Err(error),
            Err(ReadError::Encoder(error)) => {
                limits.check_cancelled()?;
                return Ok(Scores::instead_of_encoder(values, explain_failure(&error)));
            }
        };
        let scores = recipe::add_encoder(lexical, &values, &pieces.windows, &pass.signals);
        let readable = ids.iter().filter(|ids| !ids.is_empty()).count();
        let planned_less = budget < self.tokens && chosen.len() < readable;
        Ok(Scores {
            values: recipe::finish(&input.document, scores),
            encoded_tokens: pass.encoded_tokens,
            encoding: pass.encoding,
            tier: Tier::Encoder,
            instead: (planned_less || pass.cut_short).then_some(TierReason::FewerWindows),
        })
    }
}

/// Names the reason for which the static tier answers instead of an encoder that failed, and logs a failure.
fn explain_failure(error: &EncodeError) -> TierReason {
    let reason = match error {
        EncodeError::Cancelled => return TierReason::EncoderBusy,
        EncodeError::OutOfMemory { .. } => TierReason::OutOfMemory,
        EncodeError::Device(_) | EncodeError::TooLong { .. } => TierReason::EncoderFailed,
    };
    tracing::warn!(%error, "the static tier answers instead of the encoder");
    reason
}
