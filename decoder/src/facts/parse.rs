//! Facts from the text of a model that nothing held to a form: what is JSON is read as such, what was nearly JSON is repaired,
//! and from anything else the fields are picked out. Linear in the text; any text is taken.

use serde_json::Value;

/// Most bytes of a text that are read.
const MOST_BYTES: usize = 1 << 16;
/// Most facts that are taken from a text.
pub const MOST_FACTS: usize = 64;
/// Deepest nesting that is repaired.
const MOST_DEPTH: usize = 32;

/// A fact as the model has it; its quote may be invented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFact {
    /// What the model says stands in the text, word for word. Never blank.
    pub quote: String,
    /// What it makes of it. May be empty.
    pub fact: String,
}

/// How facts were read, strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reading {
    /// The text holds JSON of the right form.
    Strict,
    /// It does once what is open is closed and what is cut is left out.
    Repaired,
    /// Its fields were picked out.
    Picked,
}

/// Facts, and how they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The facts, at least one unless the text says that there are none.
    pub facts: Vec<RawFact>,
    /// How they were read.
    pub reading: Reading,
}

/// Reads facts: a list of objects with `quote` and `fact`, alone or as `facts` of an object, with anything around it. None
/// if the text holds nothing of the kind.
pub fn parse(text: &str) -> Option<Parsed> {
    let text = head(text, MOST_BYTES);
    let start = text.find(['{', '[']).unwrap_or(text.len());
    let rest = text.get(start..).unwrap_or_default();
    let read = |facts, reading| Parsed { facts, reading };
    if let Some(facts) = read_json(rest) {
        return Some(read(facts, Reading::Strict));
    }
    let repaired = repair(rest).into_iter().find_map(|text| read_json(&text));
    if let Some(facts) = repaired.filter(|facts| !facts.is_empty()) {
        return Some(read(facts, Reading::Repaired));
    }
    let picked = pick(text);
    (!picked.is_empty()).then(|| read(picked, Reading::Picked))
}

fn head(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Reads the JSON with which a text begins.
fn read_json(text: &str) -> Option<Vec<RawFact>> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = values.next()?.ok()?;
    let list = match &value {
        Value::Array(list) => list.as_slice(),
        Value::Object(object) => match object.get("facts") {
            Some(Value::Array(list)) => list.as_slice(),
            _ => std::slice::from_ref(&value),
        },
        _ => return None,
    };
    let facts: Vec<RawFact> = list.iter().filter_map(read_fact).take(MOST_FACTS).collect();
    (list.is_empty() || !facts.is_empty()).then_some(facts)
}

fn read_fact(value: &Value) -> Option<RawFact> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    RawFact::new(text("quote"), text("fact"))
}

impl RawFact {
    fn new(quote: &str, fact: &str) -> Option<Self> {
        let (quote, fact) = (quote.trim().to_owned(), fact.trim().to_owned());
        (!quote.is_empty()).then_some(Self { quote, fact })
    }
}

/// JSON that is being repaired.
#[derive(Default)]
struct Repair {
    text: String,
    /// What closes the lists and objects that are open.
    open: Vec<char>,
    in_string: bool,
    /// Whether a backslash was read that is not written yet.
    escaped: bool,
    /// Digits of an escape `\u` that are not written yet.
    digits: Option<String>,
    /// Length of the text and what was open when the last object was closed.
    whole: Option<(usize, Vec<char>)>,
}

/// Returns what a text could have become had it not been cut: first all of it, then its whole objects alone.
fn repair(text: &str) -> Vec<String> {
    let mut repair = Repair::default();
    for character in text.chars() {
        repair.take(character);
        if repair.open.is_empty() {
            break;
        }
    }
    let closed = |text: &str, open: &[char]| {
        let text = text.trim_end().trim_end_matches(',');
        text.chars().chain(open.iter().rev().copied()).collect::<String>()
    };
    let whole = repair.whole.take();
    let whole = whole.and_then(|(length, open)| Some(closed(repair.text.get(..length)?, &open)));
    if repair.in_string {
        repair.text.push('"');
    }
    let all = closed(&repair.text, &repair.open);
    [Some(all), whole].into_iter().flatten().collect()
}

impl Repair {
    fn take(&mut self, character: char) {
        if self.in_string {
            return self.take_in_string(character);
        }
        match character {
            '"' => {
                self.in_string = true;
                self.text.push('"');
            }
            '{' if self.open.len() < MOST_DEPTH => self.begin('{', '}'),
            '[' if self.open.len() < MOST_DEPTH => self.begin('[', ']'),
            '}' | ']' => self.end(character),
            '{' | '[' => {}
            other => self.text.push(other),
        }
    }

    fn take_in_string(&mut self, character: char) {
        if let Some(mut digits) = self.digits.take() {
            if !character.is_ascii_hexdigit() {
                // No escape: it stands for itself.
                self.text.push('u');
                self.text.push_str(&digits);
                return self.take_in_string(character);
            }
            digits.push(character);
            match digits.len() {
                4 => self.text.extend(["\\u", &digits]),
                _ => self.digits = Some(digits),
            }
            return;
        }
        match (std::mem::take(&mut self.escaped), character) {
            (true, 'u') => self.digits = Some(String::new()),
            (true, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => self.text.extend(['\\', character]),
            (false, '\\') => self.escaped = true,
            (false, '"') => {
                self.in_string = false;
                self.text.push('"');
            }
            // JSON has these in no string.
            (_, other) if other < ' ' => self.text.push(' '),
            // What no escape begins with stands for itself, too.
            (_, other) => self.text.push(other),
        }
    }

    fn begin(&mut self, opener: char, closer: char) {
        self.text.push(opener);
        self.open.push(closer);
    }

    /// Closes what is open up to the last that ends so; what opened nothing is left out.
    fn end(&mut self, closer: char) {
        let Some(depth) = self.open.iter().rposition(|open| *open == closer) else {
            return;
        };
        let kept = self.text.trim_end().trim_end_matches(',').len();
        self.text.truncate(kept);
        while self.open.len() > depth {
            self.text.extend(self.open.pop());
        }
        if closer == '}' {
            self.whole = Some((self.text.len(), self.open.clone()));
        }
    }
}

/// Picks fields out of a text: `quote` or `fact`, a colon or an equals sign, and a text in quotation marks.
fn pick(text: &str) -> Vec<RawFact> {
    let mut facts = Vec::new();
    let (mut quote, mut fact) = (String::new(), String::new());
    let mut rest = text;
    while let Some(field) = next_field(&mut rest) {
        let place = if field.is_quote { &mut quote } else { &mut fact };
        if !place.is_empty() {
            facts.extend(RawFact::new(&quote, &fact));
            (quote, fact) = (String::new(), String::new());
        }
        match field.is_quote {
            true => quote = field.value,
            false => fact = field.value,
        }
        if facts.len() >= MOST_FACTS {
            return facts;
        }
    }
    facts.extend(RawFact::new(&quote, &fact));
    facts.truncate(MOST_FACTS);
    facts
}

struct Field {
    is_quote: bool,
    value: String,
}

/// Finds the next field and leaves what follows it.
fn next_field(rest: &mut &str) -> Option<Field> {
    loop {
        let at = rest.find(['q', 'Q', 'f', 'F'])?;
        let tail = rest.get(at..)?;
        let name = |name: &str| {
            tail.get(..name.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(name))
        };
        let (is_quote, length) = match (name("quote"), name("fact")) {
            (true, _) => (true, "quote".len()),
            (_, true) => (false, "fact".len()),
            _ => (false, 0),
        };
        *rest = tail.get(length.max(1)..)?;
        if length == 0 {
            continue;
        }
        let after = rest.trim_start_matches(['"', '\'', '*', '`', ' ']);
        let Some(after) = after.strip_prefix([':', '=']) else {
            continue;
        };
        let after = after.trim_start();
        let closer = match after.chars().next() {
            Some('\u{201c}') => '\u{201d}',
            Some(mark @ ('"' | '\'' | '`')) => mark,
            _ => continue,
        };
        let inside = after.get(after.chars().next().map_or(0, char::len_utf8)..)?;
        let (value, length) = read_value(inside, closer);
        *rest = inside.get(length..).unwrap_or_default();
        return Some(Field { is_quote, value });
    }
}

/// Returns a text up to its closing mark, its line's end or its own, without backslashes, and how many bytes it took.
fn read_value(text: &str, closer: char) -> (String, usize) {
    let mut value = String::new();
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            'n' | 't' if escaped => value.push(' '),
            other if escaped => value.push(other),
            '\\' => {
                escaped = true;
                continue;
            }
            '\n' => return (value, at),
            other if other == closer => return (value, at + other.len_utf8()),
            other => value.push(other),
        }
        escaped = false;
    }
    (value, text.len())
}
