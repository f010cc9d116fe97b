//! Reads the most promising windows with the ranker, each together with one of the things that are asked: so every
//! ask reads windows of its own, and they share one budget.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use super::input::PieceInput;
use super::memory::Memory;
use super::reading::{self, Pick, Reached, ReadError, ReadingCost};
use super::{CPU_RANKER_TOKENS, RequestLimits};
use crate::document::{Document, TextUnits};
use crate::model::{EncodeError, PAIR_TOKENS, Ranked, Ranker};
use crate::scoring::Window;
use crate::scoring::recipe::RankerSignals;

/// Picks of fewer tokens say nothing about the speed of a device that reads so many at a time.
const TELLING_SHARE: usize = 8;

/// Documents that are asked about together are read with the limits of so many at most.
const MOST_DOCUMENTS: usize = 2;

/// Returns the most tokens that may be read for one request: what is configured, else what suits the ranker and the
/// documents.
pub(super) fn token_limit(
    configured: Option<usize>,
    ranker: &dyn Ranker,
    document: &Document<'_>,
    unit_tokens: &[u32],
) -> usize {
    configured.unwrap_or_else(|| match ranker.step_tokens() {
        Some(_) => usize::MAX,
        None => processor_limit(document, unit_tokens),
    })
}

/// Returns the limit of a processor: that of one document, or what would be read of each of several alone. Passages are
/// short, and many: together they are one.
fn processor_limit(document: &Document<'_>, unit_tokens: &[u32]) -> usize {
    let tokens_of = |text: &TextUnits| {
        let units = unit_tokens.get(text.units.clone()).unwrap_or_default();
        let tokens: usize = units.iter().map(|&tokens| tokens as usize).sum();
        tokens.min(CPU_RANKER_TOKENS)
    };
    let texts = document.texts.iter().filter(|text| !text.whole);
    let together: usize = texts.map(tokens_of).sum();
    together.clamp(CPU_RANKER_TOKENS, MOST_DOCUMENTS * CPU_RANKER_TOKENS)
}

/// Rounds in which a budget is spent that does not cover the document: what the ranker has said of the windows of one
/// tells where to read in the next.
const ROUNDS: usize = 3;

/// The ranker's part of a request: what it has said so far, and what that cost.
pub(super) struct RankerPass {
    /// What it said for each ask, in their order.
    pub(super) signals: Vec<RankerSignals>,
    /// Tokens and time that it took.
    pub(super) cost: ReadingCost,
    /// Whether all chosen windows were read.
    pub(super) reached: Reached,
}

impl RankerPass {
    /// Returns the number of windows that were read, those of each ask counted.
    pub(super) fn windows_read(&self) -> usize {
        let read = self.signals.iter().flat_map(|signals| &signals.read);
        read.filter(|read| **read).count()
    }
}

/// What the ranker may read of a document, and within which limits.
pub(super) struct RankerReading<'a> {
    pub(super) memory: &'a Memory,
    pub(super) limits: &'a RequestLimits<'a>,
    pub(super) pieces: &'a PieceInput,
    /// Runs of units that it reads, which together cover all units.
    pub(super) windows: &'a [Window],
    /// What is asked, as the ranker reads it.
    pub(super) questions: &'a [Cow<'a, [u32]>],
    /// Vocabulary ids of each window, cut to what the ranker reads.
    pub(super) ids: &'a [&'a [u32]],
}

impl RankerReading<'_> {
    /// Reads what a budget of tokens allows, for each ask its own windows: all at once if everything fits, else in
    /// rounds. `static_scores` tell where the first begins, and `score`, from what has been read, where the next do.
    pub(super) fn read(
        &self,
        ranker: &mut dyn Ranker,
        static_scores: Vec<Vec<f32>>,
        budget: usize,
        score: impl Fn(&[RankerSignals]) -> Vec<Vec<f32>>,
    ) -> Result<RankerPass, ReadError> {
        let unread = || RankerSignals::unread(self.windows.len(), self.pieces.units.len());
        let mut pass = RankerPass {
            signals: self.questions.iter().map(|_| unread()).collect(),
            cost: ReadingCost::default(),
            reached: Reached::End,
        };
        let rounds = if self.tokens_of_all() <= budget { 1 } else { ROUNDS };
        let (mut scores, mut left) = (static_scores, budget);
        for rest in (1..=rounds).rev() {
            let chosen = self.choose(&scores, left / rest, &pass);
            left -= chosen.iter().map(|pick| self.tokens(*pick)).sum::<usize>();
            match self.read_chosen(ranker, &chosen, &mut pass) {
                Ok(()) => {}
                // The time was over between two rounds.
                Err(ReadError::Model(EncodeError::Cancelled)) if pass.windows_read() > 0 => {
                    pass.reached = Reached::Deadline;
                }
                Err(error) => return Err(error),
            }
            if rest == 1 || pass.reached == Reached::Deadline {
                break;
            }
            scores = score(&pass.signals);
        }
        Ok(pass)
    }

    /// Chooses the windows worth reading next within a budget of tokens.
    fn choose(&self, scores: &[Vec<f32>], budget: usize, pass: &RankerPass) -> Vec<Pick> {
        let unread = |pick: &Pick| !pass.signals[pick.ask].read[pick.window];
        let scores: Vec<&[f32]> = scores.iter().map(Vec::as_slice).collect();
        let picks = reading::rank_in_turn(self.windows, &scores)
            .into_iter()
            .filter(unread);
        reading::within_budget(picks, |pick| self.tokens(pick), budget)
    }

    /// Returns the tokens that go through the ranker if it reads every window for every ask.
    pub(super) fn tokens_of_all(&self) -> usize {
        let asks = 0..self.questions.len();
        let of_ask = |ask| (0..self.ids.len()).map(move |window| self.tokens(Pick { ask, window }));
        asks.flat_map(of_ask).sum()
    }

    /// Returns the tokens that go through the ranker for a pick; none if there is nothing to read.
    fn tokens(&self, pick: Pick) -> usize {
        match self.ids[pick.window].len() {
            0 => 0,
            pieces => self.questions[pick.ask].len() + pieces + PAIR_TOKENS,
        }
    }

    /// Reads the chosen windows. Stops early, with what it has, when the deadline comes near.
    fn read_chosen(
        &self,
        ranker: &mut dyn Ranker,
        chosen: &[Pick],
        pass: &mut RankerPass,
    ) -> Result<(), ReadError> {
        let RankerPass {
            signals,
            cost,
            reached,
        } = pass;
        let step = ranker
            .step_tokens()
            .unwrap_or_else(|| reading::step_tokens(self.limits));
        let tokens = |pick: &Pick| self.tokens(*pick);
        *reached = reading::read_in_steps(chosen, tokens, step, self.limits, |step| {
            for (ask, signals) in signals.iter_mut().enumerate() {
                let of_ask = step.iter().filter(|pick| pick.ask == ask);
                let windows: Vec<usize> = of_ask.map(|pick| pick.window).collect();
                let ranked = self.rank(ranker, ask, &windows, cost)?;
                for (window, ranked) in windows.into_iter().zip(&ranked) {
                    self.add_window(signals, window, ranked);
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Reads windows with an ask; those that are remembered cost nothing.
    fn rank(
        &self,
        ranker: &mut dyn Ranker,
        ask: usize,
        windows: &[usize],
        cost: &mut ReadingCost,
    ) -> Result<Vec<Arc<Ranked>>, EncodeError> {
        let question = &self.questions[ask];
        let mut answers: Vec<Option<Arc<Ranked>>> = windows
            .iter()
            .map(|window| self.memory.states.get_ranked(question, self.ids[*window]))
            .collect();
        let places = answers.iter_mut().zip(windows);
        let (mut missing, windows): (Vec<_>, Vec<usize>) =
            places.filter(|(answer, _)| answer.is_none()).unzip();
        if windows.is_empty() {
            return Ok(answers.into_iter().flatten().collect());
        }
        let ids: Vec<&[u32]> = windows.iter().map(|window| self.ids[*window]).collect();
        let start = Instant::now();
        let fresh = ranker.rank(question, &ids)?;
        if fresh.len() != ids.len() {
            let count = format!("{} answers for {} windows", fresh.len(), ids.len());
            return Err(EncodeError::Device(count));
        }
        let time = start.elapsed();
        let tokens = windows
            .iter()
            .map(|&window| self.tokens(Pick { ask, window }))
            .sum();
        if tokens >= ranker.step_tokens().unwrap_or(0) / TELLING_SHARE {
            self.memory.ranker_speed.measure(tokens, time.as_secs_f64());
        }
        cost.tokens += tokens;
        cost.time += time;
        for ((answer, ids), ranked) in missing.iter_mut().zip(ids).zip(fresh) {
            let ranked = Arc::new(ranked);
            self.memory
                .states
                .insert_ranked(question, ids, Arc::clone(&ranked));
            **answer = Some(ranked);
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Takes in what the ranker said about a window. A unit that it has not seen, because the window is longer than it
    /// reads, gets the mean of the window.
    fn add_window(&self, signals: &mut RankerSignals, window: usize, ranked: &Ranked) {
        signals.read[window] = true;
        signals.window_logits[window] = ranked.window;
        let fallback = mean(&ranked.tokens).unwrap_or(0.0);
        let first = self.windows[window].start;
        for (place, pieces) in self.pieces.units_within(&self.windows[window]).enumerate() {
            let end = pieces.end.min(ranked.tokens.len());
            let of_unit = ranked.tokens.get(pieces.start..end).unwrap_or_default();
            signals.unit_logits[first + place] = mean(of_unit).unwrap_or(fallback);
        }
    }
}

fn mean(values: &[f32]) -> Option<f32> {
    (!values.is_empty()).then(|| values.iter().sum::<f32>() / values.len() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Text, Texts};

    /// Computes the limit of texts of so many words each, at a token a word.
    fn limit(texts: &[usize], whole: bool) -> Result<usize, liquid_process::Invalid> {
        let parts: Vec<String> = texts.iter().map(|tokens| "word. ".repeat(*tokens)).collect();
        let lengths = parts.iter().map(|part| Text {
            bytes: part.len() as u64,
            whole,
        });
        let text = parts.concat();
        let document = Document::parse_texts(&text, &Texts::new(&text, lengths.collect())?);
        let unit_tokens: Vec<u32> = document.units.iter().map(|unit| unit.words).collect();
        Ok(processor_limit(&document, &unit_tokens))
    }

    #[test]
    fn several_documents_are_read_as_much_as_each_alone_up_to_twice_the_limit()
    -> Result<(), liquid_process::Invalid> {
        let one = CPU_RANKER_TOKENS;
        assert_eq!(limit(&[3 * one], false)?, one);
        assert_eq!(limit(&[one / 4, one / 2], false)?, one);
        assert_eq!(limit(&[one, one / 2], false)?, one + one / 2);
        assert_eq!(limit(&[3 * one, one / 4], false)?, one + one / 4);
        assert_eq!(limit(&[one, one, one], false)?, 2 * one);
        assert_eq!(limit(&[one, one], true)?, one, "passages are one document");
        Ok(())
    }
}
