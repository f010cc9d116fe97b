//! Judges stored certificates: whether one stays, gets another bundle, or has to be issued again.

use k8s_openapi::jiff::Timestamp;
use liquid_contract::files::AUTHORITIES;
use rcgen::{KeyPair, PublicKeyData};

use super::leaf::{Leaf, Profile, SecretData};
use super::{Authorities, Facts, rotation};

/// What has to be done with a stored leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafVerdict {
    /// Nothing: it is as it should be.
    Keep,
    /// Its bundle has to be replaced; the leaf stays.
    Rebundle(Leaf),
    /// A new leaf has to be issued, for this reason.
    Issue(&'static str),
}

/// Judges a stored leaf, given as the data of its Secret.
pub fn judge_leaf(
    data: Option<&SecretData>,
    profile: &Profile,
    authorities: &Authorities,
    now: Timestamp,
) -> LeafVerdict {
    let Some(data) = data else {
        return LeafVerdict::Issue("it is missing");
    };
    let Some(leaf) = Leaf::from_data(data) else {
        return LeafVerdict::Issue("it is incomplete");
    };
    let Ok(facts) = Facts::from_pem("certificate", &leaf.certificate) else {
        return LeafVerdict::Issue("it cannot be read");
    };
    let key = KeyPair::from_pem(&leaf.key).ok();
    if key.is_none_or(|key| key.subject_public_key_info() != facts.public_key) {
        return LeafVerdict::Issue("its key belongs to another certificate");
    }
    if facts.signer != authorities.current.facts().key_id {
        return LeafVerdict::Issue("another authority signs now");
    }
    if !profile.matches(&facts.names) {
        return LeafVerdict::Issue("its names have changed");
    }
    if rotation::is_due(facts.not_before, facts.not_after, now) {
        return LeafVerdict::Issue("two thirds of its life are over");
    }
    match data
        .get(AUTHORITIES)
        .is_some_and(|bundle| bundle.0 == authorities.bundle().as_bytes())
    {
        true => LeafVerdict::Keep,
        false => LeafVerdict::Rebundle(leaf),
    }
}
