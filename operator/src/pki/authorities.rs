//! The authorities of one moment, and the Secret that holds them.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::leaf::SecretData;
use super::rotation::{State, Step, Validity};
use super::{Authority, Facts, PkiError, Purpose, Times};

/// Name of the Secret with the authority of the product's own connections.
pub const SECRET: &str = Purpose::Internal.secret();
/// Annotation of the Secret: since when everything is as the present phase of a rotation wants it.
pub const COMPLETE_SINCE: &str = "liquidmemory.dev/rotation-complete-since";

const CURRENT: (&str, &str) = ("tls.crt", "tls.key");
const NEXT: (&str, &str) = ("next-tls.crt", "next-tls.key");
const OLD: &str = "old-tls.crt";

/// The authority that signs, and those that are trusted beside it while a rotation is on.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// What they are for.
    pub purpose: Purpose,
    /// The authority that signs.
    pub current: Authority,
    /// The authority that will sign.
    pub next: Option<Authority>,
    /// Certificate of the authority that signed before, PEM. Its key is gone.
    pub old: Option<String>,
    /// Since when everything is as this phase wants it.
    pub complete_since: Option<Timestamp>,
}

impl Authorities {
    /// Makes the first authority of the product's own connections.
    ///
    /// # Errors
    /// A time that a certificate cannot hold.
    pub fn generate(now: Timestamp, times: &Times) -> Result<Self, PkiError> {
        Self::generate_for(Purpose::Internal, now, times)
    }

    /// Makes the first authority for a purpose; `times` are those of the purpose.
    ///
    /// # Errors
    /// A time that a certificate cannot hold.
    pub fn generate_for(purpose: Purpose, now: Timestamp, times: &Times) -> Result<Self, PkiError> {
        Ok(Self {
            purpose,
            current: Authority::generate(purpose, now, times.ca)?,
            next: None,
            old: None,
            complete_since: None,
        })
    }

    /// Returns every certificate to trust, PEM.
    pub fn bundle(&self) -> String {
        let next = self.next.as_ref().map(Authority::certificate);
        let parts = [Some(self.current.certificate()), next, self.old.as_deref()];
        parts.into_iter().flatten().collect()
    }

    /// Returns what the rotation depends on.
    ///
    /// # Errors
    /// An old certificate that cannot be read.
    pub fn state(&self) -> Result<State, PkiError> {
        let validity = |facts: &Facts| Validity {
            not_before: facts.not_before,
            not_after: facts.not_after,
        };
        let old = self.old.as_deref();
        let old = old
            .map(|old| Facts::from_pem("old certificate authority", old))
            .transpose()?;
        Ok(State {
            current: validity(self.current.facts()),
            next: self.next.as_ref().map(|next| validity(next.facts())),
            old: old.as_ref().map(validity),
            complete_since: self.complete_since,
        })
    }

    /// Returns the authorities after a step.
    ///
    /// # Errors
    /// A time that a certificate cannot hold.
    pub fn after(&self, step: Step, times: &Times, now: Timestamp) -> Result<Self, PkiError> {
        let mut after = self.clone();
        after.complete_since = None;
        match step {
            Step::Keep => after.complete_since = self.complete_since,
            Step::Complete => after.complete_since = Some(now),
            Step::Announce => after.next = Some(Authority::generate(self.purpose, now, times.ca)?),
            Step::Promote => {
                if let Some(next) = after.next.take() {
                    after.old = Some(self.current.certificate().to_owned());
                    after.current = next;
                }
            }
            Step::Drop => after.old = None,
            Step::Replace => after = Self::generate_for(self.purpose, now, times)?,
        }
        Ok(after)
    }

    /// Reads the authorities from their Secret, whose name says what they are for.
    ///
    /// # Errors
    /// A key that is missing or cannot be read.
    pub fn read(secret: &Secret) -> Result<Self, PkiError> {
        let empty = SecretData::new();
        let data = secret.data.as_ref().unwrap_or(&empty);
        let purpose = secret.metadata.name.as_deref().and_then(Purpose::of_secret);
        let purpose = purpose.unwrap_or(Purpose::Internal);
        let fail = |key, why: String| PkiError::Secret {
            secret: purpose.secret(),
            key,
            why,
        };
        let text = |key: &'static str| match data.get(key) {
            None => Ok(None),
            Some(ByteString(bytes)) => match String::from_utf8(bytes.clone()) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(fail(key, "not text".into())),
            },
        };
        let pair = |(certificate, key): (&'static str, &'static str)| match (text(certificate)?, text(key)?) {
            (None, None) => Ok(None),
            (Some(certificate_pem), Some(key_pem)) => Authority::read(certificate_pem, key_pem)
                .map(Some)
                .map_err(|error| fail(certificate, error.to_string())),
            (None, Some(_)) => Err(fail(certificate, "missing".into())),
            (Some(_), None) => Err(fail(key, "missing".into())),
        };
        let since = secret.annotations().get(COMPLETE_SINCE);
        Ok(Self {
            purpose,
            current: pair(CURRENT)?.ok_or_else(|| fail(CURRENT.0, "missing".into()))?,
            next: pair(NEXT)?,
            old: text(OLD)?,
            // A time that cannot be read counts as none: the phase takes longer, and nothing breaks.
            complete_since: since.and_then(|since| since.parse().ok()),
        })
    }

    /// Returns the data of the Secret.
    pub fn to_data(&self) -> SecretData {
        let mut data = SecretData::new();
        let mut put = |key: &str, text: &str| data.insert(key.into(), ByteString(text.as_bytes().to_vec()));
        put(CURRENT.0, self.current.certificate());
        put(CURRENT.1, self.current.key());
        if let Some(next) = &self.next {
            put(NEXT.0, next.certificate());
            put(NEXT.1, next.key());
        }
        if let Some(old) = &self.old {
            put(OLD, old);
        }
        data
    }

    /// Builds the Secret, to be written over the version that was read.
    pub fn to_secret(&self, namespace: &str, version: Option<String>) -> Secret {
        let mut secret = Secret {
            type_: Some("Opaque".into()),
            data: Some(self.to_data()),
            ..Secret::default()
        };
        secret.metadata.name = Some(self.purpose.secret().into());
        secret.metadata.namespace = Some(namespace.into());
        secret.metadata.resource_version = version;
        let labels = [
            ("app.kubernetes.io/name", "liquid-memory"),
            ("app.kubernetes.io/managed-by", crate::names::FIELD_MANAGER),
        ];
        secret.metadata.labels = Some(labels.map(|(key, value)| (key.into(), value.into())).into());
        secret.metadata.annotations = self
            .complete_since
            .map(|since| [(COMPLETE_SINCE.to_owned(), since.to_string())].into());
        secret
    }
}
