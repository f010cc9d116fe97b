//! Ends of answers: stop strings in any pieces, lengths, cancellation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;

/// Cuts at the first stop string that is whole, by looking at every end.
fn plain(text: &str, stops: &[String]) -> (String, bool) {
    for end in 1..=text.len() {
        let whole = stops
            .iter()
            .filter(|stop| text.as_bytes()[..end].ends_with(stop.as_bytes()));
        if let Some(length) = whole.map(String::len).max() {
            return (text[..end - length].to_owned(), true);
        }
    }
    (text.to_owned(), false)
}

proptest! {
    #[test]
    fn a_stop_string_ends_the_text_in_whatever_pieces_it_comes(
        text in "[abä]{0,24}",
        stops in proptest::collection::vec("[abä]{1,4}", 0..4),
        cuts in proptest::collection::vec(0..25_usize, 0..6),
    ) {
        let mut borders: Vec<usize> = cuts.into_iter().filter(|cut| text.is_char_boundary(*cut)).collect();
        borders.extend([0, text.len()]);
        borders.sort();
        let mut search = StopStrings::new(&stops);
        let (mut given, mut stopped) = (String::new(), false);
        for pair in borders.windows(2) {
            let found = search.push(&text[pair[0]..pair[1]]);
            given.push_str(&found.text);
            if found.stopped {
                stopped = true;
                break;
            }
        }
        if !stopped {
            given.push_str(&search.finish());
        }
        prop_assert_eq!((given, stopped), plain(&text, &stops));
    }
}

#[test]
fn only_what_may_begin_a_stop_string_is_held_back() {
    let mut search = StopStrings::new(&["\n\nQ:".to_owned()]);
    assert_eq!(search.push("one\n").text, "one");
    assert_eq!(search.push("two\n\n").text, "\ntwo");
    assert_eq!(search.push("\nQ").text, "\n");
    assert_eq!(search.push("A").text, "\n\nQA");
    assert_eq!(search.finish(), "");
}
