//! Features of a text: hashed character n-grams within words, words, pairs of words and marks of position. The one
//! extraction that the trainer and the product share: a change here needs a new model.
//!
//! Scripts that write without spaces between words (Chinese, Japanese, Thai) have n-grams of their runs instead of
//! words.

use unicode_normalization::UnicodeNormalization;

/// Bits of a feature's number.
pub const BITS: u32 = 17;
/// Bytes that are read at each end of a long text.
const END: usize = 3_000;
/// Words of a sentence that are paired with its first word.
const PAIRED: usize = 16;
/// Characters of a word that stand for its stem.
const STEM: usize = 5;

/// Extracts the numbers of the features that a text has, sorted, each once, each below `1 << BITS`. Reads at most
/// 3,000 bytes at each end of the text.
pub fn extract(text: &str) -> Vec<u32> {
    let text = normalise(text);
    let mut features = Features::default();
    let sentences = split_sentences(&text);
    for sentence in &sentences {
        features.add_sentence(sentence);
    }
    features.add_text(&sentences);
    features.numbers.sort_unstable();
    features.numbers.dedup();
    features.numbers
}

/// Clips, composes what is decomposed or in presentation forms (NFKC), lower-cases, leaves out accents that stand alone and vowel points, and writes every digit as 0.
fn normalise(text: &str) -> String {
    let text = text.trim();
    let mut clipped = String::new();
    if text.len() > 2 * END {
        clipped.push_str(&text[..text.floor_char_boundary(END)]);
        clipped.push('\n');
        clipped.push_str(&text[text.ceil_char_boundary(text.len() - END)..]);
    } else {
        clipped.push_str(text);
    }
    let lower = clipped.nfkc().flat_map(char::to_lowercase);
    lower
        .filter(|c| !matches!(c, '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5c7}' | '\u{64b}'..='\u{65f}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{feff}'))
        .map(|c| if c.is_numeric() && !is_dense(c) { '0' } else { c })
        .collect()
}

/// A sentence: its words and runs, and the mark that ends it.
struct Sentence<'a> {
    words: Vec<&'a str>,
    mark: char,
}

/// Splits at marks that end sentences, at lines, and at colons. Dots within words end nothing.
fn split_sentences(text: &str) -> Vec<Sentence<'_>> {
    let mut sentences = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    let mut start = None;
    let mut dense = false;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let part = is_part_of_word(c);
        if let Some(from) = start
            && (!part || is_dense(c) != dense)
        {
            words.push(&text[from..at]);
            start = None;
        }
        if part {
            start.get_or_insert_with(|| {
                dense = is_dense(c);
                at
            });
            continue;
        }
        let mark = match c {
            '.' => chars
                .peek()
                .is_none_or(|(_, next)| next.is_whitespace())
                .then_some('.'),
            '。' | '।' | '॥' | '۔' => Some('.'),
            '?' | '？' | '؟' | ';' => Some(if c == ';' { ';' } else { '?' }),
            '!' | '！' => Some('!'),
            ':' | '：' => Some(':'),
            '\n' => Some('\n'),
            _ => {
                if let Some(token) = sign(c) {
                    words.push(token);
                }
                None
            }
        };
        if let Some(mark) = mark {
            end_sentence(&mut sentences, &mut words, mark);
        }
    }
    if let Some(from) = start {
        words.push(&text[from..]);
    }
    end_sentence(&mut sentences, &mut words, ' ');
    sentences
}

fn end_sentence<'a>(sentences: &mut Vec<Sentence<'a>>, words: &mut Vec<&'a str>, mark: char) {
    if !words.is_empty() {
        let words = std::mem::take(words);
        sentences.push(Sentence { words, mark });
    }
}

/// Returns the token of a sign that tells forms of text apart.
fn sign(c: char) -> Option<&'static str> {
    Some(match c {
        '{' | '}' => "{",
        '[' | ']' => "[",
        '<' | '>' => "<",
        '|' => "|",
        '#' => "#",
        '*' | '•' | '·' => "*",
        '=' => "=",
        '(' => "(",
        '"' | '“' | '”' | '„' | '«' | '»' | '「' | '」' => "\"",
        ',' | '，' | '、' | '،' => ",",
        '%' | '€' | '$' | '£' => "$",
        _ => return None,
    })
}

fn is_part_of_word(c: char) -> bool {
    // Vowel signs and viramas of Indic scripts and Thai are marks, not letters.
    c.is_alphanumeric()
        || c == '_'
        || matches!(c, '\u{900}'..='\u{963}' | '\u{980}'..='\u{9e3}' | '\u{e31}'..='\u{e4e}')
}

/// Whether a character is of a script that writes no spaces between words.
fn is_dense(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3005}'..='\u{3007}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

/// Numbers of features, as they are found.
#[derive(Default)]
struct Features {
    numbers: Vec<u32>,
}

impl Features {
    /// Adds a feature: a kind and what it is made of.
    fn add(&mut self, kind: u8, parts: &[&str]) {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut step = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        step(kind);
        for part in parts {
            part.bytes().for_each(&mut step);
            step(0xff);
        }
        let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.numbers.push((mixed >> (64 - BITS)) as u32);
    }

    fn add_sentence(&mut self, sentence: &Sentence<'_>) {
        let mut mark = [0; 4];
        let mark: &str = sentence.mark.encode_utf8(&mut mark);
        let words = &sentence.words;
        for word in words {
            self.add_word(word);
        }
        let at = |index: usize| words.get(index).copied().unwrap_or(mark);
        for index in 0..words.len() {
            self.add(b'b', &[at(index), at(index + 1)]);
            self.add(b'q', &[stem(at(index)), stem(at(index + 1))]);
            self.add(b'k', &[stem(at(index)), stem(at(index + 2))]);
        }
        let (Some(first), Some(last)) = (words.first(), words.last()) else {
            return;
        };
        self.add(b's', &[first]);
        self.add(b's', &[stem(first), ""]);
        self.add(b'e', &[last, mark]);
        self.add(b'e', &[tail(last)]);
        self.add(b'm', &[mark]);
        self.add(b'm', &[mark, first]);
        self.add(b'm', &[first, at(1), mark]);
        for word in words.iter().skip(1).take(PAIRED) {
            self.add(b'x', &[stem(first), stem(word)]);
        }
    }

    /// Adds a word and its n-grams of three to five characters, or of one to four if its script is dense.
    fn add_word(&mut self, word: &str) {
        let starts: Vec<usize> = word
            .char_indices()
            .map(|(at, _)| at)
            .chain([word.len()])
            .collect();
        let dense = word.chars().next().is_some_and(is_dense);
        let count = starts.len() - 1;
        if !dense {
            self.add(b'w', &[word]);
        }
        let lengths = if dense { 1..=4 } else { 3..=5 };
        for (from, &start) in starts.iter().enumerate() {
            for length in lengths.clone() {
                let Some(&end) = starts.get(from + length) else {
                    break;
                };
                let open = if from == 0 && !dense { "<" } else { "" };
                let close = if from + length == count && !dense { ">" } else { "" };
                self.add(b'c', &[open, &word[start..end], close]);
            }
        }
    }

    /// Adds what begins and ends the text, and how long it is.
    fn add_text(&mut self, sentences: &[Sentence<'_>]) {
        let count = |limit: usize, n: usize| "+".repeat(n.min(limit).max(1).ilog2() as usize);
        let words: usize = sentences.iter().map(|sentence| sentence.words.len()).sum();
        self.add(b'n', &["w", &count(1 << 10, words)]);
        self.add(b'n', &["s", &count(1 << 6, sentences.len())]);
        if let Some(word) = sentences.first().and_then(|sentence| sentence.words.first()) {
            self.add(b'F', &[stem(word)]);
        }
        if let Some(sentence) = sentences.last() {
            let mut mark = [0; 4];
            let mark: &str = sentence.mark.encode_utf8(&mut mark);
            self.add(b'L', &[mark]);
            if let Some(word) = sentence.words.last() {
                self.add(b'L', &[mark, tail(word)]);
            }
        }
    }
}

/// Returns the first characters of a word: five, or two in a dense script.
fn stem(word: &str) -> &str {
    let dense = word.chars().next().is_some_and(is_dense);
    let length = if dense { 2 } else { STEM };
    let end = word.char_indices().nth(length).map_or(word.len(), |(at, _)| at);
    &word[..end]
}

/// Returns the last three characters of a word.
fn tail(word: &str) -> &str {
    let start = word.char_indices().rev().nth(2).map_or(0, |(at, _)| at);
    &word[start..]
}
