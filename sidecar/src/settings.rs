//! What is wrong with a setting: every `validate()` of the sidecar answers with a list of these.

/// A setting that cannot be used: which one, what it says, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: {remedy}")]
pub struct Invalid {
    /// Path of the key below its section, such as `budget.ratio`.
    pub field: String,
    /// The value as it was read.
    pub value: String,
    /// What to write instead.
    pub remedy: String,
}

impl Invalid {
    /// Names a field, its value and the remedy.
    pub fn new(field: impl Into<String>, value: impl ToString, remedy: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            value: value.to_string(),
            remedy: remedy.into(),
        }
    }

    /// The same finding seen from the section that holds the field.
    pub fn within(mut self, section: &str) -> Self {
        self.field = format!("{section}.{}", self.field);
        self
    }
}
