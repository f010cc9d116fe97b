//! The shapes of prompts: where document and question stand in one text, and what the question needs.

use proptest::prelude::*;

use super::report;
use crate::api::{Reason, Surface};
use crate::policy::{Need, Settings, assess_need, plan};
use crate::reading::{Marks, Split, split_by_marks, split_by_reading};
use crate::request::Request;

/// Plans a chat completion with one user text; answers with (document is exactly the report, question).
fn planned(text: &str, document: &str) -> Result<(bool, String, bool), Reason> {
    let body = serde_json::json!({"messages": [{"role": "user", "content": text}]}).to_string();
    let request = Request::read(Surface::ChatCompletions, body.as_bytes()).unwrap();
    let plan = plan(&request, &Settings::default())?;
    Ok((plan.document() == document, plan.question.clone(), plan.is_prefix))
}

#[test]
fn finds_document_and_question_in_the_usual_templates() {
    let doc = report(300);
    let question = "When did the 17th delivery arrive?";
    let templates = [
        "<document>\nDOC\n</document>\n\nQUESTION",
        "Use the document to answer.\n<documents>\n<document index=\"1\">\nDOC\n</document>\n</documents>\n\nQUESTION",
        "<context>DOC</context>\n<question>\nQUESTION\n</question>",
        "Context:\nDOC\n\nQuestion: QUESTION",
        "Context: DOC\n\nQuestion: QUESTION\nAnswer:",
        "Context:\nDOC\n\nQuestion: QUESTION\n\nHelpful Answer:",
        "Answer the question based on the text below.\n\nDOC\n\nQuestion: QUESTION",
        "Answer the question based on the context below. If unsure, say so.\n\nContext: DOC\n\nQ: QUESTION\nA:",
        "Context information is below.\n---------------------\nDOC\n---------------------\nGiven the context information and not \
         prior knowledge, answer the query.\nQuery: QUESTION\nAnswer: ",
        "## Context\nDOC\n\n## Question\nQUESTION",
        "**Document:**\n\nDOC\n\n**Question:** QUESTION",
        "Here is the report:\n\n```\nDOC\n```\n\nQUESTION",
        "\"\"\"\nDOC\n\"\"\"\nQUESTION",
        "DOC\n\nQUESTION",
        "DOC\nQUESTION",
        "DOC\n\n---\n\nQUESTION",
        "Kontext:\nDOC\n\nFrage: QUESTION",
        "Contexte :\nDOC\n\nQuestion : QUESTION",
        "Contexto:\nDOC\n\nPregunta: QUESTION",
    ];
    for template in templates {
        let text = template.replace("DOC", &doc).replace("QUESTION", question);
        let (exact, found, is_prefix) =
            planned(&text, &doc).unwrap_or_else(|reason| panic!("{reason}: {template}"));
        assert!(
            found.contains(question) && found.len() < 80,
            "{found:?}: {template}"
        );
        assert!(exact || template.contains("<documents>"), "{template}");
        assert!(is_prefix, "{template}");
    }
}

/// Retrieval templates put their passages into one text: together they are the document.
#[test]
fn passages_in_one_text_are_one_document() {
    let question = "When did the 17th delivery arrive?";
    for join in ["\n\n", "\n\n---\n\n", "\n\n[Source 3]\n"] {
        let passages = vec![report(40); 10].join(join);
        let text = format!(
            "Use the following pieces of context to answer.\n\n{passages}\n\nQuestion: {question}\nAnswer:"
        );
        let (_, found, _) = planned(&text, &passages).unwrap_or_else(|reason| panic!("{reason}: {join:?}"));
        assert!(found.contains(question), "{found:?}");
    }
}

#[test]
fn finds_a_question_before_the_document() {
    let doc = report(300);
    let question = "When did the 17th delivery arrive?";
    for template in [
        "QUESTION\n\nDOC",
        "QUESTION\n\n<document>\nDOC\n</document>",
        "Question: QUESTION\n\nContext:\nDOC",
        "Answer this question about the report: QUESTION\n\n```\nDOC\n```",
    ] {
        let text = template.replace("DOC", &doc).replace("QUESTION", question);
        let (exact, found, is_prefix) =
            planned(&text, &doc).unwrap_or_else(|reason| panic!("{reason}: {template}"));
        assert!(found.contains(question), "{found:?}: {template}");
        assert!(exact && !is_prefix, "{template}");
    }
}

#[test]
fn a_document_alone_has_no_question() {
    let doc = report(300);
    assert_eq!(planned(&doc, &doc), Err(Reason::NoQuestion));
    assert_eq!(
        planned(&format!("---\n{doc}\n---\nEnd of the report."), &doc),
        Err(Reason::NoQuestion)
    );
    assert_eq!(
        planned(&format!("<document>{doc}</document>"), &doc),
        Err(Reason::NoQuestion)
    );
}

#[test]
fn marks_inside_a_document_are_its_own() {
    let doc = format!("{}\n\n---\n\n{}\n\n---\n\n{}", report(90), report(80), report(90));
    assert_eq!(
        split_by_marks(&doc),
        Split {
            document: 0..doc.len(),
            marks: Marks::None
        }
    );
    let html = format!("<html><body><p>{}</p></body></html>", report(90));
    assert_eq!(split_by_reading(&html).marks, Marks::None);
}

#[test]
fn cuts_texts_of_any_shape_on_character_boundaries() {
    for text in [
        "",
        " ",
        "?",
        "é?",
        "\n\n",
        "```",
        "```\n```",
        "<document>",
        "<doc></doc>",
        "Context:",
        "Question:",
        "。？",
    ] {
        for split in [split_by_marks(text), split_by_reading(text)] {
            assert!(text.get(split.document.clone()).is_some(), "{text:?}: {split:?}");
        }
    }
}

proptest! {
    #[test]
    fn cuts_any_mix_of_marks(pieces in prop::collection::vec(prop::sample::select(vec![
        "```", "```rust", "---", "\"\"\"", "Context:", "Question:", "## Text", "**Q:**", "A:", "<document>", "</document>",
        "<doc é", ">", "\n", "\n\n", "\r\n", " ", "é", "?", "。", "。？", "What is it", "word word word. ", "：", "\u{2028}",
    ]), 0..30)) {
        let text = pieces.concat();
        let body = serde_json::json!({"messages": [{"role": "user", "content": text}]}).to_string();
        let request = Request::read(Surface::ChatCompletions, body.as_bytes()).unwrap();
        let force = Settings { mode: crate::api::Mode::Force, ..Settings::default() };
        if let Ok(plan) = plan(&request, &force) {
            prop_assert!(!plan.document().is_empty() && text.contains(plan.document()));
        }
        for split in [split_by_marks(&text), split_by_reading(&text)] {
            let document = &text[split.document.clone()];
            prop_assert!(split.marks == Marks::None || document == document.trim());
            let _ = (split.tail(&text), assess_need(&text));
        }
    }
}

#[test]
fn tells_how_much_of_a_document_an_answer_needs() {
    for question in [
        "Translate the document into German.",
        "Please rewrite this in plain English",
        "Can you proofread the text?",
        "How many times is the supplier mentioned?",
        "List all obligations of the buyer.",
        "Count the clauses.",
        "Übersetze das Dokument ins Englische.",
        "Wie oft wird der Lieferant genannt?",
        "Nenne alle Fristen.",
        "Traduis ce texte en anglais.",
        "Liste toutes les obligations.",
        "Traduce el documento al inglés.",
        "¿Cuántas veces aparece el proveedor?",
        "Could you please convert to Markdown?",
        "请把这份文件翻译成英文。",
    ] {
        assert_eq!(assess_need(question), Need::Everything, "{question}");
    }
    for question in [
        "Summarize this document.",
        "Give me the key takeaways",
        "What is this document about?",
        "Summarize the whole meeting.",
        "Fasse das Dokument zusammen.",
        "Résume le texte.",
        "Resume el documento.",
    ] {
        assert_eq!(assess_need(question), Need::Overview, "{question}");
    }
    for question in [
        "When did the 17th delivery arrive?",
        "Summarize the discussion about the budget.",
        "What did Anna say about the remote control?",
        "Highlight the parts (if any) of this contract related to \"Parties\" that should be reviewed by a lawyer.",
        "How many shares were issued?",
        "Wann wurde der Vertrag geschlossen?",
        "Quelle est la date de signature ?",
        "¿Quién firmó el contrato?",
        "Into how many shares does a note convert?",
        "When does work resume after the recapitalization?",
        "What were the foreign currency translation adjustments in 2019?",
        "Which fees are outlined in section 3?",
    ] {
        assert_eq!(assess_need(question), Need::Evidence, "{question}");
    }
}
