//! The files of the cases.

use std::path::{Path, PathBuf};

use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("inputs")
}

/// Lists the folders of the inputs by name, sorted.
#[must_use]
pub fn inputs() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Reads a file of the inputs, such as `06-usage-overwritten-by-message-delta/upstream.txt`.
#[must_use]
pub fn read(file: &str) -> String {
    read_if_there(file).unwrap_or_else(|| panic!("{file} is not there"))
}

/// Reads a file of the inputs that a case may lack.
#[must_use]
pub fn read_if_there(file: &str) -> Option<String> {
    std::fs::read_to_string(folder().join(file)).ok()
}

/// Reads a file of the inputs as JSON.
#[must_use]
pub fn input(file: &str) -> Value {
    serde_json::from_str(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}
