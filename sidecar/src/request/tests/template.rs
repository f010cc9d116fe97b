//! Bodies with other texts at their spots.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::read;
use super::spelling::{Speller, edit_texts, speller, text};
use crate::api::Surface;
use crate::request::{Request, Spot, SpotError, Template, Text};

/// An edit of a text: which share of it is replaced by what; `None` to leave it.
type Edit = Option<(f64, f64, String)>;

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    // The pilcrow keeps texts from becoming JSON.
    let edit = (0.0..1.0_f64, 0.0..1.0_f64, r#"¶[a-z"\\\n\u{1}é😀]{0,8}"#);
    prop::collection::vec(prop::option::weighted(0.8, edit), 1..6)
}

/// The range of a text that an edit replaces; empty for half of the edits.
fn range_of(text: &str, (first, second, _): &(f64, f64, String)) -> std::ops::Range<usize> {
    let start = text.floor_char_boundary((first * (text.len() + 1) as f64) as usize);
    let length = (second - 0.5).max(0.0) * 2.2 * (text.len() - start) as f64;
    start..text.floor_char_boundary((start + length as usize).min(text.len()))
}

/// The texts of a part, those in its JSON or itself.
fn texts_of<'a>(request: &Request<'a>, at: usize) -> Vec<Arc<Text<'a>>> {
    let text = Arc::new(Text::read(request.parts[at].text.unwrap()).unwrap());
    match text.strings() {
        Some(strings) if !strings.is_empty() => strings.into_iter().map(|string| string.text).collect(),
        _ => vec![text],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn texts_change_where_they_must_and_no_other_byte_does(
        contents in prop::collection::vec(text(), 1..3),
        choices in speller(),
        edits in edits(),
        reverse in any::<bool>(),
    ) {
        let mut speller = Speller::new(choices);
        let messages: Vec<_> =
            contents.iter().map(|text| format!(r#"{{"x":1.0,"role":"user","content":{}}}"#, speller.quote(text))).collect();
        let body = Bytes::from(format!(r#"{{ "messages":[{}] ,"a":"\ud800","a":1e5}}"#, messages.join(" ,")));
        let request = Request::read(Surface::ChatCompletions, &body).unwrap();

        let mut next = edits.iter().cycle();
        let (mut spots, mut news) = (Vec::new(), Vec::new());
        for text in (0..contents.len()).flat_map(|at| texts_of(&request, at)) {
            if let Some(Some(edit)) = next.next() {
                spots.push(text.locate(range_of(text.as_str(), edit)));
                news.push(Some(&*edit.2));
            }
        }
        let mut next = edits.iter().cycle();
        let mut edited = |text: &str| match next.next() {
            Some(Some(edit)) => {
                let mut text = text.to_owned();
                text.replace_range(range_of(&text, edit), &edit.2);
                text
            }
            _ => text.to_owned(),
        };
        let expected: Vec<_> = contents.iter().map(|text| edit_texts(text, 1, &mut edited)).collect();

        let outside = outside_of(&body, &spots);
        if reverse {
            spots.reverse();
            news.reverse();
        }
        let template = Template::new(&request, &body, spots.clone()).unwrap();
        prop_assert_eq!(template.unchanged(), body.clone());
        prop_assert_eq!(template.with(&[]), body.clone());
        prop_assert_eq!(template.around_bytes() + (0..spots.len()).map(|at| template.spot_bytes(at)).sum::<usize>(), body.len());
        let patched = template.with(&news);

        let again = Request::read(Surface::ChatCompletions, &patched).unwrap();
        for (at, expected) in expected.iter().enumerate() {
            let quoted = &patched[again.parts[at].text.unwrap().range()];
            let said: String = serde_json::from_slice(quoted).unwrap();
            prop_assert_eq!(edit_texts(&said, 1, &mut str::to_owned), edit_texts(expected, 1, &mut str::to_owned));
        }
        // All else is the same bytes in the same order.
        let mut rest = &patched[..];
        for piece in outside {
            let found = rest.windows(piece.len().max(1)).position(|window| window == piece);
            let found = if piece.is_empty() { Some(0) } else { found };
            prop_assert!(found.is_some(), "{:?} is not in {:?}", piece, rest);
            rest = &rest[found.unwrap() + piece.len()..];
        }
        let news: usize = news.iter().flatten().map(|new| new.len()).sum();
        prop_assert!(patched.len() >= template.around_bytes() + news);
    }
}

/// The bytes between spots that are in order.
fn outside_of<'b>(body: &'b [u8], spots: &[Spot]) -> Vec<&'b [u8]> {
    let mut start = 0;
    let mut pieces = Vec::new();
    for spot in spots {
        pieces.push(&body[start..spot.range.start]);
        start = spot.range.end;
    }
    pieces.push(&body[start..]);
    pieces
}

fn spot(range: std::ops::Range<usize>) -> Spot {
    Spot { range, depth: 1 }
}

#[test]
fn several_places_to_insert_keep_their_order() {
    let body = Bytes::from_static(br#"{"messages":[{"role":"user","content":"abcd"}]}"#);
    let request = Request::read(Surface::ChatCompletions, &body).unwrap();
    let text = Text::read(request.parts[0].text.unwrap()).unwrap();
    let spots = [4..4, 2..4, 2..2, 0..2, 0..0, 2..2].map(|range| text.locate(range));
    let template = Template::new(&request, &body, spots.to_vec()).unwrap();
    let texts = ["6", "5", "3", "2", "1", "4"].map(Some);
    assert_eq!(
        template.with(&texts),
        r#"{"messages":[{"role":"user","content":"123456"}]}"#
    );
    assert_eq!(
        template.with(&[None, Some(""), None]),
        r#"{"messages":[{"role":"user","content":"ab"}]}"#
    );
}

#[test]
fn spots_that_are_none_are_refused() {
    let body = Bytes::from_static(br#"{"messages":[{"role":"user","content":"abcd"}]}"#);
    let request = Request::read(Surface::ChatCompletions, &body).unwrap();
    let refused = |spots: Vec<Spot>| Template::new(&request, &body, spots).map(drop);
    assert_eq!(
        refused(vec![spot(40..42), spot(41..43)]),
        Err(SpotError { at: 1 })
    );
    assert_eq!(
        refused(vec![spot(40..43), spot(41..41)]),
        Err(SpotError { at: 1 })
    );
    assert_eq!(refused(vec![spot(40..42), spot(42..43)]), Ok(()));
    assert_eq!(refused(vec![spot(1..2), spot(40..900)]), Err(SpotError { at: 1 }));
    #[allow(clippy::reversed_empty_ranges, reason = "what a caller may get wrong")]
    let backwards = spot(5..4);
    assert_eq!(refused(vec![backwards]), Err(SpotError { at: 0 }));
}

#[test]
fn a_hybrid_call_has_spots_in_its_document_and_its_prompt() {
    let body = Bytes::from_static(
        br#"{"final_user_prompt":"Why\n?","model":"m","large_document":"A \"doc\"","extraction_task":"find","n":1.0}"#,
    );
    let request = Request::read(Surface::HybridChat, &body).unwrap();
    let [document, prompt] = [0, 1].map(|at| Text::read(request.parts[at].text.unwrap()).unwrap());
    let spots = vec![prompt.locate(0..0), document.locate(2..7)];
    let template = Template::new(&request, &body, spots).unwrap();
    let same = r#"{"model":"m","n":1.0,"messages":[{"role":"user","content":"A \"doc\"\n\nWhy\n?"}]}"#;
    assert_eq!(template.unchanged(), same);
    assert_eq!(
        template.with(&[Some("More.\n"), Some("\"pack\"")]),
        r#"{"model":"m","n":1.0,"messages":[{"role":"user","content":"A \"pack\"\n\nMore.\nWhy\n?"}]}"#
    );
    let task = Text::read(request.hybrid.as_ref().unwrap().task.unwrap()).unwrap();
    let outside = Template::new(&request, &body, vec![task.locate(0..4)]);
    assert_eq!(outside.map(drop), Err(SpotError { at: 0 }));
    let none = Template::new(&request, &body, Vec::new()).unwrap();
    assert_eq!((none.spots(), none.unchanged()), (0, Bytes::from(same)));
}

#[test]
fn a_long_document_is_not_held_twice() {
    let long = "line \"one\"\n".repeat(100_000);
    let usual = serde_json::to_string(&long).unwrap();
    let nested = serde_json::to_string(&serde_json::json!({"text": long}).to_string()).unwrap();
    let unusual = usual.replacen('l', "\\u006c", 1);
    for (content, depth, freed) in [(&usual, 1, true), (&nested, 2, true), (&unusual, 1, false)] {
        let text = format!(r#"{{"messages":[{{"role":"user","content":{content}}}],"n":1.0}}"#);
        let body = Bytes::from(text.clone());
        let request = read(Surface::ChatCompletions, &text);
        let [document] = texts_of(&request, 0).try_into().unwrap();
        let spots = vec![document.locate(0..0), document.locate(0..document.as_str().len())];
        assert_eq!(spots[1].depth, depth);
        let said = [None, Some(document.share(&body, 0..document.as_str().len()))];
        let template = Template::new(&request, &body, spots).unwrap();
        let with = template.with(&[Some("one"), Some("\"two\"")]);
        let sizes = (template.spot_bytes(1), template.around_bytes());
        let freed_template = template.without_body(&said);
        assert_eq!(freed_template.unchanged(), body);
        assert_eq!(freed_template.with(&[Some("one"), Some("\"two\"")]), with);
        assert_eq!(
            (freed_template.spot_bytes(1), freed_template.around_bytes()),
            sizes
        );
        // With the body's memory given back, this is the only one who holds it.
        drop((request, document));
        assert_eq!(body.is_unique(), freed);
    }
}
