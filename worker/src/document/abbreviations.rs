//! Tells the full stop of an abbreviation, an initial or an ordinal from the one that ends a sentence.
//!
//! Two sentences that are taken for one cost a few words; a sentence that is cut is quoted wrong. So a doubtful
//! full stop ends nothing.

/// Words before a full stop that do not end a sentence, in lower case: those that have a vowel, because
/// [`has_no_vowel`] knows the others.
const ABBREVIATIONS: &[&str] = &[
    // English
    "app", "approx", "apr", "arg", "arts", "aug", "ca", "cap", "capt", "ch", "cl", "col", "cor", "dec", "e.g",
    "ed", "eds", "eq", "exh", "feb", "fig", "figs", "gen", "hon", "i.e", "jan", "jul", "jun", "lit", "nos",
    "oct", "op", "para", "paras", "prof", "rec", "ref", "reg", "rev", "sec", "sep", "sept", "sub", "v",
    "vol", "vols", // German
    "abb", "abk", "abs", "abschn", "abt", "allg", "alt", "amtl", "anh", "anl", "anm", "aufl", "ausg", "az",
    "beil", "bes", "betr", "bez", "bspw", "buchst", "dipl", "ebd", "einschl", "entspr", "erl", "ev", "evtl",
    "exkl", "geb", "gem", "ges", "gez", "halbs", "hins", "inkl", "insb", "jew", "kap", "lt", "max", "mind",
    "mio", "mod", "nov", "od", "okt", "pos", "prot", "rd", "rdnr", "ref", "rspr", "sog", "tel", "teilw",
    "tit", "unterabs", "urt", "usf", "verf", "vors", "vorz", "zit", "ziff", "zus",
    // French, Spanish, Portuguese, Italian, Dutch
    "aff", "alin", "apdo", "aprox", "artt", "asoc", "av", "avda", "avv", "bijv", "bull", "chap", "cit", "civ",
    "dott", "dra", "ej", "env", "ex", "exmo", "incl", "ing", "ltda", "mevr", "mme", "num", "núm", "pag",
    "pág", "págs", "par", "pén", "réf", "sig", "sra", "srta", "ud", "uds", "éd",
    // Polish, Czech, Russian and Ukrainian
    "odst", "poz", "ul", "ust", "гл", "им", "обл", "руб", "тел", "ул", "абз", "коп", "тыс", "ред",
];

/// Words without a vowel that may end a sentence.
const MEASURES: &[&str] = &[
    "cm", "db", "dl", "ft", "gb", "hz", "kb", "kg", "km", "kwh", "lb", "lbs", "mb", "mg", "ml", "mm", "mph",
    "pt", "px", "tb", "hm", "hmm", "pst", "tv", "cd", "dvd", "pc", "pdf", "rhythm",
];

/// Abbreviations that often stand at the end of a sentence: a word that opens sentences behind them ends it.
const OFTEN_LAST: &[&str] = &[
    "etc", "usw", "ff", "f", "enz", "ecc", "ss", "seq", "al", "no", "art",
];

/// Words that open sentences, in lower case; behind an abbreviation they are written with a capital for no other
/// reason.
const OPENERS: &[&str] = &[
    "a", "all", "an", "any", "as", "at", "but", "each", "for", "he", "however", "if", "in", "it", "she",
    "such", "that", "the", "there", "these", "they", "this", "those", "we", "you", "auch", "bei", "da",
    "das", "daher", "dem", "den", "der", "des", "die", "dies", "diese", "dieser", "ein", "eine", "er", "es",
    "für", "im", "nach", "sie", "sind", "so", "wenn", "wir", "zu", "ce", "cet", "cette", "elle", "il", "ils",
    "la", "le", "les", "un", "une", "el", "en", "este", "los", "las", "se", "o", "os", "não", "de", "het",
    "een", "lo", "gli", "i",
];

/// Words of German behind which a number with a full stop is an ordinal.
const BEFORE_ORDINAL: &[&str] = &[
    "ab", "am", "an", "beim", "bis", "das", "dem", "den", "der", "des", "die", "dieser", "ein", "eine",
    "einem", "einen", "einer", "im", "ins", "jeden", "jeder", "oder", "seit", "seinem", "und", "vom", "v",
    "zum", "zur",
];

/// Beginnings of words behind which a number with a full stop is an ordinal: months, and what German counts so.
const AFTER_ORDINAL: &[&str] = &[
    "januar",
    "jänner",
    "jan",
    "februar",
    "feb",
    "märz",
    "mär",
    "april",
    "apr",
    "mai",
    "juni",
    "jun",
    "juli",
    "jul",
    "august",
    "aug",
    "september",
    "sep",
    "oktober",
    "okt",
    "november",
    "nov",
    "dezember",
    "dez",
    "quartal",
    "halbjahr",
    "auflage",
    "kapitel",
    "abschnitt",
    "jahrhundert",
    "instanz",
    "kammer",
    "senat",
    "stock",
    "obergeschoss",
    "lebensjahr",
    "tag",
    "werktag",
    "monat",
    "halbsatz",
    "unterabsatz",
];

/// Most characters of a word that can be an abbreviation.
const LONGEST: usize = 9;

/// Returns true if the full stop before `close` ends an abbreviation, an initial, or the number of something.
/// `text[start..close]` is the sentence so far.
pub(super) fn ends_with_abbreviation(text: &str, start: usize, close: usize) -> bool {
    let sentence = &text[start..close];
    let before = sentence.trim_end_matches('.');
    if !sentence.ends_with('.') || sentence.len() - before.len() > 1 {
        return false;
    }
    let word_start = before
        .char_indices()
        .rev()
        .take(LONGEST + 1)
        .take_while(|&(_, c)| c.is_alphanumeric() || c == '.')
        .last()
        .map_or(before.len(), |(at, _)| at);
    let word = &before[word_start..];
    let head = before[..word_start].trim_end();
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        return numbers(word, head, &text[close..]);
    }
    let mut chars = word.chars();
    if matches!((chars.next(), chars.next()), (Some(c), None) if c.is_alphabetic()) {
        let last = OFTEN_LAST.contains(&word);
        return !(last && opens_sentence(&text[close..]));
    }
    let lower = word.to_lowercase();
    if ABBREVIATIONS.contains(&lower.as_str()) {
        return true;
    }
    if OFTEN_LAST.contains(&lower.as_str()) || is_dotted(word) {
        let clock = matches!(lower.as_str(), "a.m" | "p.m");
        return !clock && !opens_sentence(&text[close..]);
    }
    has_no_vowel(word) && !MEASURES.contains(&lower.as_str())
}

/// Returns true if the number before a full stop numbers what follows: at the beginning of a sentence ("1.",
/// "12.3."), or as an ordinal of German ("am 2. Mai", "der 3. Senat").
fn numbers(number: &str, head: &str, rest: &str) -> bool {
    if head.is_empty() {
        return number.chars().all(|c| c.is_ascii_digit() || c == '.');
    }
    if number.len() > 2 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let next = first_word(rest);
    let last = head
        .rsplit(|c: char| !c.is_alphabetic())
        .next()
        .unwrap_or_default();
    AFTER_ORDINAL.contains(&next.as_str())
        || (BEFORE_ORDINAL.contains(&last) && !OPENERS.contains(&next.as_str()))
}

/// Returns true for letters with full stops between them, such as "U.S" and "z.B".
fn is_dotted(word: &str) -> bool {
    word.contains('.')
        && word
            .split('.')
            .all(|part| (1..=2).contains(&part.chars().count()))
}

/// Returns true for a short word that nobody could pronounce, such as "Nr" and "bzw"; acronyms are written in
/// capitals.
fn has_no_vowel(word: &str) -> bool {
    let count = word.chars().count();
    let consonant = |c: char| {
        let lower = c.to_lowercase().next().unwrap_or(c);
        lower.is_alphabetic()
            && !"aeiouyäöüáàâãåæéèêëíìîïóòôõøœúùûýаеёиоуыэюяіїє".contains(lower)
            && matches!(lower, 'a'..='z' | 'ß'..='ž' | 'а'..='џ')
    };
    (2..=5).contains(&count) && word.chars().skip(1).all(|c| !c.is_uppercase()) && word.chars().all(consonant)
}

fn opens_sentence(rest: &str) -> bool {
    OPENERS.contains(&first_word(rest).as_str())
}

/// Returns the first word behind white space, in lower case; empty if it is too long to be one of the lists.
fn first_word(rest: &str) -> String {
    const LONGEST_LISTED: usize = 14;
    let word = rest
        .trim_start()
        .chars()
        .take(LONGEST_LISTED)
        .take_while(|c| c.is_alphabetic());
    word.flat_map(char::to_lowercase).collect()
}
