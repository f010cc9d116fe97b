//! The surface that a method and a path belong to.

use http::Method;

use crate::api::{Surface, Wire};

/// A surface's route: how its calls are read, answered and forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    /// The shape of the request's body.
    pub(super) surface: Surface,
    /// The shape of the answer.
    pub(super) wire: Wire,
    /// The upstream's path, below the API's version.
    pub(super) path: &'static str,
}

/// Finds the surface behind a call, with and without `/v1`; `None` for everything that passes through.
pub(super) fn find_route(method: &Method, path: &str) -> Option<Route> {
    if method != Method::POST {
        return None;
    }
    let (surface, wire, path) = match below_version(path) {
        "/chat/completions" => (Surface::ChatCompletions, Wire::Chat, "/chat/completions"),
        "/responses" => (Surface::Responses, Wire::Responses, "/responses"),
        "/messages" => (Surface::Messages, Wire::Messages, "/messages"),
        "/hybrid_chat" => (Surface::HybridChat, Wire::Chat, "/chat/completions"),
        _ => return None,
    };
    Some(Route { surface, wire, path })
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
mod tests {
    use super::*;

    #[test]
    fn surfaces_with_and_without_version() {
        for (path, want) in [
            ("/v1/chat/completions", Some(Surface::ChatCompletions)),
            ("/chat/completions", Some(Surface::ChatCompletions)),
            ("/v1/responses", Some(Surface::Responses)),
            ("/messages", Some(Surface::Messages)),
            ("/v1/hybrid_chat", Some(Surface::HybridChat)),
            ("/v1/messages/count_tokens", None),
            ("/v1/responses/resp_1", None),
            ("/v1chat/completions", None),
            ("/v1/embeddings", None),
            ("/", None),
        ] {
            assert_eq!(
                find_route(&Method::POST, path).map(|route| route.surface),
                want,
                "{path}"
            );
            assert_eq!(find_route(&Method::GET, path), None, "{path}");
        }
    }

    #[test]
    fn reads_the_dry_run_query() {
        assert!(asks_dry_run(Some("beta=true&dry_run=1")));
        assert!(!asks_dry_run(Some("dry_run=0")));
        assert!(!asks_dry_run(None));
    }
}
