//! Reads the most promising windows with the encoder: chooses them, encodes what is not remembered, matches
//! them with all that is asked. A device that matches by itself is handed the windows in large steps instead, and
//! nothing is remembered: it reads a window again sooner than its states could be fetched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::input::PieceInput;
use super::memory::Memory;
use super::reading::{self, Pick, Reached, ReadError, ReadingCost};
use super::{CPU_ENCODE_TOKENS, RequestLimits};
use crate::model::{ADDED_TOKENS, Comparer, Comparison, EncodeError, Encoded, Encoder};
use crate::scoring::recipe::EncoderSignals;
use crate::vectors::{dot, norm, unit};

/// Comparisons of fewer tokens say nothing about a device's speed.
const TELLING_TOKENS: usize = 4096;

/// Returns the most tokens that may be read for one request: what is configured, else what suits the encoder.
pub(super) fn token_limit(configured: Option<usize>, encoder: &mut dyn Encoder) -> usize {
    configured.unwrap_or(match encoder.comparer() {
        Some(_) => usize::MAX,
        None => CPU_ENCODE_TOKENS,
    })
}

/// The encoder's part of a request: what it said, and what that cost.
pub(super) struct EncoderPass {
    /// What it said for each ask, in their order.
    pub(super) signals: Vec<EncoderSignals>,
    /// Tokens that went through the encoder, remembered windows not counted.
    pub(super) encoded_tokens: u64,
    /// Time spent with the encoder.
    pub(super) encoding: Duration,
    /// True if the time was over before all chosen windows were read.
    pub(super) cut_short: bool,
}

/// What an encoder takes to read a window.
#[derive(Clone, Copy)]
pub(super) struct WindowCost {
    /// Most pieces of a window that it reads.
    most: usize,
    /// How often it reads the window: a device that compares does it for each ask.
    times: usize,
}

impl WindowCost {
    pub(super) fn of(encoder: &mut dyn Encoder, asks: usize) -> Self {
        Self {
            most: encoder.max_tokens(),
            times: if encoder.comparer().is_some() { asks } else { 1 },
        }
    }

    /// Returns the tokens that go through the encoder if it reads every window.
    pub(super) fn tokens_of_all(self, windows: &[&[u32]]) -> usize {
        windows.iter().map(|ids| self.tokens(ids)).sum()
    }

    /// Returns the tokens that go through the encoder for a window; none if there is nothing to read.
    fn tokens(self, ids: &[u32]) -> usize {
        if ids.is_empty() {
            return 0;
        }
        (ids.len().min(self.most) + ADDED_TOKENS) * self.times
    }
}

/// Chooses the windows worth reading within a budget of tokens: the best one of each ask, the second best of each,
/// and so on; one that is read for an ask is read for all. `static_scores` holds those of the units for each ask.
pub(super) fn choose_windows(
    pieces: &PieceInput,
    ids: &[&[u32]],
    static_scores: &[&[f32]],
    cost: WindowCost,
    budget: usize,
) -> Vec<usize> {
    let mut seen = vec![false; pieces.windows.len()];
    let picks = reading::rank_in_turn(&pieces.windows, static_scores).into_iter();
    let picks = picks.filter(|pick| !std::mem::replace(&mut seen[pick.window], true));
    let cost = |pick: Pick| cost.tokens(ids[pick.window]);
    let chosen = reading::within_budget(picks, cost, budget);
    chosen.into_iter().map(|pick| pick.window).collect()
}

/// One of the things that are asked, as the encoder reads it.
pub(super) struct EncoderAsk<'a> {
    /// Vocabulary ids.
    pub(super) ids: &'a [u32],
    /// Rarity of the pieces that are matched, from the first on.
    pub(super) rarity: Vec<f32>,
}

/// Which windows to read for which asks, and within which limits.
pub(super) struct Reading<'a> {
    pub(super) memory: &'a Memory,
    pub(super) limits: &'a RequestLimits<'a>,
    pub(super) pieces: &'a PieceInput,
    pub(super) asks: Vec<EncoderAsk<'a>>,
    pub(super) chosen: &'a [usize],
}

impl Reading<'_> {
    /// Reads the chosen windows with the encoder. Stops early, with what it has, when the deadline comes near.
    pub(super) fn read(&self, encoder: &mut dyn Encoder) -> Result<EncoderPass, ReadError> {
        let plan = ReadingPlan {
            reading: self,
            ids: &self.pieces.window_ids(),
            most: encoder.max_tokens(),
        };
        match encoder.comparer() {
            Some(comparer) => plan.compare(comparer),
            None => plan.encode(encoder),
        }
    }
}

/// A reading, with what the encoder takes of each window.
struct ReadingPlan<'a> {
    reading: &'a Reading<'a>,
    /// Vocabulary ids of each window.
    ids: &'a [&'a [u32]],
    /// Most pieces of a window that the encoder reads.
    most: usize,
}

impl ReadingPlan<'_> {
    /// Reads with an encoder that returns hidden states, and matches them here: a window is read once for all asks.
    fn encode(&self, encoder: &mut dyn Encoder) -> Result<EncoderPass, ReadError> {
        let Reading {
            memory,
            limits,
            pieces,
            asks,
            ..
        } = self.reading;
        let dim = encoder.dim();
        let mut cost = ReadingCost::default();
        let questions: Vec<&[u32]> = asks.iter().map(|ask| self.cut(ask.ids)).collect();
        let asked = encode(encoder, memory, &questions, &mut cost)?;
        let questions: Vec<EncodedQuestion<'_>> = asked
            .iter()
            .map(|asked| EncodedQuestion::new(asked, dim))
            .collect();
        let step_tokens = reading::step_tokens(limits);
        let mut pass = self.begin();
        self.read_in_steps(step_tokens, &mut pass, |step, pass| {
            let texts: Vec<&[u32]> = step.iter().map(|&window| self.text(window)).collect();
            let encoded = encode(encoder, memory, &texts, &mut cost)?;
            for (signals, question) in pass.signals.iter_mut().zip(&questions) {
                for (&window, encoded) in step.iter().zip(&encoded) {
                    add_window(signals, pieces, window, encoded, question);
                }
            }
            Ok(())
        })?;
        pass.encoded_tokens = cost.tokens as u64;
        pass.encoding = cost.time;
        Ok(pass)
    }

    /// Reads with a device that matches windows by itself, with one ask at a time.
    fn compare(&self, comparer: &mut dyn Comparer) -> Result<EncoderPass, ReadError> {
        let mut pass = self.begin();
        self.read_in_steps(comparer.step_tokens(), &mut pass, |step, pass| {
            for ask in 0..self.reading.asks.len() {
                self.compare_step(comparer, ask, step, pass)?;
            }
            Ok(())
        })?;
        let question = |ask: &EncoderAsk<'_>| (self.cut(ask.ids).len() + ADDED_TOKENS) as u64;
        pass.encoded_tokens += self.reading.asks.iter().map(question).sum::<u64>();
        Ok(pass)
    }

    /// Compares the windows of a step with one ask, by its number.
    fn compare_step(
        &self,
        comparer: &mut dyn Comparer,
        ask: usize,
        step: &[usize],
        pass: &mut EncoderPass,
    ) -> Result<(), EncodeError> {
        let (Some(asked), Some(signals)) = (self.reading.asks.get(ask), pass.signals.get_mut(ask)) else {
            return Ok(());
        };
        let task = Arc::new(self.task(asked, step));
        let start = Instant::now();
        let compared = comparer.compare(&task)?;
        let (tokens, time) = (task.tokens(), start.elapsed());
        pass.encoding += time;
        if tokens >= TELLING_TOKENS {
            self.reading
                .memory
                .encoder_speed
                .measure(tokens, time.as_secs_f64());
        }
        pass.encoded_tokens += tokens as u64;
        let pieces = self.reading.pieces;
        for (place, &window) in step.iter().enumerate() {
            signals.read[window] = true;
            signals.window_cosines[window] = compared.windows[place];
            let best = &compared.best[place * task.pieces..][..task.pieces];
            signals.matches.set_best(window, best);
            let units = pieces.windows[window].start..pieces.windows[window].end;
            signals.unit_cosines[units].copy_from_slice(&compared.units[task.units_of(place)]);
        }
        Ok(())
    }

    /// Starts a pass in which nothing has been read.
    fn begin(&self) -> EncoderPass {
        let pieces = self.reading.pieces;
        let unread = |ask: &EncoderAsk<'_>| {
            EncoderSignals::unread(ask.rarity.clone(), pieces.windows.len(), pieces.units.len())
        };
        EncoderPass {
            signals: self.reading.asks.iter().map(unread).collect(),
            encoded_tokens: 0,
            encoding: Duration::ZERO,
            cut_short: false,
        }
    }

    /// Hands the chosen windows to `read`, about `step_tokens` at a time, until all are read or the time is
    /// over.
    fn read_in_steps(
        &self,
        step_tokens: usize,
        pass: &mut EncoderPass,
        mut read: impl FnMut(&[usize], &mut EncoderPass) -> Result<(), EncodeError>,
    ) -> Result<(), ReadError> {
        let tokens = |window: &usize| self.text(*window).len();
        let Reading { chosen, limits, .. } = self.reading;
        let reached = reading::read_in_steps(chosen, tokens, step_tokens, limits, |step| read(step, pass))?;
        pass.cut_short = reached == Reached::Deadline;
        Ok(())
    }

    /// Returns ids, cut to what the encoder reads.
    fn cut<'i>(&self, ids: &'i [u32]) -> &'i [u32] {
        &ids[..ids.len().min(self.most)]
    }

    /// Returns a window's ids, cut likewise.
    fn text(&self, window: usize) -> &[u32] {
        self.cut(self.ids[window])
    }

    /// Describes the windows of a step, with their units, to a device that compares.
    fn task(&self, ask: &EncoderAsk<'_>, step: &[usize]) -> Comparison {
        let mut task = Comparison::new(self.cut(ask.ids).to_vec(), ask.rarity.len());
        for &window in step {
            task.push(
                self.text(window),
                self.reading
                    .pieces
                    .units_within(&self.reading.pieces.windows[window]),
            );
        }
        task
    }
}

/// Takes in what the encoder said about a window and about a question.
fn add_window(
    signals: &mut EncoderSignals,
    pieces: &PieceInput,
    window: usize,
    encoded: &Encoded,
    question: &EncodedQuestion<'_>,
) {
    signals.read[window] = true;
    let dim = question.sentence.len();
    signals
        .matches
        .set(window, &question.pieces, &encoded.tokens, dim);
    signals.window_cosines[window] = dot(&encoded.sentence, question.sentence);
    let first = pieces.windows[window].start;
    for (place, pieces) in pieces.units_within(&pieces.windows[window]).enumerate() {
        let end = (pieces.end * dim).min(encoded.tokens.len());
        let states = encoded.tokens.get(pieces.start * dim..end).unwrap_or_default();
        signals.unit_cosines[first + place] = cosine_of_mean(states, question.sentence);
    }
}

/// Returns the cosine of the mean of hidden states, `[tokens, dim]` row-major, and an embedding, `[dim]` at
/// length 1.
fn cosine_of_mean(states: &[f32], embedding: &[f32]) -> f32 {
    let mut mean = vec![0.0_f32; embedding.len()];
    for state in states.chunks_exact(embedding.len()) {
        mean.iter_mut().zip(state).for_each(|(mean, x)| *mean += x);
    }
    dot(&mean, embedding) / norm(&mean)
}

/// The question as the encoder sees it.
struct EncodedQuestion<'a> {
    /// Hidden states of its word pieces, each at length 1.
    pieces: Vec<Vec<f32>>,
    /// Embedding of the question.
    sentence: &'a [f32],
}

impl<'a> EncodedQuestion<'a> {
    fn new(asked: &'a Encoded, dim: usize) -> Self {
        Self {
            pieces: asked.tokens.chunks_exact(dim).map(unit).collect(),
            sentence: &asked.sentence,
        }
    }
}

/// Encodes windows; those that are remembered cost nothing.
fn encode(
    encoder: &mut dyn Encoder,
    memory: &Memory,
    windows: &[&[u32]],
    cost: &mut ReadingCost,
) -> Result<Vec<Arc<Encoded>>, EncodeError> {
    let remembered: Vec<Option<Arc<Encoded>>> =
        windows.iter().map(|window| memory.states.get(window)).collect();
    let missing: Vec<&[u32]> = windows
        .iter()
        .zip(&remembered)
        .filter(|(_, known)| known.is_none())
        .map(|(window, _)| *window)
        .collect();
    let mut fresh = Vec::new();
    if !missing.is_empty() {
        let start = Instant::now();
        fresh = encoder.encode(&missing)?;
        let tokens = missing.iter().map(|window| window.len() + ADDED_TOKENS).sum();
        let time = start.elapsed();
        memory.encoder_speed.measure(tokens, time.as_secs_f64());
        cost.tokens += tokens;
        cost.time += time;
    }
    let mut fresh = missing.iter().zip(fresh).map(|(window, encoded)| {
        let encoded = Arc::new(encoded);
        memory.states.insert(window, Arc::clone(&encoded));
        encoded
    });
    let answers: Vec<Arc<Encoded>> = remembered
        .into_iter()
        .filter_map(|known| known.or_else(|| fresh.next()))
        .collect();
    if answers.len() == windows.len() {
        Ok(answers)
    } else {
        Err(EncodeError::Device(format!(
            "{} answers for {} windows",
            answers.len(),
            windows.len()
        )))
    }
}
