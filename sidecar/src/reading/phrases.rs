//! How questions and instructions read: the words by which a short text shows that it asks or orders. English, German,
//! French, Spanish; `speech` knows more languages and is asked beside.

use crate::need::QUESTION_MARKS;

/// Returns true if `text` has `phrase` at the start of a word. Both lower case. Scripts without spaces have
/// no such start.
pub(crate) fn has_phrase(text: &str, phrase: &str) -> bool {
    let spaced = phrase.starts_with(|c: char| c < '\u{2e80}');
    let inside = |at: usize| text[..at].chars().next_back().is_some_and(char::is_alphanumeric);
    text.match_indices(phrase).any(|(at, _)| !spaced || !inside(at))
}

/// First words of a question or an instruction.
#[rustfmt::skip]
const OPENERS: &[&str] = &[
    "what", "what's", "who", "whom", "whose", "when", "where", "which", "why", "how", "is", "are", "was",
    "were", "does", "do", "did", "can", "could", "should", "would", "will", "has", "have", "answer",
    "explain", "describe", "tell", "give", "find", "list", "identify", "highlight", "extract", "state",
    "name", "determine", "using", "based", "according", "given", "please", "provide", "write", "compare",
    "analyze", "analyse", "discuss", "return", "read", "use", "you", "only", "summarize", "summarise",
    "translate", "rewrite", "count", "classify", "show", "from", "task", "respond", "generate", "create",
    "below", "here", "the", "following", "was", "wer", "wann", "wo", "welche", "welcher", "welches", "warum",
    "wie", "wieviel", "nenne", "beantworte", "erkläre", "finde", "gib", "bitte", "beschreibe", "fasse",
    "übersetze", "quel", "quelle", "quels", "quelles", "qui", "quand", "où", "pourquoi", "comment", "combien",
    "réponds", "répondez", "explique", "expliquez", "donne", "donnez", "résume", "résumez", "traduis",
    "traduisez", "qué", "quién", "cuándo", "dónde", "cuál", "cuáles", "cómo", "cuánto", "cuántos", "responde",
    "explica", "describe", "resume", "traduce", "dime",
];

/// Openers that also open ordinary sentences: they need more than themselves.
#[rustfmt::skip]
const WEAK_OPENERS: &[&str] = &[
    "the", "here", "below", "following", "from", "you", "only", "use", "is", "are", "was", "were", "has",
    "have", "given", "using", "based", "according", "when", "where", "while", "will", "would", "do", "can",
    "should", "name", "state", "read", "what", "which", "who", "whose", "how", "why", "wie", "wo", "wer",
    "qui", "comment", "quand", "describe", "resume", "show",
];

/// Words of instructions that documents seldom hold.
#[rustfmt::skip]
const INSTRUCTION_WORDS: &[&str] = &[
    "answer", "question", "following", "below", "above", "context", "document", "provided", "your response",
    "frage", "folgende", "antwort", "question suivante", "ci-dessous", "répond", "pregunta", "siguiente",
    "responde",
];

/// Returns true if an instruction only points at a question that stands elsewhere: "Answer the question below."
pub(super) fn only_points(text: &str) -> bool {
    let lower = text.to_lowercase();
    !text.contains(QUESTION_MARKS) && INSTRUCTION_WORDS.iter().any(|word| has_phrase(&lower, word))
}

/// Words behind which an opener asks: "when did", "who is".
const AUXILIARIES: &[&str] = &[
    "is", "are", "was", "were", "do", "does", "did", "can", "could", "should", "would", "will", "has",
    "have", "had", "must", "to", "many", "much", "long", "often", "kind", "type", "ist", "sind", "war",
    "wurde", "hat", "est", "sont",
];

/// Returns true if `text`, a short paragraph at an end of a longer text, reads as a question or an instruction.
pub(in crate::reading) fn asks(text: &str) -> bool {
    let text = text.trim();
    if text.ends_with(QUESTION_MARKS) || (text.len() <= 600 && text.contains("? ") && !text.contains('\n')) {
        return true;
    }
    let lower = text.to_lowercase();
    let bare = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
    let mut words = lower.split_whitespace().map(bare);
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !WEAK_OPENERS.contains(&&*first) {
        return OPENERS.contains(&&*first);
    }
    if QUESTION_WORDS.contains(&&*first) && text.len() <= 200 && AUXILIARIES.contains(&&*second) {
        return true;
    }
    let instructs = INSTRUCTION_WORDS.iter().any(|word| has_phrase(&lower, word));
    instructs && (lower.ends_with(':') || lower.contains('?') || has_phrase(&lower, "answer"))
}

const QUESTION_WORDS: &[&str] = &[
    "what", "which", "who", "whose", "when", "where", "why", "how", "wie", "wo", "wer", "qui", "comment",
    "quand",
];
