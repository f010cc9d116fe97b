//! What it means that an opted-in pod has no sidecar, from the decision that injection makes about it.

use crate::inject::{Decision, Denial, Note, Outcome};

/// Why an opted-in pod has no sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The operator leaves such a pod alone. The note says why, where there is something to say.
    LeftAlone(Option<Note>),
    /// Its namespace has no proxy: a fault of the namespace.
    Unserved,
    /// The pod would be refused, if it were created again.
    Refused(Denial),
    /// The pod would get the sidecar, if it were created again: it was created while no operator answered, or before its
    /// namespace opted in.
    Missed {
        /// The proxy that would serve it.
        proxy: Option<String>,
    },
}

impl From<Outcome> for Absence {
    fn from(outcome: Outcome) -> Self {
        match outcome.decision {
            Decision::Pass => Self::LeftAlone(outcome.notes.into_iter().next()),
            Decision::Deny(Denial::NoProxy { .. }) => Self::Unserved,
            Decision::Deny(denial) => Self::Refused(denial),
            Decision::Patch(_) => Self::Missed { proxy: outcome.proxy },
        }
    }
}

#[cfg(test)]
mod tests {
    use json_patch::Patch;

    use super::*;
    use crate::inject::Reason;

    fn absence(decision: Decision, notes: Vec<Note>) -> Absence {
        let proxy = Some("docs".into());
        Outcome {
            decision,
            notes,
            proxy,
        }
        .into()
    }

    #[test]
    fn the_decision_about_a_pod_says_why_it_has_no_sidecar() {
        let patch = Decision::Patch(Patch(Vec::new()));
        let proxy = Some("docs".into());
        assert_eq!(absence(patch, Vec::new()), Absence::Missed { proxy });
        let namespace = "shop".into();
        let without = Decision::Deny(Denial::NoProxy { namespace });
        assert_eq!(absence(without, Vec::new()), Absence::Unserved);
        let refused = absence(Decision::Deny(Denial::Fault), Vec::new());
        assert_eq!(refused, Absence::Refused(Denial::Fault));
        let note = Note {
            reason: Reason::InjectionSkipped,
            text: "why".into(),
        };
        let left = absence(Decision::Pass, vec![note.clone()]);
        assert_eq!(left, Absence::LeftAlone(Some(note)));
        assert_eq!(absence(Decision::Pass, Vec::new()), Absence::LeftAlone(None));
    }
}
