//! How a backward pass cuts its tokens into groups, of which one exists at a time.

use super::rule::SEGMENT;

/// Tokens of a group. A multiple of [`SEGMENT`]; the more, the more segments are recomputed side by side.
const GROUP: usize = 8 * SEGMENT;

/// Tokens whose gradients are computed together: whole sequences, or a span of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// First sequence.
    pub sequence: usize,
    /// Number of sequences.
    pub sequences: usize,
    /// First token.
    pub token: usize,
    /// Tokens of each sequence.
    pub tokens: usize,
}

/// Returns the groups of a batch in the order in which the backward pass takes them: spans of a sequence from its end.
pub fn groups(batch: usize, tokens: usize) -> Vec<Group> {
    if tokens <= GROUP {
        let together = (GROUP / tokens.max(1)).clamp(1, batch);
        let part = |sequence| Group {
            sequence,
            sequences: together.min(batch - sequence),
            token: 0,
            tokens,
        };
        return (0..batch).step_by(together).map(part).collect();
    }
    (0..batch)
        .flat_map(|sequence| {
            (0..tokens).step_by(GROUP).rev().map(move |token| Group {
                sequence,
                sequences: 1,
                token,
                tokens: GROUP.min(tokens - token),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_taken_once_from_the_end() {
        for batch in [1, 2, 5, 33] {
            for tokens in [1, 64, 2_047, 2_048, 16_384, 16_385, 40_000, 131_072] {
                let mut next = vec![tokens; batch];
                for group in groups(batch, tokens) {
                    assert!(group.sequences * group.tokens <= GROUP && group.tokens > 0);
                    assert!(group.token.is_multiple_of(SEGMENT), "{group:?}");
                    for end in &mut next[group.sequence..group.sequence + group.sequences] {
                        assert_eq!(*end, group.token + group.tokens, "{group:?}");
                        *end = group.token;
                    }
                }
                assert!(next.iter().all(|&end| end == 0), "{batch} x {tokens}");
            }
        }
    }
}
