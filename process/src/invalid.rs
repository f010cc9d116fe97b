//! Values that cannot be used: which field, what it holds, and what to write instead.

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: {remedy}")]
pub struct Invalid {
    /// Path of the field, such as `limits.queue`; below its section where a section checks itself.
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

    /// Names the field as seen from the section that holds it.
    #[must_use]
    pub fn within(mut self, section: &str) -> Self {
        self.field = format!("{section}.{}", self.field);
        self
    }
}

/// Every value that cannot be used, one a line; at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct InvalidValues(Vec<Invalid>);

impl InvalidValues {
    /// Fails with all of `found`, if anything was found.
    ///
    /// # Errors
    /// [`InvalidValues`] in the order of `found`.
    pub fn check(found: impl IntoIterator<Item = Invalid>) -> Result<(), Self> {
        let found: Vec<Invalid> = found.into_iter().collect();
        if found.is_empty() {
            Ok(())
        } else {
            Err(Self(found))
        }
    }

    /// Returns the findings.
    pub fn as_slice(&self) -> &[Invalid] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_field_value_and_remedy() {
        let invalid = Invalid::new("ratio", 0, "set a number from 1 to 1000").within("policy.budget");
        assert_eq!(
            invalid.to_string(),
            "policy.budget.ratio = 0: set a number from 1 to 1000"
        );
    }

    #[test]
    fn all_findings_are_reported_together_and_none_is_no_error() {
        assert_eq!(InvalidValues::check([]), Ok(()));
        let found = [Invalid::new("a", 0, "set 1"), Invalid::new("b", "x", "set y")];
        let error = InvalidValues::check(found.clone()).err();
        assert_eq!(
            error.as_ref().map(ToString::to_string).as_deref(),
            Some("a = 0: set 1\nb = x: set y")
        );
        assert_eq!(
            error.as_ref().map(InvalidValues::as_slice),
            Some(found.as_slice())
        );
    }
}
