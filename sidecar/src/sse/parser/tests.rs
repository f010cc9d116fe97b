//! The framing rules one by one, and the law that chunk borders change nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use proptest::prelude::*;

type Owned = (Vec<u8>, Vec<u8>);

fn read(chunks: &[&[u8]]) -> Vec<Owned> {
    read_with(1 << 16, chunks).0
}

/// The events, how many were skipped, and whether the end is an event's border.
fn read_with(max_event_bytes: usize, chunks: &[&[u8]]) -> (Vec<Owned>, u64, bool) {
    let mut parser = Parser::new(max_event_bytes);
    let mut events = Vec::new();
    for chunk in chunks {
        parser.feed(chunk, |event| {
            events.push((event.name.to_vec(), event.data.to_vec()))
        });
    }
    (events, parser.skipped(), parser.at_border())
}

fn event(name: &str, data: &str) -> Owned {
    (name.into(), data.into())
}

#[test]
fn reads_lf_crlf_and_cr() {
    for end in ["\n", "\r\n", "\r"] {
        let text = format!("event: a{end}data: 1{end}{end}data: 2{end}{end}");
        assert_eq!(
            read(&[text.as_bytes()]),
            [event("a", "1"), event("", "2")],
            "{end:?}"
        );
    }
}

#[test]
fn joins_data_lines_and_strips_one_space() {
    assert_eq!(
        read(&[b"data:  two\ndata:one\ndata\n\n"]),
        [event("", " two\none\n")]
    );
}

#[test]
fn ignores_comments_unknown_fields_and_empty_events() {
    assert_eq!(
        read(&[b": ping\n\nid: 7\nretry: 3\n\nevent: x\n\ndata: y\n\n"]),
        [event("", "y")]
    );
}

#[test]
fn strips_the_byte_order_mark_once() {
    assert_eq!(read(&[b"\xEF\xBB\xBFdata: 1\n\n"]), [event("", "1")]);
    assert_eq!(read(&[b"\xEF\xBB", b"\xBFdata: 1\n\n"]), [event("", "1")]);
    assert_eq!(read(&[b"data: 1\n\n\xEF\xBB\xBFdata: 2\n\n"]), [event("", "1")]);
}

#[test]
fn an_event_that_never_ends_is_not_dispatched() {
    assert_eq!(read(&[b"data: 1\n\ndata: 2\n"]), [event("", "1")]);
    let mut parser = Parser::new(64);
    parser.feed(b"data: 1\n\n", |_| {});
    assert!(parser.at_border());
    parser.feed(b"da", |_| {});
    assert!(!parser.at_border());
}

#[test]
fn an_oversized_event_is_skipped_and_the_next_one_is_read() {
    for chunk in [1, 7, 1000] {
        let text = format!("data: {}\n\ndata: ok\n\n", "x".repeat(100));
        let mut parser = Parser::new(32);
        let mut events = Vec::new();
        for part in text.as_bytes().chunks(chunk) {
            parser.feed(part, |event| events.push(event.data.to_vec()));
        }
        assert_eq!(events, [b"ok".to_vec()], "chunks of {chunk}");
        assert_eq!(parser.skipped(), 1, "chunks of {chunk}");
    }
}

/// A line around the limit is one thing, whether it comes whole, in two parts cut anywhere, or byte by byte.
#[test]
fn an_over_long_line_does_not_depend_on_borders() {
    const LIMIT: usize = 12;
    for field in ["data:", "data: ", "event: ", "event", ": ", "id: ", ""] {
        for length in 0..2 * LIMIT {
            let text = format!("{field}{}\r\ndata: 1\n\ndata: 2\n\ndata", "x".repeat(length));
            let text = text.as_bytes();
            let whole = read_with(LIMIT, &[text]);
            if field.len() + length > LIMIT {
                assert_eq!(whole.1, 1, "{field:?} {length}");
            }
            assert_eq!(whole.0.last(), Some(&event("", "2")), "{field:?} {length}");
            for cut in 0..=text.len() {
                let (front, back) = text.split_at(cut);
                assert_eq!(
                    read_with(LIMIT, &[front, back]),
                    whole,
                    "{field:?} {length} cut at {cut}"
                );
            }
            let single: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(read_with(LIMIT, &single), whole, "{field:?} {length}");
        }
    }
}

/// Text made of what matters to the framing, so that borders hit CRLF, blank lines and characters of 4 bytes.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "data: ",
        "data",
        "event: ",
        ":",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\r\r",
        "é",
        "😀",
        "{\"a\":1}",
        "\u{feff}",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn chunk_borders_change_nothing(bytes in stream(), cuts in prop::collection::vec(0usize..400, 0..12)) {
        let whole = read(&[&bytes]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&read(&parts), &whole);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&read(&single), &whole);
        for limit in [1, 8, 20] {
            let whole = read_with(limit, &[&bytes]);
            prop_assert_eq!(&read_with(limit, &parts), &whole);
            prop_assert_eq!(&read_with(limit, &single), &whole);
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_depend_on_borders(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1usize..20) {
        let parts: Vec<&[u8]> = bytes.chunks(size).collect();
        prop_assert_eq!(read(&parts), read(&[&bytes]));
    }
}
