//! The requests under way, whatever protocol they came by: when they are taken, what they are called, and how they are
//! cut off.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The phase of the worker's life, which decides what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The worker loads and warms up; requests are refused.
    Starting,
    /// Requests are served.
    Ready,
    /// The drain has begun: the worker is not ready any more, but still serves requests.
    Notice,
    /// New requests are refused; those under way end.
    Draining,
}

impl Phase {
    /// Returns why requests are refused in this phase, if they are.
    pub(crate) fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Ready | Self::Notice => None,
            Self::Starting => Some("the worker is warming up; try another one"),
            Self::Draining => Some("the worker is draining; try another one"),
        }
    }
}

/// What a request is told that outlived the time of the drain.
pub(crate) const CUT_OFF: &str = "the worker's drain time is over; try another one";

/// The requests under way, and the means to cut them off.
#[derive(Clone, Default)]
pub(crate) struct ActiveRequests {
    pub(crate) under_way: TaskTracker,
    pub(crate) cut_off: CancellationToken,
}

/// The source of names for requests that came without one; no two workers give the same.
pub(crate) struct RequestNames {
    process: u64,
    count: AtomicU64,
}

impl Default for RequestNames {
    fn default() -> Self {
        Self {
            process: RandomState::new().hash_one(std::process::id()),
            count: AtomicU64::new(0),
        }
    }
}

impl RequestNames {
    pub(crate) fn next(&self) -> String {
        format!(
            "{:016x}-{}",
            self.process,
            self.count.fetch_add(1, Ordering::Relaxed)
        )
    }
}
