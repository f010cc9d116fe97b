//! What is asked about a document.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use liquid_process::Invalid;

/// One of the things that are asked about a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    text: Box<str>,
    weight: f32,
}

impl Ask {
    /// Asks something that counts `weight` beside what else is asked.
    ///
    /// # Errors
    /// [`Invalid`] unless the text is not blank and the weight above 0 and at most 1.
    pub fn new(text: impl Into<Box<str>>, weight: f32) -> Result<Self, Invalid> {
        let text = text.into();
        if text.trim().is_empty() {
            return Err(Invalid::new(
                "text",
                "blank",
                "say what is asked, or leave the ask out",
            ));
        }
        if !(weight > 0.0 && weight <= 1.0) {
            let remedy = "send a weight above 0 and at most 1";
            return Err(Invalid::new("weight", weight, remedy));
        }
        Ok(Self { text, weight })
    }

    /// Returns what is asked.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns how much it counts: above 0, at most 1.
    pub fn weight(&self) -> f32 {
        self.weight
    }

    /// Returns what asks are ordered by. Weights are finite and positive, so their bits are in their order.
    fn key(&self) -> (&str, u32) {
        (&self.text, self.weight.to_bits())
    }
}

impl Eq for Ask {}

impl Hash for Ask {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// All that is asked about a document. Nothing means coverage: what represents the document best. The order in which
/// asks come says nothing, so they are held in an order of their own. Clones share their memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Asks(Arc<[Ask]>);

impl Asks {
    /// Asks several things.
    pub fn new(mut asks: Vec<Ask>) -> Self {
        asks.sort_by(|a, b| a.key().cmp(&b.key()));
        Self(asks.into())
    }

    /// Asks a question, or nothing if it is blank.
    pub fn from_question(question: impl Into<Box<str>>) -> Self {
        Self(Ask::new(question, 1.0).into_iter().collect())
    }

    /// Returns true if nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what is asked, in an order that does not depend on that of the request.
    pub fn iter(&self) -> std::slice::Iter<'_, Ask> {
        self.0.iter()
    }

    /// Returns how many bytes the asks take in memory.
    pub fn memory(&self) -> usize {
        self.iter().map(|ask| size_of::<Ask>() + ask.text.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn asks_that_cannot_be_used_are_refused_by_name() {
        for (text, weight, field) in [
            ("", 1.0, "text"),
            (" \n", 1.0, "text"),
            ("Who?", 0.0, "weight"),
            ("Who?", -1.0, "weight"),
            ("Who?", 1.5, "weight"),
            ("Who?", f32::NAN, "weight"),
        ] {
            let refused = Ask::new(text, weight).map_err(|invalid| invalid.field);
            assert_eq!(refused, Err(field.to_owned()), "{text:?} {weight}");
        }
    }

    #[test]
    fn the_order_of_asks_says_nothing() {
        let asks = |texts: [(&str, f32); 3]| {
            let asks = texts.map(|(text, weight)| Ask::new(text, weight).unwrap());
            Asks::new(asks.to_vec())
        };
        let one = asks([("When?", 0.5), ("Who?", 1.0), ("When?", 1.0)]);
        let other = asks([("Who?", 1.0), ("When?", 1.0), ("When?", 0.5)]);
        assert_eq!(one, other);
        assert_eq!(
            Asks::from_question("Who?"),
            Asks::new(vec![Ask::new("Who?", 1.0).unwrap()])
        );
        assert!(Asks::from_question(" ").is_empty());
    }
}
