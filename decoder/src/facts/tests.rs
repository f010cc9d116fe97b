//! Whatever a model says, here ones of random weights, facts are valid and their quotes are of the source.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use proptest::prelude::*;

use super::*;
use crate::engine::EngineOptions;
use crate::model::{KvCache, Model};

mod parsing;
mod passages;

struct Fixture {
    engine: Engine,
    tokenizer: Arc<Tokenizer>,
}

impl Fixture {
    fn new(name: &str, step_tokens: usize) -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let model = Model::load(&fixtures.join(name), &Device::flex()).unwrap();
        let tokenizer = Arc::new(Tokenizer::read(&tokenizer_folder(&fixtures)).unwrap());
        let options = EngineOptions {
            context_tokens: 256,
            memory_bytes: 40 * KvCache::page_bytes(&model),
            queue: 64,
            step_tokens,
            sequences: 4,
        };
        let engine = Engine::start(model, Arc::clone(&tokenizer), options).unwrap();
        Self { engine, tokenizer }
    }

    fn request(&self, source: &str, ends: &[usize], constrained: bool) -> FactsRequest {
        let passage = Passage::new(source, ends);
        let mut prompt = vec![1];
        prompt.extend(self.tokenizer.encode_plain(passage.text()).unwrap());
        FactsRequest {
            prompt,
            passage: Arc::new(passage),
            facts: 3,
            constrained,
            deadline: None,
        }
    }

    fn write(&self, request: &FactsRequest) -> FactsAnswer {
        block_on(write_facts(&self.engine, &self.tokenizer, request))
    }
}

fn tokenizer_folder(fixtures: &Path) -> PathBuf {
    let folder = tempfile::tempdir().unwrap().keep();
    for file in ["tokenizer.json", "llama/config.json"] {
        let name = Path::new(file).file_name().unwrap();
        std::fs::copy(fixtures.join(file), folder.join(name)).unwrap();
    }
    folder
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(future)
}

/// A source that the fixtures' tokenizer can mostly write, cut into units at its full stops.
fn source() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[a-e]{1,4}",
        3 => "[a-z0-9]{1,6}[.]",
        2 => "[ \n\t]{1,3}",
        1 => Just("é\u{a0}".to_owned()),
        1 => Just("\"\\\u{7}{}".to_owned()),
    ];
    proptest::collection::vec(piece, 1..14).prop_map(|pieces| pieces.concat())
}

fn ends_of(source: &str) -> Vec<usize> {
    source.match_indices('.').map(|(at, _)| at + 1).collect()
}

/// Checks what holds of every answer.
fn check(source: &str, request: &FactsRequest, answer: &FactsAnswer) -> Result<(), TestCaseError> {
    prop_assert!(answer.facts.len() <= request.facts);
    for (index, fact) in answer.facts.iter().enumerate() {
        let quote = source.get(fact.quote.clone());
        prop_assert!(
            quote.is_some_and(|quote| !quote.trim().is_empty() && quote.trim() == quote),
            "{:?}",
            fact
        );
        prop_assert!(!fact.text.is_empty() && fact.text.len() <= Fact::MOST_BYTES);
        prop_assert!(!fact.text.contains(char::is_control), "{:?}", fact);
        prop_assert!((0.0..=1.0).contains(&fact.confidence), "{:?}", fact);
        let others = answer.facts.get(index + 1..).unwrap_or_default();
        prop_assert!(others.iter().all(|other| other.quote != fact.quote));
    }
    prop_assert!(answer.written_tokens <= request.facts * 400);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_model_says_facts_are_valid_and_their_quotes_are_of_the_source(
        sources in proptest::collection::vec(source(), 1..5),
        name in prop_oneof![Just("llama"), Just("mistral"), Just("qwen3")],
        constrained in any::<bool>(),
    ) {
        let fixture = Fixture::new(name, 64);
        for source in sources {
            let request = fixture.request(&source, &ends_of(&source), constrained);
            let answer = fixture.write(&request);
            check(&source, &request, &answer)?;
            if let FactsEnd::Failed(error) = &answer.end {
                // Nothing that it could write, or no room for it.
                let error = error.to_string();
                prop_assert!(error.contains("meets the constraint") || error.contains("context_tokens"), "{}", error);
            }
        }
        let load = fixture.engine.load();
        prop_assert_eq!((load.waiting, load.running, load.pages_used), (0, 0, 0));
    }
}

/// Three units of words that differ early.
const SOURCE: &str = "abc de fgh. ijk lmno\n pqr. stu vwx yz.";

#[test]
fn a_model_of_random_weights_writes_facts_that_quote_units_to_their_ends() {
    let mut written = 0;
    for name in ["llama", "mistral", "qwen3", "qwen2"] {
        let fixture = Fixture::new(name, 64);
        // The fixtures' tokenizer has no space.
        let source = SOURCE.replace([' ', '\n'], "-");
        let request = fixture.request(&source, &ends_of(&source), true);
        let answer = fixture.write(&request);
        check(&source, &request, &answer).unwrap();
        for fact in &answer.facts {
            assert_eq!(fact.origin, FactOrigin::Constrained);
            assert!(source.get(fact.quote.clone()).unwrap().ends_with('.'), "{fact:?}");
        }
        written += answer.facts.len();
        // The same again, and from memory.
        assert_eq!(fixture.write(&request).facts, answer.facts);
    }
    assert!(written > 0, "none wrote a fact");
}

#[test]
fn the_copied_part_of_a_quote_is_read_and_not_written() {
    let mut copied = 0;
    for name in ["llama", "mistral", "qwen3", "qwen2"] {
        let fixture = Fixture::new(name, 64);
        for word in ["abcdefghij-", "klmnopqrst-", "0123456789-", "uvwxyz.abc-"] {
            let source = format!("{}.", word.repeat(9));
            let request = FactsRequest {
                facts: 1,
                ..fixture.request(&source, &[source.len()], true)
            };
            let answer = fixture.write(&request);
            // Some have nothing to say.
            let Some(fact) = answer.facts.first() else {
                continue;
            };
            assert!(
                source.get(fact.quote.clone()).unwrap().ends_with('.'),
                "{answer:?}"
            );
            // Chosen: none or one, the place, the fact's text with its end. Each token is a character here.
            assert!(
                answer.written_tokens <= 1 + 8 + fact.text.len().max(96) + 4,
                "{answer:?}"
            );
            copied += fact.quote.len().saturating_sub(8);
        }
    }
    assert!(copied > 50, "{copied} bytes were copied");
}

#[test]
fn a_deadline_ends_facts_and_a_dropped_future_leaves_nothing_behind() {
    let fixture = Fixture::new("llama", 8);
    for constrained in [true, false] {
        let request = FactsRequest {
            deadline: Some(Instant::now()),
            ..fixture.request(SOURCE, &ends_of(SOURCE), constrained)
        };
        let answer = fixture.write(&request);
        assert!(matches!(answer.end, FactsEnd::Deadline), "{answer:?}");
        assert!(answer.facts.is_empty(), "{answer:?}");

        let request = fixture.request(SOURCE, &ends_of(SOURCE), constrained);
        let begin = async || {
            let written = write_facts(&fixture.engine, &fixture.tokenizer, &request);
            // Asked once, which begins it.
            tokio::select! {
                biased;
                _ = written => false,
                () = std::future::ready(()) => true,
            }
        };
        // Now and then the engine, a thread of its own, has answered by then.
        let dropped = (0..100).any(|_| block_on(begin()));
        assert!(dropped, "every answer was there at once");
    }
    // What was dropped is noticed before the next step.
    let request = FactsRequest {
        deadline: Some(Instant::now()),
        ..fixture.request(SOURCE, &[], false)
    };
    fixture.write(&request);
    let load = fixture.engine.load();
    assert_eq!((load.waiting, load.running, load.pages_used), (0, 0, 0));
}

#[test]
fn a_prompt_that_leaves_no_room_is_refused() {
    let fixture = Fixture::new("llama", 64);
    let source = "abc.".repeat(80);
    let answer = fixture.write(&fixture.request(&source, &ends_of(&source), true));
    assert!(
        matches!(
            answer.end,
            FactsEnd::Failed(FactsError::Refused(Refusal::TooLong { .. }))
        ),
        "{answer:?}"
    );
}
