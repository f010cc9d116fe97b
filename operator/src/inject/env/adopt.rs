//! Takes the base URL that an application sets itself as the sidecar's upstream, on request.

use http::Uri;
use http::uri::Scheme;
use liquid_contract::environment::{SIDECAR_ANTHROPIC_URL, SIDECAR_OPENAI_URL};

use super::find::VariableSource;
use super::plan::{Api, EnvContext};

/// Returns the variable by which the sidecar learns an API's upstream.
fn upstream_variable(api: Api) -> &'static str {
    match api {
        Api::OpenAi => SIDECAR_OPENAI_URL,
        Api::Anthropic => SIDECAR_ANTHROPIC_URL,
    }
}

/// Upstreams that containers of one pod have set for its sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstreams {
    openai: Option<String>,
    anthropic: Option<String>,
}

impl Upstreams {
    /// Reads them from the variables of an injected sidecar.
    pub(in crate::inject) fn from_variables(value_of: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            openai: value_of(upstream_variable(Api::OpenAi)),
            anthropic: value_of(upstream_variable(Api::Anthropic)),
        }
    }

    fn slot(&mut self, api: Api) -> &mut Option<String> {
        match api {
            Api::OpenAi => &mut self.openai,
            Api::Anthropic => &mut self.anthropic,
        }
    }

    /// Lists the sidecar's variables: name and value.
    pub(in crate::inject) fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [(Api::OpenAi, &self.openai), (Api::Anthropic, &self.anthropic)]
            .into_iter()
            .filter_map(|(api, url)| Some((upstream_variable(api), url.as_deref()?)))
    }
}

/// Adopts what the variables of one API say, if the owner asked for it and they agree. The error ends a
/// sentence that begins with their names.
pub(super) fn try_adopt(
    api: Api,
    foreign: &[&(&'static str, VariableSource<'_>)],
    context: &EnvContext<'_>,
    upstreams: &mut Upstreams,
) -> Result<String, String> {
    let mut url: Option<String> = None;
    for (_, found) in foreign {
        let value = readable_value(found, context)?;
        let value = normalize_url(api, value)?;
        if url.as_ref().is_some_and(|url| *url != value) {
            return Err("have different values; set them to the same one".into());
        }
        url = Some(value);
    }
    let url = url.ok_or("is not set")?;
    let slot = upstreams.slot(api);
    match slot {
        Some(other) if *other != url => Err(format!(
            "is {url}, and the sidecar's upstream is {other} already; a pod has one upstream for each API"
        )),
        _ => {
            *slot = Some(url.clone());
            Ok(url)
        }
    }
}

/// Returns the value that may be adopted, or why there is none.
fn readable_value<'a>(found: &VariableSource<'a>, context: &EnvContext<'_>) -> Result<&'a str, String> {
    let kept = "its calls do not pass the sidecar";
    match found {
        VariableSource::Reference => Err(format!("comes by valueFrom; {kept}")),
        VariableSource::Unknown { kind, name } => Err(format!(
            "may come from {kind} {name}, which is not read; {kept} unless \
             liquidmemory.dev/override-env-from is \"true\""
        )),
        VariableSource::Literal { value, .. } | VariableSource::ConfigMap { value, .. }
            if context.overrides.adopt =>
        {
            Ok(value)
        }
        VariableSource::Literal { .. } => Err(format!(
            "is set; {kept}: remove it, or set liquidmemory.dev/adopt-upstream to \"true\""
        )),
        VariableSource::ConfigMap { name, .. } => Err(format!(
            "comes from ConfigMap {name}; {kept}: remove it, or set liquidmemory.dev/adopt-upstream to \"true\""
        )),
        VariableSource::Absent => Err("is not set".into()),
    }
}

/// Returns the URL as the sidecar reads it, with the API's version; refuses what the sidecar would refuse.
fn normalize_url(api: Api, value: &str) -> Result<String, String> {
    let refuse = |why: &str| Err(format!("cannot be adopted: {why}"));
    if value.contains("$(") {
        return refuse("it refers to another variable; write the URL out");
    }
    let Ok(parts) = value.parse::<Uri>().map(Uri::into_parts) else {
        return refuse("not a URL");
    };
    let web = [Some(Scheme::HTTP), Some(Scheme::HTTPS)].contains(&parts.scheme);
    let Some(authority) = parts.authority.filter(|_| web) else {
        return refuse("not a URL with http or https and a host");
    };
    if authority.as_str().contains('@') {
        return refuse("it holds a password");
    }
    if parts.path_and_query.is_some_and(|path| path.query().is_some()) {
        return refuse("it has a query");
    }
    let value = value.trim_end_matches('/');
    Ok(match api {
        Api::Anthropic if !value.ends_with("/v1") => format!("{value}/v1"),
        _ => value.to_owned(),
    })
}
