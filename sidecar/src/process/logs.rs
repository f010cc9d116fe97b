//! Sets up logging, and traces where they are configured. Neither ever holds a key or document text: no event
//! in this crate takes a header's value or a body.

use liquid_process::logs::{Log, LogError};
use opentelemetry::global;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Traces;
use crate::report::trace;

/// Why logging or tracing could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The log cannot be set up.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The exporter cannot be built.
    #[error("traces.otlp_endpoint: {0}; give the collector's URL, such as http://collector:4317")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// The export of traces, to be shut down when the process ends.
#[derive(Debug, Default)]
pub struct Exporter(Option<SdkTracerProvider>);

impl Exporter {
    /// Sends the spans that are still waiting. Blocks for some seconds at most.
    pub fn shutdown(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Sets up logging for the process. With traces configured it must be called inside a tokio runtime.
///
/// # Errors
/// A filter or an endpoint that cannot be used.
pub fn init(log: &Log, traces: &Traces) -> Result<Exporter, SetupError> {
    // Spans are for the collector; in log lines they would only repeat the line's own fields.
    let spans_off = format!("{}=off", trace::TARGET).parse().map_err(LogError::from)?;
    let lines = log.lines().with_filter(log.filter()?.add_directive(spans_off));
    let Some(endpoint) = traces.otlp_endpoint.as_deref() else {
        // Not an absent layer: one would switch on every span and event of every crate, to throw them away
        // later.
        tracing_subscriber::registry()
            .with(lines)
            .try_init()
            .map_err(LogError::from)?;
        return Ok(Exporter(None));
    };
    let provider = provider(endpoint)?;
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("liquid-sidecar"))
        .with_filter(Targets::new().with_target(trace::TARGET, LevelFilter::INFO));
    tracing_subscriber::registry()
        .with(lines)
        .with(spans)
        .try_init()
        .map_err(LogError::from)?;
    Ok(Exporter(Some(provider)))
}

fn provider(endpoint: &str) -> Result<SdkTracerProvider, opentelemetry_otlp::ExporterBuildError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()?;
    global::set_text_map_propagator(TraceContextPropagator::new());
    let resource = Resource::builder().with_service_name("liquid-sidecar").build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}
