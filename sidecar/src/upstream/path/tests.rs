//! URLs of calls by how the client spelt them and where they go.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::upstream::{ProviderSettings, Settings};

const CHAT: &str = "/chat/completions";

fn address(kind: ProviderKind, base_url: &str, prefix: Prefix, model: Option<&str>) -> (String, bool) {
    let mut settings = Settings::default();
    let entry = ProviderSettings {
        kind: Some(kind),
        base_url: Some(base_url.into()),
        ..ProviderSettings::default()
    };
    settings.providers.insert("x".into(), entry);
    let provider = Provider::resolve("upstream.openai", "x", &settings, false).unwrap();
    let path = CallPath {
        endpoint: CHAT,
        prefix,
    };
    let address = provider.address(&path, Some("api-version=2024-10-21&x=1"), model);
    let url = address.url.unwrap().to_string();
    (
        url.trim_start_matches("https://").to_owned(),
        address.model_in_body,
    )
}

fn deployment(root: &str) -> Prefix {
    Prefix::Azure {
        root: root.into(),
        deployment: Some("d".into()),
    }
}

#[test]
fn azure_keeps_deployment_and_date() {
    let azure = |prefix, model| address(ProviderKind::Azure, "https://r/openai/v1", prefix, model);
    let query = "api-version=2024-10-21&x=1";
    for (prefix, model, want) in [
        (
            deployment("/openai"),
            None,
            "r/openai/deployments/d/chat/completions",
        ),
        (deployment(""), None, "r/openai/deployments/d/chat/completions"),
        (
            deployment("/openai"),
            Some("o/m"),
            "r/openai/deployments/o%2Fm/chat/completions",
        ),
        (Prefix::Version, Some("m"), "r/openai/v1/chat/completions"),
        (
            Prefix::Api("/openai/v1".into()),
            None,
            "r/openai/v1/chat/completions",
        ),
        (
            Prefix::Gateway("/models".into()),
            None,
            "r/models/chat/completions",
        ),
    ] {
        assert_eq!(azure(prefix, model), (format!("{want}?{query}"), false));
    }
    let root = Prefix::Azure {
        root: "/openai".into(),
        deployment: None,
    };
    assert_eq!(azure(root, None).0, format!("r/openai/chat/completions?{query}"));
}

#[test]
fn elsewhere_a_deployment_is_the_model() {
    for base in [
        "https://h/v1",
        "https://h/openai/v1",
        "https://h/v1beta/openai",
        "https://h/api/v1",
    ] {
        let want = format!("{}/chat/completions?x=1", base.trim_start_matches("https://"));
        let found = address(ProviderKind::OpenaiCompatible, base, deployment("/openai"), None);
        assert_eq!(found, (want, true));
    }
    // A bare server: nothing else says which API is there.
    let found = address(ProviderKind::Openai, "https://h", deployment("/openai"), None);
    let want = "h/openai/deployments/d/chat/completions?api-version=2024-10-21&x=1";
    assert_eq!(found, (want.to_owned(), false));
}

#[test]
fn one_prefix_is_enough() {
    let openai = |base, prefix| address(ProviderKind::OpenaiCompatible, base, prefix, None).0;
    let api = || Prefix::Api("/api/v1".into());
    let query = "?api-version=2024-10-21&x=1";
    assert_eq!(
        openai("https://h/api/v1", api()),
        format!("h/api/v1/chat/completions{query}")
    );
    assert_eq!(
        openai("https://h", api()),
        format!("h/api/v1/chat/completions{query}")
    );
    assert_eq!(
        openai("https://h/llm", api()),
        format!("h/llm/api/v1/chat/completions{query}")
    );
    let gateway = Prefix::Gateway("/team".into());
    assert_eq!(
        openai("https://h/v1", gateway),
        format!("h/v1/team/chat/completions{query}")
    );
}

#[test]
fn the_path_names_the_model_decoded() {
    let path = CallPath {
        endpoint: CHAT,
        prefix: Prefix::Azure {
            root: String::new(),
            deployment: Some("org%2Fm%20x".into()),
        },
    };
    assert_eq!(path.model().as_deref(), Some("org/m x"));
    assert_eq!(CallPath::new(CHAT).model(), None);
}

#[test]
fn the_date_leaves_the_rest_of_a_query() {
    assert_eq!(without_api_version("api-version=1"), None);
    assert_eq!(
        without_api_version("a=1&Api-Version=1&b=2").as_deref(),
        Some("a=1&b=2")
    );
    for (segment, is) in [
        ("v1", true),
        ("v1beta", true),
        ("v2alpha1", true),
        ("V1Beta", true),
        ("v", false),
        ("vx", false),
        ("1", false),
    ] {
        assert_eq!(is_version(segment), is, "{segment}");
    }
}
