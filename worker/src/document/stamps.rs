//! Reads the times that messages, cues and lines of logs begin with, in the forms of many regions.

/// Words of a time beside its numbers, in lower case.
const WORDS: &[&str] = &[
    "a",
    "a.m",
    "am",
    "at",
    "gmt",
    "h",
    "heute",
    "klo",
    "m",
    "p",
    "p.m",
    "pm",
    "today",
    "uhr",
    "um",
    "utc",
    "yesterday",
    "gestern",
    "م",
    "ص",
];

/// Beginnings of months, in lower case.
const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "mär", "apr", "mai", "may", "jun", "jul", "aug", "sep", "oct", "okt", "nov", "dec",
    "dez",
];

/// Halves of the day that are written before the hour.
const HALVES: [&str; 6] = ["上午", "下午", "午前", "午後", "오전", "오후"];

/// Most words of a time.
const MAX_WORDS: usize = 8;

/// A time that a text begins with.
pub(super) struct Stamp {
    /// One past its last byte.
    pub(super) end: usize,
    /// Whether it says the day.
    pub(super) dated: bool,
    /// Whether it stands in brackets.
    pub(super) bracketed: bool,
}

/// Most lines that are looked at to tell a log.
const LOG_LINES: usize = 400;

/// How a line of a log says how grave it is.
const LEVELS: [&str; 9] = [
    "TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL",
];

/// Returns true if most lines of a text, as far as they are looked at, are those of a program's log. `talk` says whether
/// people speak in it, who write times too.
pub(super) fn is_log(text: &str, talk: bool) -> bool {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let (mut count, mut of_log) = (0_usize, 0_usize);
    for line in lines.take(LOG_LINES) {
        count += 1;
        of_log += usize::from(is_log_line(line, talk));
    }
    2 * of_log > count
}

/// Returns true if a line begins with a level, or with a time and behind it a level or a process, or with a date where no
/// one speaks.
fn is_log_line(line: &str, talk: bool) -> bool {
    match read_stamp(line) {
        None => begins_with_level(line),
        Some(stamp) => {
            let rest = line.get(stamp.end..).unwrap_or_default();
            (stamp.dated && !talk) || begins_with_level(rest) || names_process(rest)
        }
    }
}

fn begins_with_level(text: &str) -> bool {
    let word = text.trim_start_matches([' ', '\t', '[', '(']);
    let word = word.split(|c: char| !c.is_ascii_alphabetic()).next();
    word.is_some_and(|word| LEVELS.contains(&word))
}

/// Returns true if a line names a process by its number, as in `sshd[311]: `.
fn names_process(line: &str) -> bool {
    let number = line
        .split_once("]: ")
        .and_then(|(before, _)| before.rsplit_once('['));
    number.is_some_and(|(_, digits)| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

enum Part {
    Date,
    Time,
    Both,
    Word,
}

/// Reads the date, the time or both that a text begins with, in brackets or not.
pub(super) fn read_stamp(text: &str) -> Option<Stamp> {
    let mut at = text.len() - text.trim_start_matches(is_blank).len();
    let bracketed = text[at..].starts_with(['[', '(']);
    at += usize::from(bracketed);
    let (mut dated, mut timed, mut end) = (false, false, at);
    for _ in 0..MAX_WORDS {
        let rest = text[at..].trim_start_matches(|c| is_blank(c) || matches!(c, ',' | '،'));
        let start = text.len() - rest.len();
        if bracketed && (dated || timed) && rest.starts_with([']', ')']) {
            return Some(Stamp {
                end: start + 1,
                dated,
                bracketed,
            });
        }
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '.' | ':' | '/' | '-' | '+');
        let length = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        match read_part(&rest[..length], dated) {
            Some(Part::Date) => dated = true,
            Some(Part::Time) => timed = true,
            Some(Part::Both) => (dated, timed) = (true, true),
            Some(Part::Word) => {}
            None => break,
        }
        at = start + length;
        end = at;
    }
    (!bracketed && (dated || timed)).then_some(Stamp {
        end,
        dated,
        bracketed,
    })
}

/// Returns true for white space and for the marks of direction that exports put before a line.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{feff}')
}

fn read_part(word: &str, dated: bool) -> Option<Part> {
    let word = word.trim_end_matches('.');
    if word.is_empty() || word.len() > 40 {
        return None;
    }
    if !word.starts_with(char::is_numeric) {
        let hour = HALVES.iter().find_map(|half| word.strip_prefix(half));
        if let Some(hour) = hour {
            return if hour.is_empty() {
                Some(Part::Word)
            } else {
                read_part(hour, dated)
            };
        }
        let lower = word.to_lowercase();
        let month = lower.chars().count() <= 9 && MONTHS.iter().any(|month| lower.starts_with(month));
        return (month || WORDS.contains(&lower.as_str())).then_some(Part::Word);
    }
    if let Some((day, hour)) = word.split_once('T') {
        return (is_date(day) && hour.contains(':')).then_some(Part::Both);
    }
    let half = |c: char| matches!(c, 'a' | 'p' | 'm' | 'A' | 'P' | 'M' | 'h' | 'Z' | '.');
    let number = word.trim_end_matches(half);
    if is_date(number) {
        return Some(Part::Date);
    }
    let hours = if dated && !number.contains(':') { '.' } else { ':' };
    let numbers: Vec<&str> = number.split(hours).collect();
    let digits = |text: &str, most: usize| {
        (1..=most).contains(&text.chars().count()) && text.chars().all(char::is_numeric)
    };
    match numbers.as_slice() {
        [hour, minute] if digits(hour, 2) && digits(minute, 2) => Some(Part::Time),
        [hour, minute, second]
            if digits(hour, 2)
                && digits(minute, 2)
                && second
                    .chars()
                    .all(|c| c.is_numeric() || matches!(c, '.' | '+' | '-')) =>
        {
            Some(Part::Time)
        }
        // Minutes, seconds and their parts, as in subtitles.
        [one] if digits(one, 4) => Some(Part::Word),
        [hour] if hour.split('.').all(|part| digits(part, 3)) && number.contains(':') => Some(Part::Time),
        _ => None,
    }
}

/// Returns true for three numbers between full stops, strokes or hyphens.
fn is_date(text: &str) -> bool {
    ['/', '.', '-'].into_iter().any(|separator| {
        let mut parts = 0;
        let numbers = text.split(separator).all(|part| {
            parts += 1;
            (1..=4).contains(&part.chars().count()) && part.chars().all(char::is_numeric)
        });
        numbers && parts == 3
    })
}
