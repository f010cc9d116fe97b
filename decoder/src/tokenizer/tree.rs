//! A vocabulary in the order of its tokens' bytes: which tokens could be written at places of a text.

use super::Tokenizer;

/// The tokens that stand for bytes, sorted by these.
#[derive(Debug)]
pub(crate) struct TokenTree {
    bytes: Vec<u8>,
    /// Where each token's bytes end; they begin where those of the one before end.
    ends: Vec<usize>,
    tokens: Vec<u32>,
    /// Where each token is in this order; out of range for those that stand for nothing.
    order: Vec<usize>,
}

/// Tokens that begin alike, and the places of the text that do too.
struct Branch {
    from: usize,
    to: usize,
    /// Bytes that are alike.
    depth: usize,
    places: Vec<usize>,
}

impl TokenTree {
    pub(super) fn new(tokenizer: &Tokenizer) -> Self {
        let size = u32::try_from(tokenizer.size()).unwrap_or(u32::MAX);
        let words = (0..size).filter_map(|token| Some((tokenizer.bytes(token)?, token)));
        let mut words: Vec<(&[u8], u32)> = words.filter(|(bytes, _)| !bytes.is_empty()).collect();
        words.sort_unstable();
        let mut tree = Self {
            bytes: Vec::new(),
            ends: Vec::with_capacity(words.len()),
            tokens: Vec::with_capacity(words.len()),
            order: vec![usize::MAX; size as usize],
        };
        for (bytes, token) in words {
            if let Some(place) = tree.order.get_mut(token as usize) {
                *place = tree.tokens.len();
            }
            tree.bytes.extend_from_slice(bytes);
            tree.ends.push(tree.bytes.len());
            tree.tokens.push(token);
        }
        tree
    }

    fn word(&self, index: usize) -> &[u8] {
        let end = self.ends.get(index).copied().unwrap_or_default();
        let before = index.checked_sub(1).and_then(|before| self.ends.get(before));
        self.bytes
            .get(before.copied().unwrap_or_default()..end)
            .unwrap_or_default()
    }

    /// Returns the bytes of a token; none of one that stands for nothing.
    pub(crate) fn bytes_of(&self, token: u32) -> &[u8] {
        match self.order.get(token as usize) {
            Some(index) if *index < self.ends.len() => self.word(*index),
            _ => &[],
        }
    }

    /// Calls `found` with every token whose bytes stand in `text` at one of the places. Takes time in proportion to the
    /// places, the length of tokens and the logarithm of their number.
    pub(crate) fn find(&self, text: &[u8], places: Vec<usize>, mut found: impl FnMut(u32)) {
        let mut branches = vec![Branch {
            from: 0,
            to: self.tokens.len(),
            depth: 0,
            places,
        }];
        while let Some(mut branch) = branches.pop() {
            // The shortest come first: those that end here.
            while branch.from < branch.to && self.word(branch.from).len() == branch.depth {
                self.tokens
                    .get(branch.from)
                    .copied()
                    .inspect(|token| found(*token));
                branch.from += 1;
            }
            let byte = |place: &usize| text.get(place + branch.depth).copied();
            branch.places.retain(|place| byte(place).is_some());
            branch.places.sort_unstable_by_key(byte);
            for places in branch.places.chunk_by(|a, b| byte(a) == byte(b)) {
                let next = places.first().and_then(byte).unwrap_or_default();
                let (from, to) = self.narrow(&branch, next);
                if from < to {
                    branches.push(Branch {
                        from,
                        to,
                        depth: branch.depth + 1,
                        places: places.to_vec(),
                    });
                }
            }
        }
    }

    /// Returns the tokens of a branch that go on with a byte.
    fn narrow(&self, branch: &Branch, next: u8) -> (usize, usize) {
        let first = |wanted: u16| {
            let (mut low, mut high) = (branch.from, branch.to);
            while low < high {
                let middle = low.midpoint(high);
                let byte = self.word(middle).get(branch.depth).copied().unwrap_or_default();
                match u16::from(byte) < wanted {
                    true => low = middle + 1,
                    false => high = middle,
                }
            }
            low
        };
        (first(u16::from(next)), first(u16::from(next) + 1))
    }
}
