//! The rest of the upstream: errors in the surface's own shape, models, embeddings, files, and an echo for
//! every path it does not know.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::deliver::Reply;
use super::prompt::{CREATED, text, tokens};
use crate::Recorded;

/// A key that is refused with 401 on every surface.
const INVALID_KEY: &str = "sk-invalid";

/// Returns an error in OpenAI's shape, or in Anthropic's on `/messages`.
pub(super) fn error(request: &Recorded, status: u16, message: &str, retry_after: Option<u64>) -> Reply {
    let body = if request.path.contains("/messages") {
        json!({"type": "error", "error": {"type": anthropic_type(status), "message": message}, "request_id": "req_mock"})
    } else {
        let (kind, code) = openai_type(status);
        json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
    };
    let reply = Reply::json(status, &body).with_header("x-request-id", "req_mock");
    match retry_after {
        Some(seconds) => reply.with_header("retry-after", seconds.to_string()),
        None => reply,
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    }
}

fn openai_type(status: u16) -> (&'static str, Option<&'static str>) {
    match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        404 => ("invalid_request_error", Some("model_not_found")),
        429 => ("requests", Some("rate_limit_exceeded")),
        400..=499 => ("invalid_request_error", None),
        _ => ("server_error", None),
    }
}

/// Returns the refusal of what a provider refuses before it answers: a wrong key, a body that is no JSON, no model.
pub(super) fn refusal(request: &Recorded, body: &Value) -> Option<Reply> {
    let bearer = request
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    let keys = [bearer, request.header("api-key"), request.header("x-api-key")];
    if keys.contains(&Some(INVALID_KEY)) {
        return Some(error(request, 401, "Incorrect API key provided", None));
    }
    let generates = ["/chat/completions", "/responses", "/messages"];
    if request.method != "POST" || !generates.iter().any(|path| request.path.ends_with(path)) {
        return None;
    }
    if body.is_null() {
        return Some(error(
            request,
            400,
            "We could not parse the JSON body of your request",
            None,
        ));
    }
    body.get("model")
        .is_none()
        .then(|| error(request, 400, "you must provide a model parameter", None))
}

pub(super) fn answer(request: &Recorded, body: &Value) -> Reply {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", path) if path.ends_with("/models") => Reply::json(
            200,
            &json!({"object": "list", "data": [model("gpt-5.6"), model("mock-model")]}),
        ),
        ("GET", path) if path.contains("/models/") => match path.rsplit('/').next() {
            Some("missing") | None => error(request, 404, "The model 'missing' does not exist", None),
            Some(name) => Reply::json(200, &model(name)),
        },
        ("POST", path) if path.ends_with("/embeddings") => embeddings(body),
        ("POST", path) if path.ends_with("/files") => Reply::json(
            200,
            &json!({
                "id": "file-mock", "object": "file", "bytes": request.body.len(), "created_at": CREATED,
                "filename": "echo", "purpose": "user_data", "status": "processed", "sha256": request.sha256(),
            }),
        ),
        _ => Reply::json(
            200,
            &json!({
                "method": request.method, "path": request.path, "query": request.query,
                "body_bytes": request.body.len(), "body_sha256": request.sha256(),
            }),
        ),
    }
}

fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": CREATED, "owned_by": "mock"})
}

/// Returns one vector for each input: its length in characters, then two constants, as floats or as base64 (the
/// SDKs' default).
fn embeddings(body: &Value) -> Reply {
    let input = body.get("input").unwrap_or(&Value::Null);
    let inputs = input.as_array().map_or_else(|| vec![input.clone()], Clone::clone);
    let encoded = body
        .get("encoding_format")
        .is_some_and(|format| format == "base64");
    let data = (0..).zip(&inputs).map(|(index, input): (u64, _)| {
        #[allow(clippy::cast_precision_loss, reason = "a text's length stays far below 2^24")]
        let vector = [text(input).chars().count() as f32, 0.5, -0.5];
        let bytes = vector
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect::<Vec<_>>();
        let embedding = if encoded {
            json!(STANDARD.encode(bytes))
        } else {
            json!(vector)
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let prompt_tokens = inputs.iter().map(|input| tokens(&text(input))).sum::<usize>();
    Reply::json(
        200,
        &json!({
            "object": "list", "data": data.collect::<Vec<_>>(), "model": body.get("model"),
            "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
        }),
    )
}
