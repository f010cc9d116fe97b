//! The spellings of a path: each is read as its surface and leaves on the right path, or is refused.

use crate::support::{ask, chat, stack};

/// Shows what the upstream got: path, query and model.
async fn received(toml: &str, path: &str) -> (String, String, String) {
    let stack = stack(toml).await;
    let answer = ask(&stack.url(path), chat("m", false)).await;
    assert_eq!(
        answer.header("x-liquid-decision"),
        "passed",
        "{path}: {}",
        answer.text()
    );
    assert_ne!(answer.header("x-liquid-reason"), "no_surface");
    let received = stack.upstream.last().unwrap();
    let model = received.json()["model"].as_str().unwrap().to_owned();
    (received.path, received.query, model)
}

#[tokio::test]
async fn case_10_every_spelling_leaves_on_the_right_path() {
    for (path, want) in [
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/messages", "/v1/messages"),
        ("//chat/completions", "/v1/chat/completions"),
        ("/v1//responses", "/v1/responses"),
        ("/v1/chat%2Fcompletion%73", "/v1/chat/completions"),
        ("/v1/models/../messages", "/v1/messages"),
        ("/openai/v1/responses", "/v1/responses"),
        ("/v1beta/openai/chat/completions", "/v1/chat/completions"),
        ("/api/v1/chat/completions", "/v1/chat/completions"),
        ("/anthropic/v1/messages", "/v1/messages"),
        ("/v1/team/chat/completions", "/v1/team/chat/completions"),
        ("/v1/completions", "/v1/completions"),
        ("//completions/", "/v1/completions"),
        ("/openai/v1/completions", "/v1/completions"),
        ("/v1/team/v1/completions", "/v1/team/v1/completions"),
    ] {
        let want = (want.to_owned(), "a=1".to_owned(), "m".to_owned());
        assert_eq!(received("", &format!("{path}?a=1")).await, want, "{path}");
    }
}

#[tokio::test]
async fn case_10_a_deployment_of_azure_is_the_model() {
    const PATH: &str = "/openai/deployments/gpt-x/chat/completions?api-version=2024-10-21";
    let words = |path: &str, query: &str, model: &str| (path.to_owned(), query.to_owned(), model.to_owned());
    assert_eq!(
        received("", PATH).await,
        words("/v1/chat/completions", "", "gpt-x")
    );
    assert_eq!(
        received("", "/openai/deployments/gpt-x/completions").await,
        words("/v1/completions", "", "gpt-x")
    );
    // The mock's own base URL ends in /v1: below Azure's root that is a part of the resource's endpoint.
    let azure = "[upstream]\nopenai = \"azure\"\n[upstream.providers.azure]\nbase_url = \"UPSTREAM\"";
    let dated = "/v1/openai/deployments/gpt-x/chat/completions";
    assert_eq!(
        received(azure, PATH).await,
        words(dated, "api-version=2024-10-21", "m")
    );
    let configured = "[upstream]\nmodel = \"openai/other\"";
    assert_eq!(
        received(configured, PATH).await,
        words("/v1/chat/completions", "", "other")
    );
}

#[tokio::test]
async fn a_path_that_may_be_a_surface_is_a_404_with_the_right_one() {
    let stack = stack("").await;
    for (path, right) in [
        ("/v1/chat/completions;v=1", "/v1/chat/completions"),
        ("/v1/responses%20", "/v1/responses"),
        ("/v1/completions%20", "/v1/completions"),
        ("/anthropic/hybrid_chat", "/v1/hybrid_chat"),
    ] {
        let answer = ask(&stack.url(path), chat("m", false)).await;
        let message = answer.json()["error"]["message"].clone();
        assert_eq!(answer.status, 404, "{path}");
        assert!(message.as_str().unwrap().ends_with(right), "{message}");
    }
    let answer = ask(&stack.url("/v1/messages%09"), chat("m", false)).await;
    assert_eq!(answer.json()["error"]["type"], "not_found_error");
    assert!(stack.upstream.requests().is_empty());
}
