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
fn case_19_rows_of_separated_values_keep_header_and_line_breaks() {
    let quoted = "id,firm,remark\nC-1,Alder,\"Spoke with Ann,\nwants \"\"two\"\" parts\"\nC-2,Birch,none\n\
                  C-3,Cedar,\"A long remark, with many words of prose in it, which ends with a full stop.\"\nC-4,Dogwood,none\n";
    for separator in [",", ";", "\t"] {
        let text = quoted
            .replace(',', separator)
            .replace("remark;", "remark,")
            .replace("Ann;", "Ann,");
        let document = Document::parse(&text);
        assert_eq!(document.units.len(), 5, "{:?}", texts(&text));
        for id in ["C-1", "C-2", "C-3", "C-4"] {
            assert!(
                lead_of(&document, id).unwrap().starts_with("id"),
                "{id} {separator:?}"
            );
        }
        assert!(document.units[1].text(&text).ends_with("parts\""));
    }
    let odd = "a,b,c\n1,2,3\n4,5,6\n7,8,9\n10,11,12,13\n14,15,16\n";
    assert_eq!(lead_of(&Document::parse(odd), "14"), Some("a,b,c"));
    let unclosed = "a,b,c\n1,\"2,3\n4,5,6\n7,8,9\n1,2,3\n";
    assert_eq!(texts(unclosed).len(), 5);
}

#[test]
fn tables_with_rules_keep_their_rows_whole() {
    let grid = "+------+--------+\n| Item | Notice |\n+======+========+\n| Pump | 75     |\n|      | days   |\n\
                +------+--------+\n| Van  | 30     |\n+------+--------+\n";
    let document = Document::parse(grid);
    assert_eq!(document.units.len(), 3);
    assert!(lead_of(&document, "days").unwrap().contains("Item"));

    let shell = "+----+------+\n| id | name |\n+----+------+\n|  1 | ann  |\n|  2 | bob  |\n|  3 | eve  |\n+----+------+\n";
    assert_eq!(texts(shell).len(), 4);

    let simple =
        "  Item      Notice\n--------  --------\n  Pump    75 days\n          in May\n  Van     30 days\n";
    let document = Document::parse(simple);
    assert_eq!(document.units.len(), 3, "{:?}", texts(simple));
    assert!(lead_of(&document, "in May").unwrap().contains("Notice"));

    let multiline = "-------------------------\nItem     Notice\n         period\n-------- ----------------\n\
                     Pump     75 days, in\n         winter 80\n\nVan      30 days\n-------------------------\n";
    let document = Document::parse(multiline);
    assert_eq!(document.units.len(), 3, "{:?}", texts(multiline));
    assert!(lead_of(&document, "winter").unwrap().contains("period"));
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
fn case_23_messages_of_chats_keep_date_and_sender() {
    for (label, name) in [
        ("[12/04/24, 21:07:44] NAME: ", "Ann"),
        ("\u{200e}[4/12/24, 9:07:44\u{202f}PM] NAME: ", "+351 910 555 019"),
        ("12.04.24, 21:07 - NAME: ", "Bo (landlord)"),
        ("12/4/24 21:07 - NAME: ", "~bo"),
        ("2024/4/12 下午9:07 - NAME: ", "王芳"),
        ("4/12/24, 9:07 p. m. - NAME: ", "Inés"),
        ("[12.04.2024 21:07] NAME: ", "ann"),
        ("2024-04-12T21:07:44Z <NAME> ", "nick"),
        ("NAME  9:07 PM\n", "Ann Lee"),
        ("NAME, [12.04.2024 21:07]\n", "Ann Lee"),
        ("NAME — Today at 9:07 PM\n", "ann"),
    ] {
        let label = label.replace("NAME", name);
        let text = format!("{label}ok fine. I will pay\nthe deposit\n").repeat(6);
        let message = format!("{label}ok fine. I will pay\nthe deposit");
        let message = message.trim_start_matches('\u{200e}');
        let found: Vec<String> = texts(&text)
            .iter()
            .map(|text| text.trim_start_matches('\u{200e}').to_owned())
            .collect();
        assert_eq!(found, vec![message.to_owned(); 6], "{label:?}");
    }
}

#[test]
fn case_18_labels_of_passages_lead_them() {
    for (label, other) in [
        ("[17] Zwolle depot, protocol of visit 4417", "[18]"),
        ("[17]", "[18]"),
        ("[Source 17]", "[Source 18]"),
        ("Passage 17:", "Passage 18:"),
        (
            "Document [17](Title: Storm damage)",
            "Document [18](Title: Other)",
        ),
        ("Document 17 (Title: Storm damage)", "Document 18 (Title: Other)"),
        ("### Quelle 17", "### Quelle 18"),
        ("<source id=\"17\" name=\"a.pdf\">", "<source id=\"18\">"),
        (
            "<document index=\"17\">\n<source>a.pdf</source>\n<document_content>",
            "<document index=\"18\">",
        ),
    ] {
        let text = format!(
            "{label}\nThe roof is insured. It is old.\n\nA second paragraph stands here.\n\n{other}\nThe floor is not.\n"
        );
        let document = Document::parse(&text);
        for needle in ["insured", "second"] {
            assert_eq!(lead_of(&document, needle), Some(label), "{:?}", texts(&text));
        }
        assert!(
            lead_of(&document, "floor").unwrap().contains("18"),
            "{:?}",
            texts(&text)
        );
        check(&text);
    }
    let inline =
        "[17] The roof is insured for storm damage.\n\n[18] The floor is not insured for anything.\n";
    assert_eq!(lead_of(&Document::parse(inline), "roof"), Some("[17]"));
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
fn cues_of_subtitles_keep_number_and_time() {
    let srt = "12\n00:01:02,500 --> 00:01:05,000\nThe rinse water may\n\n13\n00:01:05,000 --> 00:01:07,000\nbe warm.\n\n\
               14\n00:01:08,000 --> 00:01:09,000\nYes.\n";
    assert_eq!(texts(srt).len(), 2, "{:?}", texts(srt));
    assert!(texts(srt)[0].starts_with("12\n00:01:02,500") && texts(srt)[0].ends_with("be warm."));
    let vtt = "WEBVTT\n\n00:01.000 --> 00:04.000 align:start\n<v Ann>Never drink that.\n\n00:05.000 --> 00:09.000\nIt will hurt.\n";
    assert_eq!(texts(vtt).len(), 3, "{:?}", texts(vtt));
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
fn case_21_records_of_json_lines_are_whole() {
    let record = |i: usize| {
        format!(
            "{{\"oid\":\"ORD-{i}\",\"tags\":[\"a\",\"b\"],\"note\":\"It broke. {}\"}}",
            "So it was. ".repeat(9)
        )
    };
    for separator in ["\n", "\n\n", ",\n"] {
        let text = (0..5).map(record).collect::<Vec<_>>().join(separator);
        assert_eq!(Document::parse(&text).units.len(), 5, "{separator:?}");
    }
    let rows = "[1, \"ann\", \"oslo\"]\n[2, \"bob\", \"rome\"]\n";
    assert_eq!(texts(rows), ["[1, \"ann\", \"oslo\"]", "[2, \"bob\", \"rome\"]"]);
    let long = (0..3)
        .map(|i| record(i).replace("So it was.", &"word ".repeat(30)))
        .collect::<Vec<_>>()
        .join("\n");
    let document = Document::parse(&long);
    let last = document.units.last().unwrap();
    assert!(
        document.units[last.lead.unwrap() as usize]
            .text(&long)
            .contains("ORD-2")
    );
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
