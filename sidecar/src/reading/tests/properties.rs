//! Whatever stands in a request: ranges on character boundaries, sites apart and in order, every word of the
//! instructions outside, and turns that do not change with what comes after them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const QUESTIONS: &[&str] = &[
    "Who mended the boom?",
    "Translate it.",
    "Wer verkaufte Teer?\n\nNenne den Tag.",
    "1. Who sold tar?\n2. When?",
    "Thanks",
];

/// Texts of every form: documents, words, frames, other scripts, odd bytes.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(chronicle(40)),
        prop::sample::select(QUESTIONS).prop_map(str::to_owned),
        prop::sample::select(QUESTIONS).prop_map(|asked| format!("{}\n\n{asked}", chronicle(30))),
        prop::sample::select(QUESTIONS).prop_map(|asked| format!(
            "Use the following:\n\n{}\n\nQuestion: {asked}\nAnswer:",
            chronicle(30)
        )),
        prop::sample::select(QUESTIONS).prop_map(|asked| format!(
            "<context>\n{}\n</context>\n<question>{asked}</question>",
            chronicle(30)
        )),
        Just(json!({"rows": [{"text": chronicle(9)}, {"text": chronicle(8)}]}).to_string()),
        Just("港の記録。\n\n水深は三尋であった。".repeat(200)),
        "[a-zé港?:\\n<>/\\[\\]{}\"` \\-#1-9.|]{0,400}",
    ]
}

fn messages() -> impl Strategy<Value = Vec<Value>> {
    let content = prop_oneof![
        texts().prop_map(Value::from),
        prop::collection::vec(texts(), 1..7).prop_map(|texts| texts
            .iter()
            .map(|part| text(part))
            .collect::<Vec<_>>()
            .into()),
    ];
    let role = prop::sample::select(vec!["user", "user", "user", "system", "assistant", "tool"]);
    let message = (role, content).prop_map(|(role, content)| {
        if role == "tool" {
            json!({"role": role, "tool_call_id": "c", "content": content})
        } else {
            say(role, content)
        }
    });
    prop::collection::vec(message, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn sites_are_apart_and_in_order(messages in messages()) {
        let body = json!({ "messages": messages }).to_string();
        let request = Request::read(Surface::ChatCompletions, body.as_bytes()).unwrap();
        let reading = read(&request);
        let mut part_end = 0;
        for turn in &reading.turns {
            prop_assert!(turn.parts.start >= part_end && !turn.parts.is_empty());
            part_end = turn.parts.end;
            prop_assert!(turn.asks.len() <= 16 && turn.asks.iter().all(|ask| ask.weight > 0.0 && ask.weight <= 1.0 && !ask.text.is_empty()));
            let mut before = (0, 0);
            for site in &turn.sites {
                prop_assert!(turn.parts.contains(&site.part));
                let said = site.text.as_str();
                prop_assert!(said.get(site.document.clone()).is_some_and(|document| !document.is_empty()));
                let spot = site.text.locate(site.document.clone()).range;
                prop_assert!(site.part > before.0 || spot.start >= before.1, "{spot:?} {before:?}");
                before = (site.part, spot.end);
            }
            if let Some(words) = &turn.words {
                prop_assert!(turn.parts.contains(&words.part) && words.text.as_str().is_char_boundary(words.start));
            }
        }
    }

    #[test]
    fn a_turn_reads_the_same_in_every_later_request(messages in messages()) {
        let whole = turns(messages.clone().into());
        for length in 1..messages.len() {
            let roles = |at: usize| messages[at]["role"].as_str().unwrap();
            // Requests end where the model speaks next.
            if roles(length) != "assistant" || !["user", "tool"].contains(&roles(length - 1)) {
                continue;
            }
            let before = turns(messages[..length].to_vec().into());
            for (early, late) in before.iter().zip(&whole) {
                prop_assert_eq!(&early.sites, &late.sites);
                prop_assert_eq!(&early.asks, &late.asks);
                prop_assert_eq!(early.need, late.need);
                prop_assert_eq!(&early.words, &late.words);
            }
        }
    }

    /// Every word that a template says around a document is outside of it.
    #[test]
    fn no_word_of_a_question_is_in_a_document(
        question in "(Who|When|Which crew|Where) [a-z]{2,9} [a-z]{2,9}( [a-z]{2,9}){0,4}\\?",
        template in prop::sample::select(vec!["DOC\n\nASK", "ASK\n\nDOC", "<log>DOC</log>\nASK", "Context:\nDOC\n\nQuestion: ASK", "```\nDOC\n```\nASK"]),
        split in any::<bool>(),
    ) {
        let doc = chronicle(60);
        let content = if split {
            json!([text(&doc), text(&question)])
        } else {
            template.replace("DOC", &doc).replace("ASK", &question).into()
        };
        let turn = turn(json!([say("user", content)]));
        prop_assert_eq!(turn.document(), doc);
        prop_assert_eq!(turn.asked(), vec![question.as_str()]);
    }
}
