//! Turns of conversations, cues and passages: each keeps the label that says whose it is.

use super::*;

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
fn cues_of_subtitles_keep_number_and_time() {
    let srt = "12\n00:01:02,500 --> 00:01:05,000\nThe rinse water may\n\n13\n00:01:05,000 --> 00:01:07,000\nbe warm.\n\n\
               14\n00:01:08,000 --> 00:01:09,000\nYes.\n";
    assert_eq!(texts(srt).len(), 2, "{:?}", texts(srt));
    assert!(texts(srt)[0].starts_with("12\n00:01:02,500") && texts(srt)[0].ends_with("be warm."));
    let vtt = "WEBVTT\n\n00:01.000 --> 00:04.000 align:start\n<v Ann>Never drink that.\n\n00:05.000 --> 00:09.000\nIt will hurt.\n";
    assert_eq!(texts(vtt).len(), 3, "{:?}", texts(vtt));
}
