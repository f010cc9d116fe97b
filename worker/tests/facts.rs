//! The decoder tier over gRPC and on the command line: facts with quotes of the document, and the evidence without them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::process::Command;
use std::time::Duration;

use liquid_proto::worker::v1::{
    Ask, DescribeRequest, ExtractHeader, ExtractResponse, FactOrigin, Tier, TierReason,
};
use liquid_worker::config::Config;
use support::http::Version;
use support::{TestServer, config, document, extract, header, write_tiny_decoder_for};
use tempfile::TempDir;

const QUESTION: &str = "which governing law does the agreement have";

fn facts_config() -> (Config, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    write_tiny_decoder_for(folder.path(), 4096);
    let mut config = config();
    config.decoder.folder = Some(folder.path().to_owned());
    config.decoder.name = Some("tiny".to_owned());
    config.decoder.memory_bytes = 64 << 20;
    config.facts.passages = 2;
    config.facts.passage_tokens = 400;
    config.facts.per_passage = 2;
    (config, folder)
}

fn facts_header() -> ExtractHeader {
    ExtractHeader {
        tier: Tier::Decoder.into(),
        ..header(QUESTION)
    }
}

fn check_facts(answer: &ExtractResponse, document: &str) {
    for fact in &answer.facts {
        let quote = document.get(fact.start as usize..fact.end as usize);
        assert!(quote.is_some_and(|quote| !quote.trim().is_empty()), "{fact:?}");
        assert!(
            fact.passage_start <= fact.start && fact.end <= fact.passage_end,
            "{fact:?}"
        );
        assert!(
            !fact.text.is_empty() && (0.0..=1.0).contains(&fact.confidence),
            "{fact:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_come_with_the_evidence_for_those_that_name_the_tier() {
    let (config, _folder) = facts_config();
    let server = TestServer::start(config).await;
    let mut client = server.client().await;
    let document = document(600);
    let described = client.describe(DescribeRequest {}).await.unwrap().into_inner();
    assert_eq!(described.tiers, [Tier::Lexical as i32, Tier::Decoder as i32]);

    let plain = extract(&mut client, header(QUESTION), &document).await.unwrap();
    assert_eq!(
        (plain.tier(), plain.tier_reason_code()),
        (Tier::Lexical, TierReason::BestServed)
    );
    assert!(plain.facts.is_empty() && plain.fact_counts.is_none());

    // A model of random weights has nothing to say about some questions.
    let asks: Vec<Ask> = (0..12)
        .map(|item| Ask {
            text: format!("what does item {item} weigh"),
            weight: 0.0,
        })
        .collect();
    let several = ExtractHeader {
        asks: asks.clone(),
        ..facts_header()
    };
    let without = ExtractHeader {
        tier: Tier::Lexical.into(),
        ..several.clone()
    };
    let plain = extract(&mut client, without, &document).await.unwrap();
    let answer = extract(&mut client, several.clone(), &document).await.unwrap();
    assert_eq!(
        (answer.tier(), answer.tier_reason_code()),
        (Tier::Decoder, TierReason::AsAsked)
    );
    assert_eq!(
        answer.spans, plain.spans,
        "the evidence is that of the tier before"
    );
    assert!(!answer.provisional, "{answer:?}");
    let of_ask = |ask: &Ask| answer.facts.iter().filter(|fact| fact.ask == ask.text).count();
    let with_facts = asks.iter().filter(|ask| of_ask(ask) > 0).count();
    assert!(with_facts > 2, "{answer:?}");
    assert_eq!(asks.iter().map(of_ask).sum::<usize>(), answer.facts.len());
    assert!(
        answer
            .facts
            .iter()
            .all(|fact| fact.origin() == FactOrigin::Constrained)
    );
    check_facts(&answer, &document);
    let counts = answer.fact_counts.unwrap();
    assert!(
        counts.passages > 0 && counts.passages == counts.passages_wanted,
        "{counts:?}"
    );
    assert!(counts.read_tokens > 0 && counts.written_tokens > 0, "{counts:?}");

    let again = extract(&mut client, several, &document).await.unwrap();
    assert!(again.cached && again.facts == answer.facts);
    assert_eq!(again.fact_counts.unwrap().written_tokens, 0);
    let (_, metrics) = server.get("/metrics").await;
    let constrained = metrics
        .lines()
        .find_map(|line| line.strip_prefix("liquid_worker_facts_total{origin=\"constrained\"} "));
    // Those of the warm-up are not counted.
    assert_eq!(
        constrained,
        Some(answer.facts.len().to_string().as_str()),
        "{metrics}"
    );

    // Coverage asks nothing, so there is nothing to say.
    let coverage = ExtractHeader {
        question: String::new(),
        ..facts_header()
    };
    let answer = extract(&mut client, coverage, &document).await.unwrap();
    assert_eq!(
        (answer.tier(), answer.tier_reason_code()),
        (Tier::Lexical, TierReason::NoQuestion)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_evidence_comes_back_when_the_decoder_has_no_time() {
    let (mut config, _folder) = facts_config();
    config.decoder.sequences = 1;
    let server = TestServer::start(config).await;
    let mut client = server.client().await;
    let document = document(600);
    let plain = extract(&mut client, header(QUESTION), &document).await.unwrap();
    // Keeps the decoder busy for longer than the deadline.
    let http = server.http(Version::Http1);
    let busy = tokio::spawn(async move {
        let body = serde_json::json!({
            "model": "tiny", "prompt": "a lease is", "max_tokens": 4000, "ignore_eos": true,
        });
        http.post("/v1/completions", &body).await
    });
    let mut running = false;
    for _ in 0..1000 {
        let (_, metrics) = server.get("/metrics").await;
        running = metrics
            .lines()
            .any(|line| line.starts_with("vllm:num_requests_running") && line.ends_with(" 1"));
        if running {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(running, "the decoder does not work");
    let late = ExtractHeader {
        deadline_ms: 200,
        ..facts_header()
    };
    let answer = extract(&mut client, late, &document).await.unwrap();
    assert_eq!(
        (answer.tier(), answer.tier_reason_code()),
        (Tier::Lexical, TierReason::NoTimeForFacts)
    );
    assert_eq!(answer.spans, plain.spans);
    assert!(answer.facts.is_empty() && answer.provisional);
    busy.abort();
}

#[test]
fn the_command_prints_facts_whose_quotes_are_bytes_of_the_file() {
    let (_, folder) = facts_config();
    let file = folder.path().join("document.txt");
    let document = document(300);
    std::fs::write(&file, &document).unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_liquid-worker"));
        command
            .env_clear()
            .args(["extract", "--question", QUESTION, "--json", "--document"]);
        command.arg(&file).args(more).output().unwrap()
    };
    let decoder = folder.path().to_str().unwrap();
    let output = run(&["--facts", "--tier", "decoder", "--decoder", decoder]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let facts = json["facts"].as_array().unwrap();
    assert!(!facts.is_empty(), "{json}");
    for fact in facts {
        let at = |field: &str| fact[field].as_u64().unwrap() as usize;
        assert_eq!(
            fact["quote"].as_str(),
            document.get(at("start")..at("end")),
            "{fact}"
        );
    }
    let without = run(&["--facts"]);
    assert_eq!(without.status.code(), Some(64));
    let error = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(error.contains("--decoder"), "{error}");
}
