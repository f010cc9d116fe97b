//! What is sent to one target, the same in each try: a request to an upstream, or a call for the workers.

use axum::body::Body;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use tokio::time::Instant;

use super::connect::ConnectError;
use super::model::{with_model, without_model};
use super::prefix::prefix_key;
use super::{Failure, OutgoingCall, Target, Upstreams};
use crate::api::{ProviderKind, Wire};
use crate::extract::{ModelCall, PrefixKey};
use crate::translate;

/// The headers of a client that workers are sent. Nothing else leaves the sidecar for them, no key above all.
const FOR_WORKERS: [HeaderName; 3] = [
    header::ACCEPT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// A request that is ready for a target.
#[derive(Debug)]
pub(super) enum PreparedRequest {
    /// For an upstream.
    Upstream(UpstreamRequest),
    /// For a worker.
    Worker(WorkerRequest),
}

/// A call for a worker.
#[derive(Debug)]
pub(super) struct WorkerRequest {
    pub(super) call: ModelCall,
    translation: Option<translate::Translation>,
}

/// A request to an upstream.
#[derive(Debug)]
pub(super) struct UpstreamRequest {
    uri: Uri,
    body: Bytes,
    translation: Option<translate::Translation>,
}

impl PreparedRequest {
    pub(super) fn new(
        call: &OutgoingCall<'_>,
        target: &Target,
        upstreams: &Upstreams,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        match target.provider.kind {
            ProviderKind::Liquid => WorkerRequest::new(call, target, upstreams, deadline).map(Self::Worker),
            _ => UpstreamRequest::new(call, target).map(Self::Upstream),
        }
    }

    /// Returns the translation back into the client's shape, where one is needed.
    pub(super) fn translation(&self) -> Option<&translate::Translation> {
        match self {
            Self::Upstream(request) => request.translation.as_ref(),
            Self::Worker(request) => request.translation.as_ref(),
        }
    }
}

impl UpstreamRequest {
    fn new(call: &OutgoingCall<'_>, target: &Target) -> Result<Self, Failure> {
        let provider = &target.provider;
        let (url, body, translation) = if provider.speaks(call.wire) {
            let address = provider.address(call.path, call.query, target.model.as_deref());
            let named = call.path.model().filter(|_| address.model_in_body);
            let model = target.model.as_deref().or(named.as_deref());
            let renamed = model.and_then(|model| with_model(&call.body, model));
            (address.url, renamed.unwrap_or_else(|| call.body.clone()), None)
        } else {
            let named = call.path.model();
            let model = target.model.as_deref().or(named.as_deref());
            let translated = translate::request(call.wire, provider.kind, &call.body, model)?;
            let url = provider.url("/messages", None);
            (url, translated.body, Some(translated.translation))
        };
        let url = url.ok_or_else(|| ConnectError::NoUrl {
            provider: provider.name.clone(),
        })?;
        Ok(Self {
            uri: url,
            body,
            translation,
        })
    }

    pub(super) fn build(
        &self,
        call: &OutgoingCall<'_>,
        target: &Target,
        upstreams: &Upstreams,
    ) -> Request<Body> {
        let mut request = Request::new(Body::from(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        *headers = call.headers.clone();
        headers.remove(header::CONTENT_LENGTH);
        if self.translation.is_some() {
            translate::request_headers(headers);
        }
        target.provider.authorize(headers, target.forward_key);
        upstreams.guard.mark(headers);
        request
    }
}

impl WorkerRequest {
    /// Makes the call for a worker. Its model is the configured one, else the only one that it serves, whatever the client
    /// named.
    fn new(
        call: &OutgoingCall<'_>,
        target: &Target,
        upstreams: &Upstreams,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        let path = match call.wire {
            Wire::Completions => "/v1/completions",
            Wire::Chat | Wire::Messages | Wire::Responses => "/v1/chat/completions",
        };
        let model = target.model.as_deref();
        let (body, translation) = if target.provider.speaks(call.wire) {
            let body = match model {
                Some(model) => with_model(&call.body, model),
                None => without_model(&call.body),
            };
            (body.unwrap_or_else(|| call.body.clone()), None)
        } else {
            let translated = translate::request(call.wire, target.provider.kind, &call.body, model)?;
            (translated.body, Some(translated.translation))
        };
        let mut headers = headers_for_workers(call.headers, upstreams);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let call = ModelCall {
            method: Method::POST,
            path: PathAndQuery::from_static(path),
            headers,
            prefix: prefix_key(&body),
            deadline: Some(deadline),
            body,
        };
        Ok(Self { call, translation })
    }
}

/// Makes a call for a worker that has no body, such as for the list of models; `None` if the path is none.
pub fn plain_worker_call(
    method: Method,
    path: &str,
    headers: &HeaderMap,
    upstreams: &Upstreams,
) -> Option<ModelCall> {
    Some(ModelCall {
        method,
        path: PathAndQuery::try_from(path).ok()?,
        headers: headers_for_workers(headers, upstreams),
        body: Bytes::new(),
        prefix: PrefixKey::default(),
        deadline: None,
    })
}

fn headers_for_workers(client: &HeaderMap, upstreams: &Upstreams) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in &FOR_WORKERS {
        for value in client.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    upstreams.guard.mark(&mut headers);
    headers
}
