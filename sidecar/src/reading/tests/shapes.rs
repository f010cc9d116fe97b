//! Where documents and what is asked of them stand in the calls of frameworks, applications and agents.

use serde_json::{Value, json};

use super::*;

const QUESTION: &str = "Who sold tar on day 6, and to whom?";

#[test]
fn documents_and_words_of_one_turn_are_told_apart() {
    let doc = chronicle(300);
    for messages in [
        json!([say("user", doc.clone()), say("user", QUESTION)]),
        json!([say("user", QUESTION), say("user", doc.clone())]),
        json!([say("user", json!([text(&doc), text(QUESTION)]))]),
        json!([
            say("system", "You are a helpful assistant."),
            say("user", format!("{doc}\n\n{QUESTION}"))
        ]),
        json!([say("user", format!("<ledger>\n{doc}\n</ledger>\n\n{QUESTION}"))]),
        json!([say(
            "user",
            format!("With this:\n{doc}\nQuestion: {QUESTION}\nAnswer:")
        )]),
    ] {
        let turn = turn(messages.clone());
        assert_eq!(turn.document(), doc);
        assert_eq!(turn.asked(), [QUESTION], "{}", &messages.to_string()[..80]);
        assert_eq!((turn.need, turn.sites[0].keep), (Need::Evidence, None));
    }
}

#[test]
fn several_documents_are_several_sites() {
    let documents = [chronicle(300), chronicle(120), chronicle(200)];
    let parts: Vec<_> = documents
        .iter()
        .map(|doc| text(doc))
        .chain([text(QUESTION)])
        .collect();
    let turn = turn(json!([say("user", parts)]));
    let found: Vec<_> = turn.sites.iter().map(|site| site.document.as_str()).collect();
    assert_eq!(found, documents);
    assert!(turn.sites.iter().all(|site| !site.passage));
    assert_eq!(turn.asked(), [QUESTION]);
}

#[test]
fn many_short_parts_are_passages() {
    let passage = |number: usize| chronicle(number + 9).split_off(200);
    let passages: Vec<_> = (0..30).map(passage).collect();
    let parts = |ends: [&[&str]; 2]| {
        let [before, behind] = ends.map(|texts| texts.iter().map(|words| text(words)).collect::<Vec<_>>());
        let parts: Vec<_> = before
            .into_iter()
            .chain(passages.iter().map(|part| text(part)))
            .chain(behind)
            .collect();
        turn(json!([
            say("system", "Answer from the passages."),
            say("user", parts)
        ]))
    };
    let asked: [[&[&str]; 2]; 4] = [
        [&[], &[QUESTION]],
        [&[QUESTION], &[]],
        [&["Use these passages:"], &[QUESTION]],
        [&["<note>\nThe list is empty.\n</note>"], &[QUESTION]],
    ];
    for ends in asked {
        let turn = parts(ends);
        assert_eq!(turn.sites.len(), 30, "{ends:?}");
        assert!(turn.sites.iter().all(|site| site.passage));
        assert!(turn.weight(QUESTION) > 0.9, "{:?}", turn.asks);
    }
    // In a language whose words are not known a short last part is what is asked.
    let turn = parts([&[], &["Nani aliuza lami siku ya sita bandarini"]]);
    assert_eq!(
        (turn.sites.len(), turn.asked()[0]),
        (30, "Nani aliuza lami siku ya sita bandarini")
    );
}

#[test]
fn numbered_passages_of_one_text_are_one_site() {
    let passages: Vec<_> = (1..20)
        .map(|number| format!("[{number}] {}", chronicle(12)))
        .collect();
    let passages = passages.join("\n\n");
    let turn = turn(json!([
        say("system", "Cite passages by number."),
        say("user", format!("Passages:\n\n{passages}\n\nQuestion: {QUESTION}"))
    ]));
    assert_eq!(
        (turn.document(), turn.sites[0].passage),
        (passages.as_str(), false)
    );
    assert!(turn.weight(QUESTION) > 0.9);
}

#[test]
fn a_task_in_the_system_text_is_asked_of_a_document_alone() {
    let doc = chronicle(300);
    let asked = |system: &str| turn(json!([say("system", system), say("user", doc.clone())]));
    let plain = asked(QUESTION);
    assert_eq!((plain.asked(), plain.document()), (vec![QUESTION], doc.as_str()));
    let labelled = asked(&format!("You check ledgers for a port. Task: {QUESTION}"));
    assert_eq!(labelled.asked(), [QUESTION]);
    let pointed = asked(&format!("Answer this about the text that follows: {QUESTION}"));
    // Words that point at the text cost the question nothing.
    assert!(matches!(pointed.asked().as_slice(), [asked] if asked.ends_with(QUESTION)));
    let persona = asked(&format!("You are a clerk of the port. {QUESTION}"));
    assert_eq!(persona.asked(), [QUESTION]);
    let helpful = asked("You are a helpful assistant.");
    assert!(helpful.asks.is_empty(), "{:?}", helpful.asks);
    assert_eq!(helpful.need, Need::None);
    assert_eq!(
        asked("You rewrite texts in plain language.").need,
        Need::Transform
    );
}

#[test]
fn a_persona_does_not_count_beside_words_of_the_user() {
    let turn = turn(json!([
        say("system", "You translate contracts for a living. Be brief."),
        say("user", chronicle(300)),
        say("user", QUESTION)
    ]));
    assert_eq!((turn.need, turn.asked()), (Need::Evidence, vec![QUESTION]));
}

#[test]
fn a_translator_gets_every_word_though_his_text_ends_with_a_question() {
    let turn = turn(json!([
        say("system", "You translate what the user sends into German."),
        say("user", format!("{}\n\nWho could have known?", chronicle(300)))
    ]));
    assert_eq!(turn.need, Need::Transform);
}

fn schema(fields: &[(&str, &str)]) -> Value {
    let properties: serde_json::Map<_, _> = fields
        .iter()
        .map(|(name, description)| {
            (
                (*name).to_owned(),
                json!({"type": "string", "description": description}),
            )
        })
        .collect();
    json!({"type": "object", "properties": properties})
}

#[test]
fn fields_are_asked_and_a_templates_orders_are_not_the_question() {
    let doc = chronicle(300);
    let fields = schema(&[
        ("tar_buyer", "Who bought the tar."),
        ("channelDepth", "Depth of the channel in fathoms."),
    ]);
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": fields.clone()}});
    let forced = json!([{"type": "function", "function": {"name": "record", "parameters": fields}}]);
    let bodies = [
        json!({"messages": [say("system", "Extract the fields. Quote the sentence that supports each."), say("user", doc.clone())], "response_format": format.clone()}),
        json!({"messages": [say("user", format!("Fill in the record from this ledger.\n\n{doc}"))], "tools": forced.clone(),
            "tool_choice": {"type": "function", "function": {"name": "record"}}}),
        json!({"messages": [say("user", format!("Extract from:\n{doc}"))], "tools": forced,
            "tool_choice": {"type": "function", "function": {"name": "record"}}}),
    ];
    for body in bodies {
        let turn = &turns_of(Surface::ChatCompletions, &body)[0];
        assert_eq!(turn.document(), doc);
        assert_eq!(
            turn.weight("tar buyer: Who bought the tar.").to_string(),
            "1",
            "{:?}",
            turn.asks
        );
        assert_eq!(
            turn.weight("channel depth: Depth of the channel in fathoms.")
                .to_string(),
            "1"
        );
        assert!(
            turn.asks.iter().skip(2).all(|(_, weight)| *weight <= 0.25),
            "{:?}",
            turn.asks
        );
        assert_eq!(turn.need, Need::Evidence);
    }
    let body =
        json!({"messages": [say("user", doc.clone()), say("user", QUESTION)], "response_format": format});
    let turn = &turns_of(Surface::ChatCompletions, &body)[0];
    assert_eq!(turn.asked()[0], QUESTION);
    assert!(turn.weight("tar buyer: Who bought the tar.") < 0.8);
    let answer = schema(&[("answer", ""), ("citations", ""), ("reasoning", "")]);
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": answer}});
    let body = json!({"messages": [say("user", doc), say("user", "Name the buyer of the tar.")], "response_format": format});
    let turn = &turns_of(Surface::ChatCompletions, &body)[0];
    assert_eq!(turn.asks, [("Name the buyer of the tar.".to_owned(), 1.0)]);
}

#[test]
fn a_fields_general_name_is_not_asked_beside_its_description() {
    let fields = schema(&[
        ("finding", "Who bought the tar, and when?"),
        ("tar_price", "In silver."),
        ("decision", ""),
    ]);
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": fields}});
    let body = json!({"messages": [say("user", chronicle(300))], "response_format": format});
    let turn = &turns_of(Surface::ChatCompletions, &body)[0];
    let asked = [
        "Who bought the tar, and when?",
        "tar price: In silver.",
        "decision",
    ];
    assert_eq!(turn.asked(), asked);
}

#[test]
fn more_fields_than_asks_are_joined_and_none_is_lost() {
    let names: Vec<_> = (0..50).map(|number| format!("depth_of_berth_{number}")).collect();
    let fields: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema(&fields)}});
    let body = json!({"messages": [say("user", chronicle(300))], "response_format": format});
    let turn = &turns_of(Surface::ChatCompletions, &body)[0];
    let all = turn.asked().join("\n") + "\n";
    assert!(
        turn.asks.len() <= 16 && (0..50).all(|number| all.contains(&format!("depth of berth {number}\n")))
    );
}

#[test]
fn document_blocks_are_sites_and_cited_ones_stay() {
    let doc = chronicle(100);
    let block = |cited: bool| {
        json!({"type": "document", "title": "Ledger", "source": {"type": "text", "media_type": "text/plain", "data": doc},
            "citations": {"enabled": cited}})
    };
    for (cited, keep) in [(false, None), (true, Some(Reason::Citations))] {
        let body = json!({"messages": [say("user", json!([block(cited), text(QUESTION)]))]});
        let turn = &turns_of(Surface::Messages, &body)[0];
        let site = &turn.sites[0];
        assert_eq!(
            (site.kind, site.keep, site.document == doc),
            (SiteKind::Document, keep, true)
        );
        assert_eq!(turn.asked(), [QUESTION]);
    }
}

#[test]
fn all_up_to_the_last_cache_marker_stays() {
    let doc = chronicle(100);
    let marked = json!({"type": "text", "text": doc, "cache_control": {"type": "ephemeral"}});
    let body = json!({"messages": [say("user", json!([text(&doc), marked, text(&doc), text(QUESTION)]))]});
    let turn = &turns_of(Surface::Messages, &body)[0];
    let kept: Vec<_> = turn.sites.iter().map(|site| site.keep.is_some()).collect();
    assert_eq!(kept, [true, true, false]);
}

#[test]
fn what_a_client_adds_is_not_the_question() {
    let doc = chronicle(120);
    let cases = [
        // The words in a tag of their own; a bare sentence of the client behind its block.
        json!([
            text(&format!("<user_message>\n{QUESTION}\n</user_message>")),
            text(&format!("<file_content path=\"a\">\n{doc}\n</file_content>")),
            text(
                "<environment_details>\n# Mode\nASK\n</environment_details>\n\nThere is no list of todos yet. What comes next? Make one if the task is long."
            )
        ]),
        // The document in one block, the words behind others in the next.
        json!([
            text(&format!(
                "<attachments>\n<attachment id=\"a\">\n{doc}\n</attachment>\n</attachments>"
            )),
            text(&format!(
                "<context>\nToday is Sunday.\n</context>\n<reminderInstructions>\nWhen you edit, show 3 lines. Is a plan needed?\n</reminderInstructions>\n\
                <userRequest>\n{QUESTION}\n</userRequest>"
            ))
        ]),
        json!([
            text("<system-reminder>\nAs you answer, mind this: which linter is used?\n</system-reminder>"),
            text(&doc),
            text(QUESTION),
            text("<system-reminder>\nAre there open items? Do not mention this.\n</system-reminder>")
        ]),
    ];
    for parts in cases {
        let body = json!({"messages": [say("user", parts)]});
        let turn = &turns_of(Surface::Messages, &body)[0];
        assert_eq!(turn.document(), doc, "{:?}", turn.asks);
        assert_eq!(turn.asked()[0], QUESTION);
        assert!(
            turn.asks.iter().skip(1).all(|(_, weight)| *weight <= 0.2),
            "{:?}",
            turn.asks
        );
    }
}

#[test]
fn markers_around_json_and_prose_are_no_documents() {
    let doc = chronicle(120);
    let prompt = format!(
        "[[ ## ledger ## ]]\n{doc}\n\n[[ ## question ## ]]\n{QUESTION}\n\nRespond with the corresponding output fields, starting with the field \
         `[[ ## answer ## ]]`, and then ending with the marker for `[[ ## completed ## ]]`."
    );
    let system = "Your input fields are:\n1. `ledger` (str):\n2. `question` (str):\nYour output fields are:\n1. `answer` (str):\n\
        In adhering to this structure, your objective is:\n        Given the fields `ledger`, `question`, produce the fields `answer`.";
    let turn = turn(json!([say("system", system), say("user", prompt)]));
    assert_eq!((turn.document(), turn.asked()[0]), (doc.as_str(), QUESTION));
}

#[test]
fn a_list_within_a_marked_section_is_read_as_its_strings() {
    let passages: Vec<_> = (10..20).map(chronicle).collect();
    let list = serde_json::to_string(&passages).unwrap();
    let prompt = format!("[[ ## notes ## ]]\n{list}\n\n[[ ## question ## ]]\n{QUESTION}");
    let turn = turn(json!([say("user", prompt)]));
    let found: Vec<_> = turn.sites.iter().map(|site| site.document.clone()).collect();
    assert_eq!((found, turn.sites[0].passage), (passages, true));
}

#[test]
fn a_hybrid_call_asks_its_task_or_its_prompt() {
    let read = |task: Option<&str>| {
        let body = json!({"large_document": chronicle(100), "extraction_task": task, "final_user_prompt": "Write a poem about them."});
        turns_of(Surface::HybridChat, &body).remove(0)
    };
    let task = read(Some(QUESTION));
    assert_eq!(
        (task.asked(), task.document() == chronicle(100)),
        (vec![QUESTION], true)
    );
    assert_eq!(read(Some(" ")).asked(), ["Write a poem about them."]);
}

#[test]
fn code_of_the_user_stays() {
    let source = "fn add(a: u32, b: u32) -> u32 {\n    let sum = a + b;\n    sum\n}\n\n".repeat(300);
    for content in [
        format!("{source}\n\nWhat does add do?"),
        format!("```rust\n{source}```\n\nWhat does add do?"),
    ] {
        let turn = turn(json!([say("user", content)]));
        assert_eq!(turn.sites[0].keep, Some(Reason::Code));
    }
}

#[test]
fn an_empty_text_is_no_document() {
    let asked = format!("{}\n\n{QUESTION}", chronicle(84));
    let turn = turn(json!([
        say("user", json!([text("")])),
        say("user", json!([text(&asked), text(" \n"), text(&chronicle(96))])),
    ]));
    assert!(turn.sites.len() >= 2);
    assert!(turn.sites.iter().all(|site| !site.document.trim().is_empty()));
}
