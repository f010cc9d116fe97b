//! A span on its way out of the process: a collector that speaks OTLP over gRPC, and what arrives there.

use std::time::Duration;

use liquid_testing::MockUpstream;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use tokio::sync::mpsc;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::process::Running;
use crate::support::{chat, post, send};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

struct Collector(mpsc::Sender<ResourceSpans>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for spans in request.into_inner().resource_spans {
            self.0.send(spans).await.unwrap();
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Starts a collector; its URL, and what it receives.
async fn collector() -> (String, mpsc::Receiver<ResourceSpans>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel(16);
    let server = Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    (url, receiver)
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

#[tokio::test]
async fn a_call_is_a_span_in_the_words_of_the_genai_conventions() {
    let upstream = MockUpstream::start().await.unwrap();
    let (url, mut spans) = collector().await;
    let toml = format!(
        "[upstream.providers.openai]\nbase_url = \"{}\"\n[traces]\notlp_endpoint = \"{url}\"",
        upstream.base_url()
    );
    // The batch would wait for five seconds.
    let sidecar = Running::start(&toml, |command| {
        command.env("OTEL_BSP_SCHEDULE_DELAY", "50");
    })
    .await;
    let mut request = post(&sidecar.url("/v1/chat/completions"), chat("gpt-x", false));
    let parent = format!("00-{TRACE}-{PARENT}-01");
    request
        .headers_mut()
        .insert("traceparent", parent.parse().unwrap());
    assert_eq!(send(request).await.status, 200);

    let arrived = tokio::time::timeout(Duration::from_secs(20), spans.recv()).await;
    let arrived = arrived.unwrap().unwrap();
    let resource = arrived.resource.unwrap();
    assert_eq!(
        text(&resource.attributes, "service.name").as_deref(),
        Some("liquid-sidecar")
    );
    let span = &arrived.scope_spans[0].spans[0];
    let hex = |bytes: &[u8]| base16ct::lower::encode_string(bytes);
    assert_eq!(
        (hex(&span.trace_id).as_str(), hex(&span.parent_span_id).as_str()),
        (TRACE, PARENT)
    );
    assert_eq!(span.name, "chat gpt-x");
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-x"),
        ("http.response.status_code", "200"),
        ("liquid.surface", "chat_completions"),
        ("liquid.decision", "passed"),
        ("liquid.reason", "too_short"),
        ("liquid.end", "complete"),
    ] {
        assert_eq!(text(&span.attributes, key).as_deref(), Some(value), "{key}");
    }
    for key in ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"] {
        assert!(
            text(&span.attributes, key).unwrap().parse::<u64>().unwrap() > 0,
            "{key}"
        );
    }
    assert!(
        !format!("{span:?}").contains("How tall"),
        "no text of the request"
    );
    let received = upstream.last().unwrap();
    let onward = format!("00-{TRACE}-{}-01", hex(&span.span_id));
    assert_eq!(received.header("traceparent"), Some(onward.as_str()));
}
