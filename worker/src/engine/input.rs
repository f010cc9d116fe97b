//! What the tiers read: a document and a question, cut into units, terms, word pieces and match windows.

use std::ops::Range;

use crate::document::Document;
use crate::fold::Folded;
use crate::model::{Models, Pieces, WordPiece};
use crate::scoring::{Question, TermCounts, Window, asks_for_data, recipe, windows};

/// Bytes for a token where no tokenizer is loaded; about right for English prose.
const BYTES_PER_TOKEN: usize = 4;

/// A document and a question as the tiers read them.
pub(super) struct ScoringInput<'a> {
    pub(super) document: Document<'a>,
    pub(super) lexical: TermCounts,
    /// The word pieces that the static and encoder tiers read; `None` without a model.
    pub(super) pieces: Option<PieceInput>,
    /// Tokens of each unit, estimated from bytes where there is no tokenizer.
    pub(super) unit_tokens: Vec<u32>,
    /// Tokens of the document, estimated likewise.
    pub(super) tokens: u64,
}

/// A document and a question as word pieces.
pub(super) struct PieceInput {
    /// Vocabulary ids of the question.
    pub(super) question: Vec<u32>,
    /// Vocabulary ids of the document.
    pub(super) ids: Vec<u32>,
    /// The pieces of each unit, as ranges of `ids`.
    pub(super) units: Vec<Range<usize>>,
    /// Runs of units that the question is matched with.
    pub(super) windows: Vec<Window>,
}

impl<'a> ScoringInput<'a> {
    pub(super) fn new(text: &'a str, question: &str, models: Option<&Models>, thesaurus: bool) -> Self {
        let mut document = Document::parse(text);
        if asks_for_data(question) {
            document.units.iter_mut().for_each(|unit| unit.filler = false);
        }
        let lexical = TermCounts::count(&document, &Question::parse(question, thesaurus));
        let Some(models) = models else {
            let estimate = |bytes: usize| bytes.div_ceil(BYTES_PER_TOKEN);
            let unit_tokens = document
                .units
                .iter()
                .map(|unit| estimate(unit.end - unit.start) as u32)
                .collect();
            let tokens = estimate(text.trim().len()) as u64;
            return Self {
                document,
                lexical,
                pieces: None,
                unit_tokens,
                tokens,
            };
        };
        let encoded = encode_folded(&models.tokenizer, text);
        let mut units = assign_pieces(&document, &encoded);
        let unit_tokens = units.iter().map(|range| range.len() as u32).collect();
        let tokens = encoded.ids.len() as u64;
        let mut ids = encoded.ids;
        if document.units.iter().any(|unit| unit.filler) {
            ids = drop_filler(&document, &ids, &mut units);
        }
        let pieces = PieceInput {
            question: models.tokenizer.encode(Folded::new(question).text()).ids,
            windows: windows(&document.units, recipe::MATCH_WORDS, recipe::MATCH_WORDS),
            units,
            ids,
        };
        Self {
            document,
            lexical,
            pieces: Some(pieces),
            unit_tokens,
            tokens,
        }
    }
}

impl PieceInput {
    /// Returns the vocabulary ids of each match window.
    pub(super) fn window_ids(&self) -> Vec<&[u32]> {
        let range = |window: &Window| match (self.units.get(window.start), self.units.get(window.end - 1)) {
            (Some(first), Some(last)) => self.ids.get(first.start..last.end).unwrap_or_default(),
            _ => &[],
        };
        self.windows.iter().map(range).collect()
    }

    /// Returns the pieces of each unit of a window, counted from the window's first piece.
    pub(super) fn units_within(&self, window: usize) -> impl Iterator<Item = Range<usize>> {
        let window = &self.windows[window];
        let units = &self.units[window.start..window.end];
        let first = units.first().map_or(0, |unit| unit.start);
        units.iter().map(move |unit| unit.start - first..unit.end - first)
    }
}

/// Returns the pieces of a document without those of filler, and makes `units` their ranges.
fn drop_filler(document: &Document<'_>, ids: &[u32], units: &mut [Range<usize>]) -> Vec<u32> {
    let mut kept = Vec::with_capacity(ids.len());
    for (unit, range) in document.units.iter().zip(units) {
        let start = kept.len();
        if !unit.filler {
            kept.extend_from_slice(ids.get(range.clone()).unwrap_or_default());
        }
        *range = start..kept.len();
    }
    kept
}

/// Cuts a text into pieces in the form in which it is compared; their ranges are those of the text itself.
fn encode_folded(tokenizer: &WordPiece, text: &str) -> Pieces {
    let folded = Folded::new(text);
    let mut pieces = tokenizer.encode(folded.text());
    folded.restore(pieces.ranges.iter_mut().map(|range| &mut range.0));
    folded.restore(pieces.ranges.iter_mut().map(|range| &mut range.1));
    pieces
}

/// Finds the pieces that lie in each unit. Both are in order, so one walk finds them; a piece belongs to the
/// unit in which it begins.
fn assign_pieces(document: &Document<'_>, pieces: &Pieces) -> Vec<Range<usize>> {
    let begins_before =
        |piece: usize, byte: usize| pieces.ranges.get(piece).is_some_and(|r| (r.0 as usize) < byte);
    let mut at = 0;
    let mut take_until = |byte: usize| {
        let start = at;
        while begins_before(at, byte) {
            at += 1;
        }
        start..at
    };
    document
        .units
        .iter()
        .map(|unit| {
            take_until(unit.start);
            take_until(unit.end)
        })
        .collect()
}
