//! Reads the most promising windows with the encoder: chooses them, encodes what is not remembered, matches
//! them with the question. A device that matches by itself is handed the windows in large steps instead, and
//! nothing is remembered: it reads a window again sooner than its states could be fetched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::input::PieceInput;
use super::memory::Memory;
use super::{CPU_ENCODE_TOKENS, ExtractError, RequestLimits};
use crate::model::{ADDED_TOKENS, Comparer, Comparison, EncodeError, Encoded, Encoder};
use crate::scoring::Window;
use crate::scoring::recipe::EncoderSignals;
use crate::select;
use crate::vectors::{dot, norm, unit};

/// Tokens encoded between two looks at the clock and the caller, without and with a deadline. What was read
/// before the time was over counts, so short steps lose less of it; long ones keep all cores busy.
const STEP_TOKENS: usize = 4096;
const HURRIED_STEP_TOKENS: usize = 1024;

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
    pub(super) signals: EncoderSignals,
    /// Tokens that went through the encoder, remembered windows not counted.
    pub(super) encoded_tokens: u64,
    /// Time spent with the encoder.
    pub(super) encoding: Duration,
    /// True if the time was over before all chosen windows were read.
    pub(super) cut_short: bool,
}

/// Chooses the windows worth reading, best first, within a budget of tokens; a window is as good as its best
/// unit.
pub(super) fn choose_windows(
    pieces: &PieceInput,
    ids: &[&[u32]],
    static_scores: &[f32],
    most: usize,
    budget: usize,
) -> Vec<usize> {
    let best = |window: &Window| {
        static_scores[window.start..window.end]
            .iter()
            .copied()
            .fold(f32::MIN, f32::max)
    };
    let scores: Vec<f32> = pieces.windows.iter().map(best).collect();
    let mut left = budget;
    let mut chosen = Vec::new();
    for window in select::rank(&scores) {
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

/// Returns how many tokens may be encoded: the request's limit, or what the time left allows at the measured
/// speed.
pub(super) fn token_budget(limit: usize, limits: &RequestLimits<'_>, memory: &Memory) -> usize {
    let Some(until) = limits.encode_until else {
        return limit;
    };
    let seconds = until.saturating_duration_since(Instant::now()).as_secs_f64();
    limit.min((seconds * memory.speed.get()) as usize)
}

/// Reads the chosen windows with the encoder. Stops early, with what it has, when the deadline comes near.
pub(super) fn read_windows(
    encoder: &mut dyn Encoder,
    memory: &Memory,
    limits: &RequestLimits<'_>,
    pieces: &PieceInput,
    rarity: Vec<f32>,
    chosen: &[usize],
) -> Result<EncoderPass, ReadError> {
    let plan = ReadingPlan {
        memory,
        limits,
        pieces,
        ids: &pieces.window_ids(),
        chosen,
        most: encoder.max_tokens(),
    };
    match encoder.comparer() {
        Some(comparer) => plan.compare(comparer, rarity),
        None => plan.encode(encoder, rarity),
    }
}

/// Which windows to read, and within which limits.
struct ReadingPlan<'a> {
    memory: &'a Memory,
    limits: &'a RequestLimits<'a>,
    pieces: &'a PieceInput,
    /// Vocabulary ids of each window.
    ids: &'a [&'a [u32]],
    chosen: &'a [usize],
    /// Most pieces of a window that the encoder reads.
    most: usize,
}

impl ReadingPlan<'_> {
    /// Reads with an encoder that returns hidden states, and matches them here.
    fn encode(&self, encoder: &mut dyn Encoder, rarity: Vec<f32>) -> Result<EncoderPass, ReadError> {
        let dim = encoder.dim();
        let mut cost = EncoderCost::default();
        let asked = encode(encoder, self.memory, &[self.question()], &mut cost)?;
        let Some(asked) = asked.first() else {
            return Err(EncodeError::Device("no answer".to_owned()).into());
        };
        let question = EncodedQuestion {
            pieces: asked.tokens.chunks_exact(dim).map(unit).collect(),
            sentence: &asked.sentence,
        };
        let step_tokens = match self.limits.encode_until {
            Some(_) => HURRIED_STEP_TOKENS,
            None => STEP_TOKENS,
        };
        let mut pass = EncoderPass::unread(self.pieces, rarity);
        self.read_in_steps(step_tokens, &mut pass, |step, pass| {
            let texts: Vec<&[u32]> = step.iter().map(|&window| self.text(window)).collect();
            let encoded = encode(encoder, self.memory, &texts, &mut cost)?;
            for (&window, encoded) in step.iter().zip(&encoded) {
                pass.add(self.pieces, window, encoded, &question);
            }
            Ok(())
        })?;
        pass.encoded_tokens = cost.tokens as u64;
        pass.encoding = cost.time;
        Ok(pass)
    }

    /// Reads with a device that matches windows by itself.
    fn compare(&self, comparer: &mut dyn Comparer, rarity: Vec<f32>) -> Result<EncoderPass, ReadError> {
        let matched = rarity.len();
        let mut pass = EncoderPass::unread(self.pieces, rarity);
        self.read_in_steps(comparer.step_tokens(), &mut pass, |step, pass| {
            let task = Arc::new(self.task(matched, step));
            let start = Instant::now();
            let compared = comparer.compare(&task)?;
            let (tokens, time) = (task.tokens(), start.elapsed());
            pass.encoding += time;
            if tokens >= TELLING_TOKENS {
                self.memory.speed.measure(tokens, time.as_secs_f64());
            }
            let asked = if pass.encoded_tokens == 0 {
                task.question.len() + ADDED_TOKENS
            } else {
                0
            };
            pass.encoded_tokens += (tokens + asked) as u64;
            let signals = &mut pass.signals;
            for (place, &window) in step.iter().enumerate() {
                signals.read[window] = true;
                signals.window_cosines[window] = compared.windows[place];
                let best = &compared.best[place * task.pieces..][..task.pieces];
                signals.matches.set_best(window, best);
                let units = self.pieces.windows[window].start..self.pieces.windows[window].end;
                signals.unit_cosines[units].copy_from_slice(&compared.units[task.units_of(place)]);
            }
            Ok(())
        })?;
        Ok(pass)
    }

    /// Hands the chosen windows to `read`, about `step_tokens` at a time, until all are read or the time is
    /// over.
    fn read_in_steps(
        &self,
        step_tokens: usize,
        pass: &mut EncoderPass,
        mut read: impl FnMut(&[usize], &mut EncoderPass) -> Result<(), EncodeError>,
    ) -> Result<(), ReadError> {
        let mut any = false;
        for step in cut_steps(self.chosen, self.ids, self.most, step_tokens) {
            self.limits.check_cancelled()?;
            let outcome = if self.limits.encoding_is_over() {
                Err(EncodeError::Cancelled)
            } else {
                read(step, pass)
            };
            match outcome {
                Ok(()) => any = true,
                Err(EncodeError::Cancelled) if any => {
                    pass.cut_short = true;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Returns the question's ids, cut to what the encoder reads.
    fn question(&self) -> &[u32] {
        let question = &self.pieces.question;
        &question[..question.len().min(self.most)]
    }

    /// Returns a window's ids, cut likewise.
    fn text(&self, window: usize) -> &[u32] {
        let ids = self.ids[window];
        &ids[..ids.len().min(self.most)]
    }

    /// Describes the windows of a step, with their units, to a device that compares.
    fn task(&self, matched: usize, step: &[usize]) -> Comparison {
        let mut task = Comparison::new(self.question().to_vec(), matched);
        for &window in step {
            task.push(self.text(window), self.pieces.units_within(window));
        }
        task
    }
}

/// Why the windows could not be read.
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

impl EncoderPass {
    fn unread(pieces: &PieceInput, rarity: Vec<f32>) -> Self {
        Self {
            signals: EncoderSignals::unread(rarity, pieces.windows.len(), pieces.units.len()),
            encoded_tokens: 0,
            encoding: Duration::ZERO,
            cut_short: false,
        }
    }

    /// Takes in what the encoder said about a window and about the question.
    fn add(&mut self, pieces: &PieceInput, window: usize, encoded: &Encoded, question: &EncodedQuestion<'_>) {
        let signals = &mut self.signals;
        signals.read[window] = true;
        let dim = question.sentence.len();
        signals
            .matches
            .set(window, &question.pieces, &encoded.tokens, dim);
        signals.window_cosines[window] = dot(&encoded.sentence, question.sentence);
        let first = pieces.windows[window].start;
        for (place, pieces) in pieces.units_within(window).enumerate() {
            let end = (pieces.end * dim).min(encoded.tokens.len());
            let states = encoded.tokens.get(pieces.start * dim..end).unwrap_or_default();
            signals.unit_cosines[first + place] = cosine_of_mean(states, question.sentence);
        }
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

/// Cuts the chosen windows into runs of about `step_tokens` tokens.
fn cut_steps<'a>(
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

/// The question as the encoder sees it.
struct EncodedQuestion<'a> {
    /// Hidden states of its word pieces, each at length 1.
    pieces: Vec<Vec<f32>>,
    /// Embedding of the question.
    sentence: &'a [f32],
}

/// Tokens and time that reading windows has taken so far.
#[derive(Default)]
struct EncoderCost {
    tokens: usize,
    time: Duration,
}

/// Encodes windows; those that are remembered cost nothing.
fn encode(
    encoder: &mut dyn Encoder,
    memory: &Memory,
    windows: &[&[u32]],
    cost: &mut EncoderCost,
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
        memory.speed.measure(tokens, time.as_secs_f64());
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
