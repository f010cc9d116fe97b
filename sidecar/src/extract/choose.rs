//! Which worker a call is sent to, by zone and load: pure.
//!
//! A way within the zone is shorter and costs nothing, so its workers go first. That counts for little beside a queue, and
//! for nothing where a worker has failed: a busy zone spills over, and a second try goes elsewhere.

/// By how many document tokens the queue of another zone is shorter before it is preferred. Two cores read so many in about
/// a third of a second: longer than any way between zones takes, shorter than what an application would notice.
const SPILL_TOKENS: u64 = 32_768;

/// A worker among which one is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Whether it is to be preferred for its zone: the own one in a first try, any other one in a further try.
    pub(super) near: bool,
    /// Document tokens before it.
    pub(super) load: u64,
}

/// Chooses the less busy of two near workers, or of two others where there is no near one or its queue is clearly longer.
/// `random` returns a number below its argument. Returns the place in the list, none if it is empty.
pub(super) fn choose(candidates: &[Candidate], mut random: impl FnMut(usize) -> usize) -> Option<usize> {
    let load = |place: &usize| candidates.get(*place).map_or(0, |candidate| candidate.load);
    let mut less_busy_of_two = |near: bool| {
        let places = candidates.iter().enumerate();
        let places = places.filter(|(_, candidate)| candidate.near == near);
        let mut places: Vec<usize> = places.map(|(place, _)| place).collect();
        let one = take(&mut places, &mut random)?;
        let other = take(&mut places, &mut random);
        Some(other.filter(|other| load(other) < load(&one)).unwrap_or(one))
    };
    match (less_busy_of_two(true), less_busy_of_two(false)) {
        (Some(near), Some(far)) if load(&near) > load(&far).saturating_add(SPILL_TOKENS) => Some(far),
        (near, far) => near.or(far),
    }
}

fn take(places: &mut Vec<usize>, random: &mut impl FnMut(usize) -> usize) -> Option<usize> {
    (!places.is_empty()).then(|| places.swap_remove(random(places.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each worker is chosen in a thousand calls.
    fn count(workers: &[(bool, u64)]) -> Vec<u32> {
        let candidates: Vec<_> = workers
            .iter()
            .map(|(near, load)| Candidate {
                near: *near,
                load: *load,
            })
            .collect();
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = vec![0; workers.len()];
        for _ in 0..1_000 {
            let chosen = choose(&candidates, |below| random.usize(..below));
            counts[chosen.unwrap_or_default()] += 1;
        }
        counts
    }

    #[test]
    fn workers_of_the_zone_go_first() {
        let counts = count(&[(false, 0), (true, 0), (false, 0), (true, 0)]);
        assert_eq!((counts[0], counts[2]), (0, 0));
        assert!(counts[1] > 400 && counts[3] > 400, "{counts:?}");
        assert_eq!(count(&[(false, 0), (true, SPILL_TOKENS)]), [0, 1_000]);
    }

    #[test]
    fn a_zone_that_is_clearly_busier_spills_over() {
        assert_eq!(count(&[(false, 0), (true, SPILL_TOKENS + 1)]), [1_000, 0]);
        // One of the zone is free: two are looked at, so it is always found.
        assert_eq!(count(&[(false, 0), (true, 90_000), (true, 0)]), [0, 0, 1_000]);
        // The others are as busy: no reason to leave the zone.
        assert_eq!(count(&[(false, 70_000), (true, 90_000)]), [0, 1_000]);
    }

    #[test]
    fn without_one_of_the_zone_the_others_are_chosen_by_load() {
        assert_eq!(count(&[(false, 0), (false, 5)]), [1_000, 0]);
        let counts = count(&[(false, 0), (false, 0), (false, 9)]);
        assert!(counts[0] > 400 && counts[1] > 400 && counts[2] == 0, "{counts:?}");
        assert_eq!(choose(&[], |_| 0), None);
    }
}
