//! Tells prose and data from what must not be cut: source code, diffs, encoded bytes.

/// The kind of a document's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Sentences, tables, lists, transcripts, JSON: units that can be kept or left out whole.
    Text,
    /// Source code or a diff: each line needs the others.
    Code,
    /// Encoded bytes and the like: nothing to read.
    Opaque,
}

/// Bytes that are read at the front, in the middle and at the end.
const SAMPLE: usize = 8 << 10;

/// Looks at three samples of a document.
pub(super) fn classify(document: &str) -> Content {
    let samples = [0, document.len() / 2, document.len().saturating_sub(SAMPLE)].map(|start| {
        let start = document.ceil_char_boundary(start);
        &document[start..document.floor_char_boundary((start + SAMPLE).min(document.len()))]
    });
    if samples.iter().all(|sample| is_opaque(sample)) {
        return Content::Opaque;
    }
    if document.trim_start().starts_with(['{', '[', '<']) {
        return Content::Text;
    }
    let (code, all) = samples
        .iter()
        .map(|sample| count(sample))
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    if is_diff(samples[0]) || (all >= 200 && code * 5 > all * 2) {
        Content::Code
    } else {
        Content::Text
    }
}

/// Long runs of ASCII without white space.
fn is_opaque(sample: &str) -> bool {
    let spaces = sample.bytes().filter(u8::is_ascii_whitespace).count();
    sample.len() >= 256 && sample.is_ascii() && spaces * 50 < sample.len()
}

/// Returns true if most lines are a diff's. A page that shows a small one in a fence is none.
fn is_diff(sample: &str) -> bool {
    let headers = sample
        .lines()
        .filter(|line| line.starts_with("@@ -") || line.starts_with("diff --git "));
    if headers.count() < 2 && !sample.starts_with("diff --git ") {
        return false;
    }
    let of_diff = |line: &&str| {
        ["+", "-", " ", "@@ -", "diff --git ", "index ", "\\ No newline"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let (lines, all) = sample.lines().fold((0, 0), |(diff, all), line| {
        (diff + usize::from(of_diff(&line)), all + 1)
    });
    lines * 2 > all
}

/// Counts the bytes in lines of code, and in all lines.
fn count(sample: &str) -> (usize, usize) {
    let lines = sample.lines().map(str::trim);
    lines.fold((0, 0), |(code, all), line| {
        (
            code + if is_code(line) { line.len() } else { 0 },
            all + line.len(),
        )
    })
}

#[rustfmt::skip]
const OPENERS: &[&str] = &[
    "def ", "class ", "import ", "from ", "fn ", "pub ", "func ", "function ", "public ", "private ",
    "protected ", "static ", "const ", "let ", "var ", "return", "#include", "#define", "@", "package ",
    "using ", "namespace ", "impl ", "struct ", "enum ", "elif ", "else:", "try:", "except", "} ", "//", "/*",
    "* ", "# ", "self.", "if (", "for (", "while (", "SELECT ", "INSERT ", "CREATE TABLE",
];

fn is_code(line: &str) -> bool {
    if matches!(
        line,
        "{" | "}" | "};" | ");" | "})" | "});" | "}," | "]" | "]," | ")" | "else" | "end"
    ) {
        return true;
    }
    let words = line.split_whitespace().count();
    // Clauses of contracts end in semicolons and colons too, but they are long or have no symbols.
    let symbols = line
        .bytes()
        .filter(|byte| b"=(){}[]<>;_&|!\"'".contains(byte))
        .count();
    let ends = line.ends_with([';', '{', '}', '(', ',', ':', '[', ']']);
    let opens = OPENERS.iter().any(|opener| line.starts_with(opener));
    (words <= 12 && (line.contains(" = ") || (ends && symbols >= 2) || is_call(line)))
        || (words <= 14 && opens && symbols >= 1)
}

/// A name with its arguments: `frame.write(text)`, where prose has a space before its brackets.
fn is_call(line: &str) -> bool {
    let name = line.split('(').next().unwrap_or_default();
    line.ends_with(')')
        && name.len() < line.len()
        && name.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}
