//! The service on a loopback port: what it answers, what it refuses and how, how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use liquid_proto::worker::v1::budget::Limit;
use liquid_proto::worker::v1::extract_request::Part;
use liquid_proto::worker::v1::{
    Ask, AutoBudget, Budget, DescribeRequest, ExtractHeader, ReportRequest, Text, Tier,
};
use sha2::{Digest, Sha256};
use support::{TestServer, config, document, extract, header, message, messages};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const QUESTION: &str = "What is the governing law?";

fn violation(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let details = status.get_error_details();
    let violation = &details.bad_request().unwrap().field_violations[0];
    assert!(!violation.description.is_empty());
    violation.field.clone()
}

#[tokio::test]
async fn finds_the_evidence_and_counts_it() {
    let server = TestServer::start(config()).await;
    let document = document(3000);
    let mut asked = header(QUESTION);
    asked.document_sha256 = Sha256::digest(&document).to_vec();
    asked.document_bytes = document.len() as u64;
    let answer = extract(&mut server.client().await, asked, &document)
        .await
        .unwrap();
    let kept: Vec<&str> = answer
        .spans
        .iter()
        .map(|s| &document[s.start as usize..s.end as usize])
        .collect();
    assert!(
        kept.iter().any(|text| text.contains("law of Delaware")),
        "{kept:?}"
    );
    assert_eq!(answer.tier(), Tier::Lexical);
    assert!(answer.kept_words <= answer.document_words / 10);
    assert!(answer.kept_tokens > 0 && answer.kept_tokens < answer.document_tokens);
    assert!(!answer.cached && answer.timing.unwrap().total_us > 0);
    assert_eq!(answer.load.unwrap().queue_limit, 64);
}

#[tokio::test]
async fn chunks_may_end_inside_a_character() {
    let server = TestServer::start(config()).await;
    let mut client = server.client().await;
    let document = "Das Übereinkommen gilt für 東京 und überall. 🙂 Sonst gilt nichts. ".repeat(20);
    let whole = extract(&mut client, header("Wo gilt es?"), &document)
        .await
        .unwrap();
    let split = messages(header("Wo gilt es?"), document.as_bytes(), 1);
    let split = client
        .extract(futures::stream::iter(split))
        .await
        .unwrap()
        .into_inner();
    assert!(split.cached);
    assert_eq!(split.spans, whole.spans);
}

#[tokio::test]
async fn an_identical_request_is_answered_from_the_cache() {
    let server = TestServer::start(config()).await;
    let mut client = server.client().await;
    let document = document(2000);
    let first = extract(&mut client, header(QUESTION), &document).await.unwrap();
    let second = extract(&mut client, header(QUESTION), &document).await.unwrap();
    let other = extract(&mut client, header("Which lot weighs most?"), &document)
        .await
        .unwrap();
    assert_eq!((first.cached, second.cached, other.cached), (false, true, false));
    assert_eq!(first.spans, second.spans);
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.contains("liquid_worker_cache_hits_total 1"), "{metrics}");
    assert!(
        metrics.contains("liquid_worker_documents_total{tier=\"lexical\",reason=\"best_served\"} 3"),
        "{metrics}"
    );
    assert!(
        metrics.contains("liquid_worker_stage_seconds_count{stage=\"total\"} 3"),
        "{metrics}"
    );
    assert!(!metrics.contains("governing"), "{metrics}");
}

#[tokio::test]
async fn one_ask_is_the_question_and_asks_have_no_order() {
    let server = TestServer::start(config()).await;
    let mut client = server.client().await;
    let document = document(2000);
    let asking = |texts: &[&str]| {
        let ask = |text: &&str| Ask {
            text: (*text).to_owned(),
            weight: 0.0,
        };
        ExtractHeader {
            asks: texts.iter().map(ask).collect(),
            ..header(&texts.join("\n"))
        }
    };
    let question = extract(&mut client, header(QUESTION), &document).await.unwrap();
    let one = extract(&mut client, asking(&[QUESTION]), &document)
        .await
        .unwrap();
    assert_eq!((one.cached, &one.spans), (true, &question.spans));
    let other = "Which lot weighs most?";
    let two = extract(&mut client, asking(&[QUESTION, other]), &document)
        .await
        .unwrap();
    assert!(!two.cached && two.spans != question.spans);
    let turned = extract(&mut client, asking(&[other, QUESTION]), &document)
        .await
        .unwrap();
    assert_eq!((turned.cached, &turned.spans), (true, &two.spans));
}

#[tokio::test]
async fn spans_end_where_texts_end_and_texts_are_part_of_what_is_asked() {
    let server = TestServer::start(config()).await;
    let mut client = server.client().await;
    let document = document(2000);
    let question = extract(&mut client, header(QUESTION), &document).await.unwrap();
    let law = document.find("law of Delaware").unwrap() as u64;
    let length = document.len() as u64;
    let lengths = [law, length - law];
    let text = |&bytes: &u64| Text { bytes, whole: false };
    let split = ExtractHeader {
        texts: lengths.iter().map(text).collect(),
        ..header(QUESTION)
    };
    let answer = extract(&mut client, split, &document).await.unwrap();
    assert!(!answer.cached && answer.spans != question.spans);
    assert!(
        answer
            .spans
            .iter()
            .all(|span| span.end <= law || span.start >= law)
    );
}

#[tokio::test]
async fn what_sidecars_report_is_added_up() {
    let server = TestServer::start(config()).await;
    let mut client = server.client().await;
    let report = |calls| ReportRequest {
        calls,
        tokens_before: calls * 1000,
        tokens_after: calls * 300,
    };
    for calls in [2, 5] {
        client.report(report(calls)).await.unwrap();
    }
    for (field, wrong) in [
        (
            "calls",
            ReportRequest {
                calls: u64::MAX,
                ..report(1)
            },
        ),
        (
            "tokens_before",
            ReportRequest {
                tokens_before: (1 << 48) + 1,
                ..report(1)
            },
        ),
        (
            "tokens_after",
            ReportRequest {
                tokens_after: u64::MAX,
                ..report(1)
            },
        ),
    ] {
        assert_eq!(violation(&client.report(wrong).await.unwrap_err()), field);
    }
    let (_, metrics) = server.get("/metrics").await;
    for sample in [
        "liquid_worker_calls_total 7\n",
        "liquid_worker_call_tokens_before_total 7000\n",
        "liquid_worker_call_tokens_after_total 2100\n",
    ] {
        assert!(metrics.contains(sample), "{sample}{metrics}");
    }
}

/// A change that makes a header wrong.
type Spoil<'a> = &'a dyn Fn(&mut ExtractHeader);

#[tokio::test]
async fn wrong_headers_are_refused_by_field() {
    let server = TestServer::start(config()).await;
    let mut client = server.client().await;
    let budget = |limit| Some(Budget { limit: Some(limit) });
    let auto = |floor, min_ratio, max_ratio| {
        budget(Limit::Auto(AutoBudget {
            floor,
            min_ratio,
            max_ratio,
        }))
    };
    let ask = |text: &str, weight| Ask {
        text: text.to_owned(),
        weight,
    };
    let text = |bytes| Text { bytes, whole: false };
    let wrong: [(&str, Spoil<'_>); 27] = [
        ("budget", &|header| header.budget = None),
        ("budget", &|header| header.budget = Some(Budget { limit: None })),
        ("budget.ratio", &|header| {
            header.budget = budget(Limit::Ratio(0.5))
        }),
        ("budget.ratio", &|header| {
            header.budget = budget(Limit::Ratio(f64::NAN))
        }),
        ("budget.max_tokens", &|header| {
            header.budget = budget(Limit::MaxTokens(0))
        }),
        ("budget.max_words", &|header| {
            header.budget = budget(Limit::MaxWords(0))
        }),
        ("budget.auto.floor", &|header| header.budget = auto(1.5, 0.0, 0.0)),
        ("budget.auto.min_ratio", &|header| {
            header.budget = auto(0.0, 0.5, 0.0)
        }),
        ("budget.auto.max_ratio", &|header| {
            header.budget = auto(0.0, 4.0, 3.0)
        }),
        ("tier", &|header| header.tier = 99),
        ("header.question", &|header| header.question = "x".repeat(16_385)),
        ("header.asks", &|header| header.asks = vec![ask("Who?", 1.0); 17]),
        ("header.asks", &|header| {
            header.asks = vec![ask(&"x".repeat(9000), 1.0); 2]
        }),
        ("header.asks[1].text", &|header| {
            header.asks = vec![ask("Who?", 1.0), ask(" \n", 1.0)]
        }),
        ("header.asks[0].weight", &|header| {
            header.asks = vec![ask("Who?", 1.5)]
        }),
        ("header.asks[0].weight", &|header| {
            header.asks = vec![ask("Who?", f32::NAN)]
        }),
        ("header.texts", &|header| header.texts = vec![text(1); 513]),
        ("header.texts", &|header| header.texts = vec![text(11)]),
        ("header.texts[1].bytes", &|header| {
            header.texts = vec![text(11), text(0), text(21)]
        }),
        ("header.texts[1].bytes", &|header| {
            header.texts = vec![text(11), text(22)]
        }),
        ("header.texts[0].bytes", &|header| {
            header.texts = vec![text(4), text(28)]
        }),
        ("header.document_bytes", &|header| header.document_bytes = 1 << 40),
        ("header.document_bytes", &|header| header.document_bytes = 3),
        ("header.document_sha256", &|header| {
            header.document_sha256 = vec![1; 31]
        }),
        ("header.document_sha256", &|header| {
            header.document_sha256 = vec![1; 32]
        }),
        ("header.request_id", &|header| {
            header.request_id = "line\nbreak".to_owned()
        }),
        ("header.request_id", &|header| header.request_id = "x".repeat(129)),
    ];
    for (field, spoil) in wrong {
        let mut header = header(QUESTION);
        spoil(&mut header);
        let status = extract(&mut client, header, "A déjà vu. Of two sentences...")
            .await
            .unwrap_err();
        assert_eq!(violation(&status), field, "{status}");
    }
}

#[tokio::test]
async fn wrong_streams_are_refused() {
    let mut config = config();
    config.limits.max_chunk_bytes = 100;
    config.limits.max_document_bytes = 150;
    let server = TestServer::start(config).await;
    let mut client = server.client().await;
    let chunk = |bytes: &[u8]| message(Part::DocumentChunk(bytes.to_vec()));
    let head = || message(Part::Header(header(QUESTION)));
    for (field, stream) in [
        ("header", vec![]),
        ("header", vec![chunk(b"text")]),
        ("document_chunk", vec![head(), head()]),
        ("document_chunk", vec![head(), chunk(&[b'a'; 101])]),
        (
            "document_chunk",
            vec![head(), chunk(&[b'a'; 100]), chunk(&[b'a'; 51])],
        ),
        ("document_chunk", vec![head(), chunk(b"caf\xc3"), chunk(b"\x28")]),
        ("document_chunk", vec![head(), chunk(b"cut \xe6\x9d")]),
    ] {
        let status = client.extract(futures::stream::iter(stream)).await.unwrap_err();
        assert_eq!(violation(&status), field, "{status}");
    }
}

#[tokio::test]
async fn a_too_long_document_is_refused_before_it_has_arrived() {
    let mut config = config();
    config.limits.max_document_bytes = 1 << 20;
    let server = TestServer::start(config).await;
    let endless = futures::stream::unfold(0, |sent: u64| async move {
        let part = match sent {
            0 => Part::Header(header(QUESTION)),
            _ => Part::DocumentChunk(vec![b' '; 64 << 10]),
        };
        Some((message(part), sent + 1))
    });
    let refused = server
        .client()
        .await
        .extract(Box::pin(endless))
        .await
        .unwrap_err();
    assert_eq!(violation(&refused), "document_chunk");
}

#[tokio::test]
async fn documents_of_all_requests_share_a_bound() {
    let mut config = config();
    config.limits.max_document_bytes = 1 << 20;
    config.limits.max_buffered_bytes = 1 << 20;
    let server = TestServer::start(config).await;
    let mut client = server.client().await;
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    let big = ExtractHeader {
        document_bytes: 1 << 20,
        ..header(QUESTION)
    };
    sender.send(message(Part::Header(big))).await.unwrap();
    let mut first = server.client().await;
    let waiting = tokio::spawn(async move {
        first
            .extract(tokio_stream::wrappers::ReceiverStream::new(receiver))
            .await
    });
    let status = loop {
        match extract(&mut client, header("Is there room?"), &document(500)).await {
            Err(status) => break status,
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(
        status
            .get_error_details()
            .retry_info()
            .unwrap()
            .retry_delay
            .unwrap()
            > Duration::ZERO
    );
    drop(sender);
    assert_eq!(
        violation(&waiting.await.unwrap().unwrap_err()),
        "header.document_bytes"
    );
    // The bytes are free again.
    extract(&mut client, header("And now?"), &document(500))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_deadline_ends_a_request_whose_document_does_not_come() {
    let server = TestServer::start(config()).await;
    let asked = ExtractHeader {
        deadline_ms: 50,
        ..header(QUESTION)
    };
    let stalled = futures::StreamExt::chain(
        futures::stream::iter([message(Part::Header(asked))]),
        futures::stream::pending(),
    );
    let status = server.client().await.extract(stalled).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}

#[tokio::test]
async fn a_document_of_a_million_tokens_is_read() {
    let server = TestServer::start(config()).await;
    let document = document(1_000_000);
    assert!(document.len() > 4_000_000);
    let asked = ExtractHeader {
        tier: Tier::Lexical.into(),
        ..header(QUESTION)
    };
    let answer = extract(&mut server.client().await, asked, &document)
        .await
        .unwrap();
    assert!(answer.document_tokens > 1_000_000, "{}", answer.document_tokens);
    let needle = document.find("law of Delaware").unwrap() as u64;
    assert!(
        answer
            .spans
            .iter()
            .any(|span| span.start <= needle && needle < span.end)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_get_their_own_answers() {
    let server = TestServer::start(config()).await;
    let client = server.client().await;
    let ask = |i: usize| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let document = format!(
                "{} The code word of door {i} is w{i}w. {}",
                document(400),
                document(400)
            );
            let answer = extract(
                &mut client,
                header(&format!("What is the code word of door {i}?")),
                &document,
            )
            .await;
            let spans = answer.unwrap().spans;
            let kept: String = spans
                .iter()
                .map(|s| &document[s.start as usize..s.end as usize])
                .collect();
            assert!(kept.contains(&format!("w{i}w")), "{kept}");
        })
    };
    let asked: Vec<_> = (0..40).map(ask).collect();
    for answer in asked {
        answer.await.unwrap();
    }
}

#[tokio::test]
async fn describes_itself() {
    let server = TestServer::start(config()).await;
    let answer = server
        .client()
        .await
        .describe(DescribeRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.tiers, [i32::from(Tier::Lexical)]);
    assert_eq!(answer.tokenizer.unwrap().kind, "estimate");
    assert!(answer.models.is_empty() && !answer.draining && answer.device.starts_with("cpu"));
    let limits = answer.limits.unwrap();
    assert_eq!(
        (limits.max_chunk_bytes, limits.max_asks, limits.max_texts),
        (1 << 20, 16, 512)
    );
}
