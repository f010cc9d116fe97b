//! Plans: what is never touched, and why a request stays as it is.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::report;
use crate::api::{Mode, Reason, Surface};
use crate::policy::{
    EarlierTurns, Further, Plan, Settings, ToolMode, Tools, WholeDocument, packs_pay, plan, reason_to_pass,
};
use crate::reading::{self, Reading};
use crate::request::{Request, Role};

const QUESTION: &str = "When did the 17th delivery arrive?";

/// Reads and plans a body.
fn planned<T>(
    surface: Surface,
    body: &Value,
    settings: &Settings,
    look: impl FnOnce(&Request<'_>, &Reading<'_>, Plan) -> T,
) -> Result<T, Reason> {
    let body = body.to_string();
    let request = Request::read(surface, body.as_bytes()).unwrap();
    let reading = reading::read(&request);
    let plan = plan(&request, &reading, settings)?;
    if plan.packs() {
        Ok(look(&request, &reading, plan))
    } else {
        Err(reason_to_pass(&request, &plan, settings))
    }
}

fn reason_with(surface: Surface, body: &Value, settings: &Settings) -> Result<Reason, Reason> {
    let reason = |plan: Plan| plan.turns.iter().find(|turn| turn.packs()).unwrap().reason;
    planned(surface, body, settings, |_, _, plan| reason(plan))
}

fn reason(body: Value) -> Result<Reason, Reason> {
    reason_with(Surface::ChatCompletions, &body, &Settings::default())
}

/// Returns the documents that are packed, and what is asked in the first turn.
fn documents_and_asks(body: &Value) -> (Vec<String>, Vec<String>) {
    planned(
        Surface::ChatCompletions,
        body,
        &Settings::default(),
        |_, reading, plan| {
            let packed = plan.sites(reading).filter(|(_, plan)| plan.stays.is_none());
            let texts = packed.map(|(site, _)| site.document_text().to_owned());
            (
                texts.collect(),
                reading.turns[0].asks.iter().map(|ask| ask.text.clone()).collect(),
            )
        },
    )
    .unwrap()
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
        let (documents, asks) = documents_and_asks(&body);
        assert_eq!(
            (documents, asks),
            (vec![doc.clone()], vec![QUESTION.to_owned()]),
            "{messages}"
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
    let why = |body: &str| {
        let request = Request::read(Surface::ChatCompletions, body.as_bytes()).unwrap();
        let reading = reading::read(&request);
        plan(&request, &reading, &Settings::default())
            .map(|plan| reason_to_pass(&request, &plan, &Settings::default()))
    };
    assert_eq!(why(&lone), Ok(Reason::LoneSurrogate));
    let twice = format!(
        r#"{{"messages":[],"messages":[{{"role":"user","content":"{}"}}]}}"#,
        doc.replace('\n', "\\n")
    );
    assert_eq!(why(&twice), Err(Reason::DuplicateKey));
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

/// What becomes of each turn of a conversation about a document.
fn further(question: &str, settings: &Settings) -> Vec<(bool, Further)> {
    let body = json!({"messages": [user(json!(report(300))), user(json!(QUESTION)),
        {"role": "assistant", "content": "On day 51."}, user(json!(question))]});
    planned(Surface::ChatCompletions, &body, settings, |_, _, plan| {
        plan.turns
            .iter()
            .map(|turn| (turn.packs(), turn.further))
            .collect()
    })
    .unwrap_or_default()
}

#[test]
fn a_later_turn_is_given_what_it_asks_of_earlier_documents() {
    let settings = Settings::default();
    let first = (true, Further::Nothing);
    assert_eq!(
        further("And when did the 18th arrive?", &settings),
        [first, (false, Further::Excerpts)]
    );
    assert_eq!(
        further("Translate the report into French.", &settings),
        [first, (false, Further::Whole)]
    );
    assert_eq!(
        further("Thank you!", &settings),
        [first, (false, Further::Nothing)]
    );
    let untouched = Settings {
        earlier_turns: EarlierTurns::Untouched,
        ..Settings::default()
    };
    assert_eq!(further("And when did the 18th arrive?", &untouched), []);
}

#[test]
fn tools_are_kept_or_packed_by_name() {
    let body = |text: &str| {
        json!({"messages": [user(json!(QUESTION)), {"role": "assistant", "content": null,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "read_file", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": text}]})
    };
    let with = |mode: Option<ToolMode>| Settings {
        tools: mode
            .map(|mode| Tools::from([("read_*".to_owned(), mode)]))
            .unwrap_or_default(),
        ..Settings::default()
    };
    let chat = Surface::ChatCompletions;
    let prose = body(&report(300));
    assert_eq!(reason_with(chat, &prose, &with(None)), Ok(Reason::Question));
    assert_eq!(
        reason_with(chat, &prose, &with(Some(ToolMode::Keep))),
        Err(Reason::ToolKept)
    );
    let code = body(&"fn add(a: u32, b: u32) -> u32 {\n    let sum = a + b;\n    sum\n}\n\n".repeat(300));
    assert_eq!(reason_with(chat, &code, &with(None)), Err(Reason::Code));
    assert_eq!(
        reason_with(chat, &code, &with(Some(ToolMode::Compress))),
        Ok(Reason::Question)
    );
}

#[test]
fn several_asks_widen_the_budget_within_bounds() {
    let ratio = |question: &str| {
        let body = json!({"messages": [user(json!(report(300))), user(json!(question))]});
        planned(
            Surface::ChatCompletions,
            &body,
            &Settings::default(),
            |_, _, plan| plan.turns[0].budget.ratio,
        )
        .unwrap()
    };
    let one = ratio(QUESTION);
    let three = ratio(
        "1. When did the 17th delivery arrive?\n2. Which plant got the 20th?\n3. Was the 31st accepted?",
    );
    assert_eq!(one, Settings::default().budget.ratio);
    assert!(three < one && three >= 3.0, "{three}");
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
    let settings = Settings::default();
    assert!(packs_pay(5_000, &settings.budget, 14, &settings));
    assert!(!packs_pay(5_000, &settings.budget, 15, &settings));
    let force = Settings {
        mode: Mode::Force,
        ..Settings::default()
    };
    assert!(packs_pay(5_000, &force.budget, 15, &force));
}

#[test]
fn a_hybrid_call_asks_its_task_or_else_its_prompt() {
    let asked = |task: Option<&str>, prompt: &str| {
        let mut body = json!({"large_document": report(300), "final_user_prompt": prompt});
        body["extraction_task"] = json!(task);
        planned(
            Surface::HybridChat,
            &body,
            &Settings::default(),
            |_, reading, _| reading.turns[0].asks[0].text.clone(),
        )
    };
    let task = "Extract all facts on the 17th delivery";
    assert_eq!(asked(Some(task), "Summarize them."), Ok(task.to_owned()));
    assert_eq!(asked(Some(" "), QUESTION), Ok(QUESTION.to_owned()));
    assert_eq!(asked(None, "Translate it."), Err(Reason::NeedsEverything));
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
    fn a_plan_touches_no_marked_text_and_nothing_of_the_model(messages in messages(), force in any::<bool>()) {
        let body = json!({"messages": messages});
        let mode = if force { Mode::Force } else { Mode::Auto };
        let settings = Settings { mode, ..Settings::default() };
        let checked = planned(Surface::ChatCompletions, &body, &settings, |request, reading, plan| {
            for (turn, planned) in reading.turns.iter().zip(&plan.turns) {
                for (site, _) in turn.sites.iter().zip(&planned.sites).filter(|(_, plan)| plan.stays.is_none()) {
                    prop_assert!(request.parts[site.part].role != Role::Assistant);
                    prop_assert!(request.parts[site.part..].iter().all(|part| !part.cache_marked));
                    let document = &site.text.as_str()[site.document.clone()];
                    prop_assert!(!document.trim().is_empty());
                }
                prop_assert!(!planned.packs() || planned.reason == Reason::Coverage || !turn.asks.is_empty());
            }
            Ok(())
        });
        checked.unwrap_or(Ok(()))?;
    }
}
