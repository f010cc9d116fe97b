//! A path as a server may read it: escapes undone, empty and dot segments gone.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What cannot stand in a path as it is.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ');

/// The segments of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spelling {
    /// The segments, unreserved characters and slashes decoded, all else as it was escaped.
    pub(super) segments: Vec<String>,
    /// False if servers differ in how they read the path: parameters, backslashes, white space and control
    /// characters, all of which are left out of `segments`.
    pub(super) is_plain: bool,
}

impl Spelling {
    /// Reads a path by the rules of RFC 3986, sections 5.2.4 and 6.2.2; escaped slashes and repeated ones
    /// divide segments too, as gateways take them.
    pub(super) fn read(path: &str) -> Self {
        let decoded = decode(path);
        let mut is_plain = true;
        let mut segments: Vec<String> = Vec::new();
        for written in decoded.split(['/', '\\']) {
            let bare = strip(written);
            is_plain &= bare == written;
            match bare {
                "" | "." => {}
                ".." => drop(segments.pop()),
                segment => segments.push(utf8_percent_encode(segment, ESCAPED).to_string()),
            }
        }
        is_plain &= !decoded.contains('\\');
        Self { segments, is_plain }
    }
}

/// Undoes the escapes of unreserved characters, of slashes, and of those characters that not all servers keep;
/// the others stay, so that a segment can be written into a path again.
fn decode(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, behind)) = rest.split_once('%') {
        decoded.push_str(before);
        let byte = behind
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || is_told_apart(byte) => {
                decoded.push(char::from(byte));
                rest = &behind[2..];
            }
            _ => {
                decoded.push('%');
                rest = behind;
            }
        }
    }
    decoded + rest
}

fn is_told_apart(byte: u8) -> bool {
    b"-._~/\\; ".contains(&byte) || byte.is_ascii_control()
}

/// Removes what some servers remove: parameters, and white space and control characters around.
fn strip(segment: &str) -> &str {
    let name = segment.split(';').next().unwrap_or_default();
    name.trim_matches(|c: char| c.is_ascii_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> (String, bool) {
        let Spelling { segments, is_plain } = Spelling::read(path);
        (segments.join("/"), is_plain)
    }

    #[test]
    fn escapes_dots_and_repeated_slashes_go() {
        for (path, want) in [
            ("/v1//chat/completions/", "v1/chat/completions"),
            ("//v1/./x/../chat%2fcompletion%73", "v1/chat/completions"),
            ("/%76%31/%2e%2e/%2E/a", "a"),
            ("/../../a", "a"),
            ("/a%20b/c%3Fd/%zz/%", "a%20b/c%3Fd/%zz/%"),
            ("/", ""),
        ] {
            assert_eq!(read(path), (want.to_owned(), true), "{path}");
        }
    }

    #[test]
    fn what_servers_read_differently_is_not_plain() {
        for path in [
            "/a;x=1/b", "/a%3Bx/b", "/a\\b", "/a%5Cb", "/a%20/b", "/a/b%0a", "/a%00/b",
        ] {
            assert_eq!(read(path), ("a/b".to_owned(), false), "{path}");
        }
    }
}
