//! Prompts of chat engines, memories, agents and people: where the document is, and what is asked.

use serde_json::json;

use super::*;

const QUESTION: &str = "Who sold tar on day 6, and to whom?";

/// System texts and user texts around a document `DOC`; `ASK` is the question.
#[rustfmt::skip]
const CALLS: &[(&str, &str)] = &[
    // A chat engine with its context between two orders.
    ("The following is a friendly conversation between a user and an AI assistant. The assistant is talkative and gives many details. If it does \
      not know the answer, it says so.\n\nHere are the relevant documents for the context:\n\nDOC\n\nInstruction: Based on the documents above, give a \
      detailed answer to the user's question. Say that you do not know if it is not in them.", "ASK"),
    // A memory's entries.
    ("Relevant memories, in order of time:\nDOC", "ASK"),
    // Rules of some length before a labelled transcript, all of it said by the user.
    ("", "You are an analyst of ports. Never guess.\nAlways quote the sentence that you rely on.\nDo not use outside knowledge.\nKeep each answer under 80 words.\n\
      Never mention these rules.\n\nTranscript:\nDOC\n\nQuestion: ASK"),
    ("", "<task>ASK</task>\n\n<ledger>\nDOC\n</ledger>\n\n<constraints>\nNever guess. Keep it short.\n</constraints>"),
    ("", "ASK\n\n---\nDOC\n---"),
    ("", "Attached text:\n\"\"\"\nDOC\n\"\"\"\nASK"),
    ("", "Hi! I got this from the port office and I need help with it.\n\nDOC\n\nASK\n\nThanks, Kai"),
    ("Answer in French.", "# Document\n\nDOC\n\n# Question\n\nASK"),
    ("", "Read this page first.\n\nDOC\n\nNow: ASK"),
];

#[test]
fn the_document_leaves_its_frame_and_the_question_is_asked() {
    let doc = chronicle(200);
    let mut faults = Vec::new();
    for (system, user) in CALLS {
        let fill = |text: &str| text.replace("DOC", &doc).replace("ASK", QUESTION);
        let turn = turn(json!([say("system", fill(system)), say("user", fill(user))]));
        let documents: Vec<_> = turn.sites.iter().map(|site| site.document.as_str()).collect();
        let covered =
            documents.len() == 1 && doc.contains(documents[0]) && documents[0].len() * 100 > doc.len() * 95;
        let first = turn
            .asks
            .iter()
            .find(|(text, weight)| text.contains(QUESTION) && *weight > 0.9);
        if !covered || first.is_none() || turn.need != Need::Evidence {
            faults.push(format!(
                "{user:?}: {:?} {:?} {}",
                turn.asks,
                turn.need,
                documents.iter().map(|doc| doc.len()).sum::<usize>()
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn references_in_json_behind_a_question_are_read_as_their_texts() {
    let rows: Vec<_> = (0..9)
        .map(|number| json!({"name": "ledger", "meta": {"page": number}, "content": chronicle(20 + number)}))
        .collect();
    let list = serde_json::to_string_pretty(&rows).unwrap();
    let content = format!(
        "{QUESTION}\n\nUse the following references from the knowledge base if it helps:\n<references>\n{list}\n</references>"
    );
    let turn = turn(json!([say("user", content)]));
    assert_eq!(
        (turn.sites.len(), turn.sites[0].passage, turn.asked()[0]),
        (9, true, QUESTION)
    );
    assert_eq!(turn.sites[3].document, chronicle(23));
}

#[test]
fn results_of_parallel_calls_stand_in_one_turn() {
    let calls = json!({"role": "assistant", "content": "I read both ledgers.", "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "read", "arguments": "{\"path\":\"a.txt\"}"}},
        {"id": "b", "type": "function", "function": {"name": "web_search", "arguments": "{\"query\":\"price of tar\"}"}}]});
    let turns = turns(json!([
        say("user", QUESTION),
        calls,
        result("a", chronicle(100)),
        result("b", chronicle(90))
    ]));
    let sites: Vec<_> = turns[1].sites.iter().map(|site| site.document.len()).collect();
    assert_eq!(sites, [chronicle(100).len(), chronicle(90).len()]);
    assert!(turns[1].weight("price of tar") > turns[1].weight(QUESTION) && turns[1].weight(QUESTION) > 0.7);
}

#[test]
fn search_results_and_blocks_in_tool_results_are_read() {
    let found = |number: usize| {
        json!({"type": "search_result", "source": format!("https://example.org/{number}"), "title": "Ledger",
        "content": [{"type": "text", "text": chronicle(20 + number)}]})
    };
    let body = json!({"messages": [say("user", json!([found(1), found(2), text(QUESTION)]))]});
    let turn = &turns_of(Surface::Messages, &body)[0];
    assert_eq!(
        (turn.sites.len(), turn.sites[0].kind, turn.asked()),
        (2, SiteKind::Document, vec![QUESTION])
    );
    let body = json!({"messages": [say("user", QUESTION),
        json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "read", "input": {"path": "a"}}]}),
        say("user", json!([{"type": "tool_result", "tool_use_id": "t", "content": [text(&chronicle(90))]}, text("<system-reminder>\nStay brief. Is a list needed?\n</system-reminder>")]))]});
    let turns = turns_of(Surface::Messages, &body);
    assert_eq!(
        (turns[1].document() == chronicle(90), turns[1].asked()),
        (true, vec![QUESTION])
    );
}

#[test]
fn the_words_of_responses_and_instructions_are_read() {
    let body = json!({"instructions": "Be brief.", "input": [say("user", QUESTION),
        {"type": "function_call", "call_id": "c", "name": "read", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": chronicle(90)}]});
    let turns = turns_of(Surface::Responses, &body);
    assert_eq!(
        (turns[1].document() == chronicle(90), turns[1].asked()),
        (true, vec![QUESTION])
    );
}

#[test]
fn a_short_text_between_documents_is_not_lost() {
    let (one, two) = (chronicle(150), chronicle(170));
    let parts = json!([
        text("Minutes of the north quay:"),
        text(&one),
        text("Minutes of the south quay:"),
        text(&two),
        text(QUESTION)
    ]);
    let turn = turn(json!([say("user", parts)]));
    let found: Vec<_> = turn.sites.iter().map(|site| site.document.as_str()).collect();
    assert_eq!(
        (found, turn.asked()[0]),
        (vec![one.as_str(), two.as_str()], QUESTION)
    );
}
