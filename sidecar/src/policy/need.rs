//! Tells from a question how much of the document its answer needs. English, German, French, Spanish; of other
//! languages only the commonest words.
//!
//! Wrong in one direction only costs money (a document goes out whole); wrong in the other costs the answer. So
//! whatever smells of "all of it" counts as that.

use crate::reading::has_phrase;

/// How much of the document an answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The passages that bear on the question.
    Evidence,
    /// The whole in outline: a summary without a focus.
    Overview,
    /// Every word: a translation, a rewriting, a count, a complete list.
    Everything,
}

/// Stems and phrases, lower case; each must start at the start of a word.
#[rustfmt::skip]
const EVERYTHING: &[&str] = &[
    // English
    "translat", "rewrit", "rephras", "paraphras", "proofread", "proof-read", "copyedit", "copy-edit",
    "reword", "transcrib", "anonymi", "redact ", "reformat", "format this", "format the", "convert this",
    "convert the text", "convert the document", "convert it",
    "correct the grammar", "correct the spelling", "correct the text", "correct this", "correct all",
    "fix the grammar", "fix the spelling", "fix all", "fix typos", "spell check", "spellcheck",
    "word for word", "word-for-word", "verbatim", "line by line", "paragraph by paragraph",
    "section by section", "clause by clause", "reproduce the", "repeat the", "repeat everything", "count all",
    "count the", "count every", "count each", "count how", "how many times", "how often is", "how often does",
    "list all", "list every", "list each", "list any", "list out all", "list down all", "enumerate ",
    "extract all", "extract every", "extract each", "find all", "find every", "find each", "identify all",
    "identify every", "identify each", "give me all", "show me all", "show all", "name all", "name every",
    "tag all", "label all", "label each", "classify each", "classify every", "every mention",
    "every occurrence", "every instance", "all mention", "all occurrence", "all instances", "each mention",
    "each occurrence", "complete list", "full list", "exhaustive", "full text", "entire text", "sort the",
    "sort all", "alphabeti",
    // German
    "übersetz", "umschreib", "umformulier", "formuliere um", "schreib um", "schreibe um", "korrektur",
    "korrigier", "lektorier", "zähl", "wie oft", "wie viele male", "liste alle", "liste sämtliche",
    "alle aufl", "nenne alle", "nenne mir alle", "nenne sämtliche", "gib alle", "finde alle", "wörtlich",
    "wort für wort", "zeile für zeile", "jede erwähnung", "alle erwähnungen", "alle stellen",
    "vollständige liste", "transkribier", "anonymisier",
    // French
    "tradui", "traduct", "réécri", "reecri", "reformul", "paraphras", "corrige", "relis", "relecture",
    "combien de fois", "compte le", "comptez", "compter", "liste tou", "lister tou", "listez tou", "énumèr",
    "énumér", "cite tou", "citez tou", "extrais tou", "extraire tou", "extrayez tou", "trouve tou",
    "trouvez tou", "mot à mot", "mot pour mot", "ligne par ligne", "liste complète", "liste exhaustive",
    "toutes les occurrences", "toutes les mentions",
    // Spanish
    "traduc", "traduz", "reescrib", "parafrase", "corrig", "revisa la ortograf", "cuenta cu", "cuenta l",
    "cuenta tod", "cuántas veces", "cuantas veces", "lista tod", "enumera", "menciona tod", "nombra tod",
    "extrae tod", "encuentra tod", "palabra por palabra", "línea por línea", "lista completa",
    "todas las menciones",
    // Chinese, Japanese, Korean
    "翻译", "翻譯", "翻訳", "번역",
];

#[rustfmt::skip]
const OVERVIEW: &[&str] = &[
    // English
    "summar", "tl;dr", "tldr", "overview", "main point", "main idea", "main topic", "main theme", "key point",
    "key takeaway", "key finding", "key theme", "takeaways", "outline the", "outline of", "an outline", "write an abstract", "gist",
    "what is this about", "what's this about", "what is it about", "what is the document about",
    "what is this document about", "what is the text about", "describe this document",
    "describe the document", "review this", "critique", "table of contents", "synopsis", "recap of", "recap the", "a recap",
    // German
    "zusammenfass", "fass zusammen", "fasse zusammen", "fass das", "fasse das", "fasse den", "fasse die",
    "fass den", "fass die", "überblick", "hauptpunkte", "kernaussage", "worum geht", "stichpunkt",
    // French
    "résum", "resume le", "resume ce", "synthèse", "synthétis", "points clés", "points principaux", "idées principales",
    "de quoi parle", "vue d'ensemble", "aperçu",
    // Spanish
    "resúm", "resume el", "resume la", "resume est", "resumen", "resumir", "sinopsis", "síntesis", "puntos clave", "puntos principales", "ideas principales",
    "de qué trata", "visión general",
    // Chinese, Japanese, Korean
    "总结", "總結", "概括", "要約", "요약",
];

/// Words that narrow a summary to a subject.
#[rustfmt::skip]
const FOCUS: &[&str] = &[
    "about ", "regarding ", "concerning ", "related to ", "relating to ", "with respect to", "discussion",
    "opinion", "decision", "focus", "what did", "what was said", "bezüglich ", "hinsichtlich ", "zum thema",
    "über ", "concernant ", "au sujet", "à propos", "sobre ", "acerca ", "respecto ",
];

/// Names of the document itself: no focus.
#[rustfmt::skip]
const WHOLE: &[&str] = &[
    "document", "text", "article", "paper", "contract", "agreement", "meeting", "report", "book", "file",
    "transcript", "story", "page", "dokument", "vertrag", "texte", "texto", "documento", "artículo",
];

/// First words of an order that concerns the whole text, whatever follows.
const ORDERS: &[&str] = &[
    "convert", "format", "reformat", "repeat", "copy", "sort", "count", "correct", "fix", "edit",
];

/// Words that may stand before an order.
const COURTESY: &[&str] = &[
    "please", "can", "could", "would", "will", "you", "kindly", "now", "then", "bitte",
];

/// Judges how much of the document the answer to `question` needs.
pub fn assess_need(question: &str) -> Need {
    // A term of accounting, never an order.
    let question = question
        .to_lowercase()
        .replace("currency translation", "currency");
    let mut words = question
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
    let first = words.find(|word| !COURTESY.contains(word)).unwrap_or_default();
    if ORDERS.contains(&first) || EVERYTHING.iter().any(|phrase| has_phrase(&question, phrase)) {
        return Need::Everything;
    }
    if OVERVIEW.iter().any(|phrase| has_phrase(&question, phrase)) && !has_focus(&question) {
        return Need::Overview;
    }
    Need::Evidence
}

/// Returns true if a summary is asked of a subject, not of the document.
fn has_focus(question: &str) -> bool {
    FOCUS.iter().any(|focus| {
        question.match_indices(focus).any(|(at, found)| {
            let object = question[at + found.len()..].split_whitespace();
            let mut named = object
                .take(3)
                .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
            !named.any(|word| WHOLE.contains(&word))
        })
    })
}
