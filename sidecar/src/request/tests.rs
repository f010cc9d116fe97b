#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod blocks;
mod fields;
mod json;
mod spelling;
mod surfaces;
mod template;
mod texts;
mod tools;

use super::*;

fn read(surface: Surface, body: &str) -> Request<'_> {
    Request::read(surface, body.as_bytes()).unwrap()
}

fn texts<'a>(request: &Request<'a>) -> Vec<(Role, &'a str)> {
    request
        .parts
        .iter()
        .filter_map(|part| Some((part.role, part.text?.raw())))
        .collect()
}
