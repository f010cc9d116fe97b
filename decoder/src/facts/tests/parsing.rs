//! Every rung of the ladder, from JSON of the right form down to fields that are picked out.

use proptest::prelude::*;
use serde_json::json;

use crate::facts::parse::{MOST_FACTS, Parsed, RawFact, Reading, parse};

fn fact(quote: &str, fact: &str) -> RawFact {
    RawFact {
        quote: quote.to_owned(),
        fact: fact.to_owned(),
    }
}

#[test]
fn facts_are_read_from_json_from_what_was_nearly_json_and_from_fields() {
    let (a, b) = (fact("the lease ends", "It ends."), fact("rent is \"5\"", "Five."));
    let whole = r#"{"facts":[{"quote":"the lease ends","fact":"It ends."},{"quote":"rent is \"5\"","fact":"Five."}]}"#;
    let cut_in_second = &whole[..whole.find("Five").unwrap()];
    let cases = [
        (whole.to_owned(), Reading::Strict, vec![a.clone(), b.clone()]),
        (
            format!("Sure! ```json\n{whole}\n``` I hope it helps."),
            Reading::Strict,
            vec![a.clone(), b.clone()],
        ),
        (
            r#"{"quote":"the lease ends","fact":"It ends."}"#.to_owned(),
            Reading::Strict,
            vec![a.clone()],
        ),
        (r#"{"facts":[]}"#.to_owned(), Reading::Strict, vec![]),
        (
            cut_in_second.to_owned(),
            Reading::Repaired,
            vec![a.clone(), fact("rent is \"5\"", "")],
        ),
        (
            whole[..whole.len() - 3].to_owned(),
            Reading::Repaired,
            vec![a.clone(), b.clone()],
        ),
        (
            "[{\"quote\":\"the lease\nends\",\"fact\":\"a \\d b\",},]".to_owned(),
            Reading::Repaired,
            vec![fact("the lease ends", "a d b")],
        ),
        (
            format!("{},{{\"quo", &whole[..whole.find("},").unwrap() + 1]),
            Reading::Repaired,
            vec![a.clone()],
        ),
        (
            "Quote: \"the lease ends\"\nFact: 'It ends.'\n\n**quote**: \u{201c}rent is \\\"5\\\"\u{201d} fact = `Five.`".to_owned(),
            Reading::Picked,
            vec![a, b],
        ),
    ];
    for (text, reading, facts) in cases {
        assert_eq!(parse(&text), Some(Parsed { facts, reading }), "{text}");
    }
    for nothing in [
        "",
        "I do not know.",
        "{}",
        "[",
        "quote",
        "fact: \"It ends.\"",
        "{\"facts\":[1]}",
    ] {
        assert_eq!(parse(nothing), None, "{nothing}");
    }
}

proptest! {
    #[test]
    fn facts_that_are_whole_before_a_cut_are_read(
        facts in proptest::collection::vec(("[^\\x00]{1,20}", "[^\\x00]{0,20}"), 0..6),
        cut in 0.0..=1.0_f64,
    ) {
        let facts: Vec<RawFact> = facts.iter().map(|(a, b)| fact(a.trim(), b.trim())).filter(|fact| !fact.quote.is_empty()).collect();
        let objects: Vec<String> = facts.iter().map(|fact| json!({"quote": fact.quote, "fact": fact.fact}).to_string()).collect();
        let text = format!("{{\"facts\":[{}]}}", objects.join(","));
        prop_assert_eq!(parse(&text).map(|parsed| parsed.facts), Some(facts.clone()));
        let mut end = (text.len() as f64 * cut) as usize;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut at = "{\"facts\":[".len();
        let whole = objects.iter().take_while(|object| {
            let ends = at + object.len();
            at = ends + 1;
            ends <= end
        });
        let whole = whole.count();
        let read = parse(&text[..end]).map_or_else(Vec::new, |parsed| parsed.facts);
        prop_assert!(read.len() >= whole, "{} of {whole} of {}", read.len(), &text[..end]);
        prop_assert_eq!(&read[..whole], &facts[..whole]);
    }

    #[test]
    fn any_text_is_taken(text in "(\\{|\\}|\\[|\\]|\"|:|,|\\\\|quote|fact|facts|[a-c \n]|\\PC){0,60}") {
        if let Some(parsed) = parse(&text) {
            prop_assert!(parsed.facts.len() <= MOST_FACTS);
            prop_assert!(parsed.facts.iter().all(|fact| !fact.quote.trim().is_empty()));
        }
    }
}
