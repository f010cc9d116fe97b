//! A body cut at the spots where texts may be replaced, and the body with other texts there.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;

use super::literal::{escape_into, is_escaped_as};
use super::text::Spot;
use super::view::Request;

/// Documents of so many bytes together are not held twice, escaped and unescaped.
const HOLD_ONCE: usize = 1 << 20;

/// A body cut at spots.
#[derive(Debug, Clone)]
pub struct Template {
    /// What leaves, from front to back.
    pieces: Vec<TemplatePiece>,
    /// For each spot, in the order in which they were given, how many bytes it has and how deep they are.
    spots: Vec<SpotSize>,
    /// The body, where it leaves as it came if nothing is replaced, while it is held.
    body: Option<Bytes>,
}

#[derive(Debug, Clone)]
enum TemplatePiece {
    /// Bytes that are the same whatever is replaced.
    Fixed(Bytes),
    /// The bytes of the spot with this number, as they came.
    Raw(usize, Bytes),
    /// The same, to be written again from what they say.
    Again(usize, ByteString),
}

#[derive(Debug, Clone, Copy)]
struct SpotSize {
    bytes: usize,
    depth: usize,
}

/// A spot that lies in no text which leaves, or overlaps another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("spot {at} is not a place of its own in a text of the body")]
pub struct SpotError {
    /// Its number, from 0.
    pub at: usize,
}

/// A run of bytes that leaves.
pub(super) struct Segment {
    pub(super) bytes: Bytes,
    /// Where it begins in the body that came; `None` for bytes that hold no spot.
    pub(super) origin: Option<usize>,
}

/// A spot on its way into a template.
struct Placed {
    at: usize,
    segment: usize,
    range: Range<usize>,
}

impl Template {
    /// Cuts `body`, which `request` was read from, at spots, in any order. An empty range is a place to insert; of
    /// several at one place, the first given comes first.
    ///
    /// Copies nothing; but of a `/v1/hybrid_chat` body it builds the chat completion's frame.
    ///
    /// # Errors
    /// [`SpotError`] for a spot outside of the body's texts, or over another.
    pub fn new(request: &Request<'_>, body: &Bytes, spots: Vec<Spot>) -> Result<Self, SpotError> {
        let segments = match &request.hybrid {
            None => vec![Segment {
                bytes: body.clone(),
                origin: Some(0),
            }],
            Some(hybrid) => hybrid.segments(body),
        };
        let placed = place(&spots, &segments)?;
        let mut pieces = Vec::with_capacity(segments.len() + 2 * spots.len());
        let mut placed = placed.into_iter().peekable();
        for (number, segment) in segments.iter().enumerate() {
            let mut read = 0;
            while let Some(spot) = placed.next_if(|spot| spot.segment == number) {
                pieces.push(TemplatePiece::Fixed(segment.bytes.slice(read..spot.range.start)));
                read = spot.range.end;
                pieces.push(TemplatePiece::Raw(spot.at, segment.bytes.slice(spot.range)));
            }
            pieces.push(TemplatePiece::Fixed(segment.bytes.slice(read..)));
        }
        let spots = spots.iter().map(|spot| SpotSize {
            bytes: spot.range.len(),
            depth: spot.depth,
        });
        Ok(Self {
            pieces,
            spots: spots.collect(),
            body: request.hybrid.is_none().then(|| body.clone()),
        })
    }

    /// The same without the body's memory, where that saves 1 MiB: `said` has what the spots say, and those whose
    /// bytes can be written again from that, every one, are. Long documents are then not held twice while a
    /// worker reads them.
    pub fn without_body(self, said: &[Option<ByteString>]) -> Self {
        let again = |piece: &TemplatePiece| match piece {
            TemplatePiece::Raw(at, raw) => {
                let text = said.get(*at)?.as_ref()?;
                let depth = self.spots.get(*at)?.depth;
                is_escaped_as(&escape_but_once(text, depth), raw).then(|| (*at, text.clone()))
            }
            _ => None,
        };
        let again: Vec<_> = self.pieces.iter().map(again).collect();
        let saved: usize = again.iter().flatten().map(|(_, text)| text.len()).sum();
        if saved < HOLD_ONCE {
            return self;
        }
        let pieces = self.pieces.into_iter().zip(again);
        let pieces = pieces.map(|(piece, again)| match (piece, again) {
            (_, Some((at, text))) => TemplatePiece::Again(at, text),
            (TemplatePiece::Fixed(bytes), _) => TemplatePiece::Fixed(Bytes::copy_from_slice(&bytes)),
            (TemplatePiece::Raw(at, bytes), _) => TemplatePiece::Raw(at, Bytes::copy_from_slice(&bytes)),
            (piece, None) => piece,
        });
        Self {
            pieces: pieces.collect(),
            spots: self.spots,
            body: None,
        }
    }

    /// Returns how many spots there are.
    pub fn spots(&self) -> usize {
        self.spots.len()
    }

    /// Returns how many bytes of the body a spot has, as they came.
    pub fn spot_bytes(&self, at: usize) -> usize {
        self.spots.get(at).map_or(0, |spot| spot.bytes)
    }

    /// Returns how many bytes leave whatever is replaced.
    pub fn around_bytes(&self) -> usize {
        let fixed = self.pieces.iter().map(|piece| match piece {
            TemplatePiece::Fixed(bytes) => bytes.len(),
            TemplatePiece::Raw(..) | TemplatePiece::Again(..) => 0,
        });
        fixed.sum()
    }

    /// The body with every text as it came: on public surfaces the same bytes.
    pub fn unchanged(&self) -> Bytes {
        self.body.clone().unwrap_or_else(|| self.with(&[]))
    }

    /// The body with `texts` in place of the spots, one for each in the order in which they were given; a spot
    /// whose text is `None` or missing stays as it came. Every other byte is the same.
    pub fn with(&self, texts: &[Option<&str>]) -> Bytes {
        let text_at = |at: usize| texts.get(at).copied().flatten();
        let sizes = self.spots.iter().enumerate().map(|(at, spot)| match text_at(at) {
            Some(text) => text.len() + text.len() / 16 + 16,
            None => spot.bytes,
        });
        let mut out = Vec::with_capacity(self.around_bytes() + sizes.sum::<usize>());
        for piece in &self.pieces {
            match piece {
                TemplatePiece::Fixed(bytes) => out.extend_from_slice(bytes),
                TemplatePiece::Raw(at, raw) => match text_at(*at) {
                    Some(text) => self.write(*at, text, &mut out),
                    None => out.extend_from_slice(raw),
                },
                TemplatePiece::Again(at, said) => self.write(*at, text_at(*at).unwrap_or(said), &mut out),
            }
        }
        out.into()
    }

    fn write(&self, at: usize, text: &str, out: &mut Vec<u8>) {
        let depth = self.spots.get(at).map_or(1, |spot| spot.depth);
        escape_into(&escape_but_once(text, depth), out);
    }
}

/// Finds the segment of each spot; returns them in the order in which they leave.
fn place(spots: &[Spot], segments: &[Segment]) -> Result<Vec<Placed>, SpotError> {
    let mut placed = Vec::with_capacity(spots.len());
    for (at, spot) in spots.iter().enumerate() {
        let found = segments.iter().enumerate().find_map(|(number, segment)| {
            let origin = segment.origin?;
            let start = spot.range.start.checked_sub(origin)?;
            let end = spot.range.end.checked_sub(origin)?;
            (start <= end && end <= segment.bytes.len()).then_some((number, start..end))
        });
        let (segment, range) = found.ok_or(SpotError { at })?;
        placed.push(Placed { at, segment, range });
    }
    placed.sort_by_key(|spot| (spot.segment, spot.range.start, spot.range.end));
    for pair in placed.windows(2) {
        if let [first, second] = pair
            && first.segment == second.segment
            && first.range.end > second.range.start
        {
            return Err(SpotError { at: second.at });
        }
    }
    Ok(placed)
}

/// Escapes a text for JSON in JSON, all but the last time.
fn escape_but_once(text: &str, depth: usize) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _ in 1..depth {
        let mut escaped = Vec::with_capacity(text.len() + text.len() / 16 + 16);
        escape_into(&text, &mut escaped);
        // What escapes a text is text.
        text = Cow::Owned(String::from_utf8(escaped).unwrap_or_default());
    }
    text
}
