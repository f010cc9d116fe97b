//! A provider resolved from the settings: where it is, how it wants its key, which APIs it speaks.

use std::sync::Arc;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Uri, header};
use liquid_process::Invalid;

use super::path::{is_version, names_api};
use super::secret::Secret;
use super::settings::{ProviderSettings, Settings};
use crate::api::header_names::{API_KEY, CREDENTIALS, X_API_KEY};
use crate::api::{ProviderKind, Wire};

/// Path of Azure's API that needs no date, below the resource's endpoint.
const AZURE_API: &str = "/openai/v1";

/// A provider ready for use.
#[derive(Debug)]
pub struct Provider {
    /// The provider's name in the configuration.
    pub name: String,
    /// The kind of provider: what it speaks.
    pub kind: ProviderKind,
    base: Option<Base>,
    key: Option<Secret>,
}

#[derive(Debug, PartialEq)]
struct Base {
    scheme: Scheme,
    authority: Authority,
    /// The path without a slash at its end; may be empty.
    path: String,
}

/// A provider that may answer a call, and the model that replaces the client's.
#[derive(Debug, Clone)]
pub struct Target {
    /// The provider.
    pub provider: Arc<Provider>,
    /// Replaces `model` in the request; absent leaves the client's.
    pub model: Option<String>,
    /// Whether the caller's own key may go there: only to the origin that the caller's key is meant for.
    pub forward_key: bool,
}

impl Provider {
    /// Resolves a provider by name. With `ambient_key` the provider's usual variable counts where no key is
    /// configured.
    ///
    /// # Errors
    /// An unknown name, an unusable base URL, or a key that cannot be read.
    pub fn resolve(
        field: &'static str,
        name: &str,
        settings: &Settings,
        ambient_key: bool,
    ) -> Result<Arc<Self>, Invalid> {
        let configured = settings.providers.get(name);
        let built_in = ProviderKind::built_in_named(name);
        if configured.is_none() && built_in.is_none() {
            return Err(unknown_provider(field, name));
        }
        let default = ProviderSettings::default();
        let configured = configured.unwrap_or(&default);
        let kind = configured
            .kind
            .or(built_in)
            .unwrap_or(ProviderKind::OpenaiCompatible);
        let url = configured
            .base_url
            .as_deref()
            .or(built_in.and_then(ProviderKind::default_url));
        let base = match (kind, url) {
            (ProviderKind::Liquid, _) => {
                refuse_server(name, configured)?;
                None
            }
            (ProviderKind::Local, _) => None,
            (_, Some(url)) => Some(Base::parse(name, url, kind)?),
            (_, None) => {
                let remedy = "missing; give the URL with the API's version, such as https://host/v1";
                return Err(invalid_base_url(name, "", remedy));
            }
        };
        let key = Secret::open(
            configured.api_key_env.as_deref(),
            configured.api_key_file.as_deref(),
        )
        .map_err(|invalid| invalid.within(&entry(name)))?;
        let usual = || {
            kind.key_variable()
                .filter(|_| ambient_key)
                .and_then(Secret::from_variable)
        };
        Ok(Arc::new(Self {
            name: name.into(),
            kind,
            base,
            key: key.or_else(usual),
        }))
    }

    /// Returns the name in metrics and traces: the conventions' own, or the configuration's.
    pub fn genai_name(&self) -> &str {
        self.kind.genai_name().unwrap_or(&self.name)
    }

    /// Returns whether the provider answers this API in its own words, so that nothing has to be translated.
    pub fn speaks(&self, wire: Wire) -> bool {
        match (self.kind, wire) {
            (
                ProviderKind::Local
                | ProviderKind::OpenaiCompatible
                | ProviderKind::Vllm
                | ProviderKind::Ollama,
                _,
            ) => true,
            (ProviderKind::Anthropic, wire) => wire == Wire::Messages,
            (ProviderKind::Liquid, wire) => matches!(wire, Wire::Chat | Wire::Completions),
            (_, wire) => wire != Wire::Messages,
        }
    }

    /// Returns the URL for a path below the API's version, such as `/chat/completions`; `/` alone is the
    /// server's root.
    pub fn url(&self, path: &str, query: Option<&str>) -> Option<Uri> {
        let base = self.base.as_ref()?;
        let prefix = if path == "/" { "" } else { base.path.as_str() };
        base.join(&format!("{prefix}{path}"), query)
    }

    /// Returns the URL for a path below the server's root, which of Azure's is where both of its APIs begin.
    pub(super) fn root_url(&self, path: &str, query: Option<&str>) -> Option<Uri> {
        let base = self.base.as_ref()?;
        let root = match self.kind {
            ProviderKind::Azure => base.path.strip_suffix(AZURE_API).unwrap_or_default(),
            _ => "",
        };
        base.join(&format!("{root}{path}"), query)
    }

    /// Returns the URL for a path that has no version, as it stands beside the base URL's version.
    pub fn unversioned_url(&self, path: &str, query: Option<&str>) -> Option<Uri> {
        let base = self.base.as_ref()?;
        let above = base.path.rsplit_once('/').filter(|(_, last)| is_version(last));
        let prefix = above.map_or(base.path.as_str(), |(above, _)| above);
        base.join(&format!("{prefix}{path}"), query)
    }

    /// Returns whether the base URL says which API is there, as in `/v1`, `/v1beta/openai` and `/openai/v1`.
    pub(super) fn names_api(&self) -> bool {
        let last = self.base.as_ref().and_then(|base| base.path.rsplit('/').next());
        last.is_some_and(names_api)
    }

    /// Returns whether both have the same scheme, host and port.
    pub fn same_origin(&self, other: &Self) -> bool {
        match (&self.base, &other.base) {
            (Some(one), Some(two)) => one.scheme == two.scheme && one.authority == two.authority,
            _ => false,
        }
    }

    /// Puts the provider's own key in place of the caller's, or takes the caller's away unless it may go there.
    pub fn authorize(&self, headers: &mut HeaderMap, forward_key: bool) {
        let own = self.key.as_ref().and_then(Secret::value);
        if own.is_some() || !forward_key {
            for name in &CREDENTIALS {
                headers.remove(name);
            }
        }
        let Some(key) = own else {
            // Kept out of debug output, and of HTTP/2's table of headers that are sent again by number.
            for name in &CREDENTIALS {
                if let Some(value) = headers.get_mut(name) {
                    value.set_sensitive(true);
                }
            }
            return;
        };
        let (name, value) = match self.kind {
            ProviderKind::Azure => (API_KEY, HeaderValue::from_str(&key)),
            ProviderKind::Anthropic => (X_API_KEY, HeaderValue::from_str(&key)),
            _ => (
                header::AUTHORIZATION,
                HeaderValue::from_str(&format!("Bearer {key}")),
            ),
        };
        if let Ok(mut value) = value {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
}

impl Base {
    fn join(&self, path: &str, query: Option<&str>) -> Option<Uri> {
        let path = match query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(PathAndQuery::try_from(path).ok()?)
            .build()
            .ok()
    }

    fn parse(name: &str, url: &str, kind: ProviderKind) -> Result<Self, Invalid> {
        let fail = |remedy| invalid_base_url(name, url, remedy);
        let parts = url
            .parse::<Uri>()
            .map_err(|_| fail("not a URL; write for example https://host/v1"))?
            .into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(fail(
                "needs a scheme and a host; write for example https://host/v1",
            ));
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(fail("the scheme must be http or https"));
        }
        if authority.as_str().contains('@') {
            return Err(fail("must not hold a password; use api_key_env or api_key_file"));
        }
        let path = parts
            .path_and_query
            .as_ref()
            .map_or("", PathAndQuery::path)
            .trim_end_matches('/');
        if parts
            .path_and_query
            .as_ref()
            .is_some_and(|path| path.query().is_some())
        {
            return Err(fail(
                "must not have a query; leave out what follows the question mark",
            ));
        }
        let path = match kind {
            ProviderKind::Azure if !path.ends_with(AZURE_API) => format!("{path}{AZURE_API}"),
            _ => path.to_owned(),
        };
        Ok(Self {
            scheme,
            authority,
            path,
        })
    }
}

/// Names the section of one provider.
fn entry(name: &str) -> String {
    format!("upstream.providers.{name}")
}

fn invalid_base_url(name: &str, value: &str, remedy: &str) -> Invalid {
    Invalid::new("base_url", format!("{value:?}"), remedy).within(&entry(name))
}

/// Refuses the address and the key of a provider whose calls go where extraction goes.
fn refuse_server(name: &str, settings: &ProviderSettings) -> Result<(), Invalid> {
    let ProviderSettings {
        kind: _,
        base_url,
        api_key_env,
        api_key_file,
    } = settings;
    let file = api_key_file.as_ref().map(|path| path.display().to_string());
    let set = [
        ("base_url", base_url.clone()),
        ("api_key_env", api_key_env.clone()),
        ("api_key_file", file),
    ];
    let remedy = "remove it: the calls of a provider of kind liquid go to extract.workers, with extract.tls";
    set.into_iter()
        .find_map(|(field, value)| Some(Invalid::new(field, format!("{:?}", value?), remedy)))
        .map_or(Ok(()), |invalid| Err(invalid.within(&entry(name))))
}

fn unknown_provider(field: &str, name: &str) -> Invalid {
    let built_in: Vec<&str> = ProviderKind::built_in().map(ProviderKind::name).collect();
    let remedy = format!(
        "no such provider; use a built-in one ({}) or add [{}]",
        built_in.join(", "),
        entry(name)
    );
    Invalid::new(field, format!("{name:?}"), remedy)
}

/// Splits `provider/model` at its first slash; a model's name may hold more of them.
///
/// # Errors
/// When a side is missing.
pub fn split_choice<'a>(field: &'static str, value: &'a str) -> Result<(&'a str, &'a str), Invalid> {
    match value.split_once('/') {
        Some((provider, model)) if !provider.is_empty() && !model.is_empty() => Ok((provider, model)),
        _ => {
            let remedy =
                "not of the form provider/model; write for example \"openai/gpt-5\" or \"local/extractive\"";
            Err(Invalid::new(field, format!("{value:?}"), remedy))
        }
    }
}

#[cfg(test)]
mod tests;
