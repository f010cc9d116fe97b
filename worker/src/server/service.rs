//! `liquid.worker.v1.Worker`: one request from its first message to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use liquid_proto::worker::v1 as proto;
use liquid_proto::worker::v1::worker_server::Worker;
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::convert::{self, ServerTimes};
use super::metrics::Metrics;
use super::receive;
use super::status::{cut_off, job_status, refusal};
use crate::config::{Config, Limits};
use crate::model::ModelCard;
use crate::requests::{ActiveRequests, Phase, RequestNames};
use crate::runtime::{Job, JobAnswer, Runtime};
use crate::tier::Tier;

/// Time by which the worker answers before the call's own deadline: the transport ends the call then with a
/// bare CANCELLED.
const BEFORE_THE_TRANSPORT: Duration = Duration::from_millis(5);

pub(super) struct Service {
    limits: Limits,
    device: String,
    zone: String,
    runtime: Runtime,
    metrics: Arc<Metrics>,
    phase: watch::Receiver<Phase>,
    requests: ActiveRequests,
    names: RequestNames,
}

impl Service {
    pub(super) fn new(
        config: &Config,
        runtime: Runtime,
        metrics: Arc<Metrics>,
        phase: watch::Receiver<Phase>,
        requests: ActiveRequests,
    ) -> Self {
        let limits = config.limits.clone();
        let device = runtime.model().map_or_else(
            || config.model.device.to_string(),
            |(_, card, _)| card.device.clone(),
        );
        Self {
            limits,
            device,
            zone: config.grpc.zone.clone(),
            runtime,
            metrics,
            phase,
            requests,
            names: RequestNames::default(),
        }
    }

    async fn answer(
        &self,
        mut stream: Streaming<proto::ExtractRequest>,
        transport: Option<Instant>,
    ) -> Result<proto::ExtractResponse, Status> {
        if let Some(refusal) = refusal(*self.phase.borrow()) {
            return Err(refusal);
        }
        let _under_way = self.requests.under_way.token();
        let mut header = run_until(transport, receive::read_header(&mut stream)).await?;
        let arrived = Instant::now();
        receive::check_header(&header, &self.limits)?;
        if header.request_id.is_empty() {
            header.request_id = self.names.next();
        }
        let asks = convert::parse_asks(&header)?;
        let budget = convert::parse_budget(header.budget)?;
        let tier = convert::parse_tier(header.tier)?;
        let allowed = (header.deadline_ms > 0).then(|| Duration::from_millis(header.deadline_ms.into()));
        let deadline = [transport, allowed.map(|allowed| arrived + allowed)]
            .into_iter()
            .flatten()
            .min();
        let document = receive::read_document(&mut stream, &header, &self.limits, self.runtime.reserve());
        let received = run_until(deadline, document).await?;
        let complete = Instant::now();
        let job = Job {
            texts: convert::parse_texts(&header, &received.document)?,
            document: received.document,
            sha256: received.sha256,
            asks,
            budget,
            tier,
            deadline,
            reservation: received.reservation,
        };
        let answer = self
            .runtime
            .extract(job)
            .await
            .map_err(|error| job_status(&error, &header.request_id))?;
        let times = ServerTimes {
            receive: complete - arrived,
            total: complete.elapsed(),
        };
        self.report(&header.request_id, &answer, &times);
        Ok(convert::response_message(&answer, &times, self.runtime.load()))
    }

    fn report(&self, request_id: &str, answer: &JobAnswer, times: &ServerTimes) {
        self.metrics.count_answer(answer, times);
        let extraction = &answer.extraction;
        tracing::info!(
            request_id,
            tier = extraction.tier.name(),
            reason = extraction.tier_reason.name(),
            cached = answer.cached,
            document_tokens = extraction.counts.document_tokens,
            kept_tokens = extraction.counts.kept_tokens,
            spans = extraction.spans.len(),
            facts = extraction.facts.as_ref().map(|facts| facts.facts.len()),
            receive_ms = times.receive.as_millis() as u64,
            queue_ms = answer.queue.as_millis() as u64,
            total_ms = times.total.as_millis() as u64,
            "extracted"
        );
    }

    fn describe(&self) -> proto::DescribeResponse {
        let tiers = self.runtime.tiers();
        let names = |from: Tier| {
            tiers
                .iter()
                .filter(move |tier| (from..=Tier::Ranker).contains(*tier))
                .map(|tier| convert::tier_message(*tier).into())
        };
        let model = self.runtime.model();
        let message = |name: &str, card: &ModelCard, lowest| proto::Model {
            name: name.to_owned(),
            sha256: card.sha256.clone(),
            parameters: card.parameters,
            tiers: names(lowest).collect(),
        };
        let encoder = model.map(|(name, card, _)| message(name, card, Tier::Static));
        let ranker = self.runtime.ranker();
        let ranker = ranker.map(|(name, card)| message(name, card, Tier::Ranker));
        proto::DescribeResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tiers: tiers
                .iter()
                .map(|tier| convert::tier_message(*tier).into())
                .collect(),
            models: encoder.into_iter().chain(ranker).collect(),
            tokenizer: Some(match model {
                None => proto::Tokenizer {
                    kind: "estimate".to_owned(),
                    ..proto::Tokenizer::default()
                },
                Some((_, card, vocabulary)) => proto::Tokenizer {
                    kind: "wordpiece".to_owned(),
                    sha256: card.tokenizer_sha256.clone(),
                    vocabulary: vocabulary as u32,
                },
            }),
            limits: Some(proto::Limits {
                max_document_bytes: self.limits.max_document_bytes,
                max_question_bytes: self.limits.max_question_bytes,
                max_chunk_bytes: self.limits.max_chunk_bytes,
                queue_limit: self.limits.queue as u32,
                max_asks: self.limits.max_asks,
                max_texts: self.limits.max_texts,
            }),
            device: self.device.clone(),
            load: Some(convert::load_message(self.runtime.load())),
            draining: matches!(*self.phase.borrow(), Phase::Notice | Phase::Draining),
            zone: self.zone.clone(),
        }
    }
}

#[tonic::async_trait]
impl Worker for Service {
    async fn extract(
        &self,
        request: Request<Streaming<proto::ExtractRequest>>,
    ) -> Result<Response<proto::ExtractResponse>, Status> {
        let transport = parse_deadline(request.metadata());
        let answer = tokio::select! {
            answer = self.answer(request.into_inner(), transport) => answer,
            () = self.requests.cut_off.cancelled() => Err(cut_off()),
        };
        if let Err(status) = &answer {
            self.metrics.count_error(status.code());
        }
        answer.map(Response::new)
    }

    async fn describe(
        &self,
        _: Request<proto::DescribeRequest>,
    ) -> Result<Response<proto::DescribeResponse>, Status> {
        Ok(Response::new(self.describe()))
    }

    async fn report(
        &self,
        request: Request<proto::ReportRequest>,
    ) -> Result<Response<proto::ReportResponse>, Status> {
        if let Some(refusal) = refusal(*self.phase.borrow()) {
            return Err(refusal);
        }
        let report = request.into_inner();
        receive::check_report(&report)?;
        self.metrics.count_calls(&report);
        Ok(Response::new(proto::ReportResponse::default()))
    }
}

/// Runs `work` until the deadline.
async fn run_until<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match deadline {
        None => work.await,
        Some(deadline) => tokio::time::timeout_at(deadline.into(), work)
            .await
            .unwrap_or_else(|_| {
                Err(Status::deadline_exceeded(
                    "the deadline passed while the document arrived",
                ))
            }),
    }
}

/// Reads the call's own deadline from the header `grpc-timeout`
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>): digits and a unit.
fn parse_deadline(metadata: &MetadataMap) -> Option<Instant> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(number.checked_mul(3600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Instant::now().checked_add(timeout.saturating_sub(BEFORE_THE_TRANSPORT))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn reads_grpc_timeouts() {
        let parse = |text: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            parse_deadline(&metadata).map(|deadline| (deadline - Instant::now()).as_secs_f64())
        };
        for (text, seconds) in [
            ("2H", 7200.0),
            ("3M", 180.0),
            ("9S", 9.0),
            ("1500m", 1.5),
            ("2000000u", 2.0),
        ] {
            let got = parse(text).unwrap();
            assert!((seconds - got).abs() < 0.1, "{text}: {got}");
        }
        assert!(parse("10n").unwrap() <= 0.0);
        assert_eq!(
            [
                parse("S"),
                parse("x1S"),
                parse("1x"),
                parse("99999999999999999999S")
            ],
            [None; 4]
        );
    }
}
