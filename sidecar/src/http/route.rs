//! The surface that a method and a path belong to.
//!
//! Clients reach one call by many spellings: an SDK appends its path to whatever base URL it was given, with
//! slashes too many, a version twice, or another provider's prefix. What a server may answer as a call on a
//! surface is that surface here, or refused with the right path; never a tunnel, which nobody reads.

use http::Method;

use super::spelling::Spelling;
use crate::api::{Surface, Wire};
use crate::upstream::CallPath;
use crate::upstream::path::{Prefix, names_api};

/// A surface's route: how its calls are read, answered and forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// The shape of the request's body.
    pub(super) surface: Surface,
    /// The shape of the answer.
    pub(super) wire: Wire,
    /// The upstream's path.
    pub(super) path: CallPath,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// A surface.
    Surface(Route),
    /// Nothing: the path is close to that of a surface, and servers differ in what they make of it.
    Misspelt(Route),
    /// A call on no surface, which passes through.
    Other,
}

/// The paths of the surfaces that a provider has too.
pub(super) const SURFACE_PATHS: [&str; 4] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/completions",
];

impl Route {
    fn new(surface: Surface, prefix: Prefix) -> Self {
        let endpoint = match surface {
            Surface::ChatCompletions | Surface::HybridChat => "/chat/completions",
            Surface::Responses => "/responses",
            Surface::Messages => "/messages",
            Surface::Completions => "/completions",
        };
        let path = CallPath { endpoint, prefix };
        Self {
            surface,
            wire: surface.wire(),
            path,
        }
    }

    /// Returns the path to call instead of a misspelt one.
    pub(super) fn right_path(&self) -> &'static str {
        match self.surface {
            Surface::ChatCompletions => "/v1/chat/completions",
            Surface::Responses => "/v1/responses",
            Surface::Messages => "/v1/messages",
            Surface::Completions => "/v1/completions",
            Surface::HybridChat => "/v1/hybrid_chat",
        }
    }
}

/// Finds what a call leads to.
pub(super) fn find_route(method: &Method, path: &str) -> Destination {
    if method != Method::POST {
        return Destination::Other;
    }
    // The spellings of the SDKs, at no cost.
    let surface = match below_version(path) {
        "/chat/completions" => Some(Surface::ChatCompletions),
        "/responses" => Some(Surface::Responses),
        "/messages" => Some(Surface::Messages),
        "/completions" => Some(Surface::Completions),
        "/hybrid_chat" => Some(Surface::HybridChat),
        _ => None,
    };
    if let Some(surface) = surface {
        return Destination::Surface(Route::new(surface, Prefix::Version));
    }
    let spelling = Spelling::read(path);
    match (find_surface(&spelling.segments), spelling.is_plain) {
        (Some(route), true)
            if route.surface != Surface::HybridChat || route.path.prefix == Prefix::Version =>
        {
            Destination::Surface(route)
        }
        (Some(route), _) => Destination::Misspelt(route),
        (None, _) => Destination::Other,
    }
}

/// Finds the surface that the last segments of a path name, and what stands before them.
fn find_surface(segments: &[String]) -> Option<Route> {
    let is = |segment: &String, name: &str| segment.eq_ignore_ascii_case(name);
    let (last, before) = segments.split_last()?;
    if is(last, "completions")
        && let Some((chat, before)) = before.split_last()
        && is(chat, "chat")
    {
        return Some(Route::new(Surface::ChatCompletions, find_prefix(before)));
    }
    let surface = match last.to_ascii_lowercase().as_str() {
        "responses" => Surface::Responses,
        "messages" => Surface::Messages,
        "completions" => Surface::Completions,
        "hybrid_chat" => Surface::HybridChat,
        _ => return None,
    };
    // `/v1/threads/{id}/messages`, `/v1/agents/completions` and the like are calls of other APIs.
    let known = before.last().is_none_or(|segment| names_api(segment)) || is_deployment(before);
    (known || surface == Surface::HybridChat).then(|| Route::new(surface, find_prefix(before)))
}

/// Reads what stands before a call.
fn find_prefix(before: &[String]) -> Prefix {
    let is_v1 = |segment: &String| segment.eq_ignore_ascii_case("v1");
    let first = before.iter().position(|segment| !is_v1(segment));
    let Some(first) = first else {
        return Prefix::Version;
    };
    let written = |segments: &[String]| {
        segments
            .iter()
            .map(|segment| format!("/{segment}"))
            .collect::<String>()
    };
    if let Some((root, name)) = split_deployment(&before[first..]) {
        return Prefix::Azure {
            root: written(root),
            deployment: Some(name.join("%2F")),
        };
    }
    if let [only] = &before[first..]
        && only.eq_ignore_ascii_case("openai")
        && first == 0
    {
        return Prefix::Azure {
            root: written(before),
            deployment: None,
        };
    }
    let is_api = |segment: &String| names_api(segment) || segment.eq_ignore_ascii_case("api");
    if before.iter().all(is_api) {
        let mut api = before.to_vec();
        api.dedup();
        return Prefix::Api(written(&api));
    }
    Prefix::Gateway(written(&before[first..]))
}

fn is_deployment(before: &[String]) -> bool {
    split_deployment(before).is_some()
}

/// Splits `/openai/deployments/NAME` before the deployments; a gateway's name may hold slashes.
fn split_deployment(before: &[String]) -> Option<(&[String], &[String])> {
    let at = before
        .iter()
        .position(|segment| segment.eq_ignore_ascii_case("deployments"))?;
    let (root, name) = (&before[..at], &before[at + 1..]);
    (!name.is_empty()).then_some((root, name))
}

/// Returns the path without its leading `/v1`, as providers' base URLs already carry the version.
pub(super) fn below_version(path: &str) -> &str {
    match path.strip_prefix("/v1") {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

/// Returns whether `?dry_run` is switched on in a query.
pub(super) fn asks_dry_run(query: Option<&str>) -> bool {
    query.is_some_and(|query| {
        query
            .split('&')
            .any(|pair| matches!(pair, "dry_run=1" | "dry_run=true"))
    })
}

#[cfg(test)]
mod tests;
