//! Turns: each is read with what stands before its end alone.

use serde_json::json;

use super::*;

#[test]
fn turns_are_cut_at_what_the_model_says() {
    let doc = chronicle(100);
    let turns = turns(json!([
        say("system", "Be brief."),
        say("user", format!("{doc}\n\nWho mended the boom?")),
        say("assistant", "A crew."),
        say("user", "And who sold tar?"),
        call("a", "read", json!({"path": "b.txt"})),
        result("a", doc.clone()),
        say("assistant", "The keeper. Shall I look further?"),
        say("user", "Yes, please: which day?"),
    ]));
    let sites: Vec<_> = turns.iter().map(|turn| turn.sites.len()).collect();
    assert_eq!(sites, [1, 0, 1, 0]);
    let asked: Vec<_> = turns.iter().map(|turn| turn.asked()[0]).collect();
    assert_eq!(
        asked,
        [
            "Who mended the boom?",
            "And who sold tar?",
            "And who sold tar?",
            "Yes, please: which day?"
        ]
    );
    let words: Vec<_> = turns.iter().map(|turn| turn.words.as_deref()).collect();
    assert_eq!(
        words,
        [
            Some("Who mended the boom?"),
            Some("And who sold tar?"),
            None,
            Some("Yes, please: which day?")
        ]
    );
}

#[test]
fn a_greeting_of_the_model_cuts_no_turn() {
    let turns = turns(json!([
        say(
            "system",
            format!(
                "Answer from the context.\n\n<context>\n{}\n</context>",
                chronicle(100)
            )
        ),
        say("assistant", "Good morning, what can I do for you?"),
        say("user", "Who sold tar?"),
    ]));
    assert_eq!(
        (turns.len(), turns[0].sites.len(), turns[0].asked()[0]),
        (1, 1, "Who sold tar?")
    );
}

#[test]
fn a_conversation_without_documents_asks_nothing_of_any() {
    let messages = (0..40).flat_map(|day| {
        [
            say("user", format!("On day {day} the pump ran longer; note it.")),
            say("assistant", "Noted."),
        ]
    });
    let turns = turns(messages.collect::<Vec<_>>().into());
    assert!(
        turns.len() == 40
            && turns
                .iter()
                .all(|turn| turn.sites.is_empty() && turn.asks.is_empty())
    );
}

#[test]
fn a_document_without_words_is_asked_what_the_user_said_before() {
    let turns = turns(json!([
        say("user", "I will send you a ledger. Tell me then who sold tar."),
        say("assistant", "Send it."),
        say("user", chronicle(200)),
    ]));
    assert!(
        turns[1].asked()[0].ends_with("Tell me then who sold tar."),
        "{:?}",
        turns[1].asks
    );
}

#[test]
fn an_agents_later_result_is_asked_by_its_own_call() {
    let doc = chronicle(100);
    let turns = turns(json!([
        say(
            "user",
            "Collect what a buyer of tar must know. Start with the price."
        ),
        call("same", "read", json!({"path": "a.txt"})),
        result("same", doc.clone()),
        json!({"role": "assistant", "content": "The price is there. Next I need the sellers.", "tool_calls": [
            {"id": "same", "type": "function", "function": {"name": "search", "arguments": "{\"query\":\"sellers of tar\"}"}}]}),
        result("same", doc),
    ]));
    assert!(
        turns[1].asked()[0].starts_with("Collect what a buyer"),
        "{:?}",
        turns[1].asks
    );
    assert_eq!(turns[2].asked()[0], "sellers of tar");
    assert!(turns[2].weight("The price is there. Next I need the sellers.") > 0.5);
}

#[test]
fn an_observation_in_a_users_message_is_asked_what_the_user_wants() {
    let turns = turns(json!([
        say("user", "New task:\nFind out who sold tar."),
        say(
            "assistant",
            "Calling tools:\n[{'name': 'visit', 'arguments': {'page': 'ledger'}}]"
        ),
        say("user", format!("Observation:\n{}", chronicle(100))),
    ]));
    assert_eq!(
        (
            turns[1].document() == chronicle(100),
            turns[1].weight("Find out who sold tar.") > 0.7
        ),
        (true, true),
        "{:?}",
        turns[1].asks
    );
}

#[test]
fn a_step_of_an_agent_is_judged_by_what_the_model_says_it_looks_for() {
    let need = |goal: &str, said: &str| {
        let call = json!([{"id": "c", "type": "function", "function": {"name": "read", "arguments": "{\"path\": \"a.txt\"}"}}]);
        let messages = json!([
            say("user", goal),
            {"role": "assistant", "content": said, "tool_calls": call},
            {"role": "tool", "tool_call_id": "c", "content": chronicle(300)},
        ]);
        turns(messages).last().unwrap().need
    };
    let all = "Go through every file of the folder, one after the other, and list all that is sold.";
    assert_eq!(need(all, "Next: who sold tar on day 6?"), Need::Evidence);
    assert_eq!(need(all, ""), Need::Aggregate);
    let translation = "Translate the chronicle into Spanish.";
    assert_eq!(need(translation, "First: who is named in it?"), Need::Transform);
}
