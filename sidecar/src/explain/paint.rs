//! A document's text with what is kept and what is dropped: in colour, or with a mark before each line.

use std::io::{self, Write};

use crate::pack::{Stretch, StretchKind};

/// Words of a dropped stretch that are printed at each end, and the most bytes that they may take: not every script
/// puts spaces between words.
const WORDS: usize = 8;
const WORD_BYTES: usize = 120;

const RESET: &str = "\x1b[0m";

/// How texts are printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Painter {
    /// Whether colours are used instead of marks.
    pub(super) colour: bool,
    /// Whether dropped text is printed whole.
    pub(super) all: bool,
}

impl Painter {
    /// Returns the line that says what the colours or marks mean.
    pub(super) fn legend(self) -> String {
        let show = |kind| format!("{}{}{}", self.open(kind), word(kind), self.close());
        let kinds = [StretchKind::Kept, StretchKind::Further, StretchKind::Dropped];
        kinds.map(show).join(", ")
    }

    /// Prints a heading.
    pub(super) fn heading(self, text: &str, out: &mut impl Write) -> io::Result<()> {
        match self.colour {
            true => writeln!(out, "\x1b[1m{text}{RESET}"),
            false => writeln!(out, "{text}"),
        }
    }

    /// Prints a document.
    pub(super) fn document(
        self,
        document: &str,
        stretches: &[Stretch],
        out: &mut impl Write,
    ) -> io::Result<()> {
        for stretch in stretches {
            let text = document.get(stretch.range.clone()).unwrap_or_default();
            let short = match stretch.kind {
                StretchKind::Dropped if !self.all => shorten(text),
                _ => None,
            };
            self.stretch(stretch.kind, short.as_deref().unwrap_or(text), out)?;
        }
        if self.colour {
            writeln!(out)?;
        }
        Ok(())
    }

    fn stretch(self, kind: StretchKind, text: &str, out: &mut impl Write) -> io::Result<()> {
        let (open, close) = (self.open(kind), self.close());
        if self.colour {
            // Line by line, so that a pager that starts in the middle shows the right colour.
            for (number, line) in text.split('\n').enumerate() {
                if number > 0 {
                    writeln!(out)?;
                }
                if !line.is_empty() {
                    write!(out, "{open}{}{close}", visible(line))?;
                }
            }
            return Ok(());
        }
        if text.trim().is_empty() {
            return Ok(());
        }
        // The space behind a stretch that ended within the line.
        let text = text.strip_prefix(' ').unwrap_or(text);
        for line in text.trim_matches('\n').split('\n') {
            writeln!(out, "{}", format!("{open}{}", visible(line)).trim_end())?;
        }
        Ok(())
    }

    fn open(self, kind: StretchKind) -> &'static str {
        match (self.colour, kind) {
            (true, StretchKind::Kept) => "\x1b[32m",
            (true, StretchKind::Further) => "\x1b[36m",
            (true, StretchKind::Dropped) => "\x1b[2m",
            (false, StretchKind::Kept) => "+ ",
            (false, StretchKind::Further) => "> ",
            (false, StretchKind::Dropped) => "- ",
        }
    }

    fn close(self) -> &'static str {
        if self.colour { RESET } else { "" }
    }
}

fn word(kind: StretchKind) -> &'static str {
    match kind {
        StretchKind::Kept => "kept",
        StretchKind::Further => "given to a later turn",
        StretchKind::Dropped => "dropped",
    }
}

/// Returns a long text's first and last words with the count of those between; `None` for a text that is not long.
pub(super) fn shorten(text: &str) -> Option<String> {
    let first = text.ceil_char_boundary(first_words(text.char_indices(), text.len()));
    let from_end = text.char_indices().rev();
    let last = text.len()
        - first_words(
            from_end.map(|(at, c)| (text.len() - at - c.len_utf8(), c)),
            text.len(),
        );
    let last = text.floor_char_boundary(last);
    let between = text.get(first..last)?;
    let words = between.split_whitespace().count();
    let count = match between.chars().count() {
        few if few <= 2 * WORD_BYTES / 3 => return None,
        // Hardly any spaces: a script without them.
        many if many / words.max(1) > 20 => format!("{} characters", grouped(many as u64)),
        _ => format!("{} words", grouped(words as u64)),
    };
    let (head, tail) = (text.get(..first)?.trim_end(), text.get(last..)?.trim_start());
    Some(format!("{head} [... {count} ...] {tail}"))
}

/// Returns how many bytes the first words take, the characters being counted from one end.
fn first_words(characters: impl Iterator<Item = (usize, char)>, all: usize) -> usize {
    let (mut words, mut inside) = (0, false);
    for (at, character) in characters {
        if at >= WORD_BYTES || (words == WORDS && character.is_whitespace()) {
            return at;
        }
        if !character.is_whitespace() && !inside {
            words += 1;
        }
        inside = !character.is_whitespace();
    }
    all
}

/// Replaces what would steer the terminal by its picture: a document must not.
pub(super) fn visible(text: &str) -> String {
    let show = |character: char| match character {
        '\t' => character,
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(character)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '\u{2421}',
        _ if character.is_control() => char::REPLACEMENT_CHARACTER,
        _ => character,
    };
    text.chars().map(show).collect()
}

/// Writes a number with a comma between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
