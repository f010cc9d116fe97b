//! What the tiers read: a document, cut into units, word pieces and match windows once, and for each thing that is
//! asked its terms and word pieces.

use std::ops::Range;

use super::{Ask, Asks};
use crate::document::{Document, Texts};
use crate::fold::Folded;
use crate::model::{Models, Pieces, WordPiece};
use crate::scoring::{Question, TermCounts, Window, asks_for_data, recipe, windows};

/// Bytes for a token where no tokenizer is loaded; about right for English prose.
const BYTES_PER_TOKEN: usize = 4;

/// A document and all that is asked about it, as the tiers read them.
pub(super) struct ScoringInput<'a> {
    pub(super) source: SourceInput<'a>,
    /// In the order of [`Asks`]; empty if nothing is asked.
    pub(super) asks: Vec<AskInput>,
}

/// A document as the tiers read it, whatever is asked.
pub(super) struct SourceInput<'a> {
    pub(super) document: Document<'a>,
    /// The word pieces that the static and encoder tiers read; `None` without a model.
    pub(super) pieces: Option<PieceInput>,
    /// Whether each unit is evidence only for an ask that is about data.
    pub(super) data: Vec<bool>,
    /// Tokens of each unit, estimated from bytes where there is no tokenizer.
    pub(super) unit_tokens: Vec<u32>,
    /// Tokens of the document, estimated likewise.
    pub(super) tokens: u64,
}

/// A document as word pieces.
pub(super) struct PieceInput {
    /// Vocabulary ids of the document.
    pub(super) ids: Vec<u32>,
    /// The pieces of each unit, as ranges of `ids`.
    pub(super) units: Vec<Range<usize>>,
    /// Runs of units that questions are matched with.
    pub(super) windows: Vec<Window>,
}

/// One of the things that are asked, as the tiers read it.
pub(super) struct AskInput {
    /// Its terms in the units of the document.
    pub(super) lexical: TermCounts,
    /// Its vocabulary ids; none without a model.
    pub(super) ids: Vec<u32>,
    /// How much it counts beside the others.
    pub(super) weight: f32,
    /// Whether it asks for encoded data, code or the furniture of pages.
    pub(super) about_data: bool,
}

/// The text to read and what is asked about it.
pub(super) struct TextToRead<'a> {
    pub(super) document: &'a str,
    pub(super) texts: &'a Texts,
    pub(super) asks: &'a Asks,
}

impl<'a> ScoringInput<'a> {
    pub(super) fn new(text: &TextToRead<'a>, models: Option<&Models>) -> Self {
        let about_data: Vec<bool> = text.asks.iter().map(|ask| asks_for_data(ask.text())).collect();
        let source = SourceInput::new(text, models, about_data.contains(&true));
        let parse = |ask: &Ask| Question::parse(ask.text());
        let questions: Vec<Question> = text.asks.iter().map(parse).collect();
        let lexical = TermCounts::count(&source.document, &questions);
        let ids_of = |ask: &Ask| match models {
            Some(models) => models.tokenizer.encode(Folded::new(ask.text()).text()).ids,
            None => Vec::new(),
        };
        let asks = text.asks.iter().zip(lexical).zip(about_data);
        let asks = asks.map(|((ask, lexical), about_data)| AskInput {
            lexical,
            ids: ids_of(ask),
            weight: ask.weight(),
            about_data,
        });
        Self {
            asks: asks.collect(),
            source,
        }
    }
}

impl<'a> SourceInput<'a> {
    fn new(text: &TextToRead<'a>, models: Option<&Models>, data_is_asked: bool) -> Self {
        let mut document = Document::parse_texts(text.document, text.texts);
        let data = document.units.iter().map(|unit| unit.filler).collect();
        if data_is_asked {
            document.units.iter_mut().for_each(|unit| unit.filler = false);
        }
        let Some(models) = models else {
            let estimate = |bytes: usize| bytes.div_ceil(BYTES_PER_TOKEN);
            let unit_tokens = document
                .units
                .iter()
                .map(|unit| estimate(unit.end - unit.start) as u32)
                .collect();
            return Self {
                document,
                pieces: None,
                data,
                unit_tokens,
                tokens: estimate(text.document.trim().len()) as u64,
            };
        };
        let encoded = encode_folded(&models.tokenizer, text.document);
        let mut units = assign_pieces(&document, &encoded);
        let unit_tokens = units.iter().map(|range| range.len() as u32).collect();
        let tokens = encoded.ids.len() as u64;
        let mut ids = encoded.ids;
        if document.units.iter().any(|unit| unit.filler) {
            ids = drop_filler(&document, &ids, &mut units);
        }
        let pieces = PieceInput {
            windows: windows(&document.units, recipe::MATCH_WORDS, recipe::MATCH_WORDS),
            units,
            ids,
        };
        Self {
            document,
            pieces: Some(pieces),
            data,
            unit_tokens,
            tokens,
        }
    }
}

impl PieceInput {
    /// Returns the vocabulary ids of each match window.
    pub(super) fn window_ids(&self) -> Vec<&[u32]> {
        self.ids_of(&self.windows)
    }

    /// Returns the vocabulary ids of windows.
    pub(super) fn ids_of(&self, windows: &[Window]) -> Vec<&[u32]> {
        let range = |window: &Window| match (self.units.get(window.start), self.units.get(window.end - 1)) {
            (Some(first), Some(last)) => self.ids.get(first.start..last.end).unwrap_or_default(),
            _ => &[],
        };
        windows.iter().map(range).collect()
    }

    /// Returns the pieces of each unit of a window, counted from the window's first piece.
    pub(super) fn units_within(&self, window: &Window) -> impl Iterator<Item = Range<usize>> {
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
