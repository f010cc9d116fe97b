//! Reading a request body and replacing its document, or some of each of its texts: nothing panics on any bytes;
//! an unchanged body is the same bytes; a patched body differs where texts were replaced and says the pack there.
//!
//! The first byte of an input chooses the surface, the rest is the body.
#![no_main]

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use liquid_sidecar::api::Surface;
use liquid_sidecar::policy::{Settings, plan};
use liquid_sidecar::reading;
use liquid_sidecar::request::{Request, Spot, Template, Text};
use serde_json::value::RawValue;

const SURFACES: [Surface; 5] = [
    Surface::ChatCompletions,
    Surface::Responses,
    Surface::Messages,
    Surface::HybridChat,
    Surface::Completions,
];
/// Everything that JSON escapes, and characters of every length.
const PACK: &str = "[excerpt] \"quoted\" \\ \u{0} \n é 漢 😀 </document>";

fuzz_target!(|input: &[u8]| {
    let [choice, body @ ..] = input else { return };
    let surface = SURFACES[usize::from(*choice) % SURFACES.len()];
    let body = Bytes::copy_from_slice(body);
    let Ok(request) = Request::read(surface, &body) else {
        return;
    };
    replace_in_texts(&request, &body);
    let settings = Settings {
        min_document_tokens: 1,
        ..Settings::default()
    };
    let reading = reading::read(&request);
    let Ok(plan) = plan(&request, &reading, &settings) else {
        return;
    };
    let packed = plan.sites(&reading).filter(|(_, plan)| plan.stays.is_none());
    let spots: Vec<Spot> = packed.map(|(site, _)| site.text.locate(site.document.clone())).collect();
    let template = Template::new(&request, &body, spots.clone()).expect("each site is a place of its own");
    valid(&template.with(&vec![Some(PACK); spots.len()]));
    if request.hybrid.is_none() {
        assert_eq!(template.unchanged(), body);
        assert_eq!(template.with(&[]), body, "nothing was replaced");
    }
});

/// Replaces a range of each text, in the JSON of strings too, and reads all of them again.
fn replace_in_texts(request: &Request<'_>, body: &Bytes) {
    let texts = texts(request);
    let ranges = texts
        .iter()
        .enumerate()
        .map(|(at, text)| range(text.as_str(), at));
    let ranges: Vec<_> = ranges.collect();
    let spots = texts
        .iter()
        .zip(&ranges)
        .map(|(text, range)| text.locate(range.clone()));
    let mut spots: Vec<Spot> = spots.collect();
    let template = Template::new(request, body, spots.clone()).expect("each text is a place of its own");
    let patched = template.with(&vec![Some(PACK); spots.len()]);
    valid(&patched);
    if request.hybrid.is_some() {
        return;
    }
    assert_eq!(template.unchanged(), body);
    assert_eq!(template.with(&[]), body);

    let again = Request::read(request.surface, &patched).expect("a patched body is still read");
    let expected = texts.iter().zip(&ranges).map(|(text, range)| {
        let (head, tail) = (&text.as_str()[..range.start], &text.as_str()[range.end..]);
        [head, PACK, tail].concat()
    });
    let said = self::texts(&again);
    assert!(
        said.iter().map(|text| text.as_str()).eq(expected),
        "a text does not say what it should"
    );

    spots.sort_by_key(|spot| spot.range.start);
    let (mut rest, mut start) = (&patched[..], 0);
    for spot in &spots {
        rest = behind(rest, &body[start..spot.range.start]);
        start = spot.range.end;
    }
    assert!(rest.ends_with(&body[start..]), "bytes behind the texts changed");
}

/// The texts of a request: those in the JSON of a string, or the string.
fn texts<'a>(request: &Request<'a>) -> Vec<Arc<Text<'a>>> {
    let read = request
        .parts
        .iter()
        .filter_map(|part| Text::read(part.text?).ok());
    read.map(Arc::new)
        .flat_map(|text| match text.strings() {
            Some(strings) if !strings.is_empty() => strings.into_iter().map(|string| string.text).collect(),
            _ => vec![text],
        })
        .collect()
}

/// All of a text, a part of it, or a place in it.
fn range(text: &str, at: usize) -> Range<usize> {
    let middle = text.floor_char_boundary(text.len() / 2);
    match at % 3 {
        0 => 0..text.len(),
        1 => text.floor_char_boundary(middle / 2)..middle,
        _ => middle..middle,
    }
}

/// What stands behind `piece` in `bytes`.
fn behind<'b>(bytes: &'b [u8], piece: &[u8]) -> &'b [u8] {
    let at = memchr::memmem::find(bytes, piece).expect("bytes between the texts changed");
    &bytes[at + piece.len()..]
}

/// By the grammar alone: strings that are not ours to change may hold lone surrogates.
fn valid(body: &[u8]) {
    serde_json::from_slice::<Box<RawValue>>(body).expect("a patched body stays JSON");
}
