//! Certificates, their Secrets, and the rotation on a simulated clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod interception;
mod model;

use super::authorities::{COMPLETE_SINCE, SECRET};
use super::leaf::SecretData;
use super::rotation::{State, Step, Validity, is_due, step};
use super::verdict::{LeafVerdict, judge_leaf};
use super::*;
use k8s_openapi::ByteString;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use liquid_contract::files::{AUTHORITIES, CERTIFICATE, KEY};

const HOUR: Duration = Duration::from_secs(3600);

fn times() -> Times {
    Times {
        ca: 72 * HOUR,
        leaf: 24 * HOUR,
        propagation: HOUR,
    }
}

fn at(hours: i64) -> Timestamp {
    "2026-11-24T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(hours)
}

fn text(data: &SecretData, key: &str) -> String {
    String::from_utf8(data[key].0.clone()).unwrap()
}

#[test]
fn times_that_do_not_fit_are_refused() {
    assert_eq!(times().check(), Ok(times()));
    let leaf = Times {
        leaf: 25 * HOUR,
        ..times()
    };
    assert_eq!(
        leaf.check().unwrap_err().to_string(),
        "leaf lifetime 90000s is more than a third of the CA lifetime 259200s: shorten it, or lengthen the CA's"
    );
    let slow = Times {
        propagation: 9 * HOUR,
        ..times()
    };
    assert_eq!(
        slow.check().unwrap_err().to_string(),
        "certificate propagation 32400s is more than a third of the leaf lifetime 86400s: lengthen the leaf \
         lifetime, or shorten the propagation if your kubelets sync faster"
    );
}

#[test]
fn a_leaf_says_who_it_is_for() {
    let authority = Authority::generate(Purpose::Internal, at(0), times().ca).unwrap();
    let names = |profile: &Profile| {
        let leaf = authority.issue(profile, at(0), times().leaf).unwrap();
        let facts = Facts::from_pem("leaf", &leaf.certificate).unwrap();
        assert_eq!(facts.signer, authority.facts().key_id);
        assert_eq!(facts.not_after, at(24));
        assert!(!facts.is_ca);
        facts.names.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(
        names(&Profile::worker("shop", "main", "cluster.local")),
        [
            "DNS:main-workers.shop",
            "DNS:main-workers.shop.svc",
            "DNS:main-workers.shop.svc.cluster.local",
            "URI:spiffe://liquid-memory/ns/shop/proxy/main/worker",
        ]
    );
    assert_eq!(
        names(&Profile::gateway("shop", "main", "c.test")),
        [
            "DNS:main-gateway.shop",
            "DNS:main-gateway.shop.svc",
            "DNS:main-gateway.shop.svc.c.test",
        ]
    );
    assert_eq!(
        names(&Profile::sidecar("shop", "main")),
        ["URI:spiffe://liquid-memory/ns/shop/proxy/main/sidecar"]
    );
    assert_eq!(
        names(&Profile::webhook("hook", "system", "c.test")),
        [
            "DNS:hook.system",
            "DNS:hook.system.svc",
            "DNS:hook.system.svc.c.test"
        ]
    );
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    let authority = Authority::generate(Purpose::Internal, at(0), times().ca).unwrap();
    let leaf = authority
        .issue(&Profile::sidecar("a", "b"), at(60), times().leaf)
        .unwrap();
    let facts = Facts::from_pem("leaf", &leaf.certificate).unwrap();
    assert_eq!(facts.not_after, authority.facts().not_after);
}

#[test]
fn a_certificate_is_valid_for_clocks_an_hour_apart() {
    let authority = Authority::generate(Purpose::Internal, at(0), times().ca).unwrap();
    let profile = Profile::sidecar("a", "b");
    let leaf = authority.issue(&profile, at(0), times().leaf).unwrap();
    let leaf = Facts::from_pem("leaf", &leaf.certificate).unwrap();
    for facts in [authority.facts(), &leaf] {
        assert!(facts.not_before < at(-1) && facts.not_after > at(1), "{facts:?}");
    }
}

#[test]
fn a_life_beyond_the_calendar_is_an_error() {
    let error = Authority::generate(Purpose::Internal, at(0), Duration::MAX).unwrap_err();
    assert!(matches!(error, PkiError::Time(_)), "{error}");
}

#[test]
fn the_secret_gives_the_same_authorities_back() {
    let mut authorities = Authorities::generate(at(0), &times()).unwrap();
    for (number, step) in [
        Step::Keep,
        Step::Announce,
        Step::Complete,
        Step::Promote,
        Step::Complete,
        Step::Drop,
    ]
    .into_iter()
    .enumerate()
    {
        authorities = authorities.after(step, &times(), at(number as i64)).unwrap();
        let secret = authorities.to_secret("system", Some("7".into()));
        assert_eq!(secret.metadata.name.as_deref(), Some(SECRET));
        assert_eq!(secret.metadata.resource_version.as_deref(), Some("7"));
        let read = Authorities::read(&secret).unwrap();
        assert_eq!(read.to_data(), authorities.to_data(), "{step:?}");
        assert_eq!(read.bundle(), authorities.bundle(), "{step:?}");
        assert_eq!(read.state().unwrap(), authorities.state().unwrap(), "{step:?}");
    }
}

#[test]
fn a_broken_secret_is_told_apart() {
    let good = Authorities::generate(at(0), &times()).unwrap();
    let other = Authorities::generate(at(0), &times()).unwrap();
    let read = |change: &dyn Fn(&mut SecretData)| {
        let mut secret = good.to_secret("system", None);
        change(secret.data.as_mut().unwrap());
        Authorities::read(&secret).map(|_| ()).unwrap_err().to_string()
    };
    let remedy = "; restore it from a backup, or delete the Secret and the leader makes a new authority";
    let missing = read(&|data| drop(data.remove("tls.key")));
    assert_eq!(
        missing,
        format!("Secret liquid-memory-ca key tls.key: missing{remedy}")
    );
    let foreign = read(&|data| {
        data.insert("tls.key".into(), other.to_data()["tls.key"].clone());
    });
    assert_eq!(
        foreign,
        format!(
            "Secret liquid-memory-ca key tls.crt: certificate authority cannot be read: its key belongs to \
             another certificate{remedy}"
        )
    );
    let bytes = read(&|data| {
        data.insert("old-tls.crt".into(), ByteString(vec![0xff]));
    });
    assert_eq!(
        bytes,
        format!("Secret liquid-memory-ca key old-tls.crt: not text{remedy}")
    );
    read(&|data| {
        data.insert("tls.crt".into(), ByteString(b"nonsense".to_vec()));
    });
    // A leaf is no authority.
    let leaf = good
        .current
        .issue(&Profile::sidecar("a", "b"), at(0), HOUR)
        .unwrap();
    Authority::read(leaf.certificate, leaf.key).unwrap_err();
}

#[test]
fn debug_shows_no_key() {
    let authorities = Authorities::generate(at(0), &times()).unwrap();
    let leaf = authorities
        .current
        .issue(&Profile::sidecar("a", "b"), at(0), HOUR)
        .unwrap();
    for shown in [format!("{authorities:?}"), format!("{leaf:?}")] {
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
    }
}

#[test]
fn what_an_application_gets_holds_no_key_but_its_own() {
    let mut authorities = Authorities::generate(at(0), &times()).unwrap();
    for step in [Step::Keep, Step::Announce, Step::Promote, Step::Drop] {
        authorities = authorities.after(step, &times(), at(1)).unwrap();
        for profile in [
            Profile::sidecar("a", "b"),
            Profile::worker("a", "b", "cluster.local"),
        ] {
            let leaf = authorities.current.issue(&profile, at(1), HOUR).unwrap();
            let data = leaf.to_data(&authorities.bundle());
            assert_eq!(data.keys().collect::<Vec<_>>(), [AUTHORITIES, CERTIFICATE, KEY]);
            for key in [AUTHORITIES, CERTIFICATE] {
                assert!(!text(&data, key).contains("PRIVATE KEY"), "{key}");
            }
            let own = text(&data, KEY);
            let authority_keys: Vec<String> = authorities
                .to_data()
                .into_iter()
                .filter(|(key, _)| key.ends_with(".key"))
                .map(|(_, value)| String::from_utf8(value.0).unwrap())
                .collect();
            assert!(!authority_keys.is_empty() && !authority_keys.contains(&own));
        }
    }
}

#[test]
fn a_stored_leaf_is_judged() {
    let authorities = Authorities::generate(at(0), &times()).unwrap();
    let profile = Profile::worker("shop", "main", "cluster.local");
    let leaf = authorities.current.issue(&profile, at(0), times().leaf).unwrap();
    let data = leaf.to_data(&authorities.bundle());
    let judged = |data: &SecretData, now| judge_leaf(Some(data), &profile, &authorities, now);
    assert_eq!(
        judge_leaf(None, &profile, &authorities, at(0)),
        LeafVerdict::Issue("it is missing")
    );
    assert_eq!(judged(&data, at(0)), LeafVerdict::Keep);
    assert_eq!(judged(&data, at(15)), LeafVerdict::Keep);
    assert_eq!(
        judged(&data, at(17)),
        LeafVerdict::Issue("two thirds of its life are over")
    );
    assert_eq!(
        judged(&data, at(100)),
        LeafVerdict::Issue("two thirds of its life are over")
    );
    let with = |key: &str, value: &str| {
        let mut data = data.clone();
        data.insert(key.into(), ByteString(value.as_bytes().to_vec()));
        judged(&data, at(0))
    };
    assert_eq!(with(AUTHORITIES, "x"), LeafVerdict::Rebundle(leaf.clone()));
    assert_eq!(with(CERTIFICATE, "x"), LeafVerdict::Issue("it cannot be read"));
    let other = authorities.current.issue(&profile, at(0), times().leaf).unwrap();
    assert_eq!(
        with(KEY, &other.key),
        LeafVerdict::Issue("its key belongs to another certificate")
    );
    assert_eq!(
        with(KEY, "x"),
        LeafVerdict::Issue("its key belongs to another certificate")
    );
    let mut short = data.clone();
    short.remove(KEY);
    assert_eq!(judged(&short, at(0)), LeafVerdict::Issue("it is incomplete"));
    let moved = Profile::worker("shop", "main", "other.domain");
    assert_eq!(
        judge_leaf(Some(&data), &moved, &authorities, at(0)),
        LeafVerdict::Issue("its names have changed")
    );
    // Announced: the bundle changes and the leaf stays. Promoted: the leaf is issued again.
    let announced = authorities.after(Step::Announce, &times(), at(0)).unwrap();
    assert_eq!(
        judge_leaf(Some(&data), &profile, &announced, at(0)),
        LeafVerdict::Rebundle(leaf)
    );
    let promoted = announced.after(Step::Promote, &times(), at(0)).unwrap();
    assert_eq!(
        judge_leaf(Some(&data), &profile, &promoted, at(0)),
        LeafVerdict::Issue("another authority signs now")
    );
    assert_eq!(promoted.old.as_deref(), Some(authorities.current.certificate()));
    let dropped = promoted.after(Step::Drop, &times(), at(0)).unwrap();
    assert_eq!(dropped.bundle(), dropped.current.certificate());
}

#[test]
fn the_first_moments_of_a_rotation() {
    let valid = |from, until| Validity {
        not_before: at(from),
        not_after: at(until),
    };
    let steady = State {
        current: valid(0, 72),
        next: None,
        old: None,
        complete_since: None,
    };
    let announced = State {
        next: Some(valid(48, 120)),
        ..steady
    };
    let retiring = State {
        current: valid(48, 120),
        old: Some(valid(0, 72)),
        ..steady
    };
    let since = |state: State, hour| State {
        complete_since: Some(at(hour)),
        ..state
    };
    for (what, state, complete, hour, wanted) in [
        ("young", steady, true, 47, Step::Keep),
        ("two thirds", steady, false, 48, Step::Announce),
        ("expired", steady, true, 72, Step::Replace),
        ("announced, not everywhere", announced, false, 49, Step::Keep),
        ("announced everywhere", announced, true, 49, Step::Complete),
        ("not arrived yet", since(announced, 49), true, 49, Step::Keep),
        ("arrived", since(announced, 49), true, 50, Step::Promote),
        (
            "arrived, a new proxy is not ready",
            since(announced, 49),
            false,
            50,
            Step::Promote,
        ),
        ("one proxy never gets it", announced, false, 71, Step::Promote),
        ("the next one expired too", announced, false, 120, Step::Replace),
        ("retiring, not everywhere", retiring, false, 51, Step::Keep),
        ("retiring everywhere", retiring, true, 51, Step::Complete),
        ("retired", since(retiring, 51), true, 52, Step::Drop),
        ("the old one expired", retiring, false, 72, Step::Drop),
    ] {
        assert_eq!(step(&state, &times(), complete, at(hour)), wanted, "{what}");
    }
}

#[test]
fn due_after_two_thirds() {
    assert!(!is_due(at(0), at(30), at(19)));
    assert!(is_due(at(0), at(30), at(20)));
    assert!(is_due(at(0), at(30), at(40)));
}

#[test]
fn a_mark_that_cannot_be_read_only_lengthens_the_phase() {
    let authorities = Authorities::generate(at(0), &times()).unwrap();
    let mut secret = authorities.to_secret("system", None);
    secret.metadata.annotations = Some([(COMPLETE_SINCE.into(), "yesterday".into())].into());
    assert_eq!(Authorities::read(&secret).unwrap().complete_since, None);
}
