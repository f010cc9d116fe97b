//! SmolLM2 itself against transformers: prompt, tokens, logits and the greedy continuation in
//! `fixtures/greedy.json`, made by `fixtures/make.py`.
//!
//! `cargo xtask model --decoder` fetches the weights. Where they are absent each test here is listed as ignored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;

use burn::tensor::Device;
use libtest_mimic::{Arguments, Failed, Trial};
use liquid_decoder::{
    CacheSize, Cancellation, ChatTemplate, Constraint, Conversation, Event, FinishReason, Generation,
    KvCache, Model, Request, Sampling, Segment, Tokenizer, Wanted,
};
use serde::Deserialize;

type Outcome = Result<(), Failed>;

/// What transformers makes of a conversation.
#[derive(Deserialize)]
struct Case {
    messages: Vec<serde_json::Value>,
    prompt: String,
    prompt_tokens: Vec<u32>,
    tokens: Vec<u32>,
    text: String,
    top_tokens: Vec<u32>,
    top_logits: Vec<f32>,
}

fn main() {
    let absent = !folder().join("manifest.json").exists();
    let test = |name: &str, run: fn() -> Outcome| Trial::test(name, run).with_ignored_flag(absent);
    let tests = vec![
        test("a_conversation_is_the_prompt_of_transformers", conversation),
        test("the_greedy_answer_is_that_of_transformers", greedy),
        test("an_answer_ends_at_a_stop_string_and_when_cancelled", ends),
        test("an_answer_of_a_schema_is_json_of_that_schema", constrained),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.cache/models/smollm2-135m-instruct")
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../fixtures/greedy.json")).unwrap()
}

fn conversation() -> Outcome {
    let tokenizer = Tokenizer::read(&folder())?;
    let template = ChatTemplate::read(&folder(), &tokenizer)?;
    assert_eq!(tokenizer.end_tokens(), [2]);
    for case in cases() {
        let prompt = template.apply(&Conversation {
            messages: case.messages,
            tools: None,
            add_generation_prompt: true,
        })?;
        assert_eq!(prompt, case.prompt);
        assert_eq!(tokenizer.encode(&prompt, false)?, case.prompt_tokens);
    }
    Ok(())
}

fn greedy() -> Outcome {
    let (model, tokenizer) = (
        Model::load(&folder(), &Device::flex())?,
        Tokenizer::read(&folder())?,
    );
    for case in cases() {
        let length = case.prompt_tokens.len();
        let mut cache = KvCache::new(&model, CacheSize::of_one(length))?;
        let mut sequence = cache.sequence(&[], length)?;
        let mut segments = [Segment {
            sequence: &mut sequence,
            tokens: &case.prompt_tokens,
            wanted: Wanted::Last,
        }];
        let logits = model.pass(&mut cache, &mut segments)?;
        let logits = logits[0].last().expect("logits");
        for (token, expected) in case.top_tokens.iter().zip(&case.top_logits) {
            let ours = logits[*token as usize];
            assert!(
                (ours - expected).abs() < 1e-3,
                "token {token}: {ours}, expected {expected}"
            );
        }
        let request = Request {
            prompt: case.prompt_tokens,
            max_tokens: case.tokens.len(),
            ignore_end: true,
            ..Request::default()
        };
        let answer = answer(&model, &tokenizer, request, &Cancellation::default())?;
        assert_eq!(answer.tokens, case.tokens);
        let without_ends = case.text.replace("<|im_end|>", "").replace("<|im_start|>", "");
        assert_eq!(answer.text, without_ends);
        assert_eq!(answer.reason, Some(FinishReason::Length));
    }
    Ok(())
}

fn ends() -> Outcome {
    let (model, tokenizer) = (
        Model::load(&folder(), &Device::flex())?,
        Tokenizer::read(&folder())?,
    );
    let prompt = cases().remove(0).prompt_tokens;
    let request = Request {
        prompt,
        max_tokens: 24,
        stop: vec!["is Par".to_owned()],
        ..Request::default()
    };
    let stopped = answer(&model, &tokenizer, request.clone(), &Cancellation::default())?;
    assert!(stopped.text.ends_with("capital of France "), "{}", stopped.text);
    assert_eq!(stopped.reason, Some(FinishReason::Stop));

    let cancelled = Cancellation::default();
    cancelled.cancel();
    let nothing = answer(&model, &tokenizer, request.clone(), &cancelled)?;
    assert_eq!(
        (nothing.text.as_str(), nothing.reason),
        ("", Some(FinishReason::Cancelled))
    );

    let sampled = Request {
        sampling: Sampling {
            temperature: 1.0,
            seed: Some(4),
            logprobs: Some(1),
            ..Sampling::default()
        },
        stop: Vec::new(),
        ..request
    };
    let first = answer(&model, &tokenizer, sampled.clone(), &Cancellation::default())?;
    let second = answer(&model, &tokenizer, sampled, &Cancellation::default())?;
    assert_eq!(first.tokens, second.tokens);
    Ok(())
}

fn constrained() -> Outcome {
    let (model, tokenizer) = (
        Model::load(&folder(), &Device::flex())?,
        Tokenizer::read(&folder())?,
    );
    let schema = serde_json::json!({
        "type": "object",
        "properties": {"capital": {"type": "string", "maxLength": 20}, "sure": {"type": "boolean"}},
        "required": ["capital", "sure"],
        "additionalProperties": false,
    });
    let prompt = cases().remove(0).prompt_tokens;
    for temperature in [0.0, 1.5] {
        let request = Request {
            prompt: prompt.clone(),
            max_tokens: 60,
            sampling: Sampling {
                temperature,
                seed: Some(1),
                ..Sampling::default()
            },
            constraint: Some(Constraint::JsonSchema(schema.clone())),
            ..Request::default()
        };
        let answer = answer(&model, &tokenizer, request, &Cancellation::default())?;
        assert_eq!(answer.reason, Some(FinishReason::Stop), "{}", answer.text);
        let value: serde_json::Value = serde_json::from_str(&answer.text)?;
        assert!(
            value["capital"].is_string() && value["sure"].is_boolean(),
            "{value}"
        );
    }
    Ok(())
}

/// An answer put together from its events.
#[derive(Default)]
struct Answer {
    tokens: Vec<u32>,
    text: String,
    reason: Option<FinishReason>,
}

fn answer(
    model: &Model,
    tokenizer: &Tokenizer,
    request: Request,
    cancellation: &Cancellation,
) -> Result<Answer, Failed> {
    let mut answer = Answer::default();
    for event in Generation::new(model, tokenizer, request, cancellation.clone())? {
        assert_eq!(answer.reason, None, "nothing follows the end");
        match event? {
            Event::Token { token, text, .. } => {
                answer.tokens.push(token);
                answer.text.push_str(&text);
            }
            Event::Finished { text, reason, .. } => {
                answer.text.push_str(&text);
                answer.reason = Some(reason);
            }
        }
    }
    Ok(answer)
}
