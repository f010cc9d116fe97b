//! `local/extractive`: the built-in provider that needs no model. Answers with the passages that the workers found,
//! quoted with their byte offsets, and says that this is what it does. Stands where an upstream would.

mod chat;
mod messages;
mod passage;
mod responses;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{Usage, Wire};
use crate::compress::{Decision, Evidence};
use crate::error::ApiError;
use crate::report::Exchange;
use passage::Answer;

/// What is to be answered.
#[derive(Debug)]
pub struct Question<'a> {
    /// The shape of request and answer.
    pub wire: Wire,
    /// The request, patched.
    pub body: &'a Bytes,
    /// The model's name in the answer.
    pub model: &'a str,
    /// What was decided about the request.
    pub decision: &'a Decision,
    /// What was kept of its document.
    pub evidence: Option<&'a Evidence>,
}

/// What the request says about the answer's form.
#[derive(Debug, Default, Deserialize)]
struct Form {
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    n: Option<usize>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    response_format: Option<ResponseFormat>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct ResponseFormat {
    #[serde(rename = "type")]
    kind: String,
}

/// OpenAI's own limit for `n`.
const MAX_ANSWERS: usize = 128;

/// Answers a call.
pub fn answer(question: &Question<'_>, mut exchange: Exchange) -> Response<Body> {
    let response = write(question, &mut exchange).unwrap_or_else(|error| error.response(question.wire));
    exchange.status(response.status());
    exchange.complete();
    response
}

fn write(question: &Question<'_>, exchange: &mut Exchange) -> Result<Response<Body>, ApiError> {
    let form: Form = serde_json::from_slice(question.body).map_err(|error| {
        ApiError::invalid(
            StatusCode::BAD_REQUEST,
            "invalid_json",
            format!("the request body cannot be read: {error}"),
        )
    })?;
    let format = form.response_format.as_ref().map(|format| format.kind.as_str());
    if format == Some("json_schema") {
        let message = "local/extractive quotes passages and cannot fill a schema: leave response_format out, or set upstream.model to a language model";
        let error = ApiError::invalid(StatusCode::BAD_REQUEST, "unsupported_parameter", message);
        return Err(ApiError {
            param: Some("response_format".into()),
            ..error
        });
    }
    let n = form.n.unwrap_or(1);
    if !(1..=MAX_ANSWERS).contains(&n) {
        let message = format!("n = {n}: give 1 to {MAX_ANSWERS}");
        let error = ApiError::invalid(StatusCode::BAD_REQUEST, "invalid_value", message);
        return Err(ApiError {
            param: Some("n".into()),
            ..error
        });
    }
    let answer = Answer::of(
        question.decision,
        question.evidence,
        format == Some("json_object"),
    );
    let usage = Usage {
        input: Some(question.decision.tokens_after),
        output: Some(answer.tokens() * n as u64),
        cached: Some(0),
    };
    exchange.usage(usage);
    let include_usage = form
        .stream_options
        .and_then(|options| options.include_usage)
        .unwrap_or(false);
    let stream = form.stream.unwrap_or(false);
    Ok(match (question.wire, stream) {
        (Wire::Chat, false) => json_response(&chat::whole(question.model, &answer, n, usage)),
        (Wire::Chat, true) => stream_response(chat::stream(
            question.model,
            &answer,
            n,
            include_usage.then_some(usage),
        )),
        (Wire::Responses, false) => json_response(&responses::whole(question.model, &answer, usage)),
        (Wire::Responses, true) => stream_response(responses::stream(question.model, &answer, usage)),
        (Wire::Messages, false) => json_response(&messages::whole(question.model, &answer, usage)),
        (Wire::Messages, true) => stream_response(messages::stream(question.model, &answer, usage)),
    })
}

/// Answers what is no surface: the list of models; all else does not exist here.
pub fn other(method: &Method, path: &str, wire: Wire, mut exchange: Exchange) -> Response<Body> {
    let response = if path == "/" {
        json_response(&json!({"object": "liquid.sidecar", "provider": "local"}))
    } else if path == "/models" && (method == Method::GET || method == Method::HEAD) {
        let model =
            json!({"id": "local/extractive", "object": "model", "created": 0, "owned_by": "liquid-sidecar"});
        json_response(&json!({"object": "list", "data": [model]}))
    } else {
        let message =
            format!("{path}: the built-in provider answers chat calls only; set upstream.model for the rest");
        ApiError::invalid(StatusCode::NOT_FOUND, "not_found", message).response(wire)
    };
    exchange.status(response.status());
    exchange.complete();
    response
}

fn json_response(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// One body frame an event.
fn stream_response(events: Vec<String>) -> Response<Body> {
    let frames = events
        .into_iter()
        .map(|event| Ok::<_, std::convert::Infallible>(Bytes::from(event)));
    let mut response = Response::new(Body::from_stream(futures::stream::iter(frames)));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// An event with a name.
fn named(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// An identifier with a prefix, such as `chatcmpl-`.
fn new_id(prefix: &str) -> String {
    format!("{prefix}{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

#[cfg(test)]
mod tests;
