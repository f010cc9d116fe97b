//! What is asked in the words of a user.

use super::super::words::read_instructions;

/// Texts, and what they ask with a weight above a template's.
#[rustfmt::skip]
const CASES: &[(&str, &[&str])] = &[
    ("When was the boom mended?", &["When was the boom mended?"]),
    ("Answer each:\n1. Who mended the boom?\n2. What did the tar cost?", &["Who mended the boom?", "What did the tar cost?"]),
    ("Beantworte bitte:\n\n1) Wer hat den Baum geflickt?\n\n2) Was kostete der Teer?", &["Wer hat den Baum geflickt?", "Was kostete der Teer?"]),
    ("À partir du registre, indiquez : 1) la profondeur, 2) le prix du goudron, 3) le nom du gardien.", &["la profondeur", "le prix du goudron", "le nom du gardien."]),
    ("Find for me:\n- depth of the channel\n- price of tar\n- name of the keeper", &["depth of the channel", "price of tar", "name of the keeper"]),
    ("Question: Who kept the light?\nAnswer:", &["Who kept the light?"]),
    ("### Instructions:\nBe brief and cite sentences.\n\n### Question:\nWho kept the light?", &["Who kept the light?"]),
    ("<rules>Never guess. What is a guess?</rules>\n<question>Who kept the light?</question>", &["Who kept the light?"]),
    ("Who kept the light?\n\nReturn JSON with the keys name and day.", &["Who kept the light?"]),
    ("Answer the question below from the document.\n\nWho kept the light?", &["Who kept the light?"]),
    ("Translate the document below into Dutch.", &["Translate the document below into Dutch."]),
    ("Current time: 9:12\nTime zone: Europe/Oslo", &[]),
];

#[test]
fn words_are_told_from_orders_about_them() {
    for (text, expected) in CASES {
        let said = read_instructions(text).said;
        let asked: Vec<_> = said
            .iter()
            .filter(|said| said.weight > 0.25)
            .map(|said| said.text.as_str())
            .collect();
        assert_eq!(asked, *expected, "{text}");
    }
}

#[test]
fn rules_are_no_list_of_questions() {
    let text = "Who kept the light?\n\n- Never guess.\n- Always quote the sentence.\n- Keep it short.";
    let said = read_instructions(text).said;
    assert!(
        said.iter()
            .all(|said| said.text.contains("Who kept the light?") || said.weight < 0.25),
        "{said:?}"
    );
}

#[test]
fn several_questions_of_a_sentence_are_asked_one_by_one() {
    let said = read_instructions("Depth of the channel? Price of the tar? Name of the keeper?").said;
    assert!(
        [
            "Depth of the channel?",
            "Price of the tar?",
            "Name of the keeper?"
        ]
        .iter()
        .all(|ask| said.iter().any(|said| said.text == *ask))
    );
}
