//! The authority that applications trust: for which names, and for how long.

use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};

use super::*;
use crate::pki::leaf::San;
use crate::pki::public_roots::{list_public_roots, public_roots};
use crate::pki::trust_store::build_trust_store;

const PURPOSE: Purpose = Purpose::Interception;

fn slow() -> Times {
    PURPOSE.times(times())
}

fn parse(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Checks a certificate for a name as a client does that trusts this authority.
fn check(authority: &str, certificate: &str, name: &str) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(parse(authority)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let now = Duration::from_secs(u64::try_from(at(1).as_second()).unwrap());
    let checked = verifier.build().unwrap().verify_server_cert(
        &parse(certificate),
        &[],
        &name,
        &[],
        UnixTime::since_unix_epoch(now),
    );
    checked.map(|_| ())
}

#[test]
fn it_vouches_for_the_providers_hosts_and_nothing_else() {
    let authority = Authority::generate(PURPOSE, at(0), slow().ca).unwrap();
    let leaf = authority.issue(&Profile::interception(), at(0), HOUR).unwrap();
    for name in ["api.openai.com", "api.anthropic.com"] {
        assert_eq!(check(authority.certificate(), &leaf.certificate, name), Ok(()));
    }
    // Whoever steals its key cannot sign for another host, nor for an address.
    for name in ["api.example.com", "openai.com", "platform.openai.com"] {
        let profile = Profile {
            names: [San::Dns(name.into())].into(),
            ..Profile::interception()
        };
        let forged = authority.issue(&profile, at(0), HOUR).unwrap();
        assert!(
            check(authority.certificate(), &forged.certificate, name).is_err(),
            "{name}"
        );
        let free = Authority::generate(Purpose::Internal, at(0), slow().ca).unwrap();
        let valid = free.issue(&profile, at(0), HOUR).unwrap();
        assert_eq!(
            check(free.certificate(), &valid.certificate, name),
            Ok(()),
            "{name}"
        );
    }
    let issuer = Issuer::from_ca_cert_pem(
        authority.certificate(),
        KeyPair::from_pem(authority.key()).unwrap(),
    );
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::IpAddress([10, 0, 0, 1].into())];
    let forged = params
        .signed_by(&KeyPair::generate().unwrap(), &issuer.unwrap())
        .unwrap();
    let refused = check(authority.certificate(), &forged.pem(), "10.0.0.1").unwrap_err();
    assert!(
        matches!(
            refused,
            rustls::Error::InvalidCertificate(CertificateError::Other(_))
        ),
        "{refused:?}"
    );
}

#[test]
fn its_secret_says_what_it_is_for() {
    let authorities = Authorities::generate_for(PURPOSE, at(0), &slow()).unwrap();
    let secret = authorities.to_secret("system", None);
    assert_eq!(
        secret.metadata.name.as_deref(),
        Some("liquid-memory-interception-ca")
    );
    let mut read = Authorities::read(&secret).unwrap();
    assert_eq!(read.purpose, PURPOSE);
    for step in [Step::Announce, Step::Promote, Step::Replace] {
        read = read.after(step, &slow(), at(1)).unwrap();
        let leaf = read.current.issue(&Profile::interception(), at(1), HOUR).unwrap();
        assert_eq!(
            check(read.current.certificate(), &leaf.certificate, "api.openai.com"),
            Ok(())
        );
        assert_eq!(read.purpose, PURPOSE);
    }
}

/// An application reads once, when it starts, whom it trusts. One that has run for no longer than a sixth of an authority's
/// life trusts the one that signs at any moment of two rotations.
#[test]
fn an_application_that_runs_long_still_trusts_what_signs() {
    let times = slow();
    let run = i64::try_from(times.propagation.as_secs() / 3600).unwrap();
    assert_eq!((times.ca, run), (720 * HOUR, 120));
    let mut authorities = Authorities::generate_for(PURPOSE, at(0), &times).unwrap();
    let mut bundles = Vec::new();
    let mut promoted = 0;
    for hour in 0..1300 {
        let step = step(&authorities.state().unwrap(), &times, true, at(hour));
        assert_ne!(step, Step::Replace);
        promoted += i32::from(step == Step::Promote);
        authorities = authorities.after(step, &times, at(hour)).unwrap();
        bundles.push(authorities.bundle());
        let started = usize::try_from((hour - run).max(0)).unwrap();
        let signs = authorities.current.certificate();
        assert!(
            bundles[started].contains(signs),
            "started at {started}, asks at {hour}"
        );
    }
    assert_eq!(promoted, 2);
}

#[test]
fn public_authorities_fit_into_a_config_map_with_its_own() {
    let all = CertificateDer::pem_slice_iter(public_roots().as_bytes());
    let mut roots = RootCertStore::empty();
    for root in all {
        roots.add(root.unwrap()).unwrap();
    }
    assert!(roots.len() > 100, "{}", roots.len());
    let store = build_trust_store("").unwrap().len().div_ceil(3) * 4;
    let size = public_roots().len() + store;
    assert!(size < 768 << 10, "{size} bytes, of 1 MiB");
}

/// What Java asks of an entry is seen by a real one on the cluster, `intercept::openais_sdk_for_java_is_compressed`.
#[test]
fn the_trust_store_holds_every_authority_and_does_not_change_by_itself() {
    let mut authorities = Authorities::generate_for(PURPOSE, at(0), &slow()).unwrap();
    authorities = authorities.after(Step::Announce, &slow(), at(1)).unwrap();
    let own = authorities.bundle();
    let store = build_trust_store(&own).unwrap();
    assert_eq!(store, build_trust_store(&own).unwrap());
    let own: Vec<_> = CertificateDer::pem_slice_iter(own.as_bytes())
        .map(Result::unwrap)
        .collect();
    assert_eq!(own.len(), 2);
    let mut rest = store.as_slice();
    for certificate in list_public_roots().chain(own.iter().map(AsRef::as_ref)) {
        let found = rest
            .windows(certificate.len())
            .position(|part| part == certificate);
        rest = &rest[found.unwrap() + certificate.len()..];
    }
    let cut = authorities.bundle().replace("-----END", "");
    assert!(build_trust_store(&cut).is_err());
}
