//! Sets up logging, and traces where they are configured. Neither ever holds a key or document text: no event in
//! this crate takes a header's value or a body.

use opentelemetry::global;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Log, LogFormat, Traces};
use crate::report::trace;

/// Why logging or tracing could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The filter cannot be read.
    #[error("log.level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter cannot be built.
    #[error("traces.otlp_endpoint: {0}; give the collector's URL, such as http://collector:4317")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Something has set up logging before.
    #[error("logging: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Ends the export of traces when the process ends.
#[derive(Debug, Default)]
pub struct Exporter(Option<SdkTracerProvider>);

impl Exporter {
    /// Sends what is still waiting. Blocks for some seconds at most.
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
    let filter: EnvFilter = log.level.parse()?;
    // Spans are for the collector; in log lines they would only repeat the line's own fields.
    let filter = filter.add_directive(format!("{}=off", trace::TARGET).parse()?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let lines = lines.with_filter(filter);
    let Some(endpoint) = traces.otlp_endpoint.as_deref() else {
        // Not an absent layer: one would switch on every span and event of every crate, to throw them away later.
        tracing_subscriber::registry().with(lines).try_init()?;
        return Ok(Exporter(None));
    };
    let provider = provider(endpoint)?;
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("liquid-sidecar"))
        .with_filter(Targets::new().with_target(trace::TARGET, LevelFilter::INFO));
    tracing_subscriber::registry()
        .with(lines)
        .with(spans)
        .try_init()?;
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
