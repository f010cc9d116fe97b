//! Calls that wait where there is no worker: somebody is asked to start one, and they are held until it serves.
//!
//! Where workers go when nobody asks, a call must not be the price of the pause. Its body is in memory already; held are
//! the calls of one sidecar, so many at most and so long at most, and what comes then is what `on_worker_unavailable` says.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use liquid_process::lock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;

use super::pool::Pool;
use super::settings::Wake;
use super::{ExtractError, Tls};

/// Time between two questions for a worker, by all calls of a sidecar together.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Longest time for one question.
const ASK_TIME: Duration = Duration::from_secs(2);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Holds calls, and asks for a worker meanwhile.
#[derive(Debug)]
pub(super) struct Waker {
    settings: Wake,
    tls: Option<Tls>,
    places: Semaphore,
    asked: Mutex<Option<Instant>>,
}

impl Waker {
    pub(super) fn new(settings: Wake, tls: Option<Tls>) -> Arc<Self> {
        Arc::new(Self {
            places: Semaphore::new(settings.max_held.min(Semaphore::MAX_PERMITS)),
            settings,
            tls,
            asked: Mutex::new(None),
        })
    }

    /// Returns until when a call that begins now may be held.
    pub(super) fn limit(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.settings.hold_ms)
    }

    /// Asks workers by `ask`. Where there is none, the call is held until one serves, at most until `limit`; so it is where
    /// the last one is lost while it is asked, as `is_lost` says of the error.
    pub(super) async fn ask_or_hold<T, E, F>(
        self: &Arc<Self>,
        pool: &Pool,
        limit: Instant,
        ask: impl Fn() -> F,
        is_lost: impl Fn(&E) -> bool,
    ) -> Result<T, E>
    where
        E: From<ExtractError>,
        F: Future<Output = Result<T, E>>,
    {
        loop {
            let held = match pool.has_available() {
                true => Ok(()),
                false => self.hold(pool, limit).await,
            };
            let error = match ask().await {
                Err(error) if is_lost(&error) && !pool.has_healthy() => error,
                outcome => return outcome,
            };
            held?;
            if Instant::now() >= limit {
                return Err(error);
            }
        }
    }

    /// Holds a call until there is a worker.
    ///
    /// # Errors
    /// [`ExtractError::Unavailable`] where there was none until `limit`, or too many calls wait.
    async fn hold(self: &Arc<Self>, pool: &Pool, limit: Instant) -> Result<(), ExtractError> {
        let Wake {
            hold_ms, max_held, ..
        } = self.settings;
        let Ok(_place) = self.places.try_acquire() else {
            let message = format!("{max_held} calls wait for the first one already (extract.wake.max_held)");
            tracing::warn!(max_held, "too many calls wait for a worker");
            return Err(ExtractError::unavailable(message));
        };
        let ask = || {
            if self.is_time_to_ask() {
                // Beside the look for a worker: whoever is asked may be slow to answer.
                tokio::spawn(Arc::clone(self).ask());
            }
        };
        if pool.look_until(limit, ask).await {
            return Ok(());
        }
        let message = format!("none has started within {hold_ms} ms (extract.wake.hold_ms)");
        Err(ExtractError::unavailable(message))
    }

    fn is_time_to_ask(&self) -> bool {
        let mut asked = lock(&self.asked);
        let due = asked.is_none_or(|last| last.elapsed() >= ASK_EVERY);
        if due {
            *asked = Some(Instant::now());
        }
        due
    }

    async fn ask(self: Arc<Self>) {
        match tokio::time::timeout(ASK_TIME, self.send()).await {
            Ok(Ok(())) => tracing::info!(url = self.settings.url, "asked for a worker"),
            Ok(Err(error)) => {
                tracing::warn!(
                    url = self.settings.url,
                    error,
                    "asked for a worker in vain; asking again"
                );
            }
            Err(_) => tracing::warn!(
                url = self.settings.url,
                "nobody answers who starts workers; asking again"
            ),
        }
    }

    /// Sends the question. Each has a connection of its own, so that the next one reaches another replica.
    async fn send(&self) -> Result<(), BoxError> {
        let url: Uri = self.settings.url.parse()?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(read_tls(self.tls.as_ref()).await?)
            .https_or_http()
            .enable_http1()
            .build();
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
        let request = Request::post(url).body(Empty::new())?;
        let status = client.request(request).await?.status();
        if status.is_success() {
            return Ok(());
        }
        Err(format!("it answered {status}").into())
    }
}

/// Reads the files of the connections to workers: the same authorities and the same certificate say who asks.
async fn read_tls(tls: Option<&Tls>) -> Result<ClientConfig, BoxError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut roots = RootCertStore::empty();
    let Some(tls) = tls else {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    };
    for authority in read_certificates(&tls.ca_file).await? {
        roots.add(authority)?;
    }
    let builder = builder.with_root_certificates(roots);
    let (Some(certificate), Some(key)) = (&tls.cert_file, &tls.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let key = PrivateKeyDer::from_pem_slice(&tokio::fs::read(key).await?)?;
    Ok(builder.with_client_auth_cert(read_certificates(certificate).await?, key)?)
}

async fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BoxError> {
    let text = tokio::fs::read(path).await?;
    let all: Result<_, _> = CertificateDer::pem_slice_iter(&text).collect();
    Ok(all?)
}
