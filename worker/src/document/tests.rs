#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn units(text: &str) -> Vec<(&str, SpanKind)> {
    let document = Document::parse(text);
    document
        .units
        .iter()
        .map(|unit| (unit.text(text), unit.kind))
        .collect()
}

fn texts(text: &str) -> Vec<&str> {
    units(text).into_iter().map(|(text, _)| text).collect()
}

fn lead_of<'a>(document: &Document<'a>, needle: &str) -> Option<&'a str> {
    let unit = document
        .units
        .iter()
        .find(|unit| unit.text(document.text).contains(needle))
        .unwrap();
    unit.lead
        .map(|lead| document.units[lead as usize].text(document.text))
}

/// Ordered, disjoint, trimmed, on character boundaries, covering all that is not white space.
fn check(text: &str) {
    let document = Document::parse(text);
    let mut end = 0;
    for (index, unit) in document.units.iter().enumerate() {
        assert!(unit.start >= end && unit.end > unit.start);
        assert!(
            text[end..unit.start].trim().is_empty(),
            "left out: {:?}",
            &text[end..unit.start]
        );
        let slice = text.get(unit.start..unit.end).expect("character boundaries");
        assert_eq!(slice, slice.trim());
        assert_eq!(unit.words as usize, word_count(slice));
        assert!(unit.words as usize <= MAX_UNIT_WORDS && slice.len() <= MAX_UNIT_BYTES);
        assert!(unit.lead.is_none_or(|lead| (lead as usize) < index));
        end = unit.end;
    }
    assert!(text[end..].trim().is_empty(), "left out: {:?}", &text[end..]);
}

fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,40}",
        "\\PC{0,20}",
        "[a-z ]{1,12}[.!?…。！？] ?",
        "(\\| ?[a-z0-9]{0,4} ?){1,4}\\|\n",
        "[A-Z][a-z]{1,6}: [a-z ]{0,20}\n",
        "[0-9]{1,3}\\. [A-Z][a-z ]{1,20}\n",
        Just("\n\n".to_owned()),
        Just("\t".to_owned()),
        Just("   ".to_owned()),
        Just("\u{1c}\u{85}\u{2028}\u{3000}".to_owned()),
        Just("```\n".to_owned()),
        Just("{\"a\": [1, 2, {\"b\": \"c\\\"\"}]}\n".to_owned()),
        Just("{[\"".to_owned()),
        Just("<table><tr><th>a</th></tr><tr><td>b</td></tr></table>".to_owned()),
        Just("<TABLE><tr".to_owned()),
        Just("name  age  city\nann   31   rome\nbob   45   oslo\n".to_owned()),
        Just("a,b,c\n1,2,3\n4,5,6\n".to_owned()),
        Just("机器学习是人工智能的一个分支。".to_owned()),
        Just("ประเทศไทยมีภาษาของตนเอง".to_owned()),
        Just("هذا سؤال؟ وهذه جملة.".to_owned()),
        Just("x".repeat(5000)),
    ]
}

/// Words of ASCII and all kinds of white space.
const SPACED: &str = "[a-zA-Z0-9.,;'\"()\\-é \t\n\u{b}\u{c}\r\u{1c}\u{1f}\u{85}\u{a0}\u{2003}\u{3000}]{0,80}";

proptest! {
    #[test]
    fn units_cover_any_text(fragments in prop::collection::vec(fragment(), 0..24)) {
        check(&fragments.concat());
    }

    #[test]
    fn words_are_split_as_python_splits(text in SPACED) {
        // `str.split` of Python: Unicode white space and the four information separators.
        let split = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
        prop_assert_eq!(word_count(&text), text.split(split).filter(|word| !word.is_empty()).count());
    }
}

#[test]
fn hostile_texts_are_read_once() {
    for pattern in [
        "{[",
        "{\"a\":\n",
        "<table",
        "<table>\n",
        "```\n",
        "[1,\n",
        "a: ",
        "| ",
        "...",
        "\t\n,",
        "((",
    ] {
        check(&pattern.repeat(20_000));
    }
}

#[test]
fn counts_letters_of_scripts_without_spaces() {
    assert_eq!(word_count("机器学习。"), 4);
    assert_eq!(word_count("GPU加速 テスト"), 6);
    assert_eq!(word_count("สวัสดี"), 4);
    assert_eq!(word_count("「中」文"), 2);
    assert_eq!(word_count("שלום עולם"), 2);
}

#[test]
fn cuts_sentences_but_not_at_abbreviations() {
    let text =
        "Dr. Smith of Acme Inc. paid $1.5 million to J. Doe, e.g. in cash. He left! \"Why?\" she asked.";
    assert_eq!(
        texts(text),
        [
            "Dr. Smith of Acme Inc. paid $1.5 million to J. Doe, e.g. in cash.",
            "He left!",
            "\"Why?\" she asked."
        ]
    );
    assert_eq!(
        texts("第一句。第二句！第三句"),
        ["第一句。", "第二句！", "第三句"]
    );
    assert_eq!(
        texts("هل هذا سؤال؟ نعم هذا جواب."),
        ["هل هذا سؤال؟", "نعم هذا جواب."]
    );
}

#[test]
fn joins_wrapped_lines_and_keeps_meant_ones() {
    let wrapped =
        "This line was wrapped by an editor at about seventy\ncharacters and goes on here. Then it ends.";
    assert_eq!(texts(wrapped).len(), 2);
    assert_eq!(
        texts("Short line\nAnother line\nLast line"),
        ["Short line", "Another line", "Last line"]
    );
}

#[test]
fn cuts_a_long_sentence_at_its_clauses() {
    let clause = "the party of the first part shall notify the other party in writing, ";
    let text = clause.repeat(30);
    let cut = texts(&text);
    assert!(cut.len() > 2);
    assert!(cut.iter().all(|piece| piece.ends_with(',')));
}

#[test]
fn keeps_the_header_with_the_rows() {
    let markdown = "Sales\n\n| Year | Sum |\n|---|---|\n| 2019 | 5 |\n| 2020 | 7 |\n";
    let document = Document::parse(markdown);
    assert_eq!(lead_of(&document, "2020"), Some("| Year | Sum |\n|---|---|"));
    assert_eq!(
        units(markdown)
            .iter()
            .filter(|(_, kind)| *kind == SpanKind::Row)
            .count(),
        2
    );

    let without_dashes = "| | 2019 | 2018 |\n| Net sales | 5 | 4 |\n| Cost | 3 | 2 |\n";
    assert_eq!(
        lead_of(&Document::parse(without_dashes), "Cost"),
        Some("| | 2019 | 2018 |")
    );

    for separated in [
        "name\tage\nann\t31\nbob\t45\n",
        "name,age,city\nann,31,rome\nbob,45,oslo\n",
    ] {
        let document = Document::parse(separated);
        assert!(lead_of(&document, "bob").unwrap().starts_with("name"));
    }

    let columns = "name    age   city\nann     31    rome\nbob     45    oslo\n";
    assert_eq!(
        lead_of(&Document::parse(columns), "bob"),
        Some("name    age   city")
    );
}

#[test]
fn cuts_an_html_table_in_one_line() {
    let text =
        "Before. <table><tr><th>Year</th></tr><tr><td>2019</td></tr><TR><td>2020</td></tr></table> After.";
    let document = Document::parse(text);
    assert_eq!(lead_of(&document, "2020"), Some("<table><tr><th>Year</th></tr>"));
    let kinds: Vec<SpanKind> = document.units.iter().map(|unit| unit.kind).collect();
    assert_eq!(
        kinds,
        [
            SpanKind::Sentence,
            SpanKind::Header,
            SpanKind::Row,
            SpanKind::Row,
            SpanKind::Sentence
        ]
    );
}

#[test]
fn knows_who_speaks() {
    let text =
        "Ann: Hello there. How are you?\nBob: Fine.\nAnn: Good to hear.\nBob (CEO): So am I.\nBob: Bye.\n";
    let document = Document::parse(text);
    assert!(document.transcript);
    assert_eq!(lead_of(&document, "How are you"), Some("Ann:"));
    assert_eq!(lead_of(&document, "So am I"), Some("Bob (CEO):"));
    assert!(
        document
            .units
            .iter()
            .all(|unit| unit.kind == SpanKind::SpeakerTurn)
    );
    assert!(!Document::parse("One thing: it rains.\nThen it stops.").transcript);
}

#[test]
fn keeps_json_elements_whole() {
    let record = |i: usize| format!("{{\"id\": {i}, \"text\": \"{}\"}}", "some words ".repeat(20));
    let text = format!("[{}]", (0..12).map(record).collect::<Vec<_>>().join(", "));
    let document = Document::parse(&text);
    assert_eq!(document.units.len(), 12);
    assert!(
        document
            .units
            .iter()
            .all(|unit| unit.kind == SpanKind::JsonElement)
    );
    assert!(document.units[3].text(&text).starts_with("{\"id\": 3"));
}

#[test]
fn knows_headings_items_and_code() {
    let text = "# Title\n\nSome text here.\n\n- first item\n- second item\n\n\
                ```rust\nfn main() {}\n```\n\nTerm and Termination\n\nIt ends.";
    let kinds: Vec<SpanKind> = units(text).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(
        kinds,
        [
            SpanKind::Heading,
            SpanKind::Sentence,
            SpanKind::ListItem,
            SpanKind::ListItem,
            SpanKind::Code,
            SpanKind::Heading,
            SpanKind::Sentence
        ]
    );
    assert_eq!(
        lead_of(&Document::parse(text), "It ends"),
        Some("Term and Termination")
    );
}
