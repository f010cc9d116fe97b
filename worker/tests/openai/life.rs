//! One port, many clients, metrics, the drain.

use std::time::Duration;

use http_body_util::BodyExt;
use liquid_proto::worker::v1::DescribeRequest;
use serde_json::json;

use super::support::TestServer;
use super::support::http::{Answer, Version};
use super::{CHAT, Decoder, TEXT, chat, decoder, decoder_with, text};

/// Returns the value of a metric that has the model's label alone.
async fn metric(server: &TestServer, name: &str) -> u64 {
    let (_, metrics) = server.get("/metrics").await;
    let begin = format!("{name}{{model_name=\"tiny\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&begin));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[tokio::test]
async fn a_prefix_that_was_read_is_found_and_counted() {
    let Decoder { client, server, .. } = decoder().await;
    let long = text(json!({"prompt": "lease".repeat(30)}));
    let cached = |answer: Answer| answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"].clone();
    assert_eq!(cached(client.post(TEXT, &long).await), 0);
    assert_eq!(cached(client.post(TEXT, &long).await), 128);
    let (_, metrics) = server.get("/metrics").await;
    for line in [
        "vllm:prefix_cache_queries_total{model_name=\"tiny\"} ",
        "vllm:prefix_cache_hits_total{model_name=\"tiny\"} 128\n",
        "vllm:prompt_tokens_total{model_name=\"tiny\"} ",
        "vllm:generation_tokens_total{model_name=\"tiny\"} 25\n",
        "vllm:num_requests_running{model_name=\"tiny\"} 0\n",
        "vllm:num_requests_waiting{model_name=\"tiny\"} 0\n",
        "vllm:num_preemptions_total{model_name=\"tiny\"} 0\n",
        "vllm:kv_cache_usage_perc{model_name=\"tiny\"} 0.0\n",
        "vllm:cache_config_info{model_name=\"tiny\",block_size=\"64\",num_gpu_blocks=\"",
        "vllm:request_success_total{model_name=\"tiny\",finished_reason=\"length\"} 2\n",
        "vllm:time_to_first_token_seconds_bucket{le=\"0.001\",model_name=\"tiny\"} ",
        "vllm:time_per_output_token_seconds_count{model_name=\"tiny\"} 22\n",
        "vllm:inter_token_latency_seconds_count{model_name=\"tiny\"} 22\n",
        "vllm:e2e_request_latency_seconds_count{model_name=\"tiny\"} 2\n",
        "vllm:request_queue_time_seconds_count{model_name=\"tiny\"} 2\n",
        "liquid_worker_http_requests_total{route=\"/v1/completions\",status=\"200\"} 2\n",
        "liquid_worker_load_phase{phase=\"warm_up\"} 1\n",
        "liquid_worker_load_phase{phase=\"decoder_weights\"} 0\n",
        "liquid_worker_decoder_weights_bytes 43968\n",
        "liquid_worker_load_time_seconds{phase=\"models\"} ",
        "liquid_worker_load_time_seconds{phase=\"warm_up\"} ",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n") && metrics.matches("# EOF").count() == 1);
}

#[tokio::test]
async fn grpc_and_both_versions_of_http_share_the_port() {
    let Decoder { server, .. } = decoder().await;
    let mut texts = Vec::new();
    for version in [Version::Http1, Version::Http2] {
        let answer = server
            .http(version)
            .post(CHAT, &chat(json!({"stream": true})))
            .await;
        texts.push(answer.chunks().len());
    }
    assert_eq!(texts[0], texts[1]);
    let described = server.client().await.describe(DescribeRequest {}).await.unwrap();
    assert!(!described.into_inner().draining);
    // What no gRPC service has is answered as gRPC wants it.
    let path = "/liquid.worker.v1.Other/Call";
    let answer = server
        .http(Version::Http2)
        .post_as("application/grpc", path, "")
        .await;
    assert_eq!((answer.status, answer.header("grpc-status")), (200, "12"));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_answers() {
    for (version, stream) in [
        (Version::Http1, true),
        (Version::Http2, true),
        (Version::Http1, false),
    ] {
        let Decoder { server, .. } = decoder_with(|config| {
            config.decoder.sequences = 1;
            config.decoder.queue = 128;
        })
        .await;
        let client = server.http(version);
        let all = 128 * 220;
        let body = chat(json!({"n": 128, "max_tokens": 220, "stream": stream}));
        let path = body.to_string();
        let request = tokio::spawn(async move {
            let answer = client.send("POST", CHAT, &path).await.unwrap();
            // The head is there: the first token is, too.
            drop(answer);
        });
        for _ in 0..1000 {
            if metric(&server, "vllm:generation_tokens_total").await > 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        request.abort();
        // The gauges are written between steps: before the first they say that nothing runs.
        let mut over = 0;
        for _ in 0..1000 {
            over = ended(&server, "cancelled").await + ended(&server, "length").await;
            if over == 128 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(over, 128, "each answer ended, one way or the other");
        let written = metric(&server, "vllm:generation_tokens_total").await;
        assert!(written < all, "{version:?}, stream {stream}: {written} tokens");
        nothing_is_held(&server).await;
    }
}

/// Returns how many answers ended for a reason.
async fn ended(server: &TestServer, reason: &str) -> u64 {
    let (_, metrics) = server.get("/metrics").await;
    let begin = format!("vllm:request_success_total{{model_name=\"tiny\",finished_reason=\"{reason}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&begin));
    line.map_or(0, |count| count.parse().unwrap())
}

/// No answer is written any more, and no page holds one.
async fn nothing_is_held(server: &TestServer) {
    for _ in 0..1000 {
        let (_, metrics) = server.get("/metrics").await;
        let free = metrics.contains("vllm:kv_cache_usage_perc{model_name=\"tiny\"} 0.0\n");
        if free && metrics.contains("vllm:num_requests_running{model_name=\"tiny\"} 0\n") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("pages are held");
}

#[tokio::test]
async fn an_answer_ends_when_its_time_is_over() {
    let Decoder { client, server, .. } = decoder_with(|config| config.decoder.sequences = 1).await;
    let tokens = |answer: &Answer| answer.json()["usage"]["completion_tokens"].as_u64().unwrap();
    // How fast this machine is, is found out: some time is too short for all tokens and long enough for one.
    let (mut cut, mut milliseconds) = (None, 1_u64);
    loop {
        let body = chat(json!({"max_tokens": 220}));
        let answer = client.post_within(&milliseconds.to_string(), CHAT, &body).await;
        match answer.status {
            504 => assert_eq!(answer.error(), (504, String::new(), "deadline_exceeded".into())),
            _ if tokens(&answer) == 220 => break,
            _ => cut = Some(answer),
        }
        milliseconds += milliseconds.div_ceil(3);
    }
    let cut = cut.expect("no time was long enough and too short");
    assert_eq!(cut.json()["choices"][0]["finish_reason"], "length");
    assert!(ended(&server, "deadline").await > 0);
    nothing_is_held(&server).await;
    // Of many answers the last ones wait until it is too late: the call has failed, and nothing of it goes on.
    let many = chat(json!({"n": 32, "max_tokens": 220}));
    assert_eq!(client.post_within("1", CHAT, &many).await.status, 504);
    nothing_is_held(&server).await;
    assert_eq!(client.post(CHAT, &chat(json!({}))).await.status, 200);
}

#[tokio::test]
async fn a_time_that_is_none_is_refused() {
    let decoder = decoder().await;
    for wrong in ["0", "soon", "1S"] {
        let answer = decoder.client.post_within(wrong, TEXT, &text(json!({}))).await;
        assert_eq!(
            answer.error(),
            (400, "x-liquid-timeout-ms".into(), "invalid_value".into())
        );
    }
}

#[tokio::test]
async fn a_full_queue_is_429_with_a_time_to_come_back() {
    let Decoder { client, server, .. } = decoder_with(|config| {
        config.decoder.sequences = 1;
        config.decoder.queue = 2;
    })
    .await;
    let answer = client
        .post(CHAT, &chat(json!({"n": 16, "max_tokens": 200})))
        .await;
    assert_eq!(answer.error(), (429, String::new(), "rate_limit_exceeded".into()));
    assert_eq!(answer.header("retry-after"), "1");
    // None of the sixteen is written for nobody.
    for _ in 0..1000 {
        if metric(&server, "vllm:num_requests_running").await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(client.post(CHAT, &chat(json!({}))).await.status, 200);
}

#[tokio::test]
async fn a_drain_refuses_new_requests_and_lets_streams_end() {
    let Decoder { mut server, .. } = decoder().await;
    let client = server.http(Version::Http2);
    let body = chat(json!({"stream": true, "max_tokens": 200})).to_string();
    // Its window is small: it cannot end before it is read.
    let mut under_way = client.send("POST", CHAT, &body).await.unwrap();
    server.stop();
    for _ in 0..1000 {
        if server.get("/readyz").await.0 == 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut refused = client.post(CHAT, &chat(json!({}))).await;
    for _ in 0..1000 {
        if refused.status == 503 {
            break;
        }
        refused = client.post(CHAT, &chat(json!({}))).await;
    }
    assert_eq!(
        refused.error(),
        (503, String::new(), "service_unavailable".into())
    );
    assert_eq!(refused.header("retry-after"), "1");
    let mut text = Vec::new();
    while let Some(frame) = under_way.body_mut().frame().await {
        text.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    assert!(String::from_utf8(text).unwrap().ends_with("data: [DONE]\n\n"));
    server.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_outlives_the_drain_ends_as_an_error() {
    let Decoder { mut server, .. } = decoder_with(|config| config.drain.timeout_ms = 10).await;
    let client = server.http(Version::Http2);
    let body = chat(json!({"stream": true, "max_tokens": 200})).to_string();
    let mut under_way = client.send("POST", CHAT, &body).await.unwrap();
    server.stop();
    server.ended.await.unwrap().unwrap();
    let mut text = Vec::new();
    while let Some(Ok(frame)) = under_way.body_mut().frame().await {
        text.extend_from_slice(frame.data_ref().unwrap());
    }
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains("[DONE]"), "{text}");
    let last = text.split_terminator("\n\n").last().unwrap();
    assert!(
        last.contains("\"error\"") && last.contains("drain time is over"),
        "{last}"
    );
}
