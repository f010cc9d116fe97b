//! `AdmissionReview` of `admission.k8s.io/v1`, with the pod as raw JSON.
//!
//! The types of kube read the object through a flattened map; these keep it as it came.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Incoming {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

/// The part of a request that decisions need.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Given back in the response.
    pub uid: String,
    /// `CREATE`, ...
    pub operation: String,
    /// Set for subresources.
    #[serde(default)]
    pub sub_resource: Option<String>,
    /// Where the pod is created.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name; empty for `generateName`.
    #[serde(default)]
    pub name: Option<String>,
    /// Nothing will be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// The pod.
    #[serde(default)]
    pub object: Value,
}

/// Why a body is no review.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not JSON, or a field is missing.
    #[error("not an AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version or kind.
    #[error("{kind} of {version}: send AdmissionReview of {API_VERSION}")]
    Kind {
        /// What was sent.
        kind: String,
        /// What was sent.
        version: String,
    },
    /// A response.
    #[error("AdmissionReview without a request")]
    NoRequest,
}

/// Reads a review.
///
/// # Errors
/// What is no review of this version.
pub fn read(body: &[u8]) -> Result<Request, ReviewError> {
    let incoming: Incoming = serde_json::from_slice(body)?;
    if incoming.api_version != API_VERSION || incoming.kind != KIND {
        return Err(ReviewError::Kind {
            kind: incoming.kind,
            version: incoming.api_version,
        });
    }
    incoming.request.ok_or(ReviewError::NoRequest)
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Review {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    /// The decision.
    pub response: Response,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// The request's.
    pub uid: String,
    /// Whether the pod may be created.
    pub allowed: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// `JSONPatch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_type: Option<&'static str>,
    /// The patch, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// Shown to whoever creates the pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Why a pod may not be created.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// For people.
    pub message: String,
    /// HTTP status that the client sees.
    pub code: u16,
}

impl Review {
    fn new(uid: &str, allowed: bool) -> Self {
        Self {
            api_version: API_VERSION,
            kind: KIND,
            response: Response {
                uid: uid.into(),
                allowed,
                status: None,
                patch_type: None,
                patch: None,
                warnings: Vec::new(),
            },
        }
    }

    /// The pod as it is.
    pub fn allow(uid: &str) -> Self {
        Self::new(uid, true)
    }

    /// Not this pod.
    pub fn deny(uid: &str, message: impl ToString) -> Self {
        let mut review = Self::new(uid, false);
        review.response.status = Some(Status {
            message: message.to_string(),
            code: 403,
        });
        review
    }

    /// The pod with changes; one without any is as [`Self::allow`].
    ///
    /// # Errors
    /// A patch that is not JSON.
    pub fn patch(uid: &str, patch: &Patch) -> Result<Self, serde_json::Error> {
        let mut review = Self::new(uid, true);
        if !patch.0.is_empty() {
            review.response.patch_type = Some("JSONPatch");
            review.response.patch = Some(STANDARD.encode(serde_json::to_vec(patch)?));
        }
        Ok(review)
    }
}
