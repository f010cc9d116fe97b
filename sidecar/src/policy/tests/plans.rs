//! Plans: what is never touched, and why a request stays as it is.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::report;
use crate::api::{Mode, Reason, Surface};
use crate::policy::{Settings, Turn, WholeDocument, plan, price};
use crate::request::{Request, Role};

const QUESTION: &str = "When did the 17th delivery arrive?";

fn reason_with(surface: Surface, body: &Value, settings: &Settings) -> Result<Reason, Reason> {
    let body = body.to_string();
    let request = Request::read(surface, body.as_bytes()).unwrap();
    plan(&request, settings).map(|plan| plan.reason)
}

fn reason(body: Value) -> Result<Reason, Reason> {
    reason_with(Surface::ChatCompletions, &body, &Settings::default())
}

fn user(content: Value) -> Value {
    json!({"role": "user", "content": content})
}

#[test]
fn compresses_separate_messages_and_parts() {
    let doc = report(300);
    let text = |text: &str| json!({"type": "text", "text": text});
    for messages in [
        json!([user(json!(doc)), user(json!(QUESTION))]),
        json!([user(json!(QUESTION)), user(json!(doc))]),
        json!([user(json!([text(&doc), text(QUESTION)]))]),
        json!([user(
            json!([text(QUESTION), {"type": "image_url", "image_url": {"url": "data:"}}, text(&doc)])
        )]),
        json!([{"role": "system", "content": "Be brief."}, user(json!(doc)), user(json!(QUESTION))]),
    ] {
        let body = json!({"n": 2, "tools": [{"type": "function"}], "messages": messages});
        assert_eq!(reason(body.clone()), Ok(Reason::Question), "{messages}");
        let body = body.to_string();
        let request = Request::read(Surface::ChatCompletions, body.as_bytes()).unwrap();
        let plan = plan(&request, &Settings::default()).unwrap();
        assert_eq!(
            (plan.question.as_str(), plan.document()),
            (QUESTION, doc.as_str())
        );
        assert_eq!(
            plan.is_prefix,
            !messages
                .to_string()
                .starts_with(r#"[{"role":"user","content":"When"#)
                && !messages.to_string().contains("image_url")
        );
    }
}

#[test]
fn says_why_a_request_stays_as_it_is() {
    let doc = report(300);
    let ask = |text: &str| json!([user(json!(doc)), user(json!(text))]);
    let marked = json!({"type": "text", "text": QUESTION, "cache_control": {"type": "ephemeral"}});
    let code = "fn add(a: u32, b: u32) -> u32 {\n    let sum = a + b;\n    sum\n}\n\n".repeat(300);
    for (body, expected) in [
        (json!({"messages": []}), Reason::NoUserText),
        (json!({"messages": [user(json!("Hello"))]}), Reason::TooShort),
        (
            json!({"messages": [{"role": "system", "content": doc}, user(json!(QUESTION))]}),
            Reason::TooShort,
        ),
        (json!({"messages": [user(json!(doc))]}), Reason::NoQuestion),
        (
            json!({"messages": ask("Translate it into French.")}),
            Reason::NeedsEverything,
        ),
        (json!({"messages": ask("Summarize it.")}), Reason::NeedsOverview),
        (
            json!({"messages": ask(QUESTION), "prediction": {"type": "content"}}),
            Reason::Stateful,
        ),
        (
            json!({"messages": [user(json!([{"type": "text", "text": doc}, marked]))]}),
            Reason::CacheMarked,
        ),
        (
            json!({"messages": [user(json!(code)), user(json!("What does add do?"))]}),
            Reason::Code,
        ),
        (
            json!({"messages": [user(json!("QUJDRA".repeat(3_000))), user(json!(QUESTION))]}),
            Reason::NotProse,
        ),
    ] {
        assert_eq!(reason(body), Err(expected));
    }
}

#[test]
fn a_lone_surrogate_and_a_duplicate_key_pass() {
    let doc = report(300);
    let lone = format!(
        r#"{{"messages":[{{"role":"user","content":"{}\ud800"}}]}}"#,
        doc.replace('\n', "\\n")
    );
    let request = Request::read(Surface::ChatCompletions, lone.as_bytes()).unwrap();
    assert_eq!(
        plan(&request, &Settings::default()).unwrap_err(),
        Reason::LoneSurrogate
    );
    let twice = format!(
        r#"{{"messages":[],"messages":[{{"role":"user","content":"{}"}}]}}"#,
        doc.replace('\n', "\\n")
    );
    let request = Request::read(Surface::ChatCompletions, twice.as_bytes()).unwrap();
    assert_eq!(
        plan(&request, &Settings::default()).unwrap_err(),
        Reason::DuplicateKey
    );
}

#[test]
fn a_translator_gets_every_word() {
    let text = format!("{}\n\nWho could have known?", report(300));
    let system =
        |prompt: &str| json!({"messages": [{"role": "system", "content": prompt}, user(json!(text))]});
    assert_eq!(
        reason(system("You translate what the user sends into German.")),
        Err(Reason::NeedsEverything)
    );
    assert_eq!(
        reason(system("You are a helpful assistant.")),
        Ok(Reason::Question)
    );
}

#[test]
fn a_document_in_an_earlier_turn_is_for_replay() {
    let doc = report(300);
    let body = json!({"messages": [user(json!(doc)), user(json!(QUESTION)), {"role": "assistant", "content": "On day 51."},
        user(json!("And the 18th?"))]})
    .to_string();
    let request = Request::read(Surface::ChatCompletions, body.as_bytes()).unwrap();
    let planned = plan(&request, &Settings::default()).unwrap();
    assert_eq!(
        planned.turn,
        Turn::Earlier {
            follow_up: "And the 18th?".to_owned()
        }
    );
    assert_eq!(planned.question, QUESTION);
    let untouched = Settings {
        earlier_turns: crate::policy::EarlierTurns::Untouched,
        ..Settings::default()
    };
    assert_eq!(plan(&request, &untouched).unwrap_err(), Reason::EarlierTurn);
}

#[test]
fn while_tools_run_the_turn_is_the_same() {
    let doc = report(300);
    let body =
        json!({"messages": [user(json!([{"type": "text", "text": doc}, {"type": "text", "text": QUESTION}])),
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]},
        user(json!([{"type": "tool_result", "tool_use_id": "1", "content": "ok"}]))]})
        .to_string();
    let request = Request::read(Surface::Messages, body.as_bytes()).unwrap();
    let planned = plan(&request, &Settings::default()).unwrap();
    assert_eq!(
        planned.turn,
        Turn::Earlier {
            follow_up: String::new()
        }
    );
}

#[test]
fn force_and_coverage_compress_what_auto_leaves() {
    let force = Settings {
        mode: Mode::Force,
        ..Settings::default()
    };
    let coverage = Settings {
        overview: WholeDocument::Coverage,
        no_question: WholeDocument::Coverage,
        ..Settings::default()
    };
    let doc = report(300);
    let ask = |text: &str| json!({"messages": [user(json!(doc)), user(json!(text))]});
    let alone = json!({"messages": [user(json!(doc))]});
    let chat = Surface::ChatCompletions;
    for settings in [&force, &coverage] {
        assert_eq!(
            reason_with(chat, &ask("Summarize it."), settings),
            Ok(Reason::Coverage)
        );
        assert_eq!(reason_with(chat, &alone, settings), Ok(Reason::Coverage));
        assert_eq!(
            reason_with(chat, &ask("Translate it."), settings),
            Err(Reason::NeedsEverything)
        );
    }
    let short = json!({"messages": [user(json!(report(20))), user(json!(QUESTION))]});
    assert_eq!(reason_with(chat, &short, &force), Ok(Reason::Question));
    assert_eq!(reason_with(chat, &short, &coverage), Err(Reason::TooShort));
}

#[test]
fn many_questions_make_the_cached_prefix_cheaper() {
    let doc = report(300);
    let body = json!({"messages": [user(json!(doc)), user(json!(QUESTION))]}).to_string();
    let request = Request::read(Surface::ChatCompletions, body.as_bytes()).unwrap();
    let mut settings = Settings::default();
    let mut planned = plan(&request, &settings).unwrap();
    assert_eq!(price(&mut planned, 14, &settings), Ok(()));
    assert_eq!(price(&mut planned, 15, &settings), Err(Reason::CachedPrefix));
    settings.cached_prefix.instead = WholeDocument::Coverage;
    assert_eq!(price(&mut planned, 15, &settings), Ok(()));
    assert_eq!(
        (planned.reason, planned.question.as_str()),
        (Reason::Coverage, "")
    );
}

#[test]
fn a_hybrid_call_asks_its_task_or_else_its_prompt() {
    let planned = |task: Option<&str>, prompt: &str| {
        let mut body = json!({"large_document": report(300), "final_user_prompt": prompt});
        body["extraction_task"] = json!(task);
        let body = body.to_string();
        let request = Request::read(Surface::HybridChat, body.as_bytes()).unwrap();
        plan(&request, &Settings::default()).map(|plan| plan.question)
    };
    let task = "Extract all facts on the 17th delivery";
    assert_eq!(planned(Some(task), "Summarize them."), Ok(task.to_owned()));
    assert_eq!(planned(Some(" "), QUESTION), Ok(QUESTION.to_owned()));
    assert_eq!(planned(None, "Translate it."), Err(Reason::NeedsEverything));
}

/// Messages of every role, with and without markers, short and long texts, images and calls.
fn messages() -> impl Strategy<Value = Vec<Value>> {
    let text = prop_oneof![
        Just(report(200)),
        Just(format!("Context:\n{}\n\nQuestion: {QUESTION}", report(160))),
        Just(QUESTION.to_owned()),
        Just("Translate it.".to_owned()),
        "[a-z?\" \n]{0,30}",
    ];
    let part = (text.clone(), 0..5).prop_map(|(text, kind)| match kind {
        0 => json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}),
        1 => json!({"type": "image_url", "image_url": {"url": text}}),
        2 => json!({"type": "tool_result", "content": text}),
        _ => json!({"type": "text", "text": text}),
    });
    let content = prop_oneof![
        text.prop_map(Value::from),
        prop::collection::vec(part, 0..4).prop_map(Value::from)
    ];
    let role = prop::sample::select(vec![
        "user",
        "user",
        "user",
        "assistant",
        "system",
        "developer",
        "tool",
    ]);
    let message = (role, content).prop_map(|(role, content)| json!({"role": role, "content": content}));
    prop::collection::vec(message, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_plan_touches_only_unmarked_texts_of_the_user(messages in messages(), force in any::<bool>()) {
        let body = json!({"messages": messages}).to_string();
        let request = Request::read(Surface::ChatCompletions, body.as_bytes()).unwrap();
        let mode = if force { Mode::Force } else { Mode::Auto };
        let settings = Settings { mode, ..Settings::default() };
        if let Ok(plan) = plan(&request, &settings) {
            let at = request.parts.iter().position(|part| part.text == Some(plan.literal)).unwrap();
            prop_assert_eq!(request.parts[at].role, Role::User);
            prop_assert!(request.parts[at..].iter().all(|part| !part.cache_marked));
            prop_assert!(!plan.document().is_empty());
            let all = plan.document.len() == plan.text.len();
            prop_assert!(all || plan.document().trim() == plan.document());
            prop_assert_eq!(plan.question.is_empty(), plan.reason == Reason::Coverage);
            prop_assert!(!plan.document().contains(&*plan.question) || plan.question.is_empty() || plan.question.len() < 60);
            let later = request.parts[at..].iter().any(|part| matches!(part.role, Role::Assistant | Role::Tool));
            prop_assert_eq!(plan.turn == Turn::Current, !later);
        }
    }
}
