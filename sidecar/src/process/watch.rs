//! Applies changes of the configuration's file without a restart, where that is possible.
//!
//! The file's content is compared, not its time: Kubernetes swaps links. A file that cannot be used changes
//! nothing; the log says why. Key files are not followed here: each key reads its own file again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::compress::Compressor;
use crate::config::{Config, load};
use crate::http::{App, LiveState};
use crate::upstream::{Routes, Settings};

/// Follows the file until the task is dropped.
pub async fn follow(file: PathBuf, mut current: Config, app: Arc<App>) {
    let mut content = tokio::fs::read(&file).await.ok();
    loop {
        tokio::time::sleep(Duration::from_millis(current.reload.interval_ms)).await;
        let now = tokio::fs::read(&file).await.ok();
        if now.is_none() || now == content {
            continue;
        }
        content = now;
        match load(Some(&file)) {
            Ok(config) => match apply(&current, &config, &app) {
                Ok(()) => current = config,
                Err(error) => tracing::error!(
                    error,
                    "the changed configuration cannot be used, the old one stays"
                ),
            },
            Err(error) => {
                tracing::error!(%error, "the changed configuration cannot be used, the old one stays")
            }
        }
    }
}

fn apply(old: &Config, new: &Config, app: &App) -> Result<(), String> {
    let routes = Routes::resolve(&new.upstream).map_err(|error| error.to_string())?;
    let compressor = if old.compress() == new.compress() {
        // Keeps its caches.
        app.live.load().compressor.clone()
    } else {
        Compressor::start(new.compress()).map_err(|error| error.to_string())?
    };
    app.live.store(Arc::new(LiveState { compressor, routes }));
    let Changes { applied, restart } = changes(old, new);
    tracing::info!(?applied, needs_restart = ?restart, "the configuration has changed");
    Ok(())
}

/// Sections that differ.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    applied: Vec<&'static str>,
    restart: Vec<&'static str>,
}

fn changes(old: &Config, new: &Config) -> Changes {
    let mut changes = Changes::default();
    for (section, changed) in [
        ("policy", old.policy != new.policy),
        ("extract", old.extract != new.extract),
        ("pack", old.pack != new.pack),
        ("reload", old.reload != new.reload),
        ("upstream (who answers)", who(&old.upstream) != who(&new.upstream)),
    ] {
        if changed {
            changes.applied.push(section);
        }
    }
    for (section, changed) in [
        ("listen", old.listen != new.listen),
        ("intercept", old.intercept != new.intercept),
        ("access", old.access != new.access),
        ("limits", old.limits != new.limits),
        (
            "upstream (times, retries, ca_file)",
            how(&old.upstream) != how(&new.upstream),
        ),
        ("pages", old.pages != new.pages),
        ("log", old.log != new.log),
        ("traces", old.traces != new.traces),
    ] {
        if changed {
            changes.restart.push(section);
        }
    }
    changes
}

/// Returns the part of the settings that [`Routes`] takes.
fn who(settings: &Settings) -> Settings {
    let Settings {
        model,
        fallbacks,
        openai,
        anthropic,
        providers,
        ..
    } = settings.clone();
    Settings {
        model,
        fallbacks,
        openai,
        anthropic,
        providers,
        ..Settings::default()
    }
}

/// Returns the part of the settings that the connections take.
fn how(settings: &Settings) -> Settings {
    let Settings {
        model,
        fallbacks,
        openai,
        anthropic,
        providers,
        ..
    } = Settings::default();
    Settings {
        model,
        fallbacks,
        openai,
        anthropic,
        providers,
        ..settings.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_applied_and_what_needs_a_restart() {
        let old = Config::default();
        let mut new = old.clone();
        assert_eq!(changes(&old, &new), Changes::default());
        new.policy.min_document_tokens += 1;
        new.upstream.model = Some("ollama/x".into());
        new.upstream.retries += 1;
        new.listen.threads = 3;
        let want = Changes {
            applied: vec!["policy", "upstream (who answers)"],
            restart: vec!["listen", "upstream (times, retries, ca_file)"],
        };
        assert_eq!(changes(&old, &new), want);
    }
}
