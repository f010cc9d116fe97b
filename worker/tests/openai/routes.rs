//! What each route answers.

use serde_json::{Value, json};

use super::{CHAT, TEXT, chat, content, decoder, merge, text};

#[tokio::test]
async fn models_are_listed_by_name() {
    let decoder = decoder().await;
    let list = decoder.client.get("/v1/models").await.json();
    let model = &list["data"][0];
    assert_eq!(
        (list["object"].as_str(), model["id"].as_str()),
        (Some("list"), Some("tiny"))
    );
    assert_eq!(model["max_model_len"], 256);
    assert!(model["created"].as_u64().unwrap() > 1_700_000_000, "{model}");
    assert_eq!(&decoder.client.get("/v1/models/tiny").await.json(), model);
    let unknown = decoder.client.get("/v1/models/org/other").await;
    assert_eq!(unknown.error(), (404, "model".into(), "model_not_found".into()));
}

#[tokio::test]
async fn a_chat_is_answered_whole_and_as_a_stream_alike() {
    let decoder = decoder().await;
    let client = &decoder.client;
    let whole = client.post(CHAT, &chat(json!({}))).await;
    let json = whole.json();
    assert_eq!(whole.header("x-request-id"), json["id"].as_str().unwrap());
    assert!(json["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(
        (&json["object"], &json["model"]),
        (&"chat.completion".into(), &"tiny".into())
    );
    let choice = &json["choices"][0];
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["message"]["role"], "assistant");
    let prompt = "user:what is a lease.assistant:".len();
    let usage = json!({
        "prompt_tokens": prompt, "completion_tokens": 12, "total_tokens": prompt + 12,
        "prompt_tokens_details": {"cached_tokens": 0},
    });
    assert_eq!(json["usage"], usage);

    let streaming = json!({"stream": true, "stream_options": {"include_usage": true}});
    let chunks = client.post(CHAT, &chat(streaming)).await.chunks();
    let delta = |chunk: &Value| chunk["choices"][0]["delta"].clone();
    assert_eq!(delta(&chunks[0]), json!({"role": "assistant", "content": ""}));
    let (last, chunks) = chunks.split_last().unwrap();
    assert_eq!(
        (&last["choices"], &last["usage"]["total_tokens"]),
        (&json!([]), &json!(prompt + 12))
    );
    let (end, _) = chunks.split_last().unwrap();
    assert_eq!(end["choices"][0]["finish_reason"], "length");
    assert_eq!(delta(end), json!({}));
    let text: String = chunks
        .iter()
        .filter_map(|chunk| delta(chunk)["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text, content(&whole));
    for chunk in chunks {
        assert_eq!(
            (&chunk["object"], &chunk["usage"]),
            (&"chat.completion.chunk".into(), &Value::Null)
        );
        assert_eq!(chunk["id"], last["id"]);
    }

    let bare = client.post(CHAT, &chat(json!({"stream": true}))).await.chunks();
    assert!(bare.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn several_answers_differ_and_a_seed_repeats_them() {
    let decoder = decoder().await;
    let client = &decoder.client;
    let body = chat(json!({"n": 3, "seed": -7, "temperature": 1.5}));
    let texts = |json: Value| -> Vec<String> {
        let choices = json["choices"].as_array().unwrap().iter();
        choices
            .map(|choice| choice["message"]["content"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = client.post(CHAT, &body).await.json();
    assert_eq!(first["usage"]["completion_tokens"], 36);
    assert_eq!(first["usage"]["prompt_tokens"], 31);
    let first = texts(first);
    assert!(first[0] != first[1] && first[1] != first[2], "{first:?}");
    assert_eq!(texts(client.post(CHAT, &body).await.json()), first);
}

#[tokio::test]
async fn a_stop_string_ends_an_answer_and_is_not_part_of_it() {
    let decoder = decoder().await;
    let client = &decoder.client;
    let whole = content(&client.post(CHAT, &chat(json!({}))).await);
    let stop = &whole[4..6];
    let before = whole.split(stop).next().unwrap();
    for stop in [json!(stop), json!(["unheard of", stop])] {
        let stopped = client.post(CHAT, &chat(json!({"stop": stop}))).await;
        assert_eq!(content(&stopped), before);
        assert_eq!(stopped.json()["choices"][0]["finish_reason"], "stop");
    }
}

#[tokio::test]
async fn logarithms_of_probabilities_belong_to_the_tokens_of_the_text() {
    let decoder = decoder().await;
    let client = &decoder.client;
    let wanted = json!({"logprobs": true, "top_logprobs": 2});
    let whole = client.post(CHAT, &chat(wanted)).await;
    let logprobs = whole.json()["choices"][0]["logprobs"]["content"].clone();
    let tokens = logprobs.as_array().unwrap();
    let mut text = String::new();
    for token in tokens {
        let bytes = token["token"].as_str().unwrap().as_bytes();
        assert_eq!(token["bytes"], json!(bytes));
        let top = token["top_logprobs"].as_array().unwrap();
        // At temperature 0 the likeliest token is the chosen one.
        assert_eq!((top.len(), &top[0]["token"]), (2, &token["token"]));
        assert_eq!(top[0]["logprob"], token["logprob"]);
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
        if !token["token"].as_str().unwrap().starts_with('<') {
            text.push_str(token["token"].as_str().unwrap());
        }
    }
    assert_eq!((tokens.len(), text), (12, content(&whole)));

    let streamed = json!({"logprobs": true, "top_logprobs": 2, "stream": true});
    let chunks = client.post(CHAT, &chat(streamed)).await.chunks();
    let of_chunk = |chunk: &Value| chunk["choices"][0]["logprobs"]["content"].as_array().cloned();
    let streamed: Vec<Value> = chunks.iter().filter_map(of_chunk).flatten().collect();
    assert_eq!(&streamed, tokens);

    let plain = client
        .post(TEXT, &super::text(json!({"logprobs": 3})))
        .await
        .json();
    let logprobs = &plain["choices"][0]["logprobs"];
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[list].as_array().unwrap().len(), 12, "{list}");
    }
    assert_eq!(
        logprobs["text_offset"][1],
        logprobs["tokens"][0].as_str().unwrap().len()
    );
    assert_eq!(logprobs["top_logprobs"][0].as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn plain_prompts_are_texts_or_tokens_one_or_several() {
    let decoder = decoder().await;
    let client = &decoder.client;
    let texts = |json: &Value| -> Vec<String> {
        let choices = json["choices"].as_array().unwrap().iter();
        choices
            .map(|choice| choice["text"].as_str().unwrap().to_owned())
            .collect()
    };
    let one = client.post(TEXT, &text(json!({}))).await.json();
    assert_eq!(one["object"], "text_completion");
    let answer = texts(&one)[0].clone();
    let tokens = client
        .post("/tokenize", &json!({"prompt": "a lease is"}))
        .await
        .json();
    let as_tokens = client
        .post(TEXT, &text(json!({"prompt": tokens["tokens"]})))
        .await
        .json();
    assert_eq!(texts(&as_tokens)[0], answer);
    let several = text(json!({"prompt": ["a lease is", "the rent is"], "n": 2, "echo": true}));
    let several = client.post(TEXT, &several).await.json();
    let echoed = texts(&several);
    assert_eq!(echoed[0], format!("a lease is{answer}"));
    assert_eq!(echoed[0], echoed[1]);
    assert!(echoed[3].starts_with("the rent is"));
    assert_eq!(several["usage"]["prompt_tokens"], 21);
    assert_eq!(several["usage"]["completion_tokens"], 48);
    let streamed = text(json!({"stream": true, "echo": true, "stream_options": {"include_usage": true}}));
    let chunks = client.post(TEXT, &streamed).await.chunks();
    let streamed: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(streamed, echoed[0]);
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 12);
    // OpenAI's default.
    let mut unlimited = text(json!({}));
    unlimited.as_object_mut().unwrap().remove("max_tokens");
    let unlimited = client.post(TEXT, &unlimited).await.json();
    assert_eq!(unlimited["usage"]["completion_tokens"], 16);
}

#[tokio::test]
async fn a_conversation_is_the_prompt_of_its_template() {
    let decoder = decoder().await;
    let client = &decoder.client;
    let tool = json!({"type": "function", "function": {"name": "find", "parameters": {}}});
    let call = json!({"id": "a", "type": "function", "function": {"name": "find", "arguments": "{\"city\": \"oslo\"}"}});
    let body = json!({
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "be"}, {"type": "text", "text": "brief"}]},
            {"role": "user", "content": "rain"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "yes"},
        ],
        "tools": [tool], "return_token_strs": true,
    });
    let tokens = client.post("/tokenize", &body).await.json();
    assert_eq!(tokens["max_model_len"], 256);
    assert_eq!(
        tokens["count"].as_u64().unwrap() as usize,
        tokens["tokens"].as_array().unwrap().len()
    );
    assert_eq!(tokens["token_strs"][1], "f");
    let text = client
        .post("/detokenize", &json!({"tokens": tokens["tokens"]}))
        .await
        .json();
    // The vocabulary has no end of line.
    let expected = "[find]system:be<unk>brief.user:rain.assistant:[find:oslo].tool:yes.assistant:";
    assert_eq!(text["prompt"], expected);

    let mut without = body.clone();
    merge(
        &mut without,
        json!({"tool_choice": "none", "add_generation_prompt": false}),
    );
    let tokens = client.post("/tokenize", &without).await.json();
    let text = client
        .post("/detokenize", &json!({"tokens": tokens["tokens"]}))
        .await
        .json();
    assert!(text["prompt"].as_str().unwrap().starts_with("system:"), "{text}");
    assert!(text["prompt"].as_str().unwrap().ends_with("tool:yes."), "{text}");
}

#[tokio::test]
async fn a_schema_is_met_whatever_the_model_would_write() {
    let decoder = decoder().await;
    let schema = json!({
        "type": "object", "required": ["term", "days"], "additionalProperties": false,
        "properties": {"term": {"enum": ["lease", "rent"]}, "days": {"type": "integer", "minimum": 1, "maximum": 99}},
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "terms", "schema": schema}});
    let body = chat(json!({
        "response_format": format, "ignore_eos": false, "temperature": 1, "seed": 3, "n": 4, "max_tokens": 100,
    }));
    let answer = decoder.client.post(CHAT, &body).await.json();
    for choice in answer["choices"].as_array().unwrap() {
        assert_eq!(choice["finish_reason"], "stop", "{choice}");
        let text = choice["message"]["content"].as_str().unwrap();
        let terms: Value = serde_json::from_str(text).unwrap();
        assert!(
            ["lease", "rent"].contains(&terms["term"].as_str().unwrap()),
            "{text}"
        );
        assert!((1..100).contains(&terms["days"].as_u64().unwrap()), "{text}");
    }
}

#[tokio::test]
async fn a_call_that_is_demanded_is_made_whole_and_streamed() {
    let decoder = decoder().await;
    let tool = |name: &str| {
        let parameters = json!({
            "type": "object", "properties": {"city": {"enum": ["oslo", "bergen"]}}, "required": ["city"],
            "additionalProperties": false,
        });
        json!({"type": "function", "function": {"name": name, "parameters": parameters}})
    };
    let named = json!({"type": "function", "function": {"name": "rain"}});
    for choice in [json!("required"), named] {
        let body = chat(json!({
            "tools": [tool("sun"), tool("rain")], "tool_choice": choice, "ignore_eos": false, "max_tokens": 100,
        }));
        let whole = decoder.client.post(CHAT, &body).await.json()["choices"][0].clone();
        assert_eq!(
            (&whole["finish_reason"], &whole["message"]["content"]),
            (&json!("tool_calls"), &Value::Null)
        );
        let call = &whole["message"]["tool_calls"][0];
        let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        assert!(
            ["oslo", "bergen"].contains(&arguments["city"].as_str().unwrap()),
            "{arguments}"
        );
        assert_eq!(
            (call["id"].as_str().unwrap().len(), &call["type"]),
            (9, &json!("function"))
        );
        if choice.is_object() {
            assert_eq!(call["function"]["name"], "rain");
        }
        let mut streamed = body;
        merge(&mut streamed, json!({"stream": true}));
        let chunks = decoder.client.post(CHAT, &streamed).await.chunks();
        let calls: Vec<&Value> = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0])
            .collect();
        let found: Vec<&&Value> = calls.iter().filter(|call| !call.is_null()).collect();
        assert_eq!(
            (found.len(), &found[0]["function"], &found[0]["index"]),
            (1, &call["function"], &json!(0))
        );
        assert_eq!(
            chunks.last().unwrap()["choices"][0]["finish_reason"],
            "tool_calls"
        );
    }
}
