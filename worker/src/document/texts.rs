//! The texts that a document is made of: where each ends, and which are kept whole or left out whole.

use std::ops::Range;
use std::sync::Arc;

use liquid_process::Invalid;

/// One of the texts that a document is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Text {
    /// Length in bytes, at least 1. What stands between two texts belongs to the one before it.
    pub bytes: u64,
    /// Whether the text is kept whole or left out whole. One that is longer than the budget is cut like any other.
    pub whole: bool,
}

/// The texts of one document, in order. Checked where they are made, so whoever holds them can use them with that
/// document. The default is a single text. Clones share their memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Texts(Arc<[Text]>);

impl Texts {
    /// Cuts a document into texts; none means that it is a single one.
    ///
    /// # Errors
    /// [`Invalid`] if a text is empty or ends inside a character, or if their lengths do not add up to the
    /// document's.
    pub fn new(document: &str, texts: Vec<Text>) -> Result<Self, Invalid> {
        let mut end = 0_usize;
        for (number, text) in texts.iter().enumerate() {
            let refuse = |remedy: String| {
                let field = format!("texts[{number}].bytes");
                Err(Invalid::new(field, text.bytes, remedy))
            };
            if text.bytes == 0 {
                return refuse("leave out texts without bytes".to_owned());
            }
            let left = document.len() - end;
            let Some(bytes) = usize::try_from(text.bytes).ok().filter(|bytes| *bytes <= left) else {
                return refuse(format!(
                    "send at most {left}: the document has no more bytes behind byte {end}"
                ));
            };
            end += bytes;
            if !document.is_char_boundary(end) {
                return refuse(format!(
                    "end the text beside the character that byte {end} is inside of"
                ));
            }
        }
        if !texts.is_empty() && end < document.len() {
            let remedy = format!(
                "send lengths that add up to the document's {} bytes",
                document.len()
            );
            return Err(Invalid::new("texts", format!("{end} bytes together"), remedy));
        }
        if let [Text { whole: false, .. }] = texts.as_slice() {
            return Ok(Self::default());
        }
        Ok(Self(texts.into()))
    }

    /// Returns how many bytes the texts take in memory.
    pub fn memory(&self) -> usize {
        size_of_val::<[Text]>(&self.0)
    }

    /// Returns the range of each text in the document that they were checked with.
    pub(super) fn ranges(&self, document: &str) -> Vec<TextRange> {
        if self.0.is_empty() {
            return vec![TextRange {
                bytes: 0..document.len(),
                whole: false,
            }];
        }
        let mut end = 0;
        let place = |text: &Text| {
            let start = end;
            end += text.bytes as usize;
            TextRange {
                bytes: start..end,
                whole: text.whole,
            }
        };
        self.0.iter().map(place).collect()
    }
}

/// A text in its document.
pub(super) struct TextRange {
    pub(super) bytes: Range<usize>,
    pub(super) whole: bool,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::document::{Document, Unit};

    proptest! {
        #[test]
        fn a_text_is_cut_as_if_it_were_alone(
            parts in prop::collection::vec(
                "(# Title\n|\\| a \\| b \\|\n|\\|---\\|---\\|\n|Ann: yes\n|\\[1\\] |- item\n|```\n|[{}\"]|Some words. |\n){1,12}",
                1..5,
            ),
        ) {
            let document: String = parts.concat();
            let texts = parts.iter().map(|part| Text { bytes: part.len() as u64, whole: false });
            let texts = Texts::new(&document, texts.collect()).unwrap();
            let joined = Document::parse_texts(&document, &texts);
            let mut start = 0;
            for (part, text) in parts.iter().zip(&joined.texts) {
                let alone = Document::parse(part);
                let units = &joined.units[text.units.clone()];
                prop_assert_eq!(units.len(), alone.units.len());
                for (unit, alone) in units.iter().zip(&alone.units) {
                    let lead = alone.lead.map(|lead| lead + text.units.start as u32);
                    let placed = Unit {
                        start: start + alone.start,
                        end: start + alone.end,
                        lead,
                        ..*unit
                    };
                    prop_assert_eq!(*unit, placed);
                    prop_assert_eq!((unit.kind, unit.words), (alone.kind, alone.words));
                }
                start += part.len();
            }
        }
    }

    fn texts(lengths: &[u64]) -> Vec<Text> {
        let text = |&bytes: &u64| Text { bytes, whole: true };
        lengths.iter().map(text).collect()
    }

    #[test]
    fn lengths_that_do_not_fit_the_document_are_refused_by_name() {
        for (lengths, field) in [
            (&[3, 0, 4][..], "texts[1].bytes"),
            (&[3, 6], "texts[1].bytes"),
            (&[3, u64::MAX], "texts[1].bytes"),
            (&[4, 3], "texts[0].bytes"),
            (&[3, 3], "texts"),
        ] {
            let refused = Texts::new("abcé fg", texts(lengths));
            let found = refused.map_err(|invalid| invalid.field);
            assert_eq!(found.map(|_| ()), Err(field.to_owned()), "{lengths:?}");
        }
        assert!(Texts::new("", texts(&[1])).is_err());
    }

    #[test]
    fn a_single_text_is_the_document() {
        let one = vec![Text {
            bytes: 3,
            whole: false,
        }];
        assert_eq!(Texts::new("abc", one).unwrap(), Texts::default());
        assert_eq!(Texts::new("abc", Vec::new()).unwrap(), Texts::default());
        assert_ne!(Texts::new("abc", texts(&[3])).unwrap(), Texts::default());
    }
}
