#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;

mod records;
mod turns;

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
        Just("[12/04/24, 21:07] Ann: hello\n".to_owned()),
        Just("Ann Lee  9:07 PM\n".to_owned()),
        Just("[17] Some title\n".to_owned()),
        Just("Passage 3:\n".to_owned()),
        Just("<source id=\"1\">\n".to_owned()),
        Just("</source>\n".to_owned()),
        Just("a sentence that has no end yet\n\n3\n\nHEAD\n\n".to_owned()),
        Just("\u{c}HEAD\n".to_owned()),
        Just("1\n00:00:01,000 --> 00:00:02,000\nhi\n".to_owned()),
        Just("+--+--+\n|a |b |\n+==+==+\n|c |d |\n+--+--+\n".to_owned()),
        Just("a  b\n-- --\nc  d\n".to_owned()),
        Just("a,\"b\nc\",d\n".to_owned()),
        Just("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4".repeat(3)),
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
        "[1]\n",
        "1\n\n",
        "\u{c}",
        "a,\"\n",
        "--  --\n",
        "+--+\n",
        "1:1\n",
        "0:00 --> 0:00\n",
        "![](data:,",
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
fn case_28_abbreviations_and_ordinals_end_no_sentence() {
    for whole in [
        "Der Auftragnehmer haftet gem. § 14 Abs. 3 Nr. 2 i. V. m. Ziff. 7.4 der Anl. 3 zum Vertrag v. 2. Mai 2025 \
         nur bis zu einem Betrag von 250.000 EUR je Schadensfall.",
        "Vgl. z.B. Art. 5 bzw. Rn. 12 ff. BGB und Bd. 3 der Slg. Rspr. zzgl. USt. für Dr. Müller u. a. Erben.",
        "Der 2. Senat des BGH hat am 31. Dezember im 3. Quartal und zum 1. Werktag entschieden.",
        "El Sr. Pérez y la Sra. Gómez, p. ej. según el art. 12 y la pág. 3, pagan aprox. 40 EUR.",
        "Voir M. Dupont, p. ex. l'art. 3 al. 2 et le chap. 4 de la réf. 12.",
        "O Exmo. Sr. Silva, cf. art. 5 e págs. 3 da Ltda. Norte, assina.",
        "Zie dhr. Jansen, bijv. art. 3 en nr. 12 van mevr. Bakker.",
        "Согласно ст. 5 и п. 3 договора, ул. Ленина, т.е. Москва, срок равен году.",
        "The U.S. Government and J. Doe of Acme, e.g. No. 5, Sec. 3 and para. 4, agreed.",
    ] {
        assert_eq!(texts(whole), [whole]);
    }
    for (text, sentences) in [
        ("It was entered in sheet 73. The screw press ran.", 2),
        ("Es gelten Schrauben, Muttern usw. Die Preise folgen.", 2),
        ("They sell nails, bolts, etc. The prices follow.", 2),
        ("He lives in the U.S. The house is old.", 2),
        ("It weighs 10 kg. The box is red.", 2),
        ("We met at 5 p.m. Nobody spoke.", 2),
        ("Im Jahr 2024. Der Rest folgt.", 2),
        ("I asked why. She left. It was dry. Then it rained.", 4),
    ] {
        assert_eq!(texts(text).len(), sentences, "{text}");
    }
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
fn case_29_what_is_no_text_is_filler() {
    let data: String = (0..200u32)
        .map(|i| format!("{:x}Zq{}k+", i.wrapping_mul(2_654_435_761), i))
        .collect();
    let lines: String = data
        .as_bytes()
        .chunks(76)
        .map(|line| format!("{}\n", String::from_utf8_lossy(line)))
        .collect();
    let dump = "48 65 6c 6c 6f 20 57 6f 72 6c 64 0a ff fe 00 01\n".repeat(6);
    let minified = "!function(e,t){for(var n=0;n<t.length;n++){e[n]=t(n)};return(e&&t)||!1}".repeat(12);
    for blob in [
        format!("![figure 20](data:image/png;base64,{data})"),
        format!("<img alt=\"x\" src=\"data:image/png;base64,{data}\">"),
        data.clone(),
        lines,
        dump,
        minified,
        "0123456789abcdef".repeat(20),
    ] {
        let text = format!("The water is warm.\n\n{blob}\n\nThe oil is cold.");
        let document = Document::parse(&text);
        let kept: Vec<&str> = document
            .units
            .iter()
            .filter(|unit| !unit.filler)
            .map(|unit| unit.text(&text))
            .collect();
        assert_eq!(
            kept,
            ["The water is warm.", "The oil is cold."],
            "{}",
            &blob[..40]
        );
        check(&text);
    }
    for text in [
        "See https://example.com/a/very/long/path/that/goes/on/and/on/through/many/folders/until/it/ends/at/the/page/with/the/answer/in/it.html now.",
        "The SHA-256 is 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08.",
        "src/main/java/com/example/company/department/project/module/submodule/feature/implementation/AbstractFactoryProviderImplementation.java",
    ] {
        assert!(
            Document::parse(text).units.iter().all(|unit| !unit.filler),
            "{text}"
        );
    }
}

#[test]
fn case_30_a_sentence_goes_over_a_page_break() {
    let filler = "The parties shall keep records of all of this for six years, and show them on request.";
    for (head, foot) in [
        (
            "NORTHWIND SUPPLY AGREEMENT\n\nExecution Version\n\n",
            "NUMBER\n\n",
        ),
        ("NORTHWIND SUPPLY AGREEMENT\n\n", "Page NUMBER of 9\n\n"),
        ("", "- NUMBER -\n\u{c}"),
        ("\u{c}NORTHWIND SUPPLY AGREEMENT\n\n", "Seite NUMBER\n"),
        ("Confidential draft of the buyer\n\n", ""),
    ] {
        let mut text = "1. SCOPE\n\n".to_owned();
        for page in 1..6 {
            text.push_str(&format!(
                "{page}. TITLE {page}\n\n{filler}\n\nThe whole sum that either party may be called upon to pay {}\n\n{foot}{head}\
                 in respect of year {page} is 3.5 million.\n\n",
                ["here", "there", "soon", "late", "now"][page - 1],
            ).replace("NUMBER", &page.to_string()));
        }
        let document = Document::parse(&text);
        for page in 1..6 {
            let unit = document
                .units
                .iter()
                .find(|unit| unit.text(&text).contains(&format!("year {page} is")))
                .unwrap();
            assert!(
                unit.text(&text).starts_with("The whole sum"),
                "{head:?} {foot:?} {:?}",
                texts(&text)
            );
            let lead = document.units[unit.lead.unwrap() as usize];
            assert_eq!(lead.text(&text), format!("{page}. TITLE {page}"));
        }
        check(&text);
    }
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
