//! Why a configuration cannot be used.

use std::io;
use std::path::PathBuf;

/// Why a model's `config.json` describes no model that can be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is missing or cannot be read.
    #[error("{path}: {source}; a model folder has config.json, *.safetensors and tokenizer.json", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The file is not a JSON object.
    #[error("{path}: not the configuration of a model: {reason}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// A field that the model needs is missing.
    #[error("{path}: has no {field}, which a {model} model needs", path = .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// The `model_type`.
        model: String,
    },
    /// A field has a value that is not run.
    #[error("{path}: {field} is {value}, but must be {expected}", path = .path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// Value of the field.
        value: String,
        /// The values that can be run.
        expected: String,
    },
    /// A field asks for something that this crate does not compute.
    #[error("{path}: {field} is {value}, which asks for {feature}; that is not computed here: {remedy}", path = .path.display())]
    Feature {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// Value of the field, shortened.
        value: String,
        /// The feature.
        feature: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
}
