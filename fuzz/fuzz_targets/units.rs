//! Cutting a document into units: they stand in order, inside the document, on the borders of characters, within the
//! limits of size, each led by an earlier one; nothing panics on any text.
//!
//! The module is compiled in by its path: through its crate it would bring the encoder's runtime along, minutes of
//! building for a function that needs memchr alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use worker::document;

#[allow(dead_code, unused_imports, reason = "the worker uses the rest")]
#[path = "../../worker/src"]
mod worker {
    pub mod document;
}

fuzz_target!(|text: &str| {
    let document = document::Document::parse(text);
    let mut end = 0;
    for (index, unit) in document.units.iter().enumerate() {
        assert!(unit.start >= end, "unit {index} overlaps the one before it");
        assert!(unit.end > unit.start, "unit {index} is empty");
        let said = text.get(unit.start..unit.end);
        assert!(
            said.is_some_and(|said| !said.trim().is_empty()),
            "unit {index} is no text of the document"
        );
        assert!(
            unit.end - unit.start <= document::MAX_UNIT_BYTES,
            "unit {index} is too long"
        );
        assert!(
            unit.lead.is_none_or(|lead| (lead as usize) < index),
            "unit {index} is led by a later one"
        );
        end = unit.end;
    }
});
