//! Which proxies' certificates a round reads: with many proxies not all, since reading is most of what a round costs.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{Holder, Needs};
use crate::pki::Times;

/// Number of proxies that a round reads although nothing says that they have to be.
const AGAIN: usize = 100;

/// When a proxy's certificates were last as they should be, and which it needed.
#[derive(Clone, Copy, Debug)]
struct Kept {
    needs: Needs,
    when: Timestamp,
}

impl Kept {
    fn is_younger(&self, than: Duration, now: Timestamp) -> bool {
        Duration::try_from(now.duration_since(self.when)).is_ok_and(|age| age < than)
    }
}

/// What earlier rounds have kept.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The bundle of the authorities that the entries were kept by; the one that signs comes first in it.
    bundle: String,
    /// By the proxy's uid.
    kept: HashMap<String, Kept>,
}

impl Turns {
    /// Selects the proxies whose turn it is: all that were not kept by these authorities yet, need other certificates now, or
    /// were not read for a twentieth of a certificate's life; and [`AGAIN`] of the others, the longest unread first. A proxy
    /// that was selected counts as kept once that is noted.
    pub(super) fn select(
        &mut self,
        all: Vec<Holder>,
        bundle: String,
        times: &Times,
        now: Timestamp,
    ) -> Vec<Holder> {
        if self.bundle != bundle {
            self.kept.clear();
            self.bundle = bundle;
        }
        let longest = times.leaf / 20;
        let (mut due, mut fresh) = (Vec::new(), Vec::new());
        for holder in all {
            let kept = self.kept.remove(&holder.owner.uid);
            match kept.filter(|kept| kept.needs == holder.needs && kept.is_younger(longest, now)) {
                Some(kept) => fresh.push((kept, holder)),
                None => due.push(holder),
            }
        }
        fresh.sort_by_key(|(kept, _)| kept.when);
        // Rounds may follow one another fast, as when proxies are created.
        let pause = times.check_interval() / 2;
        let again = fresh.iter().take(AGAIN);
        let again = again.take_while(|(kept, _)| !kept.is_younger(pause, now));
        let rest = fresh.split_off(again.count());
        due.extend(fresh.into_iter().map(|(_, holder)| holder));
        // What is left in the map are proxies that were deleted.
        self.kept = rest
            .into_iter()
            .map(|(kept, holder)| (holder.owner.uid, kept))
            .collect();
        due
    }

    /// Notes that a proxy's certificates are as they should be.
    pub(super) fn note(&mut self, holder: &Holder, now: Timestamp) {
        let kept = Kept {
            needs: holder.needs,
            when: now,
        };
        self.kept.insert(holder.owner.uid.clone(), kept);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::super::CertificateNeed;
    use super::*;

    const TIMES: Times = Times {
        ca: Duration::from_secs(365 * 24 * 3_600),
        leaf: Duration::from_secs(24 * 3_600),
        propagation: Duration::from_secs(150),
    };

    fn holders(count: usize) -> Vec<Holder> {
        let holder = |number| Holder {
            namespace: "shop".into(),
            name: format!("proxy-{number}"),
            needs: Needs {
                gateway: CertificateNeed::NotNeeded,
                interception: CertificateNeed::AsBefore,
            },
            owner: OwnerReference {
                uid: format!("uid-{number}"),
                ..OwnerReference::default()
            },
        };
        (0..count).map(holder).collect()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// Takes a round in which everything can be kept, and returns the names of those whose turn it was.
    fn round(turns: &mut Turns, all: Vec<Holder>, bundle: &str, now: Timestamp) -> Vec<String> {
        let selected = turns.select(all, bundle.into(), &TIMES, now);
        selected.iter().for_each(|holder| turns.note(holder, now));
        selected.into_iter().map(|holder| holder.name).collect()
    }

    #[test]
    fn few_proxies_are_read_in_every_round() {
        let mut turns = Turns::default();
        for second in [0, 60, 120] {
            assert_eq!(round(&mut turns, holders(AGAIN), "a", at(second)).len(), AGAIN);
        }
    }

    #[test]
    fn each_of_many_has_its_turn() {
        let mut turns = Turns::default();
        let all = 3 * AGAIN;
        assert_eq!(round(&mut turns, holders(all), "a", at(0)).len(), all);
        let mut read: Vec<String> = Vec::new();
        for minute in 1..=3 {
            let names = round(&mut turns, holders(all), "a", at(60 * minute));
            assert_eq!(names.len(), AGAIN);
            read.extend(names);
        }
        read.sort();
        read.dedup();
        assert_eq!(read.len(), all);
    }

    #[test]
    fn what_has_to_be_read_does_not_wait_for_its_turn() {
        let mut turns = Turns::default();
        let all = 2 * AGAIN;
        round(&mut turns, holders(all), "a", at(0));
        // A new one, and one that needs another certificate.
        let mut more = holders(all + 1);
        more[all - 1].needs.gateway = CertificateNeed::Needed;
        let names = round(&mut turns, more.clone(), "a", at(60));
        assert_eq!(names.len(), AGAIN + 2);
        assert_eq!(names[..2], [format!("proxy-{}", all - 1), format!("proxy-{all}")]);
        assert_eq!(
            round(&mut turns, more.clone(), "b", at(120)).len(),
            all + 1,
            "another authority"
        );
        let slept = at(120 + 72 * 60);
        assert_eq!(
            round(&mut turns, more.clone(), "b", slept).len(),
            all + 1,
            "a clock that has gone on"
        );
        assert_eq!(
            round(&mut turns, more, "b", at(0)).len(),
            all + 1,
            "a clock that was set back"
        );
    }

    #[test]
    fn one_that_failed_is_read_again_at_once() {
        let mut turns = Turns::default();
        round(&mut turns, holders(3 * AGAIN), "a", at(0));
        let failed = turns.select(holders(3 * AGAIN), "a".into(), &TIMES, at(60));
        assert_eq!(failed.len(), AGAIN);
        let names = round(&mut turns, holders(3 * AGAIN), "a", at(65));
        assert_eq!(names.len(), 2 * AGAIN);
        assert!(failed.iter().all(|holder| names.contains(&holder.name)));
    }
}
