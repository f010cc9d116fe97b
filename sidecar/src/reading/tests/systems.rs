//! Context in system texts, and what is none.

use serde_json::json;

use super::*;

const QUESTION: &str = "Who sold tar on day 6, and to whom?";

/// System texts with a context in them: `DOC`.
#[rustfmt::skip]
const CONTEXTS: &[&str] = &[
    "You are a careful assistant. Answer from the context only; say so if it is not there.\n\n<context>\nDOC\n</context>",
    "Use what follows to answer; say so if it is not there.\n\nDOC",
    "Use the pieces of context below for the user's question.\nIf you do not know the answer, say that you do not know.\n----------------\nDOC",
    "You are a clerk. Context:\nDOC",
    "Ledger of the north quay, part 3:\nDOC",
    "Context:\nDOC\n\nAnswer in two sentences.",
    "You help the staff of a port.\n\n# Rules\n- Never guess.\n- Quote the sentence.\n\n# Knowledge base\nDOC",
    "<instructions>Answer politely. Never guess. Keep it short.</instructions>\n<harbour_log>\nDOC\n</harbour_log>",
    "Beantworte die Frage nur aus dem folgenden Kontext:\n\nDOC",
    "Réponds uniquement à partir des extraits ci-dessous.\n\nDOC",
    "Responde usando solo la información siguiente:\nDOC",
    "以下の資料だけを使って答えてください。\n\nDOC",
    "Отвечай только по следующим документам:\n\nDOC",
];

#[test]
fn context_is_found_by_marks_and_behind_a_head() {
    let doc = chronicle(120);
    for template in CONTEXTS {
        let turn = turn(json!([
            say("system", template.replace("DOC", &doc)),
            say("user", QUESTION)
        ]));
        assert_eq!(turn.sites.len(), 1, "{template}");
        assert_eq!(
            (turn.sites[0].kind, turn.document()),
            (SiteKind::System, doc.as_str()),
            "{template}"
        );
        assert_eq!(turn.asked()[0], QUESTION, "{template}");
        assert!(
            turn.asks.iter().skip(1).all(|(_, weight)| *weight <= 0.5),
            "{:?}",
            turn.asks
        );
    }
}

/// `count` lines made of a template, with a number in place of `N`.
fn lines(template: &str, count: usize) -> String {
    (0..count)
        .map(|number| template.replace('N', &number.to_string()) + "\n")
        .collect()
}

#[test]
fn rules_personas_and_examples_are_no_context() {
    let rules = lines(
        "- If a guest names berth N, answer kindly, never promise a refund, and hand over to desk N.",
        120,
    );
    let numbered = lines(
        "N. Always greet by name. Do not quote prices above N crowns. Keep answers under N words.",
        100,
    );
    let persona = lines(
        "You like the sea and you speak of day N as if it were yesterday. You never lie.",
        90,
    );
    let examples = lines(
        "User: When does boat N leave?\nAssistant: It leaves at N o'clock from the north quay.",
        80,
    );
    for system in [
        format!("You are the voice of a port. House rules:\n{rules}"),
        format!("You are the voice of a port.\n\nFollow the rules below:\n\n{numbered}"),
        format!("<policies>\n{rules}</policies>\nAnswer the guest."),
        format!("Speak as the character described below.\n\n{persona}"),
        format!("Answer like these examples:\n\n{examples}"),
        format!("<examples>\n{examples}</examples>\n\nAnswer the guest."),
        rules.clone(),
        numbered.clone(),
    ] {
        let turn = turn(json!([
            say("system", system.clone()),
            say("user", "My boat is late, what now?")
        ]));
        assert!(turn.sites.is_empty(), "{}", &system[..100]);
    }
}

#[test]
fn an_order_in_the_system_text_counts_beside_words_that_order_nothing() {
    let system = "Rewrite the text in plain language.";
    let turn = turn(json!([
        say("system", system),
        say("user", format!("Here is the text:\n\n{}", chronicle(300)))
    ]));
    assert_eq!(turn.need, Need::Transform);
}

#[test]
fn a_transcript_that_starts_with_a_question_is_context() {
    let line = |number: usize| {
        format!(
            "Chair: Can I welcome you to item {number}? We have an hour.\nBen: Thank you; the boom at berth {number} is mended.\n"
        )
    };
    let transcript = (1..60).map(line).collect::<String>();
    let system = format!("Use what follows to answer.\n\n{transcript}");
    let turn = turn(json!([say("system", system), say("user", QUESTION)]));
    assert_eq!(turn.document(), transcript.trim());
}
