//! `kubectl liquid certificates`: every certificate, until when it is valid and when it is renewed. No key is read out.

use std::process::ExitCode;

use anyhow::Result;
use k8s_openapi::jiff::Timestamp;
use liquid_contract::files::{AUTHORITIES, CERTIFICATE};
use liquid_operator::pki::{Authorities, Facts, Purpose};
use serde::Serialize;

use crate::check::{Life, split_certificates, text_of};
use crate::output::{Table, print};
use crate::session::Session;
use crate::snapshot::namespace::list_certificates;
use crate::snapshot::reader::{Gap, Sought};
use crate::snapshot::{self, Depth, Snapshot};
use crate::status::render_gaps;

/// What was printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    certificates: Vec<Certificate>,
    not_read: Vec<Gap>,
}

/// A certificate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    /// `authority`, `worker`, `sidecar`, `interception` or `gateway`.
    holder: &'static str,
    namespace: String,
    secret: String,
    not_before: String,
    not_after: String,
    /// When two thirds of its life are over.
    renewed_at: String,
    /// The name of its [`Life`].
    state: &'static str,
    names: Vec<String>,
    /// Number of authorities that are trusted beside it.
    trusted: usize,
}

/// Prints the certificates. The code is 1 if one has expired.
///
/// # Errors
/// The cluster cannot be reached.
pub(crate) async fn run(session: &Session) -> Result<ExitCode> {
    session.require_cluster().await?;
    let snapshot = snapshot::read(session, Depth::All).await;
    let certificates = collect(&snapshot);
    let expired = certificates
        .iter()
        .any(|certificate| certificate.state == Life::Expired.name());
    let gaps = snapshot
        .gaps
        .into_iter()
        .filter(|gap| gap.what.starts_with("Secret"));
    let report = Report {
        certificates,
        not_read: gaps.collect(),
    };
    print(session.format, &report, render)?;
    Ok(if expired {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn collect(snapshot: &Snapshot) -> Vec<Certificate> {
    let mut all = Vec::new();
    for purpose in Purpose::ALL {
        let secret = snapshot.installation.authority_for(purpose);
        if let (Some(operator), Some(secret)) = (snapshot.operator(), secret.found())
            && let Ok(found) = Authorities::read(secret)
        {
            let place = Place {
                holder: "authority",
                namespace: &operator.namespace,
                secret: purpose.secret(),
            };
            let trusted = split_certificates(&found.bundle()).len();
            all.extend(describe(&place, found.current.facts(), trusted, snapshot.now));
        }
    }
    for namespace in &snapshot.namespaces {
        for proxy in &namespace.proxies {
            for (holder, secret) in list_certificates(proxy) {
                let Some(Sought::Found(found)) = namespace.secrets.get(&secret) else {
                    continue;
                };
                let Ok(facts) = Facts::from_pem("certificate", &text_of(found, CERTIFICATE)) else {
                    continue;
                };
                let place = Place {
                    holder: holder.name(),
                    namespace: &namespace.name,
                    secret: &secret,
                };
                let trusted = split_certificates(&text_of(found, AUTHORITIES)).len();
                all.extend(describe(&place, &facts, trusted, snapshot.now));
            }
        }
    }
    all
}

struct Place<'a> {
    holder: &'static str,
    namespace: &'a str,
    secret: &'a str,
}

/// Describes a certificate; none if its times are beyond what a date can be.
fn describe(place: &Place<'_>, facts: &Facts, trusted: usize, now: Timestamp) -> Option<Certificate> {
    let life = facts.not_after.duration_since(facts.not_before);
    let renewed_at = facts.not_before.checked_add(life / 3 * 2).ok()?;
    Some(Certificate {
        holder: place.holder,
        namespace: place.namespace.into(),
        secret: place.secret.into(),
        not_before: facts.not_before.to_string(),
        not_after: facts.not_after.to_string(),
        renewed_at: renewed_at.to_string(),
        state: Life::from_facts(facts, now).name(),
        names: facts.names.iter().cloned().collect(),
        trusted,
    })
}

fn render(report: &Report) -> String {
    let mut table = Table::new(&[
        "NAMESPACE",
        "SECRET",
        "HOLDER",
        "STATE",
        "EXPIRES",
        "RENEWED",
        "TRUSTED",
    ]);
    for certificate in &report.certificates {
        table.row([
            certificate.namespace.clone(),
            certificate.secret.clone(),
            certificate.holder.into(),
            certificate.state.into(),
            certificate.not_after.clone(),
            certificate.renewed_at.clone(),
            certificate.trusted.to_string(),
        ]);
    }
    table.to_string() + &render_gaps(&report.not_read)
}
