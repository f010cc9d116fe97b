//! The trust store of Java virtual machines in an intercepted pod. They read no variable that names one, but options from
//! `JAVA_TOOL_OPTIONS`, in which many containers have others: those stay, and this one comes behind them.
//!
//! The store's type is left to Java, which knows it by its content: with a type an application that names a store of its
//! own on its command line would have to name that one's too.

use liquid_contract::files::AUTHORITIES;

use super::find::{VariableSource, find_variable};
use super::plan::{EnvContext, Plan};
use crate::inject::outcome::{Note, Reason};
use crate::inject::pod::Container;
use crate::names::{TRUST_FOLDER, TRUST_STORE};

const OPTIONS: &str = "JAVA_TOOL_OPTIONS";
/// The beginning of the option that names a trust store.
const NAMES_STORE: &str = "-Djavax.net.ssl.trustStore=";

/// Adds the option, unless the container names a trust store of its own, or options that cannot be read. Where it may
/// have some from a source that is not read, it is added all the same, as [`super::trust`] does.
pub(super) fn add_trust_store(plan: &mut Plan, container: &Container<'_>, context: &EnvContext<'_>) {
    let option = format!("{NAMES_STORE}{TRUST_FOLDER}/{TRUST_STORE}");
    let note = |reason, why| {
        let text = format!(
            "container {}: {OPTIONS} {why} Java trusts the sidecar's certificate only by {option}, or by a store of its own \
             that holds {TRUST_FOLDER}/{AUTHORITIES} too",
            container.name
        );
        Note::new(reason, text)
    };
    match find_variable(container.value, OPTIONS, context.config_maps) {
        VariableSource::Literal { value, .. } | VariableSource::ConfigMap { value, .. }
            if value.contains(NAMES_STORE) =>
        {
            if !value.contains(&option) {
                let why = "names a trust store, and stays as it is:";
                plan.notes.push(note(Reason::TrustKept, why));
            }
        }
        VariableSource::Reference => {
            let why = "comes by valueFrom, and stays as it is:";
            plan.notes.push(note(Reason::TrustKept, why));
        }
        VariableSource::Unknown { .. } => {
            let why = "was set, and may have had other options by an envFrom that is not read; if it has, set them in env:";
            plan.notes.push(note(Reason::TrustReplaced, why));
            plan.add.push((OPTIONS, option));
        }
        VariableSource::Absent => plan.add.push((OPTIONS, option)),
        VariableSource::Literal { index, value } => {
            plan.replace
                .push((index, format!("{value} {option}").trim_start().to_owned()));
        }
        // The kubelet puts in what envFrom brings.
        VariableSource::ConfigMap { .. } => plan.add.push((OPTIONS, format!("$({OPTIONS}) {option}"))),
    }
}
