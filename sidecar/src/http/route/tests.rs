#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn surface(path: &str) -> Option<Surface> {
    match find_route(&Method::POST, path) {
        Destination::Surface(route) => Some(route.surface),
        Destination::Misspelt(_) | Destination::Other => None,
    }
}

fn prefix(path: &str) -> Prefix {
    match find_route(&Method::POST, path) {
        Destination::Surface(route) => route.path.prefix,
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn surfaces_with_and_without_version() {
    for (path, want) in [
        ("/v1/chat/completions", Some(Surface::ChatCompletions)),
        ("/chat/completions", Some(Surface::ChatCompletions)),
        ("/v1/responses", Some(Surface::Responses)),
        ("/messages", Some(Surface::Messages)),
        ("/v1/completions", Some(Surface::Completions)),
        ("/completions", Some(Surface::Completions)),
        ("/v1/hybrid_chat", Some(Surface::HybridChat)),
        ("/v1/messages/count_tokens", None),
        ("/v1/responses/resp_1", None),
        ("/v1chat/completions", None),
        ("/v1/embeddings", None),
        ("/", None),
    ] {
        assert_eq!(surface(path), want, "{path}");
        assert_eq!(find_route(&Method::GET, path), Destination::Other, "{path}");
    }
}

#[test]
fn calls_of_other_apis_are_no_surface() {
    for path in [
        "/v1/agents/completions",
        "/v1/fim/completions",
        "/v1/completions/cmpl_1",
        "/v1/threads/thread_1/messages",
        "/v1/threads/thread_1/messages",
        "/v1/threads/thread_1/messages/msg_1",
        "/v1/messages/batches",
        "/v1/chat/completions/chatcmpl_1",
        "/v1/responses/resp_1/cancel",
        "/v1/conversations/conv_1/items",
        "/chat",
        "/v1/chat",
    ] {
        assert_eq!(find_route(&Method::POST, path), Destination::Other, "{path}");
    }
}

#[test]
fn prefixes_are_told_apart() {
    let azure = |root: &str, deployment: Option<&str>| Prefix::Azure {
        root: root.into(),
        deployment: deployment.map(Into::into),
    };
    for (path, want) in [
        ("/v1/v1/chat/completions", Prefix::Version),
        ("//v1/messages/", Prefix::Version),
        ("/openai/v1/responses", Prefix::Api("/openai/v1".into())),
        ("/openai/v1/v1/responses", Prefix::Api("/openai/v1".into())),
        (
            "/v1beta/openai/chat/completions",
            Prefix::Api("/v1beta/openai".into()),
        ),
        ("/api/v1/chat/completions", Prefix::Api("/api/v1".into())),
        ("/anthropic/v1/messages", Prefix::Api("/anthropic/v1".into())),
        (
            "/api/anthropic/v1/messages",
            Prefix::Api("/api/anthropic/v1".into()),
        ),
        ("/v1/openai/chat/completions", Prefix::Api("/v1/openai".into())),
        ("/openai/responses", azure("/openai", None)),
        (
            "/openai/deployments/gpt-4o/chat/completions",
            azure("/openai", Some("gpt-4o")),
        ),
        (
            "/openai/deployments/o%2Fm/chat/completions",
            azure("/openai", Some("o%2Fm")),
        ),
        ("/deployments/d/chat/completions", azure("", Some("d"))),
        ("/openai/v1/completions", Prefix::Api("/openai/v1".into())),
        ("/openai/deployments/d/completions", azure("/openai", Some("d"))),
        (
            "/inference/v1/completions",
            Prefix::Gateway("/inference/v1".into()),
        ),
        ("/v1/team/v1/completions", Prefix::Gateway("/team/v1".into())),
        (
            "/v1/gateway/x/chat/completions",
            Prefix::Gateway("/gateway/x".into()),
        ),
        (
            "/compatible-mode/v1/chat/completions",
            Prefix::Gateway("/compatible-mode/v1".into()),
        ),
        (
            "/apps/anthropic/v1/messages",
            Prefix::Gateway("/apps/anthropic/v1".into()),
        ),
    ] {
        assert_eq!(prefix(path), want, "{path}");
    }
}

#[test]
fn a_path_that_servers_read_differently_is_refused_with_the_right_one() {
    for (path, right) in [
        ("/v1/chat/completions%20", "/v1/chat/completions"),
        ("/v1/chat/completions;a=b", "/v1/chat/completions"),
        ("/v1/chat\\completions", "/v1/chat/completions"),
        ("/v1/messages%0a", "/v1/messages"),
        ("/v1/completions;a=b", "/v1/completions"),
        ("/completions%20", "/v1/completions"),
        ("/openai/hybrid_chat", "/v1/hybrid_chat"),
    ] {
        let Destination::Misspelt(route) = find_route(&Method::POST, path) else {
            panic!("{path}")
        };
        assert_eq!(route.right_path(), right, "{path}");
    }
}

#[test]
fn reads_the_dry_run_query() {
    assert!(asks_dry_run(Some("beta=true&dry_run=1")));
    assert!(!asks_dry_run(Some("dry_run=0")));
    assert!(!asks_dry_run(None));
}

const SURFACES: [(&str, Surface); 4] = [
    ("chat/completions", Surface::ChatCompletions),
    ("responses", Surface::Responses),
    ("messages", Surface::Messages),
    ("completions", Surface::Completions),
];

#[rustfmt::skip]
const PREFIXES: [&str; 17] = [
    "", "v1", "v1/v1", "openai", "openai/v1", "v1/openai", "v1beta/openai", "api/v1", "anthropic/v1", "v2", "api/v3",
    "api/anthropic/v1", "openai/deployments/my.model_1", "gw/openai/deployments/a", "gateway/v1", "x/openai", "v4",
];

/// What stands between two segments: slashes, and what a server resolves to one.
fn separator() -> impl Strategy<Value = &'static str> {
    select(&[
        "/",
        "/",
        "/",
        "//",
        "///",
        "/./",
        "/x/../",
        "/%2e/",
        "%2F",
        "/a/b/../../",
        "%2f/",
        "\\",
        "/;p=1/",
    ])
}

/// A segment with some of its characters escaped, some in another case, and what may stand behind it.
fn spelt(segment: String) -> impl Strategy<Value = String> {
    let length = segment.chars().count();
    let end = select(&["", "", "", "", "", ";v=1", "%20", "%09", "%3Bx"]);
    (prop::collection::vec(0..6_u8, length), end).prop_map(move |(how, end)| {
        let characters = segment.chars().zip(how).map(|(character, how)| match how {
            0 => format!("%{:02X}", character as u32),
            1 => format!("%{:02x}", character as u32),
            2 => character.to_ascii_uppercase().to_string(),
            _ => character.to_string(),
        });
        characters.chain([end.to_owned()]).collect()
    })
}

fn spelling() -> impl Strategy<Value = (String, Surface)> {
    let end = select(&["", "", "/", "//", "/.", "/x/..", "%2F"]);
    (select(&PREFIXES[..]), select(&SURFACES[..]), end).prop_flat_map(|(prefix, (call, surface), end)| {
        let segments: Vec<_> = prefix
            .split('/')
            .chain(call.split('/'))
            .filter(|s| !s.is_empty())
            .collect();
        let segments = segments
            .into_iter()
            .map(|segment| (separator(), spelt(segment.to_owned())));
        segments.collect::<Vec<_>>().prop_map(move |parts| {
            let mut path: String = parts
                .into_iter()
                .map(|(separator, segment)| format!("{separator}{segment}"))
                .collect();
            if !path.starts_with('/') {
                path.insert(0, '/');
            }
            (path + end, surface)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    /// However a surface is spelt, it is read or refused.
    #[test]
    fn no_spelling_of_a_surface_is_a_tunnel((path, surface) in spelling()) {
        match find_route(&Method::POST, &path) {
            Destination::Surface(route) => prop_assert_eq!(route.surface, surface, "{}", path),
            Destination::Misspelt(route) => prop_assert_eq!(route.surface, surface, "{}", path),
            Destination::Other => prop_assert!(false, "{path} is a tunnel"),
        }
    }

    /// A spelling that every server reads alike is read.
    #[test]
    fn a_plain_spelling_is_read((path, surface) in spelling()) {
        let odd = ["%20", "%09", "%3B", ";", "\\"].iter().any(|odd| path.contains(odd));
        let found = find_route(&Method::POST, &path);
        let read = matches!(&found, Destination::Surface(route) if route.surface == surface);
        prop_assert!(odd || read, "{path}: {found:?}");
    }
}
