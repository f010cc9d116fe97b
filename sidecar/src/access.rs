//! Who may call: clients with a name and a token each, from a folder that may change while the sidecar runs.
//!
//! A sidecar in a pod is reached by its pod alone and asks nobody who he is. One that serves many pods, as a gateway does,
//! has keys of providers that must not serve whoever finds its address.
//!
//! # Expected flow
//! [`Access::open`] reads the folder; [`Access::admit`] is asked before anything else of a call is looked at, and takes the
//! token out of the headers, so that it never reaches a provider; [`Access::keep_current`] follows the folder.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, header};
use liquid_process::Invalid;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::api::header_names::{CREDENTIALS, TOKEN};

#[cfg(test)]
mod tests;

/// Shortest token, in bytes: shorter ones can be found by trying.
const SHORTEST: usize = 16;
/// Largest file of a client, in bytes.
const LARGEST: u64 = 16 << 10;

/// Section `[access]`. Needs a restart; the folder's files are followed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folder with a file for each client that may call: the file's name is the client's, and each of its lines is a token
    /// of at least 16 characters, so that two hold while one is replaced. Default: none, and nobody is asked for a token.
    pub clients_folder: Option<PathBuf>,
    /// Time between two reads of the folder, in milliseconds. Default 5000.
    pub reload_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clients_folder: None,
            reload_ms: 5_000,
        }
    }
}

impl Settings {
    /// Lists what cannot be used, by the keys of this section.
    pub fn validate(&self) -> Option<Invalid> {
        (self.reload_ms == 0).then(|| Invalid::new("reload_ms", self.reload_ms, "set at least 1"))
    }
}

/// The clients' folder cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("access.clients_folder = {path}: {source}; name a folder with a file for each client", path = .path.display())]
pub struct AccessError {
    path: PathBuf,
    source: std::io::Error,
}

/// Why a call is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has no token.
    Missing,
    /// Its token is nobody's.
    Unknown,
}

impl Refusal {
    /// Returns the stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Unknown => "token_unknown",
        }
    }
}

/// A client's name: that of its file.
pub type ClientName = Arc<str>;

/// Decides who may call. Clones decide alike.
#[derive(Debug, Clone, Default)]
pub struct Access(Option<Arc<Guarded>>);

#[derive(Debug)]
struct Guarded {
    folder: PathBuf,
    /// Time between two reads of the folder.
    pause: Duration,
    clients: ArcSwap<Clients>,
}

/// The clients by the SHA-256 of their tokens: looking one up takes a time that says nothing of any token.
#[derive(Default, PartialEq, Eq)]
struct Clients(HashMap<[u8; 32], ClientName>);

impl fmt::Debug for Clients {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Clients({} tokens)", self.0.len())
    }
}

impl Access {
    /// Reads the folder; without one everybody may call.
    ///
    /// # Errors
    /// The folder cannot be read. A single file that cannot be used lets nobody in, and is logged.
    pub fn open(settings: &Settings) -> Result<Self, AccessError> {
        let Some(folder) = settings.clients_folder.clone() else {
            return Ok(Self(None));
        };
        let clients = Clients::read(&folder)?;
        if clients.0.is_empty() {
            tracing::warn!(folder = %folder.display(), "access.clients_folder holds no client: every call is refused");
        }
        Ok(Self(Some(Arc::new(Guarded {
            folder,
            pause: Duration::from_millis(settings.reload_ms),
            clients: ArcSwap::from_pointee(clients),
        }))))
    }

    /// Finds who calls, and takes his token out of the headers; `None` where nobody is asked.
    ///
    /// A token in `x-liquid-token` leaves the other credentials alone: they are for the provider. Without that header the
    /// token is where SDKs put a key.
    ///
    /// # Errors
    /// The caller is no client.
    pub fn admit(&self, headers: &mut HeaderMap) -> Result<Option<ClientName>, Refusal> {
        let Some(guarded) = &self.0 else { return Ok(None) };
        let clients = guarded.clients.load();
        if let Some(token) = headers.remove(TOKEN) {
            let found = clients.find(token.as_bytes());
            return found.map(Some).ok_or(Refusal::Unknown);
        }
        let mut refusal = Refusal::Missing;
        for name in &CREDENTIALS {
            let Some(value) = headers.get(name) else { continue };
            refusal = Refusal::Unknown;
            if let Some(client) = clients.find(read_token(name == header::AUTHORIZATION, value)) {
                headers.remove(name);
                return Ok(Some(client));
            }
        }
        Err(refusal)
    }

    /// Reads the folder again and again, without end, and uses what has changed.
    pub async fn keep_current(self) {
        let Some(guarded) = &self.0 else { return };
        let mut said = String::new();
        loop {
            tokio::time::sleep(guarded.pause).await;
            let folder = guarded.folder.clone();
            let read = tokio::task::spawn_blocking(move || Clients::read(&folder)).await;
            match read {
                Ok(Ok(clients)) => {
                    said.clear();
                    if clients != **guarded.clients.load() {
                        tracing::info!(tokens = clients.0.len(), "the clients have changed");
                        guarded.clients.store(Arc::new(clients));
                    }
                }
                Ok(Err(error)) => {
                    let text = error.to_string();
                    if text != said {
                        tracing::warn!(%error, "the clients cannot be read; the last ones stay");
                        said = text;
                    }
                }
                // The runtime ends.
                Err(_) => return,
            }
        }
    }
}

impl Clients {
    fn read(folder: &Path) -> Result<Self, AccessError> {
        let failed = |source| AccessError {
            path: folder.to_owned(),
            source,
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // Kubernetes keeps what it swaps in names that begin with a dot.
            let name = entry.file_name().into_string().unwrap_or_default();
            if !name.is_empty() && !name.starts_with('.') {
                files.push((name, entry.path()));
            }
        }
        // A token of two clients is that of the first.
        files.sort();
        let mut clients = HashMap::new();
        for (name, path) in files {
            match read_tokens(&path) {
                Ok(tokens) => {
                    let name: ClientName = name.into();
                    for token in tokens {
                        clients.entry(digest(&token)).or_insert_with(|| Arc::clone(&name));
                    }
                }
                Err(reason) => tracing::warn!(client = name, reason, "the client's file cannot be used"),
            }
        }
        Ok(Self(clients))
    }

    fn find(&self, token: &[u8]) -> Option<ClientName> {
        self.0.get(&digest(token)).cloned()
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn read_tokens(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > LARGEST {
        return Err(format!("it has more than {LARGEST} bytes"));
    }
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let tokens: Vec<Vec<u8>> = lines
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    let fit = |token: &Vec<u8>| token.len() >= SHORTEST && token.iter().all(u8::is_ascii_graphic);
    match tokens.iter().all(fit) {
        true if tokens.is_empty() => Err("it holds no token".to_owned()),
        true => Ok(tokens),
        false => Err(format!(
            "each line must be a token of at least {SHORTEST} visible ASCII characters"
        )),
    }
}

/// Returns the token in a header; `authorization` has its scheme before it (RFC 6750, section 2.1).
fn read_token(has_scheme: bool, value: &HeaderValue) -> &[u8] {
    let value = value.as_bytes().trim_ascii();
    match value.split_at_checked(7) {
        Some((scheme, token)) if has_scheme && scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
        _ => value,
    }
}
