//! Quotes: a model may write only what stands in a passage, so it can copy and not invent. The state is the set of places
//! at which what was written so far could stand; two to four tokens leave one of them.

use std::ops::Range;
use std::sync::Arc;

use llguidance::toktrie::SimpleVob;

use super::{ConstraintError, stuck};
use crate::passage::Passage;
use crate::tokenizer::{TokenTree, Tokenizer};

/// What a quote is followed by in the JSON that is written.
pub(crate) const AFTER_QUOTE: &str = "\",\"fact\":\"";

/// The beginning of a quote, or its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Quote {
    passage: Arc<Passage>,
    part: Part,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// As much as tells where it stands: at a word, outside of what was quoted before.
    Place { except: Vec<Range<usize>> },
    /// One token: the text that follows a place, or the quote's end.
    Onward { at: usize },
}

impl Quote {
    /// Lets the model choose a place of a passage, none within `except`, parts of its written text.
    pub(crate) fn place(passage: Arc<Passage>, except: Vec<Range<usize>>) -> Self {
        Self {
            passage,
            part: Part::Place { except },
        }
    }

    /// Lets the model end a quote at a byte of the passage's written text, or go on.
    pub(crate) fn onward(passage: Arc<Passage>, at: usize) -> Self {
        Self {
            passage,
            part: Part::Onward { at },
        }
    }
}

/// A quote on its way through an answer.
pub(super) struct Copier {
    tree: Arc<TokenTree>,
    passage: Arc<Passage>,
    /// Where the next token could stand, in the passage's written text.
    places: Vec<usize>,
    /// Whether the quote may end instead.
    may_end: bool,
    vocabulary: usize,
}

impl Copier {
    pub(super) fn new(tokenizer: &Tokenizer, quote: &Quote) -> Self {
        let passage = Arc::clone(&quote.passage);
        let (places, may_end) = match &quote.part {
            Part::Place { except } => {
                let free = |place: &&usize| !except.iter().any(|quoted| quoted.contains(place));
                (passage.starts().iter().filter(free).copied().collect(), false)
            }
            Part::Onward { at } => (vec![*at], true),
        };
        Self {
            tree: Arc::clone(tokenizer.tree()),
            vocabulary: tokenizer.size(),
            passage,
            places,
            may_end,
        }
    }

    /// Returns the tokens that may come next; empty if none may.
    pub(super) fn allowed(&self) -> SimpleVob {
        let mut allowed = SimpleVob::alloc(self.vocabulary);
        let text = self.passage.written().as_bytes();
        self.tree
            .find(text, self.places.clone(), |token| allowed.allow_token(token));
        if self.may_end {
            let end = AFTER_QUOTE.as_bytes();
            self.tree.find(end, vec![0], |token| allowed.allow_token(token));
        }
        allowed
    }

    /// Takes a token that was allowed. Returns whether the place, or the decision, is certain.
    pub(super) fn take(&mut self, token: u32) -> Result<bool, ConstraintError> {
        if self.may_end {
            return Ok(true);
        }
        let (text, bytes) = (self.passage.written().as_bytes(), self.tree.bytes_of(token));
        let follows = |place: &usize| text.get(*place..).is_some_and(|text| text.starts_with(bytes));
        self.places.retain(follows);
        self.places.iter_mut().for_each(|place| *place += bytes.len());
        match self.places.len() {
            0 => Err(stuck("the passage does not go on so")),
            1 => Ok(true),
            // Where the text ends, or what follows cannot be written, the first place is it.
            _ => Ok(self.places.last() == Some(&text.len()) || self.allowed().is_zero()),
        }
    }
}
