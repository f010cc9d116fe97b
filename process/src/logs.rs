//! The log: lines for people or JSON objects, on the standard error. Section `[log]` of sidecar and worker, flags of the
//! operator.
//!
//! What is logged is in the configuration alone; `RUST_LOG` is not read.

use std::io::Stderr;

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::Invalid;

/// Section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`. Default `text`.
    pub format: LogFormat,
    /// A `tracing` filter, such as `info` or `warn,tonic=debug`. Default `info`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".into(),
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Returns the format's name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("log.level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Something has set up logging before.
    #[error("logging: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// A layer of a subscriber `S`.
pub type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

impl Log {
    /// Checks `level`, the field `log.level`. `target` is the program's own crate, for the remedy's example.
    pub fn validate(&self, target: &str) -> Option<Invalid> {
        let error = self.level.parse::<EnvFilter>().err()?;
        let remedy = format!("{error}; write for example info, or warn,{target}=debug");
        Some(Invalid::new("log.level", &self.level, remedy))
    }

    /// Parses `level` as a filter.
    ///
    /// # Errors
    /// [`LogError::Level`].
    pub fn filter(&self) -> Result<EnvFilter, LogError> {
        Ok(self.level.parse()?)
    }

    /// Writes every event as a line to the standard error, unfiltered: for a subscriber that has other layers too.
    pub fn lines<S>(&self) -> BoxedLayer<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        self.lines_to(std::io::stderr as fn() -> Stderr)
    }

    /// Makes lines and filter the log of this process.
    ///
    /// # Errors
    /// [`LogError`] for a filter that cannot be read, and for a second start.
    pub fn start(&self) -> Result<(), LogError> {
        let filter = self.filter()?;
        tracing_subscriber::registry()
            .with(filter)
            .with(self.lines())
            .try_init()?;
        Ok(())
    }

    fn lines_to<S, W>(&self, writer: W) -> BoxedLayer<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let lines = tracing_subscriber::fmt::layer().with_writer(writer);
        match self.format {
            LogFormat::Text => lines.with_ansi(false).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::lock;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            lock(&self.0).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Returns what is written of a debug line of this module, and of a warning and an information of another one.
    fn written(log: &Log) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::registry()
            .with(log.filter().unwrap())
            .with(log.lines_to(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("near");
            tracing::warn!(target: "elsewhere", pages = 3, "far");
            tracing::info!(target: "elsewhere", "unheard");
        });
        let bytes = lock(&buffer.0).clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_for_people_have_no_colours_and_pass_the_filter() {
        let level = format!("warn,{}=debug", module_path!());
        let text = written(&Log {
            format: LogFormat::Text,
            level,
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines[0].ends_with("near") && lines[1].ends_with("WARN elsewhere: far pages=3"),
            "{text}"
        );
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn json_lines_are_flat_objects() {
        let text = written(&Log {
            format: LogFormat::Json,
            ..Log::default()
        });
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["message"], "far", "{text}");
        assert_eq!(lines[0]["level"], "WARN");
        assert_eq!(lines[0]["target"], "elsewhere");
        assert_eq!(lines[0]["pages"], 3);
        assert_eq!(lines[1]["message"], "unheard");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_level_that_is_no_filter_is_named_with_a_remedy() {
        let log = |level: &str| Log {
            level: level.into(),
            ..Log::default()
        };
        assert_eq!(log("warn,liquid_x=debug").validate("liquid_x"), None);
        let invalid = log("a=b=c").validate("liquid_x").unwrap();
        assert_eq!(
            (invalid.field.as_str(), invalid.value.as_str()),
            ("log.level", "a=b=c")
        );
        assert!(
            invalid
                .remedy
                .ends_with("write for example info, or warn,liquid_x=debug")
        );
        assert!(log("a=b=c").start().is_err());
    }

    #[test]
    fn formats_are_read_as_they_are_named() {
        for format in <LogFormat as clap::ValueEnum>::value_variants() {
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
            let value = clap::ValueEnum::to_possible_value(format).unwrap();
            assert_eq!(value.get_name(), format.name());
        }
    }
}
