//! Framing of server-sent events: the same events come out whatever the borders of the chunks, no event is larger
//! than the limit, and nothing panics.
//!
//! The first two bytes of an input choose the limit and the size of the chunks; the rest is the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use liquid_sidecar::sse::Parser;

type Events = Vec<(Vec<u8>, Vec<u8>)>;

fuzz_target!(|input: &[u8]| {
    let [limit, size, stream @ ..] = input else { return };
    let size = usize::from(*size).max(1);
    let whole = events(stream, stream.len().max(1), 1 << 20);
    assert_eq!(
        whole,
        events(stream, size, 1 << 20),
        "chunks of {size} bytes change the events"
    );
    let limit = usize::from(*limit);
    for (name, data) in events(stream, size, limit) {
        assert!(
            name.len() <= limit && data.len() <= limit,
            "an event exceeds {limit} bytes"
        );
    }
});

fn events(stream: &[u8], size: usize, limit: usize) -> Events {
    let mut parser = Parser::new(limit);
    let mut events = Events::new();
    for chunk in stream.chunks(size) {
        parser.feed(chunk, |event| {
            events.push((event.name.to_vec(), event.data.to_vec()))
        });
    }
    events
}
