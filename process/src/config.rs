//! A program's configuration: one TOML file, every key by environment too, validated as a whole before anything starts.
//!
//! Later sources win: the type's own defaults, the file, aliases, then the variables `PREFIX__SECTION__KEY`. The crate
//! `config` merges them; what this module adds is the convention, which sidecar and worker share.

use std::path::Path;

use config::{Environment, File, FileFormat};
use serde::de::DeserializeOwned;

use crate::{Invalid, InvalidValues};

/// Stands between prefix, section and key of a variable.
const SEPARATOR: &str = "__";

/// A variable of another name that sets a key.
#[derive(Clone, Copy, Debug)]
pub struct Alias {
    /// Its name. An empty value sets nothing.
    pub name: &'static str,
    /// The key's own variable, which goes before.
    pub variable: &'static str,
}

/// A configuration that [`load`] can read.
///
/// Its types say `#[serde(default, deny_unknown_fields)]`, so that a key may be absent and a misspelt one is an error.
pub trait Configuration: DeserializeOwned {
    /// What the program's variables begin with, such as `LIQUID_WORKER`.
    const PREFIX: &'static str;

    /// Paths of the keys whose variables hold lists, items separated by commas, such as `upstream.fallbacks`.
    const LISTS: &'static [&'static str];

    /// Variables of other names.
    const ALIASES: &'static [Alias] = &[];

    /// Lists every value that cannot be used, by its path from the root.
    fn validate(&self) -> Vec<Invalid>;
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read: the file is missing, not TOML, has an unknown key or a value of the wrong type.
    #[error("{0}")]
    Read(#[from] config::ConfigError),
    /// It can be read, and these values cannot be used.
    #[error(transparent)]
    Invalid(#[from] InvalidValues),
}

/// Reads the file, if one is given, and this process's environment.
///
/// # Errors
/// [`ConfigError`] names every wrong field with its value and the remedy.
pub fn load<C: Configuration>(file: Option<&Path>) -> Result<C, ConfigError> {
    load_with(file, variables())
}

/// Reads the file, if one is given, and the given variables instead of the environment.
///
/// # Errors
/// As [`load`].
pub fn load_with<C: Configuration>(
    file: Option<&Path>,
    mut variables: Vec<(String, String)>,
) -> Result<C, ConfigError> {
    for alias in C::ALIASES {
        let is_set = variables
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(alias.variable));
        let value = variables
            .iter()
            .find(|(name, value)| name == alias.name && !value.is_empty());
        if let (Some((_, value)), false) = (value, is_set) {
            let value = value.clone();
            variables.push((alias.variable.to_owned(), value));
        }
    }
    let mut environment = Environment::with_prefix(C::PREFIX)
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .try_parsing(true)
        .list_separator(",")
        .source(Some(variables.into_iter().collect()));
    for key in C::LISTS {
        environment = environment.with_list_parse_key(key);
    }
    let mut builder = config::Config::builder();
    if let Some(path) = file {
        builder = builder.add_source(File::from(path).format(FileFormat::Toml));
    }
    let read: C = builder.add_source(environment).build()?.try_deserialize()?;
    InvalidValues::check(read.validate())?;
    Ok(read)
}

/// Reads this process's environment, without what is not Unicode.
pub fn variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests;
