//! Reads the most promising windows with the encoder: chooses them, encodes what is not remembered, matches
//! them with the question. A device that matches by itself is handed the windows in large steps instead, and nothing
//! is remembered: it reads a window again sooner than its states could be fetched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::memory::Memory;
use super::reading::PieceReading;
use super::{CPU_ENCODE_TOKENS, ExtractError, Limits};
use crate::model::{ADDED_TOKENS, Comparer, Comparison, EncodeError, Encoded, Encoder};
use crate::scoring::{Matches, dot, norm, unit};
use crate::select;

/// Tokens encoded between two looks at the clock and the caller, without and with a deadline. What was read before
/// the time was over counts, so short steps lose less of it; long ones keep all cores busy.
const STEP_TOKENS: usize = 4096;
const HURRIED_STEP_TOKENS: usize = 1024;

/// Comparisons of fewer tokens say nothing about a device's speed.
const TELLING_TOKENS: usize = 4096;

/// Most tokens to read for one request with this encoder.
pub(super) fn limit(configured: Option<usize>, encoder: &mut dyn Encoder) -> usize {
    configured.unwrap_or(match encoder.comparer() {
        Some(_) => usize::MAX,
        None => CPU_ENCODE_TOKENS,
    })
}

/// What was read of a document for a question.
pub(super) struct Readings {
    /// Which match windows were read.
    pub(super) read: Vec<bool>,
    pub(super) matches: Matches,
    /// Cosines with the question's embedding; 0 where nothing was read.
    pub(super) window_cosines: Vec<f32>,
    pub(super) unit_cosines: Vec<f32>,
    /// Tokens that went through the encoder, remembered ones not counted.
    pub(super) encoded_tokens: u64,
    /// Time spent with the encoder.
    pub(super) encoding: Duration,
    /// True if the time was over before all chosen windows were read.
    pub(super) cut_short: bool,
}

/// The windows worth reading, best first, within a budget of tokens: a window is as good as its best unit.
pub(super) fn choose(
    pieces: &PieceReading,
    ids: &[&[u32]],
    static_scores: &[f32],
    most: usize,
    budget: usize,
) -> Vec<usize> {
    let best = |window: &crate::scoring::Window| {
        static_scores[window.start..window.end]
            .iter()
            .copied()
            .fold(f32::MIN, f32::max)
    };
    let scores: Vec<f32> = pieces.windows.iter().map(best).collect();
    let mut left = budget;
    let mut chosen = Vec::new();
    for window in select::order(&scores) {
        let window = window as usize;
        let cost = ids[window].len().min(most) + ADDED_TOKENS;
        if cost > left {
            break;
        }
        left -= cost;
        if !ids[window].is_empty() {
            chosen.push(window);
        }
    }
    chosen
}

/// Tokens that may be encoded: the request's limit, or what the time left allows at the speed measured.
pub(super) fn budget(limit: usize, limits: &Limits<'_>, memory: &Memory) -> usize {
    let Some(until) = limits.encode_until else {
        return limit;
    };
    let seconds = until.saturating_duration_since(Instant::now()).as_secs_f64();
    limit.min((seconds * memory.speed()) as usize)
}

/// Reads the chosen windows. Stops early, with what it has, when the deadline comes near.
pub(super) fn read(
    encoder: &mut dyn Encoder,
    memory: &Memory,
    limits: &Limits<'_>,
    pieces: &PieceReading,
    rarity: Vec<f32>,
    chosen: &[usize],
) -> Result<Readings, ReadError> {
    let work = Work {
        memory,
        limits,
        pieces,
        ids: &pieces.window_ids(),
        chosen,
        most: encoder.max_tokens(),
    };
    match encoder.comparer() {
        Some(comparer) => work.compare(comparer, rarity),
        None => work.encode(encoder, rarity),
    }
}

/// What is read, and within which limits.
struct Work<'a> {
    memory: &'a Memory,
    limits: &'a Limits<'a>,
    pieces: &'a PieceReading,
    /// The pieces of each window.
    ids: &'a [&'a [u32]],
    chosen: &'a [usize],
    /// Most pieces of a window.
    most: usize,
}

impl Work<'_> {
    /// By an encoder that gives hidden states.
    fn encode(&self, encoder: &mut dyn Encoder, rarity: Vec<f32>) -> Result<Readings, ReadError> {
        let dim = encoder.dim();
        let mut spent = Spent::default();
        let said = encode(encoder, self.memory, &[self.question()], &mut spent)?;
        let Some(said) = said.first() else {
            return Err(EncodeError::Device("no answer".to_owned()).into());
        };
        let question_states: Vec<Vec<f32>> = said.tokens.chunks_exact(dim).map(unit).collect();
        let step_tokens = match self.limits.encode_until {
            Some(_) => HURRIED_STEP_TOKENS,
            None => STEP_TOKENS,
        };
        let mut readings = Readings::new(self.pieces, rarity);
        self.in_steps(step_tokens, &mut readings, |step, readings| {
            let texts: Vec<&[u32]> = step.iter().map(|&window| self.text(window)).collect();
            let encoded = encode(encoder, self.memory, &texts, &mut spent)?;
            for (&window, encoded) in step.iter().zip(&encoded) {
                readings.read[window] = true;
                readings
                    .matches
                    .set(window, &question_states, &encoded.tokens, dim);
                readings.window_cosines[window] = dot(&encoded.sentence, &said.sentence);
                readings.set_units(self.pieces, window, encoded, &said.sentence);
            }
            Ok(())
        })?;
        readings.encoded_tokens = spent.tokens as u64;
        readings.encoding = spent.time;
        Ok(readings)
    }

    /// By a device that matches by itself.
    fn compare(&self, comparer: &mut dyn Comparer, rarity: Vec<f32>) -> Result<Readings, ReadError> {
        let matched = rarity.len();
        let mut readings = Readings::new(self.pieces, rarity);
        self.in_steps(comparer.step_tokens(), &mut readings, |step, readings| {
            let task = Arc::new(self.task(matched, step));
            let start = Instant::now();
            let compared = comparer.compare(&task)?;
            let (tokens, time) = (task.tokens(), start.elapsed());
            readings.encoding += time;
            if tokens >= TELLING_TOKENS {
                self.memory.measured(tokens, time.as_secs_f64());
            }
            let asked = if readings.encoded_tokens == 0 {
                task.question.len() + ADDED_TOKENS
            } else {
                0
            };
            readings.encoded_tokens += (tokens + asked) as u64;
            for (place, &window) in step.iter().enumerate() {
                readings.read[window] = true;
                readings.window_cosines[window] = compared.windows[place];
                let best = &compared.best[place * task.pieces..][..task.pieces];
                readings.matches.set_best(window, best);
                let units = self.pieces.windows[window].start..self.pieces.windows[window].end;
                readings.unit_cosines[units].copy_from_slice(&compared.units[task.units_of(place)]);
            }
            Ok(())
        })?;
        Ok(readings)
    }

    /// Hands the chosen windows to `read`, about `step_tokens` at a time, until all are read or the time is over.
    fn in_steps(
        &self,
        step_tokens: usize,
        readings: &mut Readings,
        mut read: impl FnMut(&[usize], &mut Readings) -> Result<(), EncodeError>,
    ) -> Result<(), ReadError> {
        let mut any = false;
        for step in steps(self.chosen, self.ids, self.most, step_tokens) {
            self.limits.check_cancelled()?;
            let outcome = if self.limits.encoding_is_over() {
                Err(EncodeError::Cancelled)
            } else {
                read(step, readings)
            };
            match outcome {
                Ok(()) => any = true,
                Err(EncodeError::Cancelled) if any => {
                    readings.cut_short = true;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The question, cut to what the encoder reads.
    fn question(&self) -> &[u32] {
        let question = &self.pieces.question;
        &question[..question.len().min(self.most)]
    }

    /// A window, likewise.
    fn text(&self, window: usize) -> &[u32] {
        let ids = self.ids[window];
        &ids[..ids.len().min(self.most)]
    }

    /// The windows of a step with their units.
    fn task(&self, matched: usize, step: &[usize]) -> Comparison {
        let mut task = Comparison::new(self.question().to_vec(), matched);
        for &window in step {
            task.push(self.text(window), self.pieces.units_within(window));
        }
        task
    }
}

/// Why the encoder could not read.
pub(super) enum ReadError {
    /// The encoder failed; the cheaper tiers still work.
    Encoder(EncodeError),
    /// The request ends here.
    Request(ExtractError),
}

impl From<EncodeError> for ReadError {
    fn from(error: EncodeError) -> Self {
        Self::Encoder(error)
    }
}

impl From<ExtractError> for ReadError {
    fn from(error: ExtractError) -> Self {
        Self::Request(error)
    }
}

impl Readings {
    /// Nothing read yet.
    fn new(pieces: &PieceReading, rarity: Vec<f32>) -> Self {
        Self {
            read: vec![false; pieces.windows.len()],
            matches: Matches::new(rarity, pieces.windows.len()),
            window_cosines: vec![0.0; pieces.windows.len()],
            unit_cosines: vec![0.0; pieces.units.len()],
            encoded_tokens: 0,
            encoding: Duration::ZERO,
            cut_short: false,
        }
    }

    /// Sets the cosines of a window's units: the mean of their hidden states with the question's embedding.
    fn set_units(&mut self, pieces: &PieceReading, window: usize, encoded: &Encoded, question: &[f32]) {
        let dim = question.len();
        let first = pieces.windows[window].start;
        for (place, pieces) in pieces.units_within(window).enumerate() {
            let end = (pieces.end * dim).min(encoded.tokens.len());
            let states = encoded.tokens.get(pieces.start * dim..end).unwrap_or_default();
            let mut mean = vec![0.0_f32; dim];
            for state in states.chunks_exact(dim) {
                mean.iter_mut().zip(state).for_each(|(mean, x)| *mean += x);
            }
            self.unit_cosines[first + place] = dot(&mean, question) / norm(&mean);
        }
    }
}

/// Runs of windows of about `step_tokens` tokens.
fn steps<'a>(
    chosen: &'a [usize],
    ids: &'a [&[u32]],
    most: usize,
    step_tokens: usize,
) -> impl Iterator<Item = &'a [usize]> + use<'a> {
    let mut rest = chosen;
    std::iter::from_fn(move || {
        let mut tokens = 0;
        let fits = |&&window: &&usize| {
            let before = tokens;
            tokens += ids[window].len().min(most);
            before < step_tokens
        };
        let end = rest.iter().take_while(fits).count();
        let (step, after) = rest.split_at(end);
        rest = after;
        (!step.is_empty()).then_some(step)
    })
}

/// What the encoder did for a request.
#[derive(Default)]
struct Spent {
    tokens: usize,
    time: Duration,
}

/// Encodes windows, remembered ones for free.
fn encode(
    encoder: &mut dyn Encoder,
    memory: &Memory,
    windows: &[&[u32]],
    spent: &mut Spent,
) -> Result<Vec<Arc<Encoded>>, EncodeError> {
    let remembered: Vec<Option<Arc<Encoded>>> = windows.iter().map(|window| memory.recall(window)).collect();
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
        memory.measured(tokens, time.as_secs_f64());
        spent.tokens += tokens;
        spent.time += time;
    }
    let mut fresh = missing.iter().zip(fresh).map(|(window, encoded)| {
        let encoded = Arc::new(encoded);
        memory.remember(window, Arc::clone(&encoded));
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
