//! Everything between a body that is ready to go and an upstream's answer: who is asked, in which order, how
//! often, over which connection. Between `compress` and the relay in `http`.

pub mod connect;
pub mod guard;
pub(crate) mod lookup;
pub mod model;
pub mod path;
pub mod prefix;
mod prepare;
pub mod provider;
pub mod secret;
pub mod send;
pub mod settings;

use std::sync::Arc;
use std::time::Duration;

use liquid_process::Invalid;

pub use connect::{ClientError, ConnectError, Connector, HttpClient};
pub use guard::Guard;
pub use path::{CallPath, Prefix};
pub use prepare::plain_worker_call;
pub use provider::{Provider, Target};
pub use send::{AnswerBody, Failure, OutgoingCall, UpstreamAnswer, UpstreamResponse};
pub use settings::{ProviderSettings, Settings};

use crate::api::{ProviderKind, Wire};

/// The providers that answer each call. Rebuilt as a whole when the configuration changes.
#[derive(Debug)]
pub struct Routes {
    synthesis: Vec<Target>,
    openai: Target,
    anthropic: Target,
}

impl Routes {
    /// Resolves the settings.
    ///
    /// # Errors
    /// The first provider, key or choice that cannot be used.
    pub fn resolve(settings: &Settings) -> Result<Self, Invalid> {
        if settings.model.is_none() && !settings.fallbacks.is_empty() {
            let remedy = "upstream.model is not set; set it to the first choice";
            return Err(Invalid::new(
                "upstream.fallbacks",
                format!("{:?}", settings.fallbacks),
                remedy,
            ));
        }
        for name in settings.providers.keys() {
            Provider::resolve("upstream.providers", name, settings, false)?;
        }
        let default = |field, name: &str| {
            let provider = Provider::resolve(field, name, settings, false)?;
            Ok::<_, Invalid>(Target {
                provider,
                model: None,
                forward_key: true,
            })
        };
        let openai = default("upstream.openai", &settings.openai)?;
        let anthropic = default("upstream.anthropic", &settings.anthropic)?;
        let model = settings.model.iter().map(|choice| ("upstream.model", choice));
        let fallbacks = settings
            .fallbacks
            .iter()
            .map(|choice| ("upstream.fallbacks", choice));
        let mut synthesis: Vec<Target> = Vec::new();
        for (field, choice) in model.chain(fallbacks) {
            let (name, model) = provider::split_choice(field, choice)?;
            let provider = Provider::resolve(field, name, settings, true)?;
            // The caller's key is meant for the first choice; another origin must not learn it.
            let forward_key = synthesis
                .first()
                .is_none_or(|first| first.provider.same_origin(&provider));
            synthesis.push(Target {
                provider,
                model: Some(model.into()),
                forward_key,
            });
        }
        Ok(Self {
            synthesis,
            openai,
            anthropic,
        })
    }

    /// Returns the targets of a call of this shape, in the order in which they are tried.
    pub fn targets(&self, wire: Wire) -> &[Target] {
        match wire {
            _ if !self.synthesis.is_empty() => &self.synthesis,
            Wire::Messages => std::slice::from_ref(&self.anthropic),
            Wire::Chat | Wire::Responses | Wire::Completions => std::slice::from_ref(&self.openai),
        }
    }

    /// Returns whether calls of this shape are answered here, by the built-in provider.
    pub fn is_local(&self, wire: Wire) -> bool {
        let first = self.targets(wire).first();
        first.is_some_and(|target| target.provider.kind == ProviderKind::Local)
    }

    /// Returns whether nothing of calls of this shape leaves: none of the targets that may be asked is an upstream.
    pub fn stays(&self, wire: Wire) -> bool {
        let kinds = self.targets(wire).iter().map(|target| target.provider.kind);
        // The built-in provider always answers: what stands behind it is never asked.
        let mut asked = kinds.take_while(|kind| *kind != ProviderKind::Local);
        asked.all(ProviderKind::is_inside)
    }

    /// Returns the target of calls that pass through.
    pub fn passthrough(&self, anthropic: bool) -> &Target {
        let default = if anthropic { &self.anthropic } else { &self.openai };
        self.synthesis.first().unwrap_or(default)
    }
}

impl Settings {
    /// Lists every number that cannot be used; providers are checked by [`Routes::resolve`].
    pub fn validate(&self) -> Vec<Invalid> {
        let times = [
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("first_byte_timeout_ms", self.first_byte_timeout_ms),
            ("total_timeout_ms", self.total_timeout_ms),
        ];
        let mut wrong: Vec<Invalid> = times
            .into_iter()
            .filter(|(_, value)| *value == 0)
            .map(|(field, value)| Invalid::new(field, value, "set at least 1 millisecond"))
            .collect();
        if self.retries > 10 {
            wrong.push(Invalid::new("retries", self.retries, "set 0 to 10"));
        }
        wrong
    }
}

/// The connections to upstreams and the limits of calls; one for each thread.
#[derive(Debug, Clone)]
pub struct Upstreams {
    client: HttpClient,
    upgrades: HttpClient,
    limits: Arc<send::RetryLimits>,
    guard: Guard,
}

impl Upstreams {
    /// Builds the clients.
    ///
    /// # Errors
    /// A CA file, TLS or resolver configuration that cannot be used.
    pub fn new(settings: &Settings, guard: Guard) -> Result<Self, ClientError> {
        let options = connect::ClientOptions {
            guard: guard.clone(),
            timeout: Duration::from_millis(settings.connect_timeout_ms),
            ca_file: settings.ca_file.as_deref(),
        };
        let (client, upgrades) = connect::clients(options)?;
        Ok(Self {
            client,
            upgrades,
            limits: Arc::new(send::RetryLimits::new(settings)),
            guard,
        })
    }

    /// Returns the loop guard.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Returns the client for calls that upgrade the connection: HTTP/1.1 only.
    pub fn upgrades(&self) -> &HttpClient {
        &self.upgrades
    }
}
