//! Why an engine cannot start, and why it takes a request not.

use crate::generate::GenerateError;

/// Why an engine cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// An option is out of its range.
    #[error("{field} = {value}: must be {expected}")]
    Option {
        /// The option.
        field: &'static str,
        /// Its value.
        value: String,
        /// Its range.
        expected: String,
    },
    /// The memory does not hold one sequence of the longest length, and the states of as many as may run.
    #[error(
        "memory_bytes = {memory_bytes}: a sequence of context_tokens = {context_tokens} needs {needed_bytes} bytes, {token_bytes} a \
         token{}; give more memory or a shorter context", states(*.state_bytes)
    )]
    Memory {
        /// The option.
        memory_bytes: u64,
        /// The option.
        context_tokens: usize,
        /// Bytes for a sequence of that length.
        needed_bytes: u64,
        /// Bytes for a token.
        token_bytes: u64,
        /// Bytes for the states of an answer; none without layers of the gated delta rule.
        state_bytes: u64,
    },
    /// The system does not give the memory.
    #[error("memory_bytes = {memory_bytes}: the system does not give that much memory; set less")]
    Allocation {
        /// The option.
        memory_bytes: u64,
    },
    /// The system does not start the thread.
    #[error("cannot start the engine's thread: {0}")]
    Thread(#[from] std::io::Error),
}

fn states(bytes: u64) -> String {
    match bytes {
        0 => String::new(),
        _ => format!(" and {bytes} for the states of each of the answers that run at once (sequences)"),
    }
}

/// Why a request will not be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// As many requests wait as may.
    #[error("{waiting} requests wait, and at most {limit} may (queue); try again later")]
    QueueFull {
        /// Requests that wait.
        waiting: usize,
        /// The most.
        limit: usize,
    },
    /// Prompt and answer are longer than a sequence may be.
    #[error(
        "a prompt of {prompt_tokens} tokens and max_tokens = {max_tokens} are {} together, and at most {context_tokens} fit \
         (context_tokens); shorten the prompt or ask for less",
        .prompt_tokens.saturating_add(*.max_tokens)
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Most tokens of the answer.
        max_tokens: usize,
        /// The most of both together.
        context_tokens: usize,
    },
    /// The request is wrong.
    #[error(transparent)]
    Invalid(#[from] GenerateError),
    /// The engine has stopped.
    #[error("the engine has stopped after a failure; start it again")]
    Stopped,
}
