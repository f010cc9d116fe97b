//! Languages: which one a text is in, and whether a question is in another one than its document. The models read
//! English; the cheaper tiers compare words. So neither finds in a document what is asked in another language.

use whatlang::{Detector, Info, Lang, Script};

use super::Asks;
use crate::document::{Document, SpanKind, Unit};
use crate::scoring::{count_shared, is_stop_word, words};

#[cfg(test)]
mod tests;

/// Bytes of a document that its language is told from, in this many pieces from all over it.
const SAMPLE_BYTES: usize = 6000;
const SAMPLE_PIECES: usize = 12;

/// Fewer letters do not tell one language from another that is written with the same ones.
const FEWEST_LETTERS: usize = 60;

/// So many letters tell it beyond doubt.
const TELLING_LETTERS: usize = 300;

/// Confidence above which fewer letters do. On 398 English questions of 60 letters and more none was taken for another
/// language, and 23 of 26 in other languages were.
const CONFIDENT: f64 = 0.5;

/// Share of a question's words from which a document that holds them is in its language too. A document of some length
/// holds the little words of its language.
const SHARED: f64 = 0.5;

/// Share of English words that say nothing from which a text is English. Of 248 requests in 19 other languages none has so
/// many, of 568 English ones 93 in a hundred have.
const LITTLE: f64 = 0.3;

/// Fewer words may be names, or a search for what the document does not hold; they are of no language.
const FEWEST_WORDS: usize = 4;

/// An ask counts if it has this share of the weight of the weightiest.
const WEIGHTY: f32 = 0.5;

/// Languages that a shorter text in Latin letters is taken for: what people write most, so that it is not taken for a
/// rare one.
const LATIN: [Lang; 17] = [
    Lang::Eng,
    Lang::Deu,
    Lang::Fra,
    Lang::Spa,
    Lang::Por,
    Lang::Ita,
    Lang::Nld,
    Lang::Swe,
    Lang::Dan,
    Lang::Nob,
    Lang::Fin,
    Lang::Pol,
    Lang::Ces,
    Lang::Ron,
    Lang::Tur,
    Lang::Ind,
    Lang::Vie,
];

/// Returns pieces of the document's text from all over it, code and data left out.
pub(super) fn sample(document: &Document<'_>) -> String {
    sample_where(document, |kind| {
        !matches!(kind, SpanKind::Code | SpanKind::JsonElement)
    })
}

/// Returns pieces of the document's units of some kinds.
fn sample_where(document: &Document<'_>, wanted: impl Fn(SpanKind) -> bool) -> String {
    let is_text = |unit: &&Unit| !unit.filler && wanted(unit.kind);
    let texts: Vec<&str> = document
        .units
        .iter()
        .filter(is_text)
        .map(|unit| unit.text(document.text))
        .collect();
    let mut sample = String::with_capacity(SAMPLE_BYTES + SAMPLE_PIECES);
    for piece in texts.chunks(texts.len().div_ceil(SAMPLE_PIECES).max(1)) {
        let end = sample.len() + SAMPLE_BYTES / SAMPLE_PIECES;
        for text in piece {
            if sample.len() >= end {
                break;
            }
            sample.push_str(&text[..text.floor_char_boundary(end - sample.len())]);
            sample.push(' ');
        }
    }
    sample
}

/// Returns whether a text may be English. A text in other letters is not; a short one in Latin letters may be, whatever
/// it looks like.
pub(super) fn may_be_english(text: &str) -> bool {
    let Letters { all, latin } = Letters::of(text);
    if 2 * latin < all {
        return false;
    }
    if all < FEWEST_LETTERS {
        return true;
    }
    let telling = all >= TELLING_LETTERS;
    let other = |found: Info| found.lang() != Lang::Eng && (telling || found.confidence() >= CONFIDENT);
    !detect(text, telling).is_some_and(other)
}

/// Returns whether all that is asked, but for what counts little, is in another language than the document.
pub(super) fn differ(document: &Document<'_>, asks: &Asks) -> bool {
    let most = asks.iter().map(|ask| ask.weight()).fold(0.0, f32::max);
    let weighty: Vec<&str> = asks
        .iter()
        .filter(|ask| ask.weight() >= WEIGHTY * most)
        .map(|ask| ask.text())
        .collect();
    if weighty.is_empty() {
        return false;
    }
    let Some(language) = find_document_language(document) else {
        return false;
    };
    let foreign = |ask: &&str| find_language(ask).is_some_and(|found| may_differ(found, language));
    if !weighty.iter().all(foreign) {
        return false;
    }
    weighty.iter().all(|ask| is_unknown(ask, document.text))
}

/// Finds the language of a document's prose. Cells of tables, names and numbers are of no language.
fn find_document_language(document: &Document<'_>) -> Option<Lang> {
    let prose = sample_where(document, |kind| {
        matches!(
            kind,
            SpanKind::Sentence | SpanKind::ListItem | SpanKind::SpeakerTurn
        )
    });
    if Letters::of(&prose).all < TELLING_LETTERS {
        return None;
    }
    let found = detect(&prose, true)?;
    found.is_reliable().then_some(found.lang())
}

/// Returns whether two texts are in languages that do not share their words. Those that are written with Chinese
/// characters do.
fn may_differ(one: Lang, other: Lang) -> bool {
    let chinese = |lang: Lang| matches!(lang, Lang::Cmn | Lang::Jpn);
    one != other && !(chinese(one) && chinese(other))
}

/// Finds the language of an ask. Short English is taken for many a language by its letters, but not by its little words.
fn find_language(ask: &str) -> Option<Lang> {
    let words = words(ask);
    let little = words.iter().filter(|word| is_stop_word(word)).count();
    if little as f64 >= LITTLE * words.len() as f64 && little > 0 {
        return Some(Lang::Eng);
    }
    Some(detect(ask, false)?.lang())
}

/// Returns whether a document holds few words of an ask. Numbers and codes are of no language.
fn is_unknown(ask: &str, document: &str) -> bool {
    let mut asked = words(ask);
    asked.retain(|word| word.chars().all(char::is_alphabetic));
    asked.len() >= FEWEST_WORDS && (count_shared(&asked, document) as f64) < SHARED * asked.len() as f64
}

/// Detects a text's language; of a short one in Latin letters among those that people write most.
fn detect(text: &str, telling: bool) -> Option<Info> {
    let all = Detector::new();
    if telling || all.detect_script(text) != Some(Script::Latin) {
        return all.detect(text);
    }
    Detector::with_allowlist(LATIN.to_vec()).detect(text)
}

/// How many letters a text has, and how many of them are Latin, with or without a mark.
struct Letters {
    all: usize,
    latin: usize,
}

impl Letters {
    fn of(text: &str) -> Self {
        let mut letters = Self { all: 0, latin: 0 };
        for letter in text.chars().filter(|c| c.is_alphabetic()) {
            letters.all += 1;
            letters.latin += usize::from(is_latin(letter));
        }
        letters
    }
}

/// Returns whether a letter is Latin, with or without a mark.
fn is_latin(letter: char) -> bool {
    matches!(letter, 'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')
}
