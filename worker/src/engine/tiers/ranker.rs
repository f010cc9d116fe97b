//! The ranker tier. Within a small budget the ranker reads the windows that words and input embeddings rank high, then
//! those that its own answers rank high.
//! Where the budget covers the whole document twice, by ranker and encoder, both read all of it and their signals
//! are added: so it is on a GPU, and so on a processor whose limit is as high.

use std::borrow::Cow;

use super::super::encode::{self, EncoderPass, Reading, WindowCost};
use super::super::input::ScoringInput;
use super::super::memory::Memory;
use super::super::rank::RankerReading;
use super::super::reading::{self, Reached, Work};
use super::super::{ExtractError, RequestLimits, Tier, TierReason};
use super::{Engine, Scores, StaticEngine, StaticScores, encoder_asks, explain, into_values};
use crate::model::{Encoder, Ranker, shorten_question};
use crate::scoring::recipe::{self, RankerSignals};
use crate::scoring::{Window, lift_antecedents, windows};

/// The ranker tier: words, input embeddings, what the ranker says about windows, and what the encoder says if there is
/// room for it.
pub(in crate::engine) struct RankerEngine<'m> {
    pub(in crate::engine) cheaper: StaticEngine<'m>,
    pub(in crate::engine) ranker: &'m mut dyn Ranker,
    pub(in crate::engine) encoder: &'m mut dyn Encoder,
    pub(in crate::engine) memory: &'m Memory,
    /// Most tokens to read for one request.
    pub(in crate::engine) tokens: usize,
}

/// What the encoder is to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EncoderPart {
    /// Nothing: the limit has no room for it.
    None,
    /// Nothing: the deadline leaves no time for it.
    NoTime,
    /// Its signals of all windows.
    All,
}

impl Engine for RankerEngine<'_> {
    fn score(
        &mut self,
        input: &ScoringInput<'_>,
        limits: &RequestLimits<'_>,
    ) -> Result<Scores, ExtractError> {
        let scores = self.cheaper.score_asks(input, limits)?;
        let pieces = self.cheaper.pieces;
        let most = self.ranker.max_tokens();
        let windows = windows(
            &input.source.document.units,
            recipe::RANKER_WORDS,
            recipe::RANKER_WORDS,
        );
        let ids = pieces.ids_of(&windows).into_iter();
        let ids: Vec<&[u32]> = ids.map(|ids| &ids[..ids.len().min(most)]).collect();
        if ids.iter().all(|ids| ids.is_empty()) {
            // White space only: all that there is has been read.
            return Ok(Scores::without_model(into_values(scores), Tier::Ranker));
        }
        let questions: Vec<Cow<'_, [u32]>> =
            input.asks.iter().map(|ask| shorten_question(&ask.ids)).collect();
        let reading = RankerReading {
            memory: self.memory,
            limits,
            pieces,
            windows: &windows,
            questions: &questions,
            ids: &ids,
        };
        let encoder_part = self.plan_encoder(&reading, input.asks.len(), limits);
        let budget = reading::token_budget(self.tokens, limits, &self.memory.ranker_speed);
        let values = scores.iter().map(|scores| scores.values.clone()).collect();
        let so_far = |signals: &[RankerSignals]| score_so_far(input, &windows, &scores, signals);
        let pass = match reading.read(self.ranker, values, budget, so_far) {
            Ok(pass) => pass,
            Err(error) => return Ok(Scores::instead_of_model(scores, explain(error, limits)?)),
        };
        let read = pass.windows_read();
        if read == 0 {
            return Ok(Scores::instead_of_model(scores, TierReason::NoTime));
        }
        let readable = ids.iter().filter(|ids| !ids.is_empty()).count() * input.asks.len();
        let planned_less = budget < self.tokens && read < readable;
        let cut_short = pass.reached == Reached::Deadline;
        let encoded = match encoder_part {
            EncoderPart::All if !cut_short => self.encode(input, &scores, limits)?,
            EncoderPart::None => EncoderOutcome::nothing(None),
            EncoderPart::All | EncoderPart::NoTime => EncoderOutcome::nothing(Some(TierReason::FewerWindows)),
        };
        let fewer = (planned_less || cut_short).then_some(TierReason::FewerWindows);
        let of_encoder = encoded.pass.as_ref();
        Ok(Scores {
            encoded_tokens: pass.cost.tokens as u64 + of_encoder.map_or(0, |pass| pass.encoded_tokens),
            encoding: pass.cost.time + of_encoder.map(|pass| pass.encoding).unwrap_or_default(),
            values: self.combine(input, &windows, scores, pass.signals, of_encoder),
            tier: Tier::Ranker,
            instead: fewer.or(encoded.missing),
        })
    }
}

/// Scores the units for each ask by what the ranker has said so far.
fn score_so_far(
    input: &ScoringInput<'_>,
    windows: &[Window],
    scores: &[StaticScores],
    signals: &[RankerSignals],
) -> Vec<Vec<f32>> {
    let of_ask = |(scores, signals): (&StaticScores, &RankerSignals)| {
        let total = recipe::add_ranker(scores.total.clone(), &scores.values, windows, signals);
        recipe::finish(&input.source.document, total)
    };
    scores.iter().zip(signals).map(of_ask).collect()
}

/// What came of the encoder's part: signals of all windows, or nothing and why, if it should have.
struct EncoderOutcome {
    pass: Option<EncoderPass>,
    missing: Option<TierReason>,
}

impl EncoderOutcome {
    fn nothing(missing: Option<TierReason>) -> Self {
        Self { pass: None, missing }
    }
}

impl RankerEngine<'_> {
    /// Decides whether the encoder reads the document too: if the limit covers all that both read, and the time does.
    fn plan_encoder(
        &mut self,
        reading: &RankerReading<'_>,
        asks: usize,
        limits: &RequestLimits<'_>,
    ) -> EncoderPart {
        let ranked = reading.tokens_of_all();
        let cost = WindowCost::of(self.encoder, asks);
        let encoded = cost.tokens_of_all(&self.cheaper.pieces.window_ids());
        if ranked.saturating_add(encoded) > self.tokens {
            return EncoderPart::None;
        }
        let work = [
            Work {
                tokens: ranked,
                speed: &self.memory.ranker_speed,
            },
            Work {
                tokens: encoded,
                speed: &self.memory.encoder_speed,
            },
        ];
        if reading::is_time_for(&work, limits) {
            EncoderPart::All
        } else {
            EncoderPart::NoTime
        }
    }

    /// Reads the whole document with the encoder.
    fn encode(
        &mut self,
        input: &ScoringInput<'_>,
        scores: &[StaticScores],
        limits: &RequestLimits<'_>,
    ) -> Result<EncoderOutcome, ExtractError> {
        let pieces = self.cheaper.pieces;
        let values: Vec<&[f32]> = scores.iter().map(|scores| scores.values.as_slice()).collect();
        let cost = WindowCost::of(self.encoder, input.asks.len());
        let reading = Reading {
            memory: self.memory,
            limits,
            pieces,
            asks: encoder_asks(input, scores),
            chosen: &encode::choose_windows(pieces, &pieces.window_ids(), &values, cost, usize::MAX),
        };
        Ok(match reading.read(self.encoder) {
            Ok(pass) if !pass.cut_short => EncoderOutcome {
                pass: Some(pass),
                missing: None,
            },
            Ok(_) => EncoderOutcome::nothing(Some(TierReason::FewerWindows)),
            Err(error) => EncoderOutcome::nothing(Some(explain(error, limits)?)),
        })
    }

    /// Adds what the models said to the scores of each ask.
    fn combine(
        &self,
        input: &ScoringInput<'_>,
        windows: &[Window],
        scores: Vec<StaticScores>,
        signals: Vec<RankerSignals>,
        encoded: Option<&EncoderPass>,
    ) -> Vec<Vec<f32>> {
        let document = &input.source.document;
        let of_ask = |(ask, (scores, signals)): (usize, (StaticScores, RankerSignals))| {
            let StaticScores {
                lexical,
                total,
                values,
                ..
            } = scores;
            let total = match encoded.and_then(|pass| pass.signals.get(ask)) {
                Some(encoded) => {
                    let matched = &self.cheaper.pieces.windows;
                    recipe::add_encoder(document, lexical, &values, matched, encoded)
                }
                None => total,
            };
            let total = recipe::add_ranker(total, &values, windows, &signals);
            let mut values = recipe::finish(document, total);
            lift_antecedents(document, &mut values);
            values
        };
        scores.into_iter().zip(signals).enumerate().map(of_ask).collect()
    }
}
