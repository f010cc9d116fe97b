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

/// An admission request, as far as decisions need it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Identifier, returned in the response.
    pub uid: String,
    /// Operation, such as `CREATE`.
    pub operation: String,
    /// Name of the subresource, if the request is for one.
    #[serde(default)]
    pub sub_resource: Option<String>,
    /// Namespace in which the pod is created.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Name of the pod; empty for `generateName`.
    #[serde(default)]
    pub name: Option<String>,
    /// True if nothing will be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// The pod as JSON.
    #[serde(default)]
    pub object: Value,
}

/// Why a body is not a review.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// The body is not JSON, or a field is missing.
    #[error("not an AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    /// The object has another version or kind.
    #[error("{kind} of {version}: send AdmissionReview of {API_VERSION}")]
    Kind {
        /// Kind of the object.
        kind: String,
        /// Version of the object.
        version: String,
    },
    /// The review has no request.
    #[error("AdmissionReview without a request")]
    NoRequest,
}

/// Reads the request of a review.
///
/// # Errors
/// The body is not a review of this version.
pub fn read_request(body: &[u8]) -> Result<Request, ReviewError> {
    let incoming: Incoming = serde_json::from_slice(body)?;
    if incoming.api_version != API_VERSION || incoming.kind != KIND {
        return Err(ReviewError::Kind {
            kind: incoming.kind,
            version: incoming.api_version,
        });
    }
    incoming.request.ok_or(ReviewError::NoRequest)
}

/// The answer to a review.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Review {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    /// The decision about the pod.
    pub response: Response,
}

/// The decision about a pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// Identifier of the request.
    pub uid: String,
    /// Whether the pod may be created.
    pub allowed: bool,
    /// Why the pod may not be created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Type of the patch: `JSONPatch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_type: Option<&'static str>,
    /// The patch, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// Warnings that are shown to whoever creates the pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Why a pod may not be created.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Message for people.
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

    /// Allows the pod as it is.
    pub fn allow(uid: &str) -> Self {
        Self::new(uid, true)
    }

    /// Denies the pod.
    pub fn deny(uid: &str, message: impl ToString) -> Self {
        let mut review = Self::new(uid, false);
        review.response.status = Some(Status {
            message: message.to_string(),
            code: 403,
        });
        review
    }

    /// Allows the pod with changes; an empty patch is as [`Self::allow`].
    ///
    /// # Errors
    /// The patch cannot be written as JSON.
    pub fn patch(uid: &str, patch: &Patch) -> Result<Self, serde_json::Error> {
        let mut review = Self::new(uid, true);
        if !patch.0.is_empty() {
            review.response.patch_type = Some("JSONPatch");
            review.response.patch = Some(STANDARD.encode(serde_json::to_vec(patch)?));
        }
        Ok(review)
    }
}
