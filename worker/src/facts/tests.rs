//! Facts of a small random model: of the document whatever it says, in time, and never silently nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use burn::tensor::Device;
use liquid_decoder::Model;
use liquid_decoder::engine::EngineOptions;
use proptest::prelude::*;

use super::*;
use crate::document::Text;
use crate::engine::{Budget, Extractor, Request, Settings, Tier};
use crate::tier::TierChoice;

struct Tiny {
    engine: Engine,
    tokenizer: Arc<Tokenizer>,
}

/// One for all cases: it is what a worker has.
static TINY: LazyLock<Tiny> = LazyLock::new(|| {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../decoder/fixtures");
    let folder = tempfile::tempdir().unwrap();
    for file in ["llama/model.safetensors", "tokenizer.json"] {
        let name = Path::new(file).file_name().unwrap();
        std::fs::copy(fixtures.join(file), folder.path().join(name)).unwrap();
    }
    let config = std::fs::read_to_string(fixtures.join("llama/config.json")).unwrap();
    let config = config.replace(
        "\"max_position_embeddings\": 256",
        "\"max_position_embeddings\": 2048",
    );
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let model = Model::load(folder.path(), &Device::flex()).unwrap();
    let tokenizer = Arc::new(Tokenizer::read(folder.path()).unwrap());
    let options = EngineOptions {
        context_tokens: 2048,
        memory_bytes: 16 << 20,
        ..EngineOptions::default()
    };
    Tiny {
        engine: Engine::start(model, Arc::clone(&tokenizer), options).unwrap(),
        tokenizer,
    }
});

fn evidence(document: &str, texts: &Texts, asks: &Asks) -> Vec<Span> {
    let request = Request {
        document,
        texts,
        asks,
        budget: Budget::ratio(2.0).unwrap(),
        tier: TierChoice::as_asked(Tier::Lexical),
        deadline: None,
        cancelled: &|| false,
    };
    let extraction = Extractor::new(None, Settings::default()).extract(&request);
    extraction.unwrap().spans
}

fn write(
    document: &str,
    texts: &Texts,
    asks: &Asks,
    settings: &config::Facts,
    until: Option<Instant>,
) -> Written {
    let spans = evidence(document, texts, asks);
    let writer = FactWriter {
        engine: &TINY.engine,
        tokenizer: &TINY.tokenizer,
        template: None,
        context_tokens: 2048,
        settings,
    };
    let task = FactsTask {
        document,
        texts,
        asks,
        spans: &spans,
    };
    let work = writer.prepare(&task).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(writer.write(&work, until))
}

fn settings(constrained: bool) -> config::Facts {
    config::Facts {
        passages: 2,
        passage_tokens: 200,
        per_passage: 2,
        constrained,
    }
}

fn asks(texts: &[&str]) -> Asks {
    Asks::new(texts.iter().map(|text| Ask::new(*text, 1.0).unwrap()).collect())
}

fn any_document() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        5 => "[a-z]{1,8}",
        3 => "[ .,]{1,2}",
        1 => "[A-Z0-9]{1,4}",
        1 => Just("\n\n# heading\n".to_owned()),
        1 => Just("\n| a | b |\n|---|---|\n| c | d |\n".to_owned()),
        1 => "\\PC{1,6}",
        1 => Just("\r\n\t\u{7}\"\\</s>".to_owned()),
    ];
    proptest::collection::vec(piece, 1..80).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_model_says_facts_are_of_the_document_and_bounded(
        first in any_document(),
        second in any_document(),
        constrained in any::<bool>(),
        millis in proptest::option::of(0..60_u64),
    ) {
        let document = format!("{first}{second}");
        let lengths = [first.len(), second.len()];
        let texts = lengths.iter().map(|bytes| Text { bytes: *bytes as u64, whole: false });
        let texts = Texts::new(&document, texts.collect()).unwrap();
        let asks = asks(&["what is a", "when is b"]);
        let settings = settings(constrained);
        let until = millis.map(|millis| Instant::now() + Duration::from_millis(millis));
        let Written { facts, instead } = write(&document, &texts, &asks, &settings, until);
        prop_assert!(facts.facts.len() <= settings.passages * 2 * settings.per_passage);
        prop_assert!(facts.passages <= facts.wanted && facts.wanted <= settings.passages);
        for fact in &facts.facts {
            let quote = document.get(fact.quote.clone());
            prop_assert!(quote.is_some_and(|quote| !quote.trim().is_empty()), "{:?}", fact);
            prop_assert!(document.get(fact.passage.clone()).is_some(), "{:?}", fact);
            prop_assert!(fact.passage.start <= fact.quote.start && fact.quote.end <= fact.passage.end, "{:?}", fact);
            // No passage, and so no quote, crosses the border of two texts.
            prop_assert!(fact.passage.end <= first.len() || fact.passage.start >= first.len(), "{:?}", fact);
            prop_assert!(!fact.text.is_empty() && !fact.text.contains(char::is_control), "{:?}", fact);
            prop_assert!((0.0..=1.0).contains(&fact.confidence));
            prop_assert!(asks.iter().any(|ask| ask.text() == &*fact.ask));
            prop_assert_eq!(fact.origin == FactOrigin::Constrained, constrained && fact.confidence > 0.0);
        }
        if until.is_none() {
            prop_assert_eq!(instead.filter(|reason| *reason != TierReason::DecoderFailed), None);
            prop_assert!(instead.is_some() || facts.passages == facts.wanted);
        }
    }
}

const DOCUMENT: &str = "The lease ends in may. The rent is five. The deposit is two. Nobody pays in june. All is well. \
    The house is old. The street is long. The garden has trees. The roof is new. The door is red.";

#[test]
fn a_passage_is_read_once_for_all_that_is_asked() {
    let texts: Vec<String> = (0..8)
        .map(|number| format!("what is said about {number}"))
        .collect();
    let asks = asks(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    let before = TINY.engine.load();
    let written = write(DOCUMENT, &Texts::default(), &asks, &settings(true), None);
    assert_eq!(written.instead, None);
    let after = TINY.engine.load();
    // Each request but the first finds what the first has read.
    let hits = after.prefix_hit_tokens - before.prefix_hit_tokens;
    assert!(hits > 7 * 400, "{hits}");
    assert!(written.facts.read_tokens < 1000, "{:?}", written.facts);
}

#[test]
fn what_cannot_be_read_is_replaced_by_the_passages_evidence() {
    let asks = asks(&["when does the lease end"]);
    let written = write(DOCUMENT, &Texts::default(), &asks, &settings(false), None);
    let [fact] = written.facts.facts.as_slice() else {
        panic!("{:?}", written.facts);
    };
    assert_eq!((fact.origin, fact.confidence), (FactOrigin::Evidence, 0.0));
    assert!(DOCUMENT[fact.quote.clone()].contains("lease ends"), "{fact:?}");
    assert_eq!(fact.text, DOCUMENT[fact.quote.clone()]);
}

#[test]
fn a_document_of_which_the_budget_keeps_nothing_is_read_from_its_beginning() {
    let document = "one sentence that is longer than half of the document it makes, and the other half too";
    let written = write(
        document,
        &Texts::default(),
        &asks(&["what is it"]),
        &settings(false),
        None,
    );
    let [fact] = written.facts.facts.as_slice() else {
        panic!("{:?}", written.facts);
    };
    assert_eq!(
        (fact.origin, &document[fact.quote.clone()]),
        (FactOrigin::Evidence, document)
    );
}

#[test]
fn a_question_without_room_for_a_passage_fails_by_name_and_time_that_is_over_does_too() {
    let long = "word ".repeat(600);
    let written = write(
        DOCUMENT,
        &Texts::default(),
        &asks(&[&long]),
        &settings(true),
        None,
    );
    assert_eq!(written.instead, Some(TierReason::DecoderFailed));
    assert!(written.facts.facts.is_empty());
    let now = Some(Instant::now());
    let written = write(
        DOCUMENT,
        &Texts::default(),
        &asks(&["the lease"]),
        &settings(true),
        now,
    );
    assert_eq!(written.instead, Some(TierReason::NoTimeForFacts));
    assert!(written.facts.facts.is_empty());
}
