//! `local/extractive`: the built-in provider that needs no model. Answers with the passages that the workers
//! found, quoted with their byte offsets, and says that it does so. Takes the place of an upstream.

mod chat;
mod completions;
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
use passage::ExtractiveAnswer;

/// A call that the built-in provider answers.
#[derive(Debug)]
pub struct LocalCall<'a> {
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

/// The fields of a request that say what form the answer takes.
#[derive(Debug, Default, Deserialize)]
struct AnswerForm {
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
pub fn answer(question: &LocalCall<'_>, mut exchange: Exchange) -> Response<Body> {
    let response =
        build_response(question, &mut exchange).unwrap_or_else(|error| error.response(question.wire));
    exchange.record_status(response.status());
    exchange.complete();
    response
}

fn build_response(question: &LocalCall<'_>, exchange: &mut Exchange) -> Result<Response<Body>, ApiError> {
    let form: AnswerForm = serde_json::from_slice(question.body).map_err(|error| {
        ApiError::invalid(
            StatusCode::BAD_REQUEST,
            "invalid_json",
            format!("the request body cannot be read: {error}"),
        )
    })?;
    let (n, as_json) = check(&form)?;
    let answer = ExtractiveAnswer::new(question.decision, question.evidence, as_json);
    let usage = Usage {
        input: Some(question.decision.tokens_after),
        output: Some(answer.tokens() * n as u64),
        cached: Some(0),
    };
    exchange.record_usage(usage);
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
        (Wire::Completions, false) => json_response(&completions::whole(question.model, &answer, n, usage)),
        (Wire::Completions, true) => stream_response(completions::stream(
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

/// Returns how many answers are asked for, and whether each is a JSON object.
fn check(form: &AnswerForm) -> Result<(usize, bool), ApiError> {
    let refuse = |code, param: &'static str, message: &str| ApiError {
        param: Some(param.into()),
        ..ApiError::invalid(StatusCode::BAD_REQUEST, code, message)
    };
    let format = form.response_format.as_ref().map(|format| format.kind.as_str());
    if format == Some("json_schema") {
        let message = "local/extractive quotes passages and cannot fill a schema: leave response_format out, or set \
                       upstream.model to a language model";
        return Err(refuse("unsupported_parameter", "response_format", message));
    }
    let n = form.n.unwrap_or(1);
    if !(1..=MAX_ANSWERS).contains(&n) {
        let message = format!("n = {n}: give 1 to {MAX_ANSWERS}");
        return Err(refuse("invalid_value", "n", &message));
    }
    Ok((n, format == Some("json_object")))
}

/// Answers a call on no surface: the list of models; everything else does not exist here.
pub fn answer_other(method: &Method, path: &str, wire: Wire, mut exchange: Exchange) -> Response<Body> {
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
    exchange.record_status(response.status());
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

/// Makes a response with one body frame for each event.
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

/// Makes an identifier with a prefix, such as `chatcmpl-`.
fn new_id(prefix: &str) -> String {
    format!("{prefix}{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

#[cfg(test)]
mod tests;
