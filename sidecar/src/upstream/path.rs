//! The address of a call on a surface below its provider. Clients spell one call with the prefixes of several
//! APIs, and a provider's base URL carries a prefix of its own: one of the two must go. Between `http::route`,
//! which reads the client's path, and [`super::send`].

use std::borrow::Cow;

use http::Uri;

use super::Provider;
use crate::api::ProviderKind;

/// The query's name for the version of Azure's dated API.
const API_VERSION: &str = "api-version";

/// A client's path, read: a call of an API, and what stood before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallPath {
    /// Path below the API's version, such as `/chat/completions`.
    pub endpoint: &'static str,
    /// What stood before it.
    pub prefix: Prefix,
}

/// What a client's path has before the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prefix {
    /// Nothing, or `/v1`.
    Version,
    /// The prefix of an API, as base URLs carry it: `/openai/v1`, `/v1beta/openai`, `/api/v1`.
    Api(String),
    /// The prefix of Azure's dated API, whose version is in the query.
    Azure {
        /// `/openai`, or what a gateway has in its place.
        root: String,
        /// The deployment's name as it stands in the path, which takes the place of the model.
        deployment: Option<String>,
    },
    /// Something else, a gateway's. It stays.
    Gateway(String),
}

impl CallPath {
    /// Returns the path of a call without a prefix.
    pub fn new(endpoint: &'static str) -> Self {
        Self {
            endpoint,
            prefix: Prefix::Version,
        }
    }

    /// Returns the model that the path names, percent-decoded: Azure's deployment.
    pub fn model(&self) -> Option<Cow<'_, str>> {
        match &self.prefix {
            Prefix::Azure {
                deployment: Some(name),
                ..
            } => Some(percent_encoding::percent_decode_str(name).decode_utf8_lossy()),
            _ => None,
        }
    }
}

/// The address of a call at one provider.
#[derive(Debug, PartialEq, Eq)]
pub struct Address {
    /// The URL, if the provider has one.
    pub url: Option<Uri>,
    /// Whether the model that the path named is no part of the URL, and so belongs into the body.
    pub model_in_body: bool,
}

impl Provider {
    /// Returns the address of a call here. `model` is the configured one, which goes before the client's.
    ///
    /// The prefix of an API gives way to the base URL's where that has one; below a bare server it is the only
    /// one there is, and stays. A deployment stays in the path where the provider is Azure's dated API, and
    /// becomes the model elsewhere.
    pub fn address(&self, path: &CallPath, query: Option<&str>, model: Option<&str>) -> Address {
        let endpoint = path.endpoint;
        let is_azure = self.kind == ProviderKind::Azure;
        let with = |prefix: &str| self.url(&format!("{prefix}{endpoint}"), query);
        let at_root = |prefix: &str| self.root_url(&format!("{prefix}{endpoint}"), query);
        let url = match &path.prefix {
            Prefix::Version => self.url(endpoint, query),
            Prefix::Api(_) if self.names_api() => self.url(endpoint, query),
            Prefix::Api(prefix) => with(prefix),
            Prefix::Gateway(prefix) if is_azure => at_root(prefix),
            Prefix::Gateway(prefix) => with(prefix),
            Prefix::Azure { deployment, .. } if !is_azure && self.names_api() => {
                let query = query.and_then(without_api_version);
                return Address {
                    url: self.url(endpoint, query.as_deref()),
                    model_in_body: deployment.is_some(),
                };
            }
            Prefix::Azure { root, deployment } => {
                let name = deployment.as_deref().map(|name| match model {
                    Some(model) => encode_segment(model),
                    None => name.to_owned(),
                });
                let deployments = name.map_or_else(String::new, |name| format!("/deployments/{name}"));
                let root = if root.is_empty() && is_azure {
                    "/openai"
                } else {
                    root
                };
                let prefix = format!("{root}{deployments}");
                if is_azure { at_root(&prefix) } else { with(&prefix) }
            }
        };
        Address {
            url,
            model_in_body: false,
        }
    }
}

/// Returns whether a segment of a path names an API or its version, in any case.
pub fn names_api(segment: &str) -> bool {
    is_one_of(segment, &["openai", "anthropic"]) || is_version(segment)
}

/// Returns whether a segment of a path is a version, in any case: `v1`, `v1beta`, `V3`.
pub(super) fn is_version(segment: &str) -> bool {
    let Some(rest) = segment.strip_prefix(['v', 'V']) else {
        return false;
    };
    let letters = rest.trim_matches(|c: char| c.is_ascii_digit());
    rest.starts_with(|c: char| c.is_ascii_digit()) && is_one_of(letters, &["", "alpha", "beta"])
}

fn is_one_of(segment: &str, names: &[&str]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(segment))
}

/// Returns the query without the version of Azure's dated API; `None` if nothing is left.
fn without_api_version(query: &str) -> Option<String> {
    let others = query.split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !name.eq_ignore_ascii_case(API_VERSION)
    });
    let others: Vec<&str> = others.collect();
    (!others.is_empty()).then(|| others.join("&"))
}

/// Writes a name as one segment of a path.
fn encode_segment(name: &str) -> String {
    const SEGMENT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(name, SEGMENT).to_string()
}

#[cfg(test)]
mod tests;
