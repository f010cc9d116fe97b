//! `kubectl liquid check`: says in words what is wrong, where, and what to do about it.
//!
//! The rules are pure: a [`Snapshot`] in, findings out. Each file has those of one part.

mod authority;
mod definition;
pub(crate) mod finding;
mod injection;
mod installation;
mod namespaces;
mod pods;
mod policies;
mod proxies;
mod rights;
mod sources;
mod webhook;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::Result;
use liquid_operator::names::SIDECAR_CONTAINER;
use serde::Serialize;

use crate::output::print;
use crate::session::Session;
use crate::snapshot::reader::Gap;
use crate::snapshot::{self, Depth, Snapshot};
use finding::{Finding, Severity};

pub(crate) use authority::{Life, split_certificates, text_of};
pub(crate) use injection::{decide, is_opted_in};
pub(crate) use pods::{admin_port_of, loopback_port, port_of, sidecar_of};

/// What was found, and how much was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    /// What could not be looked at.
    pub(crate) not_checked: Vec<Gap>,
    pub(crate) proxies: usize,
    /// Pods with a sidecar.
    pub(crate) injected_pods: usize,
}

/// Checks the installation and everything that uses it. The code is 1 if there is an error.
///
/// # Errors
/// The cluster cannot be reached.
pub(crate) async fn run(session: &Session) -> Result<ExitCode> {
    session.require_cluster().await?;
    let report = inspect(snapshot::read(session, Depth::All).await);
    print(session.format, &report, render)?;
    let errors = report.count(Severity::Error);
    Ok(if errors > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Applies every rule.
pub(crate) fn inspect(snapshot: Snapshot) -> Report {
    let mut findings = Vec::new();
    let rules: [fn(&Snapshot, &mut Vec<Finding>); 10] = [
        definition::check,
        installation::check,
        rights::check,
        webhook::check,
        authority::check,
        proxies::check,
        sources::check,
        namespaces::check,
        pods::check,
        policies::check,
    ];
    for rule in rules {
        rule(&snapshot, &mut findings);
    }
    findings.sort_by_key(|finding| finding.severity);
    let pods = snapshot
        .namespaces
        .iter()
        .flat_map(|namespace| namespace.pods.iter().flatten());
    Report {
        findings,
        proxies: snapshot.proxies().count(),
        injected_pods: pods.filter(|pod| pods::sidecar_of(pod).is_some()).count(),
        not_checked: snapshot.gaps,
    }
}

impl Report {
    /// Counts the findings of a severity.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        let of = self
            .findings
            .iter()
            .filter(|finding| finding.severity == severity);
        of.count()
    }
}

fn render(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        text.push_str(&finding.to_text());
    }
    for gap in &report.not_checked {
        text.push_str(&format!("not checked: {}: {}\n", gap.what, gap.why));
    }
    let scale = format!(
        "{} proxies, {} pods with {SIDECAR_CONTAINER}",
        report.proxies, report.injected_pods
    );
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let verdict = match (errors, warnings, report.not_checked.len()) {
        (0, 0, 0) => "no fault".to_owned(),
        (0, 0, gaps) => format!("no fault in what could be read, {gaps} not checked"),
        (errors, warnings, gaps) => format!("{errors} errors, {warnings} warnings, {gaps} not checked"),
    };
    text.push_str(&format!("{verdict}: {scale}\n"));
    text
}
