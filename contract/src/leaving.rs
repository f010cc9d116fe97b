//! What becomes of documents that would leave whole.
//!
//! The operator writes both from `spec.policy` into `sidecar.toml`, and from annotations into
//! [`crate::environment::SIDECAR_UNREAD`] and [`crate::environment::SIDECAR_WHOLE`]; the sidecar reads them.

use serde::{Deserialize, Serialize};

/// The treatment of a request body that the sidecar has not read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unread {
    /// It leaves as it came.
    #[default]
    Forward,
    /// It does not leave if it may hold a document, and the application gets an error.
    Refuse,
}

/// The treatment of a text that was read, is as long as a document, and would leave whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whole {
    /// It leaves whole.
    #[default]
    Forward,
    /// A selection that does not depend on the question leaves in its place, where it can be cut.
    Coverage,
    /// It does not leave, and the application gets an error.
    Refuse,
}

macro_rules! names {
    ($kind:ident, $count:literal, $($variant:ident: $name:literal),+) => {
        impl $kind {
            /// Every choice.
            pub const ALL: [Self; $count] = [$(Self::$variant),+];

            /// Returns the choice's name, lower case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }

            /// Finds the choice of this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|choice| choice.name() == name)
            }
        }
    };
}

names!(Unread, 2, Forward: "forward", Refuse: "refuse");
names!(Whole, 3, Forward: "forward", Coverage: "coverage", Refuse: "refuse");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Unread, Whole};

    #[test]
    fn names_are_read_as_they_are_written() {
        for unread in Unread::ALL {
            assert_eq!(Unread::named(unread.name()), Some(unread));
            let quoted = format!("{:?}", unread.name());
            assert_eq!(serde_json::from_str::<Unread>(&quoted).unwrap(), unread);
        }
        for whole in Whole::ALL {
            assert_eq!(Whole::named(whole.name()), Some(whole));
            let quoted = format!("{:?}", whole.name());
            assert_eq!(serde_json::from_str::<Whole>(&quoted).unwrap(), whole);
        }
        assert_eq!((Unread::named("coverage"), Whole::named("pass")), (None, None));
    }
}
