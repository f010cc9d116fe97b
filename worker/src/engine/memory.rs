//! What extractors remember between requests: hidden states of windows that were read, and how fast the
//! encoder is. Answers never depend on it; only their cost does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::Encoded;

/// Tokens per second that are assumed before the first measurement.
const ASSUMED_SPEED: f64 = 1500.0;

/// Weight of the newest measurement in the moving mean.
const NEWEST: f64 = 0.3;

/// Shared by the extractors of a process. Clones are the same memory.
#[derive(Clone)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

struct State {
    limit: usize,
    bytes: usize,
    clock: u64,
    windows: HashMap<Box<[u32]>, Remembered>,
    speed: f64,
}

struct Remembered {
    encoded: Arc<Encoded>,
    used: u64,
}

impl Memory {
    /// A memory that holds at most about `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let state = State {
            limit,
            bytes: 0,
            clock: 0,
            windows: HashMap::new(),
            speed: ASSUMED_SPEED,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// What the encoder said about a window, if it is remembered.
    pub(super) fn recall(&self, window: &[u32]) -> Option<Arc<Encoded>> {
        let mut state = self.lock();
        state.clock += 1;
        let clock = state.clock;
        let remembered = state.windows.get_mut(window)?;
        remembered.used = clock;
        Some(Arc::clone(&remembered.encoded))
    }

    /// Remembers what the encoder said about a window; the longest unused windows are forgotten for it.
    pub(super) fn remember(&self, window: &[u32], encoded: Arc<Encoded>) {
        let mut state = self.lock();
        let bytes = size(window, &encoded);
        if bytes > state.limit {
            return;
        }
        if state.bytes + bytes > state.limit {
            state.forget_half();
        }
        state.clock += 1;
        let used = state.clock;
        state.bytes += bytes;
        if let Some(before) = state.windows.insert(window.into(), Remembered { encoded, used }) {
            state.bytes -= size(window, &before.encoded);
        }
    }

    /// Tokens per second of the encoder, as measured lately.
    pub(super) fn speed(&self) -> f64 {
        self.lock().speed
    }

    /// Takes the speed of a device that was measured before the first request.
    pub(crate) fn assume(&self, tokens_per_second: f64) {
        self.lock().speed = tokens_per_second;
    }

    /// Takes a measurement in.
    pub(super) fn measured(&self, tokens: usize, seconds: f64) {
        if tokens > 0 && seconds > 0.0 {
            let mut state = self.lock();
            state.speed += NEWEST * (tokens as f64 / seconds - state.speed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets the windows that were unused longest, down to half the limit. Seldom, so that its cost is small
    /// for each window.
    fn forget_half(&mut self) {
        let mut ages: Vec<(u64, usize)> = self
            .windows
            .iter()
            .map(|(window, kept)| (kept.used, size(window, &kept.encoded)))
            .collect();
        ages.sort_unstable();
        let mut newest_forgotten = 0;
        for (used, bytes) in ages {
            if self.bytes <= self.limit / 2 {
                break;
            }
            self.bytes -= bytes;
            newest_forgotten = used;
        }
        self.windows.retain(|_, kept| kept.used > newest_forgotten);
    }
}

fn size(window: &[u32], encoded: &Encoded) -> usize {
    4 * (window.len() + encoded.tokens.len() + encoded.sentence.len()) + 128
}
