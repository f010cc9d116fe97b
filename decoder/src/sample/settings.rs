//! How the next token is chosen.

/// Settings of sampling, with the names and meanings of OpenAI's API and vLLM's. The default is the likeliest token.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divisor of the logits; 0 takes the likeliest token.
    pub temperature: f32,
    /// Most tokens to choose from, the likeliest ones.
    pub top_k: Option<usize>,
    /// Share of the probability to choose from: the likeliest tokens that together have it, above 0 and at most 1.
    pub top_p: f32,
    /// Least probability of a token as a share of the likeliest one's, 0 to 1.
    pub min_p: f32,
    /// Factor against tokens of prompt and answer, above 0; 1 does nothing.
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens of the answer, -2 to 2.
    pub presence_penalty: f32,
    /// Subtracted for each time that a token is in the answer, -2 to 2.
    pub frequency_penalty: f32,
    /// Start of the random numbers; the same one gives the same answer.
    pub seed: Option<u64>,
    /// How many of the likeliest tokens are reported beside the chosen one, 0 to 20; none reports nothing.
    pub logprobs: Option<usize>,
}

/// Why tokens cannot be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// A setting is out of its range.
    #[error("{field} = {value}: must be {expected}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: String,
        /// Its range.
        expected: &'static str,
    },
    /// Every logit is minus infinity, or not a number.
    #[error("no token can be chosen: no logit is a number; the weights, or a constraint, allow nothing")]
    Undefined,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: None,
            logprobs: None,
        }
    }
}

impl Sampling {
    /// Most tokens whose logarithms are reported.
    pub const MOST_LOGPROBS: usize = 20;

    /// Whether tokens that are there already count.
    pub(super) fn penalises(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`SamplingError::Setting`].
    pub fn check(&self) -> Result<(), SamplingError> {
        let penalties = -2.0..=2.0;
        let checks = [
            (
                "temperature",
                self.temperature,
                (0.0..=100.0).contains(&self.temperature),
                "0 to 100",
            ),
            (
                "top_p",
                self.top_p,
                self.top_p > 0.0 && self.top_p <= 1.0,
                "above 0, at most 1",
            ),
            ("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "0 to 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                self.repetition_penalty > 0.0 && self.repetition_penalty <= 100.0,
                "above 0, at most 100",
            ),
            (
                "presence_penalty",
                self.presence_penalty,
                penalties.contains(&self.presence_penalty),
                "-2 to 2",
            ),
            (
                "frequency_penalty",
                self.frequency_penalty,
                penalties.contains(&self.frequency_penalty),
                "-2 to 2",
            ),
        ];
        let wrong = checks.iter().find(|(_, _, right, _)| !right);
        if let Some((field, value, _, expected)) = wrong {
            return Err(setting(field, value, expected));
        }
        if self.top_k == Some(0) {
            return Err(setting("top_k", 0, "above 0; leave it out to choose from all"));
        }
        match self.logprobs {
            Some(count) if count > Self::MOST_LOGPROBS => Err(setting("logprobs", count, "0 to 20")),
            _ => Ok(()),
        }
    }
}

fn setting(field: &'static str, value: impl ToString, expected: &'static str) -> SamplingError {
    SamplingError::Setting {
        field,
        value: value.to_string(),
        expected,
    }
}
