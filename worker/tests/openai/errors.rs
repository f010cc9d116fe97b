//! What is refused, and how.

use serde_json::json;

use super::support::http::Version;
use super::support::{TEMPLATE, TestServer, config, write_tiny_decoder};
use super::{CHAT, TEXT, chat, decoder, decoder_with, text};

#[tokio::test]
async fn what_is_wrong_is_named() {
    let decoder = decoder().await;
    let client = &decoder.client;
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]);
    let format = json!({"type": "json_object"});
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    let other_tool = json!({"type": "function", "function": {"name": "g"}});
    let wrong_schema =
        json!({"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "letter"}}});
    for (more, param, code) in [
        (json!({"model": "other"}), "model", "model_not_found"),
        (json!({"messages": []}), "messages", "invalid_value"),
        (json!({"messages": "x"}), "messages", "invalid_value"),
        (
            json!({"messages": [{"role": "user"}]}),
            "messages[0].content",
            "invalid_value",
        ),
        (
            json!({"messages": [{"role": "clerk", "content": ""}]}),
            "messages[0].role",
            "invalid_value",
        ),
        (
            json!({"messages": image}),
            "messages[0].content[0].type",
            "unsupported_parameter",
        ),
        (json!({"temperature": 101}), "temperature", "invalid_value"),
        (json!({"temperature": "hot"}), "temperature", "invalid_value"),
        (json!({"top_p": 0}), "top_p", "invalid_value"),
        (json!({"top_k": -2}), "top_k", "invalid_value"),
        (json!({"min_p": 2}), "min_p", "invalid_value"),
        (
            json!({"presence_penalty": 3}),
            "presence_penalty",
            "invalid_value",
        ),
        (
            json!({"frequency_penalty": -3}),
            "frequency_penalty",
            "invalid_value",
        ),
        (
            json!({"repetition_penalty": 0}),
            "repetition_penalty",
            "invalid_value",
        ),
        (json!({"max_tokens": 0}), "max_tokens", "invalid_value"),
        (
            json!({"max_completion_tokens": 1.5}),
            "max_completion_tokens",
            "invalid_value",
        ),
        (json!({"n": 129}), "n", "invalid_value"),
        (json!({"stop": 3}), "stop", "invalid_value"),
        (json!({"stop": ""}), "stop", "invalid_value"),
        (json!({"seed": "x"}), "seed", "invalid_value"),
        (
            json!({"logprobs": true, "top_logprobs": 21}),
            "top_logprobs",
            "invalid_value",
        ),
        (json!({"top_logprobs": 2}), "top_logprobs", "invalid_value"),
        (
            json!({"stream_options": {"include_usage": true}}),
            "stream_options",
            "invalid_value",
        ),
        (
            json!({"logit_bias": {"3": 5}}),
            "logit_bias",
            "unsupported_parameter",
        ),
        (
            json!({"tools": tool, "tool_choice": "any"}),
            "tool_choice",
            "invalid_value",
        ),
        (json!({"tool_choice": "required"}), "tool_choice", "invalid_value"),
        (
            json!({"tools": tool, "tool_choice": other_tool}),
            "tool_choice",
            "invalid_value",
        ),
        (
            json!({"tools": tool, "tool_choice": "required", "response_format": format}),
            "response_format",
            "unsupported_parameter",
        ),
        (
            json!({"response_format": {"type": "json_schema"}}),
            "response_format.json_schema",
            "invalid_value",
        ),
        (
            json!({"response_format": wrong_schema, "ignore_eos": false}),
            "response_format",
            "invalid_value",
        ),
        (json!({"response_format": format}), "ignore_eos", "invalid_value"),
        (
            json!({"tools": [{"type": "web"}]}),
            "tools[0].type",
            "unsupported_parameter",
        ),
        (
            json!({"response_format": {"type": "xml"}}),
            "response_format.type",
            "unsupported_parameter",
        ),
        (json!({"max_tokens": 256}), "messages", "context_length_exceeded"),
    ] {
        let answer = client.post(CHAT, &chat(more.clone())).await;
        let status = if param == "model" { 404 } else { 400 };
        assert_eq!(
            answer.error(),
            (status, param.to_owned(), code.to_owned()),
            "{more}"
        );
    }
    for (more, param) in [
        (json!({"prompt": null}), "prompt"),
        (json!({"prompt": []}), "prompt"),
        (json!({"prompt": ""}), "prompt"),
        (json!({"prompt": [3, 48]}), "prompt[1]"),
        (json!({"prompt": [[3], [-1]]}), "prompt[1][0]"),
        (json!({"suffix": "x"}), "suffix"),
        (json!({"best_of": 2}), "best_of"),
        (json!({"echo": true, "logprobs": 1}), "echo"),
    ] {
        let (status, found, _) = client.post(TEXT, &text(more.clone())).await.error();
        assert_eq!((status, found.as_str()), (400, param), "{more}");
    }
    // Fields that ask for nothing, and those that nobody knows, are no fault.
    let harmless = json!({
        "user": "u", "metadata": {"a": "b"}, "logit_bias": {}, "response_format": {"type": "text"}, "tools": [],
        "tool_choice": null, "top_k": -1, "unheard_of": 1, "parallel_tool_calls": true, "store": false,
    });
    assert_eq!(client.post(CHAT, &chat(harmless)).await.status, 200);
}

#[tokio::test]
async fn bodies_paths_and_methods_that_are_wrong_are_errors_too() {
    let decoder = decoder().await;
    let client = &decoder.client;
    let no_json = client.post_text(CHAT, "{\"model\": ").await;
    assert_eq!(no_json.error(), (400, String::new(), "invalid_json".into()));
    assert_eq!(client.post_text(CHAT, "[]").await.error().1, "body");
    let large = format!("{{\"prompt\": \"{}\"}}", "a".repeat(17 << 20));
    assert_eq!(
        client.post_text(TEXT, &large).await.error().2,
        "request_too_large"
    );
    assert_eq!(client.get("/v1/embeddings").await.error().2, "unknown_url");
    assert_eq!(client.get(CHAT).await.error().0, 405);
    let tokens = client.post("/detokenize", &json!({"tokens": [3, 9999]})).await;
    assert_eq!(tokens.error().1, "tokens[1]");
}

#[tokio::test]
async fn too_long_a_prompt_is_refused_with_its_numbers() {
    let decoder = decoder().await;
    let client = &decoder.client;
    let long = chat(json!({"messages": [{"role": "user", "content": "a".repeat(300)}], "max_tokens": null}));
    let answer = client.post(CHAT, &long).await;
    assert_eq!(
        answer.error(),
        (400, "messages".into(), "context_length_exceeded".into())
    );
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("316") && message.contains("256"), "{message}");
    // Without a limit the answer has the rest of the context.
    let open = chat(json!({"max_tokens": null}));
    let usage = client.post(CHAT, &open).await.json()["usage"].clone();
    assert_eq!(usage["total_tokens"], 256);
}

#[tokio::test]
async fn without_a_decoder_the_routes_say_what_to_set() {
    let server = TestServer::start(config()).await;
    let client = server.http(Version::Http1);
    for answer in [
        client.post(CHAT, &chat(json!({}))).await,
        client.get("/v1/models").await,
        client.post("/tokenize", &json!({"prompt": "x"})).await,
    ] {
        assert_eq!(answer.error(), (404, String::new(), "model_not_found".into()));
        assert!(answer.text.contains("decoder.folder"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_template_without_tools_refuses_them() {
    let folder = tempfile::tempdir().unwrap();
    write_tiny_decoder(folder.path());
    let template = TEMPLATE.replace("tools or []", "[]");
    std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let path = folder.path().to_owned();
    let decoder = decoder_with(|config| config.decoder.folder = Some(path)).await;
    let client = &decoder.client;
    let tool = json!({"tools": [{"type": "function", "function": {"name": "f"}}]});
    let answer = client.post(CHAT, &chat(tool)).await;
    assert_eq!(
        answer.error(),
        (400, "tools".into(), "unsupported_parameter".into())
    );
}

#[tokio::test]
async fn a_model_without_a_template_serves_plain_prompts_alone() {
    let folder = tempfile::tempdir().unwrap();
    write_tiny_decoder(folder.path());
    std::fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    let path = folder.path().to_owned();
    let decoder = decoder_with(|config| config.decoder.folder = Some(path)).await;
    let client = &decoder.client;
    let answer = client.post(CHAT, &chat(json!({}))).await;
    assert_eq!(
        answer.error(),
        (400, "messages".into(), "unsupported_parameter".into())
    );
    assert_eq!(client.post(TEXT, &text(json!({}))).await.status, 200);
}
