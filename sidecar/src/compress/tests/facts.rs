//! Packs of facts: what workers are asked for, and what stands in the document's place.

use liquid_contract::PackStyle;
use liquid_proto::worker::v1 as wire;

use super::*;

/// The document's line that a fact quotes.
const QUOTED: &str = "A crane was painted green.";

fn answer(facts: Vec<wire::Fact>) -> WorkerBehaviour {
    WorkerBehaviour::Response(Box::new(wire::ExtractResponse {
        tier: wire::Tier::Decoder.into(),
        facts,
        fact_counts: Some(wire::FactCounts {
            dropped: 2,
            ..wire::FactCounts::default()
        }),
        ..wire::ExtractResponse::default()
    }))
}

fn fact(text: &str) -> wire::Fact {
    let start = document().find(QUOTED).unwrap();
    wire::Fact {
        text: text.to_owned(),
        start: start as u64,
        end: (start + QUOTED.len()) as u64,
        confidence: 0.5,
        origin: wire::FactOrigin::Constrained.into(),
        ..wire::Fact::default()
    }
}

/// Compresses a call in a style; the pack's text, its account, and the tier that the worker was asked for.
async fn pack(style: PackStyle, facts: Vec<wire::Fact>) -> (String, pack::PackRecord, wire::Tier) {
    let worker = MockWorker::start([answer(facts)]).await.unwrap();
    let compressor = start(&worker, |settings| settings.pack.style = style).await;
    let call = chat(json!([{"role": "user", "content": document()}, {"role": "user", "content": QUESTION}]));
    let outcome = compressor.compress(call).await;
    let (body, decision) = forwarded(&outcome);
    let text = body["messages"][0]["content"].as_str().unwrap().to_owned();
    let record = decision.pack.as_ref().unwrap().packs[0].clone();
    (text, record, worker.last().unwrap().header.tier())
}

#[tokio::test]
async fn a_style_decides_what_is_asked_for_and_what_the_pack_holds() {
    let evidence = "The turbine was paid late.";
    let said = "The crane is\ngreen.";
    let (text, record, tier) = pack(PackStyle::Quotes, vec![fact(said)]).await;
    assert_eq!(tier, wire::Tier::Unspecified);
    assert!(
        text.contains(evidence) && !text.contains(QUOTED) && !text.contains("The crane is"),
        "{text}"
    );
    assert!(record.facts.is_empty());

    let (text, record, tier) = pack(PackStyle::Facts, vec![fact(said)]).await;
    assert_eq!(tier, wire::Tier::Decoder);
    assert!(text.contains(QUOTED) && !text.contains(evidence), "{text}");
    let name = text.strip_prefix("[excerpt ").unwrap().split_once(':').unwrap().0;
    let start = document().find(QUOTED).unwrap();
    assert!(
        text.contains(&format!("\n- The crane is green. [{name} @{start}]\n")),
        "{text}"
    );
    assert_eq!((record.kept.len(), record.kept[0].start), (1, start as u64));
    assert_eq!((record.facts.len(), record.facts_dropped), (1, 2));
    assert_eq!(
        (
            record.facts[0].start,
            record.facts[0].origin.as_str(),
            record.tier.as_str()
        ),
        (start as u64, "constrained", "decoder")
    );

    let (text, record, _) = pack(PackStyle::Both, vec![fact(said)]).await;
    assert!(
        text.contains(QUOTED) && text.contains(evidence) && text.contains("- The crane is"),
        "{text}"
    );
    assert_eq!(record.kept.len(), 3);
    assert!(record.kept.is_sorted_by_key(|span| span.start));
}

#[tokio::test]
async fn without_facts_the_pack_has_excerpts() {
    let (text, record, _) = pack(PackStyle::Facts, Vec::new()).await;
    assert!(
        text.contains("The turbine was paid late.") && !text.contains("[facts"),
        "{text}"
    );
    assert!(record.facts.is_empty());
}

#[tokio::test]
async fn a_header_goes_before_the_style_that_is_set() {
    let worker = MockWorker::start([answer(vec![fact("The crane is green.")])])
        .await
        .unwrap();
    let compressor = start(&worker, |_| {}).await;
    let call = Call {
        overrides: Overrides {
            pack_style: Some(PackStyle::Facts),
            ..Overrides::default()
        },
        ..chat(json!([{"role": "user", "content": document()}, {"role": "user", "content": QUESTION}]))
    };
    let outcome = compressor.compress(call).await;
    assert!(
        forwarded(&outcome)
            .0
            .to_string()
            .contains("- The crane is green.")
    );
}

#[tokio::test]
async fn a_quote_that_is_no_part_of_the_document_is_a_fault_of_the_worker() {
    let wrong = wire::Fact {
        end: 1 << 40,
        ..fact("The crane is green.")
    };
    let worker = MockWorker::start([answer(vec![wrong])]).await.unwrap();
    let compressor = start(&worker, |settings| settings.pack.style = PackStyle::Facts).await;
    let call = chat(json!([{"role": "user", "content": document()}, {"role": "user", "content": QUESTION}]));
    let sent = call.body.clone();
    let outcome = compressor.compress(call).await;
    assert!(
        is_same(&outcome, &sent),
        "nothing that a worker says is used before it fits the document"
    );
}
