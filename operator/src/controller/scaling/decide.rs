//! How many workers a load asks for: pure.
//!
//! More workers come at once, fewer only after the load has asked for no more during the whole of `scaleDownSeconds`: a
//! worker that is started for each wave costs more than one that waits for it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::api::WorkerAutoscaling;
use crate::controller::load::Load;

/// What is known at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// The load of the workers that answered; none where no worker did.
    pub(super) load: Option<Load>,
    /// How many workers are wanted until now.
    pub(super) present: i32,
    /// Whether a call waits for a worker where there is none.
    pub(super) called: bool,
}

/// How many workers a moment asked for.
#[derive(Clone, Copy, Debug)]
struct Wish {
    when: Instant,
    workers: i32,
}

/// Decides for one proxy, moment by moment.
#[derive(Debug)]
pub(super) struct Scaler {
    since: Instant,
    wishes: VecDeque<Wish>,
    /// The work done until the last moment.
    done: Option<i64>,
}

impl Scaler {
    /// Begins to decide. What was before is unknown: the number that is present holds for `scaleDownSeconds`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            wishes: VecDeque::new(),
            done: None,
        }
    }

    /// Returns how many workers there should be from `now` on.
    pub(super) fn decide(&mut self, bounds: &WorkerAutoscaling, seen: Sample, now: Instant) -> i32 {
        let workers = self.count_workers(bounds, seen);
        let window = Duration::from_secs(u64::try_from(bounds.scale_down_seconds).unwrap_or_default());
        let is_old = |when: Instant| now.saturating_duration_since(when) >= window;
        self.wishes.push_back(Wish { when: now, workers });
        while self.wishes.front().is_some_and(|first| is_old(first.when)) {
            self.wishes.pop_front();
        }
        let highest = self
            .wishes
            .iter()
            .map(|wish| wish.workers)
            .max()
            .unwrap_or(workers);
        let wanted = if is_old(self.since) {
            highest
        } else {
            highest.max(seen.present)
        };
        wanted.max(bounds.min_replicas).min(bounds.max_replicas)
    }

    fn count_workers(&mut self, bounds: &WorkerAutoscaling, seen: Sample) -> i32 {
        let called = i32::from(seen.called);
        let Some(load) = seen.load else {
            // They are starting, or cannot be read: no reason for another number.
            return seen.present.max(called);
        };
        let before = self.done.replace(load.done);
        let worked = before.is_some_and(|before| before != load.done);
        let busy = worked || load.tokens > 0 || load.waiting > 0 || load.running > 0;
        let full = load.tokens.max(0).div_euclid(bounds.tokens_in_flight.max(1));
        let part = i64::from(load.tokens.max(0).rem_euclid(bounds.tokens_in_flight.max(1)) > 0);
        let by_tokens = i32::try_from(full + part).unwrap_or(i32::MAX);
        // Whoever waits for the language model waits for a slot of it, whatever its prompt is.
        let by_queue = if load.waiting > 0 {
            seen.present.saturating_add(1)
        } else {
            0
        };
        by_tokens.max(by_queue).max(i32::from(busy)).max(called)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> WorkerAutoscaling {
        WorkerAutoscaling {
            min_replicas: 0,
            max_replicas: 4,
            tokens_in_flight: 1_000,
            scale_down_seconds: 60,
            hold_seconds: 30,
        }
    }

    /// What is seen of one worker that nobody has called for.
    fn one_worker(load: Load) -> Sample {
        Sample {
            load: Some(load),
            present: 1,
            called: false,
        }
    }

    /// Runs a scaler over moments five seconds apart, of tokens under way; what is decided is what is there next.
    fn run(bounds: &WorkerAutoscaling, first: i32, tokens: impl IntoIterator<Item = i64>) -> Vec<i32> {
        let start = Instant::now();
        let mut scaler = Scaler::new(start);
        let mut present = first;
        let moments = tokens.into_iter().zip(0_u32..);
        moments
            .map(|(tokens, number)| {
                let load = Some(Load {
                    tokens,
                    ..Load::default()
                });
                let seen = Sample {
                    load,
                    present,
                    called: false,
                };
                present = scaler.decide(bounds, seen, start + Duration::from_secs(5) * number);
                present
            })
            .collect()
    }

    #[test]
    fn more_load_brings_more_workers_at_once_and_never_too_many() {
        assert_eq!(
            run(&bounds(), 1, [0, 1, 1_000, 1_001, 3_500, 90_000]),
            [1, 1, 1, 2, 4, 4]
        );
    }

    #[test]
    fn fewer_come_only_after_less_load_has_lasted() {
        // A wave, then little for 55 s, another wave, then nothing.
        let little = std::iter::repeat_n(500, 11);
        let nothing = std::iter::repeat_n(0, 14);
        let all = run(
            &bounds(),
            1,
            [2_500].into_iter().chain(little).chain([2_500]).chain(nothing),
        );
        assert_eq!(all[..24], [3; 24], "{all:?}");
        assert_eq!(all[24..], [0; 3], "{all:?}");
        let least = WorkerAutoscaling {
            min_replicas: 1,
            ..bounds()
        };
        assert_eq!(run(&least, 3, std::iter::repeat_n(0, 14)).last(), Some(&1));
    }

    #[test]
    fn work_between_the_moments_keeps_a_worker() {
        let start = Instant::now();
        let mut scaler = Scaler::new(start);
        let mut decide = |second: u64, done: i64| {
            let seen = one_worker(Load {
                done,
                ..Load::default()
            });
            scaler.decide(&bounds(), seen, start + Duration::from_secs(second))
        };
        for second in (0..600).step_by(5) {
            assert_eq!(
                decide(second, i64::try_from(second).unwrap_or_default()),
                1,
                "{second}"
            );
        }
        // The last work was done before 595 s.
        assert_eq!((decide(650, 595), decide(656, 595)), (1, 0));
    }

    #[test]
    fn a_call_where_there_is_no_worker_starts_one_that_stays_for_a_while() {
        let start = Instant::now();
        let mut scaler = Scaler::new(start);
        let mut decide = |second: u64, present: i32, called: bool| {
            let seen = Sample {
                load: None,
                present,
                called,
            };
            scaler.decide(&bounds(), seen, start + Duration::from_secs(second))
        };
        assert_eq!((decide(0, 0, false), decide(100, 0, false)), (0, 0));
        assert_eq!(decide(105, 0, true), 1);
        // It starts, and cannot be read meanwhile.
        assert_eq!((decide(110, 1, false), decide(300, 1, false)), (1, 1));
    }

    #[test]
    fn who_waits_for_the_language_model_has_one_more_worker() {
        let now = Instant::now();
        let seen = Sample {
            load: Some(Load {
                waiting: 3,
                ..Load::default()
            }),
            present: 2,
            called: false,
        };
        assert_eq!(Scaler::new(now).decide(&bounds(), seen, now), 3);
    }

    #[test]
    fn a_long_answer_of_the_language_model_keeps_its_worker() {
        let start = Instant::now();
        let mut scaler = Scaler::new(start);
        let mut decide = |second: u64, running: i64| {
            let seen = one_worker(Load {
                running,
                ..Load::default()
            });
            scaler.decide(&bounds(), seen, start + Duration::from_secs(second))
        };
        assert!((0..600).step_by(5).all(|second| decide(second, 1) == 1));
        assert_eq!((decide(650, 0), decide(656, 0)), (1, 0));
    }
}
