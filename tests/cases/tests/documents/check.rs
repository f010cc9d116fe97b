//! Sends a case's requests through sidecar and worker, and compares what left with what is right.

use std::ops::Range;
use std::time::Duration;

use libtest_mimic::Failed;
use liquid_cases::{Answer, Sidecar, Tiers, Worker, post, send, settings};
use liquid_testing::{MockUpstream, MockWorker, WorkerBehaviour};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::case::{Case, Input, Lead};

/// The tries of a call while the sidecar has not heard from its worker.
const TRIES: usize = 200;

/// Runs all requests of a case in one tier.
pub(crate) fn run(case: &Case, tiers: Tiers, tier: &str) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let wrong = runtime.block_on(async {
        let upstream = MockUpstream::start().await.unwrap();
        let worker = Worker::start(tiers).await;
        let toml = format!("{}[policy]\ntier = \"{tier}\"\n", worker.settings());
        let sidecar = Sidecar::start(&toml, &upstream.base_url()).await;
        let stack = Stack { upstream, sidecar };
        let mut wrong = Vec::new();
        for input in &case.inputs {
            let found = stack.check(case, input).await;
            wrong.extend(found.into_iter().map(|what| format!("{}: {what}", input.name)));
        }
        if tiers == Tiers::Lexical {
            wrong.extend(asked(case).await);
        }
        wrong
    });
    if wrong.is_empty() {
        return Ok(());
    }
    Err(wrong.join("\n").into())
}

struct Stack {
    upstream: MockUpstream,
    sidecar: Sidecar,
}

impl Stack {
    /// Sends a request once as a dry run and once in earnest; returns what is wrong.
    async fn check(&self, case: &Case, input: &Input) -> Vec<String> {
        let dry = self.dry_run(case, input).await;
        let Some(decision) = dry.get("decision") else {
            return vec![format!("no dry run: {dry}")];
        };
        let answer = send(post(&self.sidecar.url(&case.path), input.request.to_string())).await;
        let Some(received) = self.upstream.last() else {
            return vec![format!("nothing left: {} {}", answer.status, answer.text())];
        };
        let left = received.json();
        self.upstream.reset();
        let mut wrong = wrong_decision(decision, input);
        let reasons = case.rules.not_reasons.iter();
        let reasons = reasons.filter(|reason| decision["reason"] == reason.as_str());
        wrong.extend(reasons.map(|reason| format!("the decision's reason is {reason}")));
        if left != dry["request"] {
            wrong.push(format!("the dry run shows another request: {left}"));
        }
        if decision["action"] == "passed" && left != input.request {
            wrong.push("the request was passed and is not as it came".to_owned());
        }
        let changed = case.rules.unchanged.iter();
        let changed = changed.filter(|place| left.pointer(place) != input.request.pointer(place));
        wrong.extend(changed.map(|place| format!("{place} is not as it came")));
        let text = texts(&left).join("\n");
        wrong.extend(wrong_text(&text, input));
        wrong.extend(case.rules.leads.iter().filter_map(|lead| wrong_lead(&text, lead)));
        wrong.extend(uncovered(&dry["manifest"], input));
        let after = decision["tokens_after"].as_u64().unwrap();
        if case.rules.tokens_after_below.is_some_and(|bound| after >= bound) {
            wrong.push(format!("{after} tokens leave"));
        }
        if !wrong.is_empty() {
            wrong.push(format!("decided: {decision}\nleft: {}", clip(&text)));
        }
        wrong
    }

    async fn dry_run(&self, case: &Case, input: &Input) -> Value {
        let url = format!("{}?dry_run=1", self.sidecar.url(&case.path));
        let body = input.request.to_string();
        heard(|| send(post(&url, body.clone()))).await.json()
    }
}

/// Repeats a call until the sidecar has heard from its worker.
async fn heard<F: Future<Output = Answer>>(call: impl Fn() -> F) -> Answer {
    for _ in 0..TRIES {
        let answer = call().await;
        if answer.header("x-liquid-reason") != "worker_unavailable" {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the sidecar never heard from its worker");
}

fn wrong_decision(decision: &Value, input: &Input) -> Vec<String> {
    let said = [&decision["action"], &decision["reason"]].map(|word| word.as_str().unwrap_or_default());
    let missing = input
        .decision
        .split_whitespace()
        .filter(|word| !said.contains(word));
    missing
        .map(|word| format!("the decision is not {word}"))
        .collect()
}

fn wrong_text(text: &str, input: &Input) -> Vec<String> {
    let expected = input.expected.iter().filter(|line| !text.contains(*line));
    let unwanted = input.unwanted.iter().filter(|line| text.contains(*line));
    let expected = expected.map(|line| format!("missing: {line}"));
    expected
        .chain(unwanted.map(|line| format!("unwanted: {}", clip(line))))
        .collect()
}

fn wrong_lead(text: &str, rule: &Lead) -> Option<String> {
    let passage = text.find(&rule.passage)?;
    let Some(lead) = text[..passage].rfind(&rule.lead) else {
        return Some(format!(
            "{:?} does not stand before {:?}",
            rule.lead, rule.passage
        ));
    };
    let between = &text[lead + rule.lead.len()..passage];
    let other = rule.without.iter().find(|other| between.contains(*other))?;
    Some(format!(
        "{other:?} stands between {:?} and {:?}",
        rule.lead, rule.passage
    ))
}

/// Lists the expected lines of the packed documents that no kept span covers: a pack's offsets are those of its source.
fn uncovered(manifest: &Value, input: &Input) -> Vec<String> {
    let all = texts(&input.request);
    let packs = manifest["packs"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let documents: Vec<_> = packs.iter().map(|pack| (pack, source(pack, &all))).collect();
    if documents.iter().any(|(_, document)| document.is_none()) {
        return vec!["the manifest's source is in no text".to_owned()];
    }
    let covered = |line: &String| {
        let packed = documents
            .iter()
            .filter_map(|(pack, document)| Some((kept(pack), (*document)?)));
        let mut places = packed
            .flat_map(|(kept, document)| {
                let places = document
                    .match_indices(line.as_str())
                    .map(|(at, _)| at)
                    .collect::<Vec<_>>();
                places.into_iter().map(move |at| {
                    kept.iter()
                        .any(|span| span.start <= at && at + line.len() <= span.end)
                })
            })
            .peekable();
        places.peek().is_none() || places.any(|covers| covers)
    };
    let lines = input.expected.iter().filter(|line| !covered(line));
    lines.map(|line| format!("no kept span covers: {line}")).collect()
}

/// Finds the document of a pack, by its offsets and its sum, in the texts of a request.
fn source<'t>(pack: &Value, all: &[&'t str]) -> Option<&'t str> {
    let (start, bytes) = (number(&pack["source"]["start"]), number(&pack["source"]["bytes"]));
    let documents = all.iter().filter_map(|text| text.get(start..start + bytes));
    let sum = |text: &str| {
        Sha256::digest(text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    documents
        .into_iter()
        .find(|text| pack["source"]["sha256"] == sum(text))
}

/// Returns the ranges that a pack keeps, those that touch as one.
fn kept(pack: &Value) -> Vec<Range<usize>> {
    let mut kept: Vec<Range<usize>> = Vec::new();
    for span in pack["kept"].as_array().unwrap() {
        let (start, end) = (number(&span["start"]), number(&span["end"]));
        match kept.last_mut().filter(|last| last.end == start) {
            Some(last) => last.end = end,
            None => kept.push(start..end),
        }
    }
    kept
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// Compares what a worker is asked with what the user asks.
async fn asked(case: &Case) -> Vec<String> {
    if case.rules.asked.is_none() && case.rules.not_asked.is_empty() {
        return Vec::new();
    }
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let sidecar = Sidecar::start(&settings(worker.address()), "http://127.0.0.1:9/v1").await;
    let mut wrong = Vec::new();
    for input in &case.inputs {
        let url = format!("{}?dry_run=1", sidecar.url(&case.path));
        heard(|| send(post(&url, input.request.to_string()))).await;
        let question = worker
            .last()
            .map(|asked| asked.header.question)
            .unwrap_or_default();
        let asked = case.rules.asked.iter().filter(|words| !question.contains(*words));
        wrong.extend(asked.map(|words| format!("{}: {words:?} is not asked but {question:?}", input.name)));
        let not_asked = case
            .rules
            .not_asked
            .iter()
            .filter(|words| question.contains(*words));
        wrong.extend(not_asked.map(|words| format!("{}: {words:?} is asked: {question:?}", input.name)));
    }
    wrong
}

/// Lists all strings of a JSON value, keys aside.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(members) => members.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(2_000)]
}
