//! Variables by which clients in an intercepted pod find the authorities that they trust.
//!
//! OpenSSL, Go and Python's clients trust the file that such a variable names instead of their own, so it holds the
//! public authorities too; Node trusts it beside its own. Java reads none of them: [`super::java`].

use liquid_contract::files::AUTHORITIES;

use super::find::{VariableSource, find_variable};
use super::plan::{EnvContext, Plan};
use crate::inject::outcome::{Note, Reason};
use crate::inject::pod::Container;
use crate::names::{TRUST_BUNDLE, TRUST_FOLDER};

/// Variables that stand or fall together: a client that reads one of them reads the others where it is missing.
struct Group {
    /// The variables that are set.
    set: &'static [&'static str],
    /// Further ones, which are not set but decide too.
    respected: &'static [&'static str],
    /// The file in the folder of authorities.
    file: &'static str,
}

const GROUPS: [Group; 3] = [
    Group {
        set: &["SSL_CERT_FILE"],
        respected: &["SSL_CERT_DIR"],
        file: TRUST_BUNDLE,
    },
    Group {
        set: &["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"],
        respected: &[],
        file: TRUST_BUNDLE,
    },
    Group {
        set: &["NODE_EXTRA_CA_CERTS"],
        respected: &[],
        file: AUTHORITIES,
    },
];

/// What was found of a container's own trust.
#[derive(Default)]
struct Found {
    /// Variables that the container sets, and those that stay as they are therefore.
    own: Vec<&'static str>,
    kept: Vec<&'static str>,
    /// Variables that were set although a source that is not read may have them.
    uncertain: Vec<&'static str>,
}

/// Adds the variables that a container has not set itself. Where it may have them from a source that is not read, they
/// are added all the same: without them its calls to the providers fail, and the pod was to be intercepted.
pub(super) fn add_trust(plan: &mut Plan, container: &Container<'_>, context: &EnvContext<'_>) {
    let mut found = Found::default();
    for group in &GROUPS {
        add_group(plan, group, container, context, &mut found);
    }
    if !found.kept.is_empty() {
        let text = format!(
            "container {}: {} is its own, so that {} stays as it is: clients that read it trust the sidecar's certificate \
             only if its file holds {TRUST_FOLDER}/{AUTHORITIES} too",
            container.name,
            found.own.join(", "),
            found.kept.join(", ")
        );
        plan.notes.push(Note::new(Reason::TrustKept, text));
    }
    if !found.uncertain.is_empty() {
        let text = format!(
            "container {}: {} was set, and may have had another value by an envFrom that is not read; if it has, set it in \
             env to a file that holds {TRUST_FOLDER}/{AUTHORITIES} too",
            container.name,
            found.uncertain.join(", ")
        );
        plan.notes.push(Note::new(Reason::TrustReplaced, text));
    }
}

fn add_group(
    plan: &mut Plan,
    group: &Group,
    container: &Container<'_>,
    context: &EnvContext<'_>,
    found: &mut Found,
) {
    let file = format!("{TRUST_FOLDER}/{}", group.file);
    let find = |variable: &'static str| find_variable(container.value, variable, context.config_maps);
    let is_own = |variable: &&'static str| match find(variable) {
        VariableSource::Absent | VariableSource::Unknown { .. } => false,
        VariableSource::Literal { value, .. } => value != file,
        VariableSource::Reference | VariableSource::ConfigMap { .. } => true,
    };
    let all = group.set.iter().chain(group.respected).copied();
    let own: Vec<&'static str> = all.filter(is_own).collect();
    if !own.is_empty() {
        found.own.extend(own);
        found.kept.extend(group.set);
        return;
    }
    for variable in group.set.iter().copied() {
        match find(variable) {
            VariableSource::Literal { .. } => continue,
            VariableSource::Unknown { .. } => found.uncertain.push(variable),
            VariableSource::Absent | VariableSource::Reference | VariableSource::ConfigMap { .. } => {}
        }
        plan.add.push((variable, file.clone()));
    }
}
