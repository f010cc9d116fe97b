//! Reads the most promising windows with the encoder: chooses them, encodes what is not remembered, matches
//! them with the question. A device that matches by itself is handed the windows in large steps instead, and nothing
//! is remembered: it reads a window again sooner than its states could be fetched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::memory::Memory;
use super::reading::PieceReading;
use super::{CPU_ENCODE_TOKENS, ExtractError, Limits};
use crate::model::{Comparer, Comparison, EncodeError, Encoded, Encoder};
use crate::scoring::{Matches, dot, norm, unit};
use crate::select;

/// Tokens encoded between two looks at the clock and the caller, without and with a deadline. What was read before
/// the time was over counts, so short steps lose less of it; long ones keep all cores busy.
const STEP_TOKENS: usize = 4096;
const HURRIED_STEP_TOKENS: usize = 1024;

/// `[CLS]` and `[SEP]`, which the encoder adds to each window.
const ADDED_TOKENS: usize = 2;

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
    let ids = pieces.window_ids();
    let most = encoder.max_tokens();
    let dim = encoder.dim();
    let question = &pieces.question[..pieces.question.len().min(most)];
    if let Some(comparer) = encoder.comparer() {
        let work = Work {
            memory,
            limits,
            pieces,
            question,
            most,
        };
        return compare(comparer, &work, rarity, chosen, &ids);
    }
    let mut spent = Spent::default();
    let said = encode(encoder, memory, &[question], &mut spent)?;
    let Some(said) = said.first() else {
        return Err(EncodeError::Device("no answer".to_owned()).into());
    };
    let question_states: Vec<Vec<f32>> = said.tokens.chunks_exact(dim).map(unit).collect();
    let mut readings = Readings::new(pieces, rarity);
    let step_tokens = match limits.encode_until {
        Some(_) => HURRIED_STEP_TOKENS,
        None => STEP_TOKENS,
    };
    let mut any = false;
    for step in steps(chosen, &ids, most, step_tokens) {
        limits.check_cancelled()?;
        let texts: Vec<&[u32]> = step.iter().map(|&w| &ids[w][..ids[w].len().min(most)]).collect();
        let encoded = if limits.encoding_is_over() {
            Err(EncodeError::Cancelled)
        } else {
            encode(encoder, memory, &texts, &mut spent)
        };
        let encoded = match encoded {
            Ok(encoded) => encoded,
            Err(EncodeError::Cancelled) if any => {
                readings.cut_short = true;
                break;
            }
            Err(error) => return Err(error.into()),
        };
        any = true;
        for (&window, encoded) in step.iter().zip(&encoded) {
            readings.read[window] = true;
            readings
                .matches
                .set(window, &question_states, &encoded.tokens, dim);
            readings.window_cosines[window] = dot(&encoded.sentence, &said.sentence);
            readings.set_units(pieces, window, encoded, &said.sentence);
        }
    }
    readings.encoded_tokens = spent.tokens as u64;
    readings.encoding = spent.time;
    Ok(readings)
}

/// What a comparison needs besides the windows.
struct Work<'a> {
    memory: &'a Memory,
    limits: &'a Limits<'a>,
    pieces: &'a PieceReading,
    question: &'a [u32],
    /// Most pieces of a window.
    most: usize,
}

/// As [`read`], by a device that matches by itself.
fn compare(
    comparer: &mut dyn Comparer,
    work: &Work<'_>,
    rarity: Vec<f32>,
    chosen: &[usize],
    ids: &[&[u32]],
) -> Result<Readings, ReadError> {
    let matched = rarity.len();
    let mut readings = Readings::new(work.pieces, rarity);
    for step in steps(chosen, ids, work.most, comparer.step_tokens()) {
        work.limits.check_cancelled()?;
        if readings.encoded_tokens > 0 && work.limits.encoding_is_over() {
            readings.cut_short = true;
            break;
        }
        let task = Arc::new(work.task(matched, step, ids));
        let start = Instant::now();
        let compared = match comparer.compare(&task) {
            Ok(compared) => compared,
            Err(EncodeError::Cancelled) if readings.encoded_tokens > 0 => {
                readings.cut_short = true;
                break;
            }
            Err(error) => return Err(error.into()),
        };
        let tokens: usize = task.windows().map(|ids| ids.len() + ADDED_TOKENS).sum();
        let time = start.elapsed();
        readings.encoding += time;
        if tokens >= TELLING_TOKENS {
            work.memory.measured(tokens, time.as_secs_f64());
        }
        let asked = if readings.encoded_tokens == 0 {
            work.question.len() + ADDED_TOKENS
        } else {
            0
        };
        readings.encoded_tokens += (tokens + asked) as u64;
        for (place, &window) in step.iter().enumerate() {
            readings.read[window] = true;
            readings.window_cosines[window] = compared.windows[place];
            let best = &compared.best[place * task.pieces..][..task.pieces];
            readings.matches.set_best(window, best);
            let units = work.pieces.windows[window].start..work.pieces.windows[window].end;
            readings.unit_cosines[units].copy_from_slice(&compared.units[task.units_of(place)]);
        }
    }
    Ok(readings)
}

impl Work<'_> {
    /// The windows of a step with their units, cut to what the encoder reads.
    fn task(&self, matched: usize, step: &[usize], ids: &[&[u32]]) -> Comparison {
        let mut task = Comparison::new(self.question.to_vec(), matched);
        for &window in step {
            let units =
                &self.pieces.units[self.pieces.windows[window].start..self.pieces.windows[window].end];
            let first = units.first().map_or(0, |unit| unit.start);
            let within = units.iter().map(|unit| unit.start - first..unit.end - first);
            task.push(&ids[window][..ids[window].len().min(self.most)], within);
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
        let units = pieces.windows[window].start..pieces.windows[window].end;
        let first_piece = pieces.units[units.start].start;
        for unit in units {
            let range = &pieces.units[unit];
            let (start, end) = (range.start - first_piece, range.end - first_piece);
            let end = (end * dim).min(encoded.tokens.len());
            let states = encoded.tokens.get(start * dim..end).unwrap_or_default();
            let mut mean = vec![0.0_f32; dim];
            for state in states.chunks_exact(dim) {
                mean.iter_mut().zip(state).for_each(|(mean, x)| *mean += x);
            }
            self.unit_cosines[unit] = dot(&mean, question) / norm(&mean);
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
