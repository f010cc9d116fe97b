//! A key from a variable or a file. A file is read again when it changes; a key is never printed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use liquid_process::{Invalid, lock};

/// The setting that names the variable.
const VARIABLE: &str = "api_key_env";
/// The setting that names the file.
const FILE: &str = "api_key_file";

/// How often a file is looked at, at most.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A key and where it comes from.
pub struct Secret {
    source: Source,
}

enum Source {
    Value(String),
    File { path: PathBuf, state: Mutex<State> },
}

struct State {
    checked: Instant,
    modified: Option<SystemTime>,
    value: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Value(_) => formatter.write_str("Secret(from a variable)"),
            Source::File { path, .. } => write!(formatter, "Secret(from {})", path.display()),
        }
    }
}

impl Secret {
    /// Opens the configured source; `None` when neither is configured.
    ///
    /// # Errors
    /// A source that is configured and gives no key.
    pub fn open(variable: Option<&str>, file: Option<&Path>) -> Result<Option<Self>, Invalid> {
        match (variable, file) {
            (None, None) => Ok(None),
            (Some(_), Some(path)) => {
                let remedy = "api_key_env is set too; keep one";
                Err(Invalid::new(FILE, path.display(), remedy))
            }
            (Some(name), None) => Self::from_variable(name).map(Some).ok_or_else(|| {
                let remedy = "that variable is not set; set it or remove the line";
                Invalid::new(VARIABLE, format!("{name:?}"), remedy)
            }),
            (None, Some(path)) => {
                let value = read(path)?;
                let modified = modified(path);
                let state = Mutex::new(State {
                    checked: Instant::now(),
                    modified,
                    value,
                });
                Ok(Some(Self {
                    source: Source::File {
                        path: path.into(),
                        state,
                    },
                }))
            }
        }
    }

    /// Reads the key from an environment variable, if it is set and not empty.
    pub fn from_variable(name: &str) -> Option<Self> {
        let value = std::env::var(name).ok()?.trim().to_owned();
        (!value.is_empty()).then_some(Self {
            source: Source::Value(value),
        })
    }

    /// Returns the key as it is now. A file that has become unreadable keeps its last key.
    pub fn value(&self) -> Option<String> {
        match &self.source {
            Source::Value(value) => Some(value.clone()),
            Source::File { path, state } => {
                let mut state = lock(state);
                if state.checked.elapsed() >= CHECK_EVERY {
                    state.refresh(path);
                }
                Some(state.value.clone())
            }
        }
    }
}

impl State {
    fn refresh(&mut self, path: &Path) {
        self.checked = Instant::now();
        let modified = modified(path);
        if modified == self.modified {
            return;
        }
        match read(path) {
            Ok(value) => {
                self.modified = modified;
                self.value = value;
                tracing::info!(path = %path.display(), "the key's file changed, the new key is in use");
            }
            Err(error) => {
                tracing::warn!(
                    path = %path.display(),
                    %error,
                    "the key's file changed and cannot be used, the old key stays"
                );
            }
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok()
}

fn read(path: &Path) -> Result<String, Invalid> {
    let fail = |reason: String| {
        let remedy = format!("{reason}; it must hold the key and nothing else");
        Invalid::new(FILE, path.display(), remedy)
    };
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    let key = text.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(fail("is empty or holds more than one word".into()));
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn a_file_is_read_again_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "first\n").unwrap();
        let secret = Secret::open(None, Some(&path)).unwrap().unwrap();
        assert_eq!(secret.value().unwrap(), "first");
        assert!(!format!("{secret:?}").contains("first"));
        let Source::File { state, .. } = &secret.source else {
            panic!("a file")
        };
        let age = |state: &Mutex<State>| {
            let mut state = state.lock().unwrap();
            state.checked = Instant::now().checked_sub(CHECK_EVERY).unwrap();
            state.modified = None;
        };
        std::fs::write(&path, "second").unwrap();
        age(state);
        assert_eq!(secret.value().unwrap(), "second");
        std::fs::write(&path, "two words").unwrap();
        age(state);
        assert_eq!(secret.value().unwrap(), "second");
    }

    #[test]
    fn a_missing_source_is_an_error() {
        let field = |variable, file| Secret::open(variable, file).unwrap_err().field;
        assert_eq!(field(Some("LIQUID_NOT_SET_ANYWHERE"), None), VARIABLE);
        assert_eq!(field(None, Some(Path::new("/nowhere"))), FILE);
    }
}
