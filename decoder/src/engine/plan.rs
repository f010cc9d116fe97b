//! Who reads how many tokens in a step. Answers that are being written read one each; prompts share the rest.

/// What an answer could read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The token that was written last.
    Token,
    /// A prompt's tokens that are left.
    Prompt(usize),
    /// Nothing in this step: another one reads the same prompt, whose pages it will take over.
    Wait,
}

/// Returns the tokens that each reads, `budget` at most together; `needs` are in the order of arrival.
///
/// The oldest prompt gets half of what prompts get, so it is never held up for good. The other half goes to those that
/// have the least left, so a short question does not wait for a long document.
pub(super) fn plan(needs: &[Need], budget: usize) -> Vec<usize> {
    let mut rows = vec![0; needs.len()];
    let mut left = budget;
    let mut prompts = Vec::new();
    for (index, (need, rows)) in needs.iter().zip(&mut rows).enumerate() {
        match need {
            Need::Token => {
                *rows = left.min(1);
                left -= *rows;
            }
            Need::Prompt(tokens) => prompts.push((index, *tokens)),
            Need::Wait => {}
        }
    }
    let Some(oldest) = prompts.first().copied() else {
        return rows;
    };
    let kept = oldest.1.min(left.div_ceil(2));
    left -= kept;
    let mut others = prompts.split_off(1);
    others.sort_by_key(|(_, tokens)| *tokens);
    for (index, tokens) in others {
        let given = tokens.min(left);
        left -= given;
        if let Some(rows) = rows.get_mut(index) {
            *rows = given;
        }
    }
    if let Some(rows) = rows.get_mut(oldest.0) {
        *rows = oldest.1.min(kept + left);
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_oldest_prompt_has_half_and_the_shortest_others_the_rest() {
        use Need::{Prompt, Token, Wait};
        assert_eq!(plan(&[], 8), Vec::<usize>::new());
        assert_eq!(plan(&[Prompt(100)], 8), [8]);
        assert_eq!(plan(&[Token, Prompt(100), Token], 8), [1, 6, 1]);
        assert_eq!(plan(&[Prompt(100), Prompt(90), Prompt(3)], 8), [4, 1, 3]);
        assert_eq!(plan(&[Prompt(2), Prompt(90), Prompt(90)], 8), [2, 6, 0]);
        assert_eq!(plan(&[Prompt(100), Prompt(1), Wait], 8), [7, 1, 0]);
    }

    fn needs() -> impl Strategy<Value = Vec<Need>> {
        let need = prop_oneof![
            Just(Need::Token),
            (1..300_usize).prop_map(Need::Prompt),
            Just(Need::Wait)
        ];
        proptest::collection::vec(need, 0..12)
    }

    proptest! {
        #[test]
        fn a_step_keeps_to_its_budget_starves_none_and_wastes_nothing(needs in needs(), spare in 0..40_usize) {
            let budget = 2 * needs.len() + spare;
            let rows = plan(&needs, budget);
            let mut wanted = 0;
            let mut first = None;
            for (need, rows) in needs.iter().zip(&rows) {
                match need {
                    Need::Token => prop_assert_eq!(*rows, 1),
                    Need::Wait => prop_assert_eq!(*rows, 0),
                    Need::Prompt(left) => {
                        prop_assert!(rows <= left);
                        first.get_or_insert((*left, *rows));
                    }
                }
                wanted += match need {
                    Need::Token => 1,
                    Need::Prompt(left) => *left,
                    Need::Wait => 0,
                };
            }
            prop_assert_eq!(rows.iter().sum::<usize>(), wanted.min(budget));
            if let Some((left, rows)) = first {
                let written = needs.iter().filter(|need| **need == Need::Token).count();
                prop_assert!(rows >= left.min((budget - written) / 2));
            }
        }
    }
}
