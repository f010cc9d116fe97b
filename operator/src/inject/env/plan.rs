//! What planning a container's variables reads and gives: the APIs, the pod's settings, and the plan as data.

use liquid_contract::InterceptedHost;

use crate::inject::annotations::Overrides;
use crate::inject::outcome::Note;
use crate::inject::settings::ConfigMaps;

/// An API that applications call, and the variables that hold its base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// OpenAI's API.
    OpenAi,
    /// Anthropic's API.
    Anthropic,
}

impl Api {
    /// Every API.
    pub const ALL: [Self; 2] = [Self::OpenAi, Self::Anthropic];

    /// Variables in which SDKs look for the base URL of this API.
    pub fn variables(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => &["OPENAI_BASE_URL", "OPENAI_API_BASE"],
            Self::Anthropic => &["ANTHROPIC_BASE_URL"],
        }
    }

    /// Returns the base URL of the sidecar for this API. Anthropic's SDKs add the version themselves.
    pub fn sidecar_url(self, port: u16) -> String {
        match self {
            Self::OpenAi => format!("http://127.0.0.1:{port}/v1"),
            Self::Anthropic => format!("http://127.0.0.1:{port}"),
        }
    }
}

/// Settings that all containers of a pod share.
#[derive(Debug)]
pub struct EnvContext<'a> {
    /// The port on which the sidecar serves the application.
    pub port: u16,
    /// What the pod's annotations ask for.
    pub overrides: &'a Overrides,
    /// The ConfigMaps that `envFrom` may name.
    pub config_maps: &'a ConfigMaps,
    /// The hosts whose TLS ends in the sidecar.
    pub intercepted: &'a [InterceptedHost],
}

/// The changes to one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Variables to add: name and value.
    pub add: Vec<(&'static str, String)>,
    /// Entries of `env` whose value changes: index and value.
    pub replace: Vec<(usize, String)>,
    /// Events and warnings about this container.
    pub notes: Vec<Note>,
    /// Whether the container's calls pass the sidecar, for one API at least.
    pub served: bool,
}
