//! Incremental framing of an event stream: bytes in, events out, whatever the chunk borders.
//!
//! Works on bytes, so a border inside a UTF-8 character, between CR and LF, or inside a field name changes
//! nothing. Lines end with LF, CRLF or CR. Memory is bounded: an event whose data, or one of whose lines, is
//! longer than the limit is skipped and counted, the ones after it are read as usual.

use memchr::{memchr, memchr2};

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// One dispatched event. Lives until the callback returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Value of the `event` field; empty means `message`.
    pub name: &'a [u8],
    /// The `data` lines joined by LF.
    pub data: &'a [u8],
}

/// Reads an event stream chunk by chunk.
#[derive(Debug)]
pub struct Parser {
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    skip_lf: bool,
    at_start: bool,
    oversized: bool,
    /// The line that is being stored is over the limit.
    too_long: bool,
    max_event_bytes: usize,
    skipped: u64,
}

impl Parser {
    /// A parser that skips events with more than `max_event_bytes` of data, or with a longer line.
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            line: Vec::new(),
            name: Vec::new(),
            data: Vec::new(),
            has_data: false,
            skip_lf: false,
            at_start: true,
            oversized: false,
            too_long: false,
            max_event_bytes,
            skipped: 0,
        }
    }

    /// Returns how many events were larger than the limit so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns whether the bytes so far end on an event's border: nothing that is still open would be lost.
    pub fn at_border(&self) -> bool {
        self.line.is_empty() && self.name.is_empty() && !self.has_data && !self.oversized
    }

    /// Takes the next bytes and calls `on_event` for each event they complete.
    pub fn feed(&mut self, mut bytes: &[u8], mut on_event: impl FnMut(Event<'_>)) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.skip_lf) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else {
                self.keep(bytes);
                return;
            };
            self.skip_lf = bytes[end] == b'\r';
            if self.line.is_empty() && end <= self.max_event_bytes {
                self.line(&bytes[..end], &mut on_event);
            } else {
                self.keep(&bytes[..end]);
                let line = std::mem::take(&mut self.line);
                self.line(&line, &mut on_event);
                self.line = line;
                self.line.clear();
            }
            bytes = &bytes[end + 1..];
        }
    }

    /// Takes the end of the stream: an event whose closing blank line is missing counts as complete.
    ///
    /// The standard has such an event discarded. Proxies cut the last bytes of a stream, and what stands there is
    /// an API's final event; whoever reads `data` sees by its JSON whether it is all there.
    pub fn finish(&mut self, mut on_event: impl FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.line(&line, &mut on_event);
        }
        self.dispatch(&mut on_event);
    }

    /// Stores a part of a line. Of a line that is too long only its first byte stays, made a comment: the
    /// line is still open then, whatever else comes of it.
    fn keep(&mut self, part: &[u8]) {
        if self.too_long || self.line.len() + part.len() > self.max_event_bytes {
            self.too_long = true;
            self.oversized = true;
            self.line.clear();
            self.line.push(b':');
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn line(&mut self, line: &[u8], on_event: &mut impl FnMut(Event<'_>)) {
        self.too_long = false;
        let first = std::mem::take(&mut self.at_start);
        let line = if first {
            line.strip_prefix(BOM).unwrap_or(line)
        } else {
            line
        };
        if line.is_empty() {
            self.dispatch(on_event);
            return;
        }
        let (field, value) = match memchr(b':', line) {
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        match field {
            b"data" => self.append(value),
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            _ => {}
        }
    }

    fn append(&mut self, value: &[u8]) {
        if self.data.len() + value.len() + 1 > self.max_event_bytes {
            self.oversized = true;
            return;
        }
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
    }

    fn dispatch(&mut self, on_event: &mut impl FnMut(Event<'_>)) {
        if std::mem::take(&mut self.oversized) {
            self.skipped += 1;
        } else if !self.data.is_empty() {
            on_event(Event {
                name: &self.name,
                data: &self.data,
            });
        }
        self.name.clear();
        self.data.clear();
        self.has_data = false;
    }
}

#[cfg(test)]
mod tests;
