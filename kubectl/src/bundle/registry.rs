//! A registry, spoken to over TLS by the OCI distribution protocol.

use std::error::Error;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use http::HeaderValue;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use tokio_util::io::ReaderStream;

use super::archive::Archive;
use super::layout::{Blob, Item};

/// First wait before a request is sent again; each further one is twice as long, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long the registry may say nothing.
const SILENCE: Duration = Duration::from_secs(120);
const CONNECTING: Duration = Duration::from_secs(10);
/// What is sent of a blob at a time.
const CHUNK: usize = 1 << 20;

/// `HOST[:PORT]` and the path below which everything is pushed, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    host: String,
    path: String,
}

impl Address {
    /// Returns host and port, by which Docker's configuration names a registry.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the full name of an item.
    pub(super) fn reference(&self, item: &Item) -> Reference {
        let repository = match self.path.as_str() {
            "" => item.repository.clone(),
            path => format!("{path}/{}", item.repository),
        };
        Reference::with_tag(self.host.clone(), repository, item.tag.clone())
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let fits = |part: &str, more: &str| {
            let allowed = |letter: char| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || more.contains(letter)
            };
            !part.is_empty() && part.chars().all(allowed)
        };
        let parts = || path.split('/').all(|part| fits(part, "._-"));
        if fits(host, ".:-[]") && (path.is_empty() || parts()) {
            let (host, path) = (host.to_owned(), path.to_owned());
            return Ok(Self { host, path });
        }
        Err(
            "expected HOST[:PORT]/PATH in lower case without https://, such as registry.example/liquid"
                .to_owned(),
        )
    }
}

/// Access to a registry.
pub(super) struct Registry {
    client: Client,
    pub(super) address: Address,
    login: RegistryAuth,
    retries: u32,
}

impl Registry {
    /// Prepares access; nothing is sent.
    pub(super) fn new(
        address: Address,
        authorities: Option<&Path>,
        login: RegistryAuth,
        retries: u32,
    ) -> Result<Self> {
        // The one provider of the workspace; another one may be installed already, and then is it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let read = |path: &Path| {
            let data = std::fs::read(path).with_context(|| format!("--ca-file {}", path.display()))?;
            let encoding = CertificateEncoding::Pem;
            anyhow::Ok(vec![Certificate { encoding, data }])
        };
        let config = ClientConfig {
            use_monolithic_push: true,
            tls_certs_only: authorities.map(read).transpose()?.unwrap_or_default(),
            read_timeout: Some(SILENCE),
            connect_timeout: Some(CONNECTING),
            user_agent: concat!("kubectl-liquid/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        Ok(Self {
            client: Client::try_from(config).context("cannot use TLS; is --ca-file PEM?")?,
            address,
            login,
            retries,
        })
    }

    /// Pushes a blob unless the registry has it. Returns whether it was pushed.
    pub(super) async fn push_blob(&self, image: &Reference, blob: &Blob, archive: &Archive) -> Result<bool> {
        let place = blob.place(archive)?;
        self.log_in(image).await;
        self.repeat(|| async {
            // Asked before each try: the one before may have arrived, and only its answer was lost.
            if self.client.blob_exists(image, &blob.digest).await? {
                return Ok(false);
            }
            let reader = archive
                .reader(place)
                .map_err(|error| std::io::Error::other(format!("{error:#}")))?;
            let (file, size) = (reader.into_inner(), place.size);
            let content = tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(file), size);
            let content = ReaderStream::with_capacity(content, CHUNK).map_err(OciDistributionError::from);
            self.client
                .push_blob_stream(image, content, &blob.digest, Some(size))
                .await?;
            Ok(true)
        })
        .await
        .map_err(explain)
        .with_context(|| format!("{}: the registry does not take {}", image.whole(), blob.digest))
    }

    /// Pushes the manifest of an item, which makes its name known, unless the name is the manifest's already. Returns
    /// whether it was pushed.
    pub(super) async fn push_manifest(&self, image: &Reference, item: &Item) -> Result<bool> {
        let kind = HeaderValue::from_str(&item.manifest.media_type).context("a media type")?;
        self.log_in(image).await;
        self.repeat(|| async {
            match self.client.fetch_manifest_digest(image, &self.login).await {
                Ok(digest) if digest == item.digest => return Ok(false),
                Err(error) if is_transient(&error) => return Err(error),
                _ => {}
            }
            self.client
                .push_manifest_raw(image, item.manifest.bytes.clone(), kind.clone())
                .await?;
            Ok(true)
        })
        .await
        .map_err(explain)
        .with_context(|| format!("{}: the registry does not take it", image.whole()))
    }

    async fn log_in(&self, image: &Reference) {
        self.client
            .store_auth_if_needed(image.resolve_registry(), &self.login)
            .await;
    }

    /// Tries until the registry answers for good, with growing waits between.
    async fn repeat<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, OciDistributionError>
    where
        F: Future<Output = Result<T, OciDistributionError>>,
    {
        let mut wait = FIRST_WAIT;
        for _ in 0..self.retries {
            match attempt().await {
                Err(error) if is_transient(&error) => {}
                outcome => return outcome,
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        attempt().await
    }
}

/// Says what to do, where that is known.
fn explain(error: OciDistributionError) -> anyhow::Error {
    let remedy = match &error {
        OciDistributionError::RequestError(error) if is_refused_certificate(error) => {
            Some("its certificate is of no authority that is trusted; name one with --ca-file")
        }
        error if is_refused_login(error) => {
            Some("it refuses these credentials; name others with --docker-config")
        }
        _ => None,
    };
    let error = anyhow::Error::from(error);
    match remedy {
        Some(remedy) => error.context(remedy),
        None => error,
    }
}

fn is_refused_login(error: &OciDistributionError) -> bool {
    let refused = |code: u16| code == 401 || code == 403;
    match error {
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            true
        }
        OciDistributionError::ServerError { code, .. } => refused(*code),
        OciDistributionError::RequestError(error) => {
            error.status().is_some_and(|status| refused(status.as_u16()))
        }
        _ => false,
    }
}

/// Returns whether the same request may succeed later: no answer, or one that says so.
fn is_transient(error: &OciDistributionError) -> bool {
    let passing = |code: u16| code == 429 || code >= 500;
    match error {
        OciDistributionError::ServerError { code, .. } => passing(*code),
        OciDistributionError::RequestError(error) => match error.status() {
            Some(status) => passing(status.as_u16()),
            None => !error.is_builder() && !is_refused_certificate(error),
        },
        _ => false,
    }
}

/// Returns whether a certificate of the registry was the reason: it will not be another one later.
fn is_refused_certificate(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<rustls::Error>() {
            return true;
        }
        // The source of such an error is its inner one's: the inner one itself would be left out.
        next = match error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}
