//! The next token from a row of logits: penalties, then temperature, then what is cut off, then one draw.

use std::collections::{HashMap, HashSet};

mod distribution;
mod settings;
#[cfg(test)]
mod tests;

use distribution::Distribution;
pub use settings::{Sampling, SamplingError};

/// A token that was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The token.
    pub token: u32,
    /// Natural logarithm of its probability by the model alone, before penalties, temperature and cuts. Present if
    /// [`Sampling::logprobs`] is.
    pub logprob: Option<f32>,
    /// The likeliest tokens and their logarithms, likeliest first.
    pub top: Vec<TokenLogprob>,
}

/// A token and the natural logarithm of its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub token: u32,
    /// The logarithm, at most 0.
    pub logprob: f32,
}

/// A choice that needs nothing but a row of logits, so that the device which computed them can make it. The meaning of the
/// settings is that of [`Sampling`]; random numbers are the device's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// Divisor of the logits; 0 takes the likeliest token, the first of equals.
    pub temperature: f32,
    /// Most tokens to choose from.
    pub top_k: Option<usize>,
    /// Share of the probability to choose from.
    pub top_p: f32,
    /// Least probability of a token as a share of the likeliest one's.
    pub min_p: f32,
    /// Start of the random numbers of the sequence.
    pub seed: u64,
    /// Tokens that were chosen before: each has a random number of its own.
    pub counter: u32,
}

/// Chooses the tokens of one sequence.
#[derive(Debug)]
pub struct Sampler {
    settings: Sampling,
    random: fastrand::Rng,
    /// How often each token was chosen.
    chosen: HashMap<u32, u32>,
    prompt: HashSet<u32>,
    /// Start of the random numbers of a device that chooses.
    device_seed: Option<u64>,
    /// Tokens that a device has chosen.
    taken: u32,
}

impl Sampler {
    /// Makes the sampler of a sequence that begins with `prompt`, which repetition penalties look at.
    ///
    /// # Errors
    /// [`SamplingError`] names the setting, its value and its range.
    pub fn new(settings: Sampling, prompt: &[u32]) -> Result<Self, SamplingError> {
        settings.check()?;
        let random = settings
            .seed
            .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let prompt = match settings.repetition_penalty == 1.0 {
            true => HashSet::new(),
            false => prompt.iter().copied().collect(),
        };
        Ok(Self {
            settings,
            random,
            chosen: HashMap::new(),
            prompt,
            device_seed: None,
            taken: 0,
        })
    }

    /// Chooses a token, and remembers it. A score that is not a number counts as one that is never chosen.
    ///
    /// # Errors
    /// [`SamplingError::Undefined`] if no token can be chosen.
    pub fn sample(&mut self, logits: &[f32]) -> Result<Sample, SamplingError> {
        let token = self.choose(logits);
        self.report(logits, token)
    }

    /// Returns what a device needs to choose the next token, if the settings need nothing else: penalties and logarithms
    /// do. The token comes back through [`take`](Self::take).
    pub(crate) fn draw(&mut self) -> Option<Draw> {
        if self.settings.penalises() || self.settings.logprobs.is_some() {
            return None;
        }
        let Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
            ..
        } = self.settings;
        let random = &mut self.random;
        let seed = *self
            .device_seed
            .get_or_insert_with(|| seed.unwrap_or_else(|| random.u64(..)));
        let counter = self.taken;
        Some(Draw {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
            counter,
        })
    }

    /// Counts the token of a draw.
    pub(crate) fn take(&mut self, token: u32) -> Sample {
        self.taken = self.taken.wrapping_add(1);
        Sample {
            token,
            logprob: None,
            top: Vec::new(),
        }
    }

    /// Chooses one of the tokens that are allowed, as [`sample`](Self::sample) does.
    pub(crate) fn sample_among(
        &mut self,
        logits: &[f32],
        allowed: impl Fn(usize) -> bool,
    ) -> Result<Sample, SamplingError> {
        let masked = logits
            .iter()
            .enumerate()
            .map(|(token, logit)| match allowed(token) {
                true => *logit,
                false => f32::NEG_INFINITY,
            });
        let masked: Vec<f32> = masked.collect();
        let token = self.choose(&masked);
        self.report(logits, token)
    }

    /// Remembers a token that was chosen, with what the model alone says of it.
    fn report(&mut self, logits: &[f32], token: Option<u32>) -> Result<Sample, SamplingError> {
        let token = token.ok_or(SamplingError::Undefined)?;
        *self.chosen.entry(token).or_default() += 1;
        let logprobs = self.settings.logprobs;
        let logprobs = logprobs.map(|count| distribution::logprobs(logits, count));
        let (logprob, top) = match logprobs {
            Some(logprobs) => (logprobs.of(logits, token), logprobs.top),
            None => (None, Vec::new()),
        };
        Ok(Sample { token, logprob, top })
    }

    fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        let penalised = self.penalised(logits);
        self.draw_from(penalised.as_deref().unwrap_or(logits))
    }

    fn draw_from(&mut self, logits: &[f32]) -> Option<u32> {
        if self.settings.temperature == 0.0 {
            return distribution::best(logits);
        }
        let mut distribution = Distribution::new(logits, self.settings.temperature)?;
        distribution.cut(&self.settings);
        distribution.draw(self.random.f64())
    }

    /// Returns the logits with penalties; none if there are none.
    fn penalised(&self, logits: &[f32]) -> Option<Vec<f32>> {
        if !self.settings.penalises() {
            return None;
        }
        let Sampling {
            repetition_penalty: repetition,
            presence_penalty: presence,
            frequency_penalty: frequency,
            ..
        } = self.settings;
        let mut logits = logits.to_vec();
        let seen: HashSet<u32> = self.prompt.iter().chain(self.chosen.keys()).copied().collect();
        for token in seen {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit > 0.0 {
                    *logit / repetition
                } else {
                    *logit * repetition
                };
            }
        }
        for (token, count) in &self.chosen {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit -= presence + frequency * *count as f32;
            }
        }
        Some(logits)
    }
}
