//! Hosts whose TLS ends in the sidecar of a pod that asks for it.
//!
//! The operator lets these names lead to the sidecar and has its authority vouch for them and for nothing else; the
//! sidecar takes connections under these names and hands on every other.

use crate::Provider;

/// A provider's host whose TLS a sidecar ends.
///
/// The authorities that the operator has made are constrained to this list for ten years: a version that adds a host
/// needs another authority, in a Secret of another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InterceptedHost {
    /// OpenAI's API.
    Openai,
    /// Anthropic's API.
    Anthropic,
}

impl InterceptedHost {
    /// Every host, in the order in which documentation lists them.
    pub const ALL: [Self; 2] = [Self::Openai, Self::Anthropic];

    /// Returns the host's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Openai => "api.openai.com",
            Self::Anthropic => "api.anthropic.com",
        }
    }

    /// Returns the provider whose API the host serves.
    pub const fn provider(self) -> Provider {
        match self {
            Self::Openai => Provider::Openai,
            Self::Anthropic => Provider::Anthropic,
        }
    }

    /// Finds the host of this name, in any case of its letters.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|host| host.name().eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::InterceptedHost;

    #[test]
    fn each_is_the_host_of_its_providers_public_url() {
        for host in InterceptedHost::ALL {
            let url = format!("https://{}/v1", host.name());
            assert_eq!(host.provider().public_url(), Some(url.as_str()));
            assert_eq!(InterceptedHost::named(&host.name().to_uppercase()), Some(host));
        }
        for other in ["", "openai.com", "api.openai.com.", "x.api.openai.com"] {
            assert_eq!(InterceptedHost::named(other), None, "{other}");
        }
    }
}
