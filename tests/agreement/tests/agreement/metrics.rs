//! A worker's metrics are what the operator looks for, those of a sidecar's calls included.

use std::net::SocketAddr;
use std::time::Duration;

use liquid_contract::{Tier, endpoints, metrics};
use liquid_operator::api::status::Figures;
use liquid_operator::controller::{Load, parse_figures, parse_load};
use liquid_proto::worker::v1::budget::Limit;
use liquid_proto::worker::v1::extract_request::Part;
use liquid_proto::worker::v1::worker_client::WorkerClient;
use liquid_proto::worker::v1::{Budget, ExtractHeader, ExtractRequest, ExtractResponse};
use liquid_sidecar::extract::{CallTotals, Client, ReportOutcome, Settings};
use liquid_worker::config::Config;
use liquid_worker::server::BoundServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

/// The body of a page on a worker's admin port, once it answers 200.
async fn page(address: SocketAddr, path: &str) -> String {
    for _ in 0..1000 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        if answer.starts_with("HTTP/1.1 200") {
            return answer.split_once("\r\n\r\n").unwrap().1.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{path} did not answer 200");
}

async fn extract(client: &mut WorkerClient<tonic::transport::Channel>, question: &str) -> ExtractResponse {
    let document = "The price is ten. The term is one year. The law is that of Delaware. ".repeat(40);
    let header = ExtractHeader {
        question: question.to_owned(),
        budget: Some(Budget {
            limit: Some(Limit::Ratio(10.0)),
        }),
        ..ExtractHeader::default()
    };
    let parts = [Part::Header(header), Part::DocumentChunk(document.into_bytes())];
    let messages = parts.map(|part| ExtractRequest { part: Some(part) });
    let answer = client.extract(futures::stream::iter(messages)).await;
    answer.unwrap().into_inner()
}

#[tokio::test]
async fn the_operator_reads_what_a_worker_has_done_and_what_a_sidecar_reports() {
    let mut config = Config::default();
    config.grpc.listen = ([127, 0, 0, 1], 0).into();
    config.admin.listen = ([127, 0, 0, 1], 0).into();
    config.drain.notice_ms = 0;
    let worker = BoundServer::bind(config).await.unwrap();
    let (grpc, admin) = worker.addresses().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(worker.serve(async {
        let _ = stopped.await;
    }));
    page(admin, endpoints::READYZ).await;

    let mut client = WorkerClient::connect(format!("http://{grpc}")).await.unwrap();
    let mut done = Figures::default();
    for question in ["What is the price?", "Which law governs?"] {
        let answer = extract(&mut client, question).await;
        done.documents += 1;
        done.tokens_in += answer.document_tokens as i64;
        done.tokens_out += answer.kept_tokens as i64;
    }
    assert!(
        done.tokens_in > done.tokens_out && done.tokens_out > 0,
        "{done:?}"
    );

    let totals = CallTotals {
        calls: 5,
        tokens_before: 4_000,
        tokens_after: 900,
    };
    let sidecar = Client::start(Settings {
        workers: vec![grpc.to_string()],
        ..Settings::default()
    });
    assert_eq!(sidecar.report(totals).await, ReportOutcome::Settled);
    (done.calls, done.call_tokens_before, done.call_tokens_after) = (5, 4_000, 900);

    let text = page(admin, endpoints::METRICS).await;
    assert_eq!(parse_figures(&text), done, "{text}");
    // What it scales by: nothing runs now, and what was done is the documents and the calls.
    let load = Load {
        tokens: 0,
        waiting: 0,
        running: 0,
        done: 7,
    };
    assert_eq!(parse_load(&text), load, "{text}");
    assert!(text.contains("\nliquid_worker_tokens_in_flight 0\n"), "{text}");
    for counter in [metrics::DOCUMENTS, metrics::DOCUMENT_TOKENS, metrics::KEPT_TOKENS] {
        let sample = format!(
            "\n{}{{tier=\"{}\",reason=\"",
            counter.sample,
            Tier::Lexical.name()
        );
        assert!(text.contains(&sample), "{sample}\n{text}");
    }
    for counter in [
        metrics::CALLS,
        metrics::CALL_TOKENS_BEFORE,
        metrics::CALL_TOKENS_AFTER,
    ] {
        assert!(text.contains(&format!("\n{} ", counter.sample)), "{text}");
    }
    drop((client, sidecar));
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}
