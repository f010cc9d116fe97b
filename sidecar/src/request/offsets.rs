//! Decodes an escaped string, and finds again which of its bytes say what: in a step from a mark nearby, so that
//! many places of a long text are found in linear time.

use super::literal::{LoneSurrogate, Piece, Pieces};

/// Bytes from one mark to the next, at least.
const STEP: usize = 1 << 10;

/// Where some bytes of a decoded text are in what was decoded.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    /// In order; the front of both is none of them.
    marks: Vec<Mark>,
}

/// A byte of a decoded text, and the byte that begins to say it.
#[derive(Debug, Default, Clone, Copy)]
struct Mark {
    said: usize,
    raw: usize,
}

impl Offsets {
    /// Decodes what stands between the quotes of a JSON string.
    ///
    /// # Errors
    /// [`LoneSurrogate`] if that is no Unicode text.
    pub(super) fn decode(raw: &str) -> Result<(String, Self), LoneSurrogate> {
        let mut text = String::with_capacity(raw.len());
        let mut offsets = Self::default();
        let mut read = 0;
        for piece in Pieces::new(raw) {
            offsets.mark(text.len(), read);
            match piece {
                Piece::Plain(plain) => {
                    let mut within = 0;
                    while plain.len() - within > STEP {
                        within = plain.floor_char_boundary(within + STEP);
                        offsets.mark(text.len() + within, read + within);
                    }
                    text.push_str(plain);
                }
                Piece::Char { value, .. } => text.push(value),
                Piece::Lone(_) => return Err(LoneSurrogate),
            }
            let (_, takes) = piece.lengths();
            read += takes;
        }
        Ok((text, offsets))
    }

    fn mark(&mut self, said: usize, raw: usize) {
        let last = self.marks.last().copied().unwrap_or_default();
        if raw - last.raw >= STEP - 3 {
            self.marks.push(Mark { said, raw });
        }
    }

    /// Finds the byte of `raw`, which was decoded, that begins to say the byte `said` of the text.
    pub(super) fn find(&self, raw: &str, said: usize) -> usize {
        let next = self.marks.partition_point(|mark| mark.said <= said);
        let end = self.marks.get(next).map_or(raw.len(), |mark| mark.raw);
        let mark = next.checked_sub(1).and_then(|at| self.marks.get(at));
        let mut at = mark.copied().unwrap_or_default();
        for piece in Pieces::new(raw.get(at.raw..end).unwrap_or_default()) {
            let (says, takes) = piece.lengths();
            if said < at.said + says {
                return match piece {
                    Piece::Plain(_) => at.raw + (said - at.said),
                    Piece::Char { .. } | Piece::Lone(_) => at.raw,
                };
            }
            at = Mark {
                said: at.said + says,
                raw: at.raw + takes,
            };
        }
        at.raw
    }
}
