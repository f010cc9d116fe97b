//! URLs, keys and what each kind speaks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

fn provider(name: &str, kind: ProviderKind, base_url: &str) -> Result<Arc<Provider>, Invalid> {
    let mut settings = Settings::default();
    let entry = ProviderSettings {
        kind: Some(kind),
        base_url: Some(base_url.into()),
        ..ProviderSettings::default()
    };
    settings.providers.insert(name.into(), entry);
    Provider::resolve("upstream.openai", name, &settings, false)
}

fn url(kind: ProviderKind, base_url: &str, path: &str, query: Option<&str>) -> String {
    provider("x", kind, base_url)
        .unwrap()
        .url(path, query)
        .unwrap()
        .to_string()
}

#[test]
fn joins_base_and_path() {
    let chat = "/chat/completions";
    assert_eq!(
        url(ProviderKind::Openai, "https://a.example/v1/", chat, None),
        "https://a.example/v1/chat/completions"
    );
    assert_eq!(
        url(ProviderKind::Azure, "https://r.example", chat, None),
        "https://r.example/openai/v1/chat/completions"
    );
    assert_eq!(
        url(ProviderKind::Azure, "https://r.example/openai/v1/", chat, None),
        "https://r.example/openai/v1/chat/completions"
    );
    assert_eq!(
        url(
            ProviderKind::Anthropic,
            "https://a/v1",
            "/messages",
            Some("beta=true")
        ),
        "https://a/v1/messages?beta=true"
    );
    assert_eq!(
        url(ProviderKind::Openai, "http://127.0.0.1:1/v1", "/", None),
        "http://127.0.0.1:1/"
    );
}

#[test]
fn a_path_without_a_version_takes_the_place_of_the_base_urls_however_that_is_spelled() {
    for (base_url, expected) in [
        ("https://a.example/v1", "https://a.example/models"),
        ("https://a.example/api/V1Beta", "https://a.example/api/models"),
        ("https://a.example/api", "https://a.example/api/models"),
    ] {
        let provider = provider("x", ProviderKind::Openai, base_url).unwrap();
        assert_eq!(provider.unversioned_url("/models", None).unwrap(), expected);
    }
}

#[test]
fn refuses_unusable_base_urls() {
    for bad in [
        "",
        "host/v1",
        "ftp://host/v1",
        "https://user:password@host/v1",
        "https://host/v1?key=1",
    ] {
        let error = provider("x", ProviderKind::Openai, bad).unwrap_err().to_string();
        assert!(error.contains("upstream.providers.x.base_url"), "{error}");
    }
    let unknown = Provider::resolve("upstream.openai", "nobody", &Settings::default(), false).unwrap_err();
    assert!(unknown.to_string().contains("upstream.openai = \"nobody\""));
}

#[test]
fn the_callers_key_goes_only_where_it_may() {
    let provider = provider("x", ProviderKind::Openai, "https://host/v1").unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer caller"));
    provider.authorize(&mut headers, true);
    assert_eq!(headers[header::AUTHORIZATION], "Bearer caller");
    assert!(headers[header::AUTHORIZATION].is_sensitive());
    provider.authorize(&mut headers, false);
    assert!(headers.is_empty());
}

#[test]
fn an_own_key_replaces_every_credential() {
    for (kind, name, value) in [
        (ProviderKind::Openai, header::AUTHORIZATION, "Bearer own"),
        (ProviderKind::Azure, API_KEY, "own"),
        (ProviderKind::Anthropic, X_API_KEY, "own"),
        (ProviderKind::Gemini, header::AUTHORIZATION, "Bearer own"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "own").unwrap();
        let mut settings = Settings::default();
        let entry = ProviderSettings {
            kind: Some(kind),
            base_url: Some("https://host/v1".into()),
            api_key_file: Some(path),
            api_key_env: None,
        };
        settings.providers.insert("x".into(), entry);
        let provider = Provider::resolve("upstream.openai", "x", &settings, false).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer caller"));
        headers.insert(X_API_KEY, HeaderValue::from_static("caller"));
        provider.authorize(&mut headers, true);
        assert_eq!(headers.len(), 1, "{kind:?}");
        assert_eq!(headers[&name], value, "{kind:?}");
    }
}

#[test]
fn splits_at_the_first_slash() {
    assert_eq!(
        split_choice("f", "vllm/meta/llama").unwrap(),
        ("vllm", "meta/llama")
    );
    for bad in ["gpt-5", "/x", "x/", ""] {
        assert!(split_choice("f", bad).is_err(), "{bad}");
    }
}

#[test]
fn the_workers_have_neither_address_nor_key_of_their_own() {
    let resolve = |entry: ProviderSettings| {
        let mut settings = Settings::default();
        let kind = Some(ProviderKind::Liquid);
        settings
            .providers
            .insert("x".into(), ProviderSettings { kind, ..entry });
        Provider::resolve("upstream.openai", "x", &settings, true)
    };
    let none = ProviderSettings::default();
    assert_eq!(resolve(none.clone()).unwrap().url("/p", None), None);
    let entries = [
        (
            "base_url",
            ProviderSettings {
                base_url: Some("http://host/v1".into()),
                ..none.clone()
            },
        ),
        (
            "api_key_env",
            ProviderSettings {
                api_key_env: Some("HOME".into()),
                ..none.clone()
            },
        ),
        (
            "api_key_file",
            ProviderSettings {
                api_key_file: Some("/nowhere".into()),
                ..none
            },
        ),
    ];
    for (field, entry) in entries {
        let error = resolve(entry).unwrap_err().to_string();
        assert!(
            error.contains(&format!("upstream.providers.x.{field}")),
            "{error}"
        );
    }
}
