//! Which variables a container gets. The rules, in the order in which they are tried:
//!
//! | the container has the variable | then |
//! |---|---|
//! | not at all | it is added |
//! | with our own value | nothing is left to do |
//! | as a literal, or from a ConfigMap that can be read | kept, with a note; adopted as upstream on request |
//! | by `valueFrom` | kept, with a note |
//! | perhaps: from a Secret or a ConfigMap that cannot be read | none is added, with a note; added on request |
//!
//! Two names for one API stand or fall together: LangChain reads `OPENAI_API_BASE`, the SDKs `OPENAI_BASE_URL`, and
//! an application that sets one of them means both.

mod adopt;
mod find;

use serde_json::Value;

pub use adopt::Upstreams;
pub(super) use find::{Found, find};

use super::annotations::Overrides;
use super::no_proxy;
use super::outcome::{Note, Reason};
use super::pod::{Container, items, text};
use super::settings::ConfigMaps;

/// An API that applications call, and the variables that say where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// OpenAI's.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

impl Api {
    const ALL: [Self; 2] = [Self::OpenAi, Self::Anthropic];

    fn variables(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => &["OPENAI_BASE_URL", "OPENAI_API_BASE"],
            Self::Anthropic => &["ANTHROPIC_BASE_URL"],
        }
    }

    /// The value that leads to the sidecar. Anthropic's SDKs add the version themselves.
    pub fn url(self, port: u16) -> String {
        match self {
            Self::OpenAi => format!("http://127.0.0.1:{port}/v1"),
            Self::Anthropic => format!("http://127.0.0.1:{port}"),
        }
    }
}

/// Names of the ConfigMaps that have to be known before [`plan`] can decide.
pub fn config_maps<'a>(containers: impl Iterator<Item = Container<'a>>) -> Vec<&'a str> {
    let mut names: Vec<&str> = containers
        .flat_map(|container| items(container.value, "envFrom"))
        .filter_map(|source| text(source.get("configMapRef")?, "name"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What holds for all containers of a pod.
#[derive(Debug)]
pub struct Context<'a> {
    /// The sidecar's port.
    pub port: u16,
    /// What the pod's owner asks for.
    pub overrides: &'a Overrides,
    /// What `envFrom` may bring.
    pub config_maps: &'a ConfigMaps,
}

/// Changes of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Variables to add: name and value.
    pub add: Vec<(&'static str, String)>,
    /// Entries of `env` whose value changes: index and value.
    pub replace: Vec<(usize, String)>,
    /// What to say.
    pub notes: Vec<Note>,
    /// Whether calls of the container pass the sidecar, for one API at least.
    pub served: bool,
}

/// Plans one container. What it adopts is kept in `upstreams`, which all containers share.
pub fn plan(container: &Container<'_>, context: &Context<'_>, upstreams: &mut Upstreams) -> Plan {
    let mut plan = Plan::default();
    for api in Api::ALL {
        let variables: Vec<(&'static str, Found<'_>)> = api
            .variables()
            .iter()
            .map(|name| (*name, find(container.value, name, context.config_maps)))
            .collect();
        plan_api(&mut plan, container, api, &variables, context, upstreams);
    }
    if plan.served {
        no_proxy::plan(&mut plan, container, context.config_maps);
    }
    plan
}

fn plan_api(
    plan: &mut Plan,
    container: &Container<'_>,
    api: Api,
    variables: &[(&'static str, Found<'_>)],
    context: &Context<'_>,
    upstreams: &mut Upstreams,
) {
    let foreign: Vec<&(&'static str, Found<'_>)> = variables
        .iter()
        .filter(|(_, found)| !is_free(found, context))
        .collect();
    let adopted = match foreign.is_empty() {
        true => None,
        false => match adopt::try_adopt(api, &foreign, context, upstreams) {
            Ok(url) => Some(url),
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
            Found::Literal { value, .. } if points_here(value, context.port) => {}
            Found::Literal { index, .. } => plan.replace.push((*index, api.url(context.port))),
            _ => plan.add.push((*name, api.url(context.port))),
        }
    }
}

/// Whether a variable may be set, or is ours already.
fn is_free(found: &Found<'_>, context: &Context<'_>) -> bool {
    match found {
        Found::Absent => true,
        Found::Literal { value, .. } => points_here(value, context.port),
        Found::Unknown { .. } => context.overrides.override_env_from,
        Found::Reference | Found::ConfigMap { .. } => false,
    }
}

/// Whether a base URL leads to the sidecar.
fn points_here(url: &str, port: u16) -> bool {
    let rest = url.strip_prefix("http://").unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    ["127.0.0.1", "localhost"]
        .iter()
        .any(|host| authority == format!("{host}:{port}"))
}

/// The entries of `env`.
pub(super) fn entries(container: &Value) -> impl Iterator<Item = &Value> {
    items(container, "env")
}
