//! How the commands speak to a person: headings, indented lines, colours where there is a terminal.
//!
//! A thread can write into a file instead, so that what runs beside something else is shown whole when it has ended.

use std::cell::RefCell;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

thread_local! {
    static LOG: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// Lets this thread, and the programs that it starts through [`crate::command`], write into a file.
pub(crate) fn write_into(file: Option<File>) {
    LOG.set(file);
}

/// The file into which this thread writes, if it does.
pub(crate) fn log() -> Option<File> {
    LOG.with_borrow(|log| log.as_ref()?.try_clone().ok())
}

/// A line as it is.
pub(crate) fn line(text: &str) {
    match log() {
        // A full disk shows elsewhere.
        Some(mut file) => drop(writeln!(file, "{text}")),
        None => println!("{text}"),
    }
}

/// A heading: a step of the command begins.
pub(crate) fn step(text: &str) {
    line(&format!("\n{} {}", paint("36;1", "▸"), paint("1", text)));
}

/// A line below a heading.
pub(crate) fn say(text: impl AsRef<str>) {
    for text in text.as_ref().lines() {
        line(&format!("  {text}"));
    }
}

/// Something a person should know although the command goes on.
pub(crate) fn warn(text: impl AsRef<str>) {
    line(&format!("  {} {}", paint("33;1", "!"), text.as_ref()));
}

pub(crate) fn bold(text: &str) -> String {
    paint("1", text)
}

pub(crate) fn dim(text: &str) -> String {
    paint("2", text)
}

pub(crate) fn green(text: &str) -> String {
    paint("32", text)
}

pub(crate) fn red(text: &str) -> String {
    paint("31;1", text)
}

pub(crate) fn yellow(text: &str) -> String {
    paint("33", text)
}

/// `1.2 s`, `340 ms`, `3 min 05 s`.
pub(crate) fn human(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1000.0),
        s if s < 60.0 => format!("{s:.1} s"),
        _ => format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

/// `12,345`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// Breaks a text into lines of at most `width` characters, at spaces.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let length = lines.last().map_or(0, |line| line.chars().count());
        if length > 0 && length + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn paint(code: &str, text: &str) -> String {
    static COLOURS: OnceLock<bool> = OnceLock::new();
    let colours =
        COLOURS.get_or_init(|| std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    if *colours {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_thousands() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(thousands),
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn wraps_at_spaces_and_keeps_long_words() {
        assert_eq!(
            wrap("one two  three incomprehensibilities", 9),
            ["one two", "three", "incomprehensibilities"]
        );
    }
}
