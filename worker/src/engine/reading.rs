//! What reading with a model has in common, whichever model: which windows are worth it within a budget of tokens,
//! how many tokens the time allows, and the steps in which they are read.

use std::time::{Duration, Instant};

use super::speed::ReadingSpeed;
use super::{ExtractError, RequestLimits};
use crate::model::EncodeError;
use crate::scoring::Window;
use crate::select;

/// Tokens read between two looks at the clock and the caller, without and with a deadline. What was read before
/// the time was over counts, so short steps lose less of it; long ones keep all cores busy.
const STEP_TOKENS: usize = 4096;
const HURRIED_STEP_TOKENS: usize = 1024;

/// A window that is worth reading for one of the things that are asked, both by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) ask: usize,
    pub(super) window: usize,
}

/// Lists windows by how much they are worth: the best one of each ask, the second best of each, and so on. A window
/// is as good as its best unit; `static_scores` holds those of the units for each ask.
pub(super) fn rank_in_turn(windows: &[Window], static_scores: &[&[f32]]) -> Vec<Pick> {
    let rank_windows = |scores: &&[f32]| {
        let best = |window: &Window| {
            scores[window.start..window.end]
                .iter()
                .copied()
                .fold(f32::MIN, f32::max)
        };
        let scores: Vec<f32> = windows.iter().map(best).collect();
        select::rank(&scores)
    };
    let orders: Vec<Vec<u32>> = static_scores.iter().map(rank_windows).collect();
    let places = 0..windows.len();
    places
        .flat_map(|place| {
            let of_ask = move |(ask, order): (usize, &Vec<u32>)| Pick {
                ask,
                window: order[place] as usize,
            };
            orders.iter().enumerate().map(of_ask)
        })
        .collect()
}

/// Takes picks in their order until the next one does not fit into a budget of tokens. `cost` is that of a pick; what
/// costs nothing holds nothing to read.
pub(super) fn within_budget(
    picks: impl Iterator<Item = Pick>,
    cost: impl Fn(Pick) -> usize,
    budget: usize,
) -> Vec<Pick> {
    let mut left = budget;
    let mut chosen = Vec::new();
    for pick in picks {
        let cost = cost(pick);
        if cost > left {
            break;
        }
        left -= cost;
        if cost > 0 {
            chosen.push(pick);
        }
    }
    chosen
}

/// Returns how many tokens may be read: the request's limit, or what the time left allows at the measured speed.
pub(super) fn token_budget(limit: usize, limits: &RequestLimits<'_>, speed: &ReadingSpeed) -> usize {
    match seconds_left(limits) {
        Some(seconds) => limit.min((seconds * speed.get()) as usize),
        None => limit,
    }
}

/// Returns the seconds until reading has to end; `None` without a deadline.
fn seconds_left(limits: &RequestLimits<'_>) -> Option<f64> {
    let until = limits.read_until?;
    Some(until.saturating_duration_since(Instant::now()).as_secs_f64())
}

/// A number of tokens, and the speed at which its model reads them.
pub(super) struct Work<'a> {
    pub(super) tokens: usize,
    pub(super) speed: &'a ReadingSpeed,
}

/// Returns whether the time left allows for all that is to be read, one after the other.
pub(super) fn is_time_for(work: &[Work<'_>], limits: &RequestLimits<'_>) -> bool {
    let Some(until) = limits.read_until else {
        return true;
    };
    let seconds = until.saturating_duration_since(Instant::now()).as_secs_f64();
    let needed: f64 = work
        .iter()
        .map(|work| work.tokens as f64 / work.speed.get())
        .sum();
    needed <= seconds
}

/// Returns the tokens of a step for a model that runs on the processor.
pub(super) fn step_tokens(limits: &RequestLimits<'_>) -> usize {
    match limits.read_until {
        Some(_) => HURRIED_STEP_TOKENS,
        None => STEP_TOKENS,
    }
}

/// What reading has cost so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReadingCost {
    /// Tokens that went through the model, remembered windows not counted.
    pub(super) tokens: usize,
    /// Time spent with the model.
    pub(super) time: Duration,
}

/// How far a reading came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Everything was read.
    End,
    /// The time was over before.
    Deadline,
}

/// Hands items to `read`, about `step` tokens at a time, until all are read or the time is over; `tokens` is how
/// many an item has.
pub(super) fn read_in_steps<T>(
    items: &[T],
    tokens: impl Fn(&T) -> usize,
    step: usize,
    limits: &RequestLimits<'_>,
    mut read: impl FnMut(&[T]) -> Result<(), EncodeError>,
) -> Result<Reached, ReadError> {
    let mut any = false;
    let mut rest = items;
    while !rest.is_empty() {
        let (now, after) = rest.split_at(end_of_step(rest, &tokens, step));
        rest = after;
        limits.check_cancelled()?;
        let outcome = if limits.reading_is_over() {
            Err(EncodeError::Cancelled)
        } else {
            read(now)
        };
        match outcome {
            Ok(()) => any = true,
            Err(EncodeError::Cancelled) if any => return Ok(Reached::Deadline),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Reached::End)
}

/// Returns how many items make a step: at least one.
fn end_of_step<T>(items: &[T], tokens: impl Fn(&T) -> usize, step: usize) -> usize {
    let mut sum = 0;
    let fits = |item: &&T| {
        let before = sum;
        sum += tokens(item);
        before < step
    };
    items.iter().take_while(fits).count().max(1)
}

/// Why the windows could not be read.
pub(super) enum ReadError {
    /// The model failed; the cheaper tiers still work.
    Model(EncodeError),
    /// The request ends here.
    Request(ExtractError),
}

impl From<EncodeError> for ReadError {
    fn from(error: EncodeError) -> Self {
        Self::Model(error)
    }
}

impl From<ExtractError> for ReadError {
    fn from(error: ExtractError) -> Self {
        Self::Request(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(ask: usize, window: usize) -> Pick {
        Pick { ask, window }
    }

    #[test]
    fn asks_take_turns_and_an_empty_window_takes_no_place() {
        let windows = [(0, 2), (2, 3), (3, 4)].map(|(start, end)| Window { start, end });
        let one = [0.0, 5.0, 1.0, 2.0];
        let other = [0.0, 0.0, 3.0, 1.0];
        let ranked = rank_in_turn(&windows, &[&one, &other]);
        let expected =
            [(0, 0), (1, 1), (0, 2), (1, 2), (0, 1), (1, 0)].map(|(ask, window)| pick(ask, window));
        assert_eq!(ranked, expected);
        let cost = |pick: Pick| if pick.window == 2 { 0 } else { 10 };
        let chosen = within_budget(ranked.into_iter(), cost, 35);
        assert_eq!(chosen, [pick(0, 0), pick(1, 1), pick(0, 1)]);
    }

    #[test]
    fn models_that_read_one_after_the_other_need_time_for_both() {
        let speed = ReadingSpeed::default();
        speed.set(1000.0);
        let work = || {
            let tokens = 6000;
            Work {
                tokens,
                speed: &speed,
            }
        };
        let limits = |seconds| RequestLimits {
            deadline: None,
            read_until: Some(Instant::now() + Duration::from_secs(seconds)),
            cancelled: &|| false,
        };
        assert!(is_time_for(&[work()], &limits(10)));
        assert!(!is_time_for(&[work(), work()], &limits(10)));
        assert!(is_time_for(&[work(), work()], &limits(20)));
    }

    #[test]
    fn steps_hold_at_least_one_item_and_cover_all() {
        let limits = RequestLimits {
            deadline: None,
            read_until: None,
            cancelled: &|| false,
        };
        let mut steps = Vec::new();
        let reached = read_in_steps(
            &[50, 5, 5, 5, 0],
            |item| *item,
            10,
            &limits,
            |step| {
                steps.push(step.to_vec());
                Ok(())
            },
        );
        assert!(matches!(reached, Ok(Reached::End)));
        assert_eq!(steps, [vec![50], vec![5, 5], vec![5, 0]]);
    }

    #[test]
    fn what_was_read_before_the_time_was_over_counts() {
        let limits = RequestLimits {
            deadline: None,
            read_until: None,
            cancelled: &|| false,
        };
        let mut calls = 0;
        let mut busy_from = |first| {
            calls = 0;
            read_in_steps(
                &[1, 2, 3],
                |_| 1,
                1,
                &limits,
                |_| {
                    calls += 1;
                    if calls >= first {
                        Err(EncodeError::Cancelled)
                    } else {
                        Ok(())
                    }
                },
            )
        };
        assert!(matches!(busy_from(2), Ok(Reached::Deadline)));
        assert!(matches!(
            busy_from(1),
            Err(ReadError::Model(EncodeError::Cancelled))
        ));
    }
}
