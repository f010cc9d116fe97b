//! How much an engine takes on.

use super::{EngineError, RunnerLimits};

/// Sizes of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Most tokens of prompt and answer together, 1 up to what the model is made for.
    pub context_tokens: usize,
    /// Memory for keys and values, in bytes; taken at the start. At least what `context_tokens` need. Of a hybrid also for the
    /// states of `sequences` answers and, with a quarter of what is left, for copies of states at the ends of prefixes.
    pub memory_bytes: u64,
    /// Most requests that wait, 1 to 65536.
    pub queue: usize,
    /// Most tokens that a pass reads, at most 65536. Half of them are for prompts, so it is at least twice `sequences`.
    /// The larger, the faster prompts are read, and the longer a token takes that is written meanwhile.
    pub step_tokens: usize,
    /// Most answers that are written at once, 1 to 4096.
    pub sequences: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            context_tokens: 4096,
            memory_bytes: 1 << 30,
            queue: 64,
            step_tokens: 256,
            sequences: 16,
        }
    }
}

impl EngineOptions {
    const MOST_QUEUE: usize = 65_536;
    const MOST_STEP_TOKENS: usize = 65_536;
    const MOST_SEQUENCES: usize = 4096;

    /// Checks every option that does not depend on the model.
    ///
    /// # Errors
    /// [`EngineError::Option`].
    pub fn check(&self) -> Result<(), EngineError> {
        let wrong = |field, value: usize, expected: String| EngineError::Option {
            field,
            value: value.to_string(),
            expected,
        };
        if self.context_tokens == 0 {
            return Err(wrong("context_tokens", 0, "at least 1".to_owned()));
        }
        if !(1..=Self::MOST_QUEUE).contains(&self.queue) {
            return Err(wrong("queue", self.queue, format!("1 to {}", Self::MOST_QUEUE)));
        }
        if !(1..=Self::MOST_SEQUENCES).contains(&self.sequences) {
            let expected = format!("1 to {}", Self::MOST_SEQUENCES);
            return Err(wrong("sequences", self.sequences, expected));
        }
        let steps = 2 * self.sequences..=Self::MOST_STEP_TOKENS;
        if !steps.contains(&self.step_tokens) {
            let expected = format!("{}, twice sequences, to {}", steps.start(), steps.end());
            return Err(wrong("step_tokens", self.step_tokens, expected));
        }
        Ok(())
    }

    /// Checks the options that a model has taken buffers for.
    pub(super) fn check_against(&self, limits: RunnerLimits) -> Result<(), EngineError> {
        for (field, value, most) in [
            ("step_tokens", self.step_tokens, limits.step_tokens),
            ("sequences", self.sequences, limits.sequences),
        ] {
            if value > most {
                return Err(EngineError::Option {
                    field,
                    value: value.to_string(),
                    expected: format!("at most {most}, for which the model has buffers"),
                });
            }
        }
        Ok(())
    }
}
