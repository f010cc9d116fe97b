//! `GET /v1/models` and `GET /v1/models/{name}`: the decoder.

use std::time::UNIX_EPOCH;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::error::ApiError;
use super::{Gateway, json};
use crate::runtime::Decoder;

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: [Model<'a>; 1],
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    /// As vLLM names it: most tokens of prompt and answer together.
    max_model_len: usize,
}

impl<'a> Model<'a> {
    fn of(decoder: &'a Decoder) -> Self {
        let created = decoder.loaded.duration_since(UNIX_EPOCH);
        Self {
            id: &decoder.name,
            object: "model",
            created: created.map_or(0, |time| time.as_secs()),
            owned_by: "liquid-memory",
            max_model_len: decoder.context_tokens,
        }
    }
}

pub(super) async fn list(State(gateway): State<Gateway>) -> Result<Response, ApiError> {
    let admitted = gateway.admit()?;
    Ok(json(&List {
        object: "list",
        data: [Model::of(&admitted.decoder)],
    }))
}

pub(super) async fn one(
    State(gateway): State<Gateway>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let admitted = gateway.admit()?;
    match name == admitted.decoder.name {
        true => Ok(json(&Model::of(&admitted.decoder))),
        false => Err(ApiError::unknown_model(&name, &admitted.decoder.name)),
    }
}
