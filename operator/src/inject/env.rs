//! Which variables a container gets. The rules, in the order in which they are tried:
//!
//! | the container has the variable | then |
//! |---|---|
//! | not at all | it is added |
//! | with our own value | nothing is left to do |
//! | as a literal, or from a ConfigMap that can be read | kept, with a note; adopted as upstream on request |
//! | as a literal, or from a ConfigMap, with the URL of a host that is intercepted | kept: its calls pass the sidecar all the same |
//! | by `valueFrom` | kept, with a note |
//! | perhaps: from a Secret or a ConfigMap that cannot be read | none is added, with a note; added on request |
//!
//! Two names for one API stand or fall together: LangChain reads `OPENAI_API_BASE`, the SDKs
//! `OPENAI_BASE_URL`, and an application that sets one of them means both.

mod adopt;
mod find;
mod java;
mod no_proxy;
mod plan;
mod trust;

pub use adopt::Upstreams;
pub use plan::{Api, EnvContext, Plan};

use http::Uri;
use http::uri::Scheme;
use liquid_contract::InterceptedHost;
use liquid_contract::ports::HTTPS;

use super::outcome::{Note, Reason};
use super::pod::{Container, items, text};
use find::{VariableSource, find_variable};

/// Lists the names of the ConfigMaps that [`plan_container`] has to know.
pub fn list_config_maps<'a>(containers: impl Iterator<Item = Container<'a>>) -> Vec<&'a str> {
    let mut names: Vec<&str> = containers
        .flat_map(|container| items(container.value, "envFrom"))
        .filter_map(|source| text(source.get("configMapRef")?, "name"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Plans the changes to one container. Base URLs that it adopts are kept in `upstreams`, which all containers
/// share.
pub fn plan_container(
    container: &Container<'_>,
    context: &EnvContext<'_>,
    upstreams: &mut Upstreams,
) -> Plan {
    let mut plan = Plan::default();
    for api in Api::ALL {
        let variables: Vec<(&'static str, VariableSource<'_>)> = api
            .variables()
            .iter()
            .map(|name| (*name, find_variable(container.value, name, context.config_maps)))
            .collect();
        plan_api(&mut plan, container, api, &variables, context, upstreams);
    }
    if !context.intercepted.is_empty() {
        plan.served = true;
        trust::add_trust(&mut plan, container, context);
        java::add_trust_store(&mut plan, container, context);
    }
    if plan.served {
        no_proxy::extend_no_proxy(&mut plan, container, context);
    }
    plan
}

fn plan_api(
    plan: &mut Plan,
    container: &Container<'_>,
    api: Api,
    variables: &[(&'static str, VariableSource<'_>)],
    context: &EnvContext<'_>,
    upstreams: &mut Upstreams,
) {
    let foreign: Vec<&(&'static str, VariableSource<'_>)> = variables
        .iter()
        .filter(|(_, found)| !is_free(found, context))
        .collect();
    let adopted = match foreign.is_empty() {
        true => None,
        false => match adopt::try_adopt(api, &foreign, context, upstreams) {
            Ok(url) => Some(url),
            // Whatever it sets, its calls pass the sidecar.
            Err(_) if foreign.iter().all(|(_, found)| is_intercepted(found, context)) => return,
            Err(why) => {
                let names: Vec<&str> = foreign.iter().map(|(name, _)| *name).collect();
                let text = format!("container {}: {} {why}", container.name, names.join(", "));
                plan.notes.push(Note::new(Reason::BaseUrlKept, text));
                return;
            }
        },
    };
    if let Some(url) = adopted {
        let text = format!(
            "container {}: its own {} = {url} became the sidecar's upstream",
            container.name,
            api.variables()[0]
        );
        plan.notes.push(Note::new(Reason::BaseUrlAdopted, text));
    }
    plan.served = true;
    for (name, found) in variables {
        match found {
            VariableSource::Literal { value, .. } if leads_to_sidecar(value, context.port) => {}
            VariableSource::Literal { index, .. } => {
                plan.replace.push((*index, api.sidecar_url(context.port)))
            }
            _ => plan.add.push((*name, api.sidecar_url(context.port))),
        }
    }
}

/// Returns true if the operator may set the variable, or has set it already.
fn is_free(found: &VariableSource<'_>, context: &EnvContext<'_>) -> bool {
    match found {
        VariableSource::Absent => true,
        VariableSource::Literal { value, .. } => leads_to_sidecar(value, context.port),
        VariableSource::Unknown { .. } => context.overrides.override_env_from,
        VariableSource::Reference | VariableSource::ConfigMap { .. } => false,
    }
}

/// Returns true if the base URL is one of a host whose TLS ends in the sidecar.
fn is_intercepted(found: &VariableSource<'_>, context: &EnvContext<'_>) -> bool {
    let (VariableSource::Literal { value, .. } | VariableSource::ConfigMap { value, .. }) = found else {
        return false;
    };
    let Ok(url) = value.parse::<Uri>() else {
        return false;
    };
    let is_https = url.scheme() == Some(&Scheme::HTTPS) && url.port_u16().unwrap_or(HTTPS) == HTTPS;
    let host = url.host().and_then(InterceptedHost::named);
    is_https && host.is_some_and(|host| context.intercepted.contains(&host))
}

/// Returns true if the base URL is that of the sidecar.
fn leads_to_sidecar(url: &str, port: u16) -> bool {
    let rest = url.strip_prefix("http://").unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    ["127.0.0.1", "localhost"]
        .iter()
        .any(|host| authority == format!("{host}:{port}"))
}
