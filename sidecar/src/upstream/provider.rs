//! A provider resolved from the settings: where it is, how it wants its key, which APIs it speaks.

use std::sync::Arc;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Uri, header};

use super::secret::{Secret, SecretError};
use super::settings::{ProviderSettings, Settings};
use crate::api::header_names::{API_KEY, CREDENTIALS, X_API_KEY};
use crate::api::{ProviderKind, Wire};

/// A provider ready for use.
#[derive(Debug)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: String,
    /// What it speaks.
    pub kind: ProviderKind,
    base: Option<Base>,
    key: Option<Secret>,
}

#[derive(Debug, PartialEq)]
struct Base {
    scheme: Scheme,
    authority: Authority,
    /// Without a slash at its end; may be empty.
    path: String,
}

/// One choice of who answers: a provider, and the model that replaces the client's.
#[derive(Debug, Clone)]
pub struct Target {
    /// Who answers.
    pub provider: Arc<Provider>,
    /// Replaces `model` in the request; absent leaves the client's.
    pub model: Option<String>,
    /// Whether the caller's own key may go there: only to the origin that the caller's key is meant for.
    pub forward_key: bool,
}

/// A provider or choice that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// No provider of this name.
    #[error(
        "{field} = {value:?}: no such provider; use a built-in one (openai, azure, anthropic, gemini, deepseek, vllm, tgi, ollama, local) or add [upstream.providers.{provider}]"
    )]
    Unknown {
        /// The configuration's key.
        field: &'static str,
        /// Its value.
        value: String,
        /// The provider's name in it.
        provider: String,
    },
    /// Not of the form provider/model.
    #[error(
        "{field} = {value:?}: not of the form provider/model; write for example \"openai/gpt-5\" or \"local/extractive\""
    )]
    Form {
        /// The configuration's key.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// The base URL cannot be used.
    #[error("upstream.providers.{name}.base_url = {value:?}: {reason}")]
    BaseUrl {
        /// The provider's name.
        name: String,
        /// The value.
        value: String,
        /// What is wrong, and the remedy.
        reason: &'static str,
    },
    /// The key cannot be read.
    #[error("upstream.providers.{name}: {source}")]
    Key {
        /// The provider's name.
        name: String,
        /// The reason.
        source: SecretError,
    },
    /// Fallbacks without anything to fall back from.
    #[error("upstream.fallbacks is set but upstream.model is not: set upstream.model to the first choice")]
    FallbacksWithoutModel,
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
    ) -> Result<Arc<Self>, ProviderError> {
        let configured = settings.providers.get(name);
        let built_in = ProviderKind::built_in(name);
        if configured.is_none() && built_in.is_none() {
            let (value, provider) = (name.to_owned(), name.to_owned());
            return Err(ProviderError::Unknown {
                field,
                value,
                provider,
            });
        }
        let default = ProviderSettings::default();
        let configured = configured.unwrap_or(&default);
        let kind = configured
            .kind
            .or(built_in.map(|(kind, _)| kind))
            .unwrap_or(ProviderKind::OpenaiCompatible);
        let url = configured
            .base_url
            .as_deref()
            .or(built_in.and_then(|(_, url)| url));
        let base = match (kind, url) {
            (ProviderKind::Local, _) => None,
            (_, Some(url)) => Some(Base::parse(name, url, kind)?),
            (_, None) => {
                let reason = "missing; give the URL with the API's version, such as https://host/v1";
                return Err(ProviderError::BaseUrl {
                    name: name.into(),
                    value: String::new(),
                    reason,
                });
            }
        };
        let key = Secret::open(
            configured.api_key_env.as_deref(),
            configured.api_key_file.as_deref(),
        )
        .map_err(|source| ProviderError::Key {
            name: name.into(),
            source,
        })?;
        let usual = || {
            kind.usual_key_variable()
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

    /// Its name in metrics and traces: the conventions' own, or the configuration's.
    pub fn genai_name(&self) -> &str {
        self.kind.genai_name().unwrap_or(&self.name)
    }

    /// Whether the provider answers this API in its own words, so that nothing has to be translated.
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
            (_, wire) => wire != Wire::Messages,
        }
    }

    /// The URL for a path below the API's version, such as `/chat/completions`; `/` alone is the server's root.
    pub fn url(&self, path: &str, query: Option<&str>) -> Option<Uri> {
        let base = self.base.as_ref()?;
        let prefix = if path == "/" { "" } else { base.path.as_str() };
        let path = match query {
            Some(query) => format!("{prefix}{path}?{query}"),
            None => format!("{prefix}{path}"),
        };
        Uri::builder()
            .scheme(base.scheme.clone())
            .authority(base.authority.clone())
            .path_and_query(PathAndQuery::try_from(path).ok()?)
            .build()
            .ok()
    }

    /// Whether both have the same scheme, host and port.
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
    fn parse(name: &str, url: &str, kind: ProviderKind) -> Result<Self, ProviderError> {
        let fail = |reason| ProviderError::BaseUrl {
            name: name.into(),
            value: url.into(),
            reason,
        };
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
            ProviderKind::Azure if !path.ends_with("/openai/v1") => format!("{path}/openai/v1"),
            _ => path.to_owned(),
        };
        Ok(Self {
            scheme,
            authority,
            path,
        })
    }
}

/// Splits `provider/model` at its first slash; a model's name may hold more of them.
///
/// # Errors
/// When a side is missing.
pub fn split_choice<'a>(field: &'static str, value: &'a str) -> Result<(&'a str, &'a str), ProviderError> {
    match value.split_once('/') {
        Some((provider, model)) if !provider.is_empty() && !model.is_empty() => Ok((provider, model)),
        _ => Err(ProviderError::Form {
            field,
            value: value.into(),
        }),
    }
}

#[cfg(test)]
mod tests;
