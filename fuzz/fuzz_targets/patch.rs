//! Reading a request body and replacing its document: nothing panics on any bytes; an unchanged body is the same
//! bytes; a patched body differs in the one JSON string that held the document and says the pack there.
//!
//! The first byte of an input chooses the surface, the rest is the body.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use liquid_sidecar::api::Surface;
use liquid_sidecar::policy::{Settings, plan};
use liquid_sidecar::request::{Request, Site};
use serde_json::value::RawValue;

const SURFACES: [Surface; 4] = [
    Surface::ChatCompletions,
    Surface::Responses,
    Surface::Messages,
    Surface::HybridChat,
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
    let settings = Settings {
        min_document_tokens: 1,
        ..Settings::default()
    };
    let Ok(plan) = plan(&request, &settings) else {
        return;
    };
    let site = Site::new(&request, &body, &plan.literal, plan.document.clone());
    if request.hybrid.is_some() {
        return valid(&site.with(PACK));
    }
    assert_eq!(site.unchanged(), body);
    let patched = site.with(PACK);
    valid(&patched);
    let quoted = plan.literal.range();
    assert_eq!(
        patched[..quoted.start],
        body[..quoted.start],
        "bytes before the string changed"
    );
    let behind = body.len() - quoted.end;
    assert_eq!(
        patched[patched.len() - behind..],
        body[quoted.end..],
        "bytes behind the string changed"
    );
    let string = &patched[quoted.start..patched.len() - behind];
    let said = serde_json::from_slice::<String>(string).expect("the string stays a JSON string");
    let head = &plan.text[..plan.document.start];
    let tail = &plan.text[plan.document.end..];
    assert_eq!(
        said,
        [head, PACK, tail].concat(),
        "the string does not say what it should"
    );
});

/// By the grammar alone: strings that are not ours to change may hold lone surrogates.
fn valid(body: &[u8]) {
    serde_json::from_slice::<Box<RawValue>>(body).expect("a patched body stays JSON");
}
