//! What we do not change leaves as the same bytes, both ways.

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request};
use liquid_testing::Canned;

use crate::support::{ask, open, post, raw, raw_upstream, send, sidecar, stack};

/// Everything that a parser would be tempted to tidy up.
const ODD: &str = "{ \"model\" : \"m\",\"n\":1.0, \"a\":1,\"a\":1e3,\"big\":123456789012345678901234567890,\
                   \"text\":\"\\u0041\\/\\ud83d\\ude00\",\"messages\":[ {\"role\":\"user\",\"content\":\"h\\u00e9\"} ] ,\"nil\":null }\n";

#[tokio::test]
async fn request_bytes_arrive_unchanged_on_every_surface() {
    let stack = stack("").await;
    for path in [
        "/v1/chat/completions",
        "/chat/completions",
        "/v1/responses",
        "/responses",
        "/v1/messages",
        "/messages",
    ] {
        let answer = ask(&stack.url(path), ODD).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let received = stack.upstream.last().unwrap();
        assert_eq!(received.body, ODD, "{path}");
        let want = if path.starts_with("/v1") {
            path.to_owned()
        } else {
            format!("/v1{path}")
        };
        assert_eq!(received.path, want);
        assert_eq!(answer.header("x-liquid-decision"), "passed");
        assert!(!answer.header("x-liquid-reason").is_empty());
        assert!(!answer.header("x-liquid-overhead-ms").is_empty());
    }
}

#[tokio::test]
async fn answer_bytes_arrive_unchanged() {
    let stack = stack("").await;
    let odd = "{\"usage\":{\"prompt_tokens\":1.0},\"x\":1,\"x\":2, \"t\":\"\\u00e9\"}\n\n";
    for status in [200, 400, 401, 404] {
        stack.upstream.answer(Canned {
            status,
            headers: vec![
                ("content-type".into(), "application/json".into()),
                ("x-request-id".into(), "req_1".into()),
                ("x-ratelimit-remaining-tokens".into(), "7".into()),
            ],
            body: vec![Bytes::from_static(odd.as_bytes())],
        });
        let answer = ask(&stack.url("/v1/chat/completions"), ODD).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, odd));
        assert_eq!(answer.header("x-request-id"), "req_1");
        assert_eq!(answer.header("x-ratelimit-remaining-tokens"), "7");
    }
}

#[tokio::test]
async fn headers_pass_but_for_hop_by_hop_and_our_own() {
    let stack = stack("").await;
    let mut request = post(&stack.url("/v1/messages?beta=true"), ODD);
    for (name, value) in [
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "a,b"),
        ("x-stainless-lang", "python"),
        ("idempotency-key", "k"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("accept-encoding", "identity"),
        ("x-liquid-mode", "off"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    assert_eq!(send(request).await.status, 200);
    let received = stack.upstream.last().unwrap();
    assert_eq!(received.query, "beta=true");
    assert_eq!(received.header("authorization"), Some("Bearer sk-test"));
    assert_eq!(received.header("anthropic-beta"), Some("a,b"));
    assert_eq!(
        received.header("traceparent"),
        Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    );
    assert_eq!(received.header("accept-encoding"), Some("identity"));
    assert_eq!(
        received.header("content-length"),
        Some(ODD.len().to_string().as_str())
    );
    assert_eq!(
        received.header("host"),
        Some(stack.upstream.address().to_string().as_str())
    );
    for gone in ["x-liquid-mode", "x-hop", "expect"] {
        assert_eq!(received.header(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn everything_else_passes_with_any_method() {
    let stack = stack("").await;
    for (method, path, query) in [
        (Method::GET, "/v1/models", ""),
        (Method::POST, "/v1/embeddings", ""),
        (Method::DELETE, "/v1/files/file_1", ""),
        (Method::PUT, "/v1/anything/at%20all", "a=1&b=%2F"),
        (Method::PATCH, "/v1/x", ""),
    ] {
        let url = stack.url(&format!(
            "{path}{}{query}",
            if query.is_empty() { "" } else { "?" }
        ));
        let request = Request::builder()
            .method(method.clone())
            .uri(url)
            .body(Body::from("raw \u{0} bytes"))
            .unwrap();
        let answer = send(request).await;
        assert!(answer.status < 500, "{path}: {}", answer.status);
        let received = stack.upstream.last().unwrap();
        assert_eq!(
            (received.method.as_str(), received.path.as_str()),
            (method.as_str(), path)
        );
        assert_eq!(
            (received.query.as_str(), &received.body[..]),
            (query, &b"raw \x00 bytes"[..])
        );
        assert_eq!(answer.header("x-liquid-decision"), "");
    }
}

#[tokio::test]
async fn head_and_bodyless_answers() {
    let stack = stack("").await;
    let head = open(Request::head(stack.url("/")).body(Body::empty()).unwrap()).await;
    assert_eq!(head.status(), 200);
    assert_eq!(stack.upstream.last().unwrap().path, "/");
    for status in [204, 304] {
        stack.upstream.answer(Canned {
            status,
            headers: vec![("etag".into(), "\"e\"".into())],
            body: Vec::new(),
        });
        let answer = send(
            Request::get(stack.url("/v1/files/f/content"))
                .body(Body::empty())
                .unwrap(),
        )
        .await;
        assert_eq!(
            (answer.status, answer.body.len(), answer.header("etag")),
            (status, 0, "\"e\"")
        );
    }
}

#[tokio::test]
async fn a_gzip_answer_stays_gzip() {
    let stack = stack("").await;
    for stream in ["false", "true"] {
        let body = format!(
            r#"{{"model":"mock-gzip","stream":{stream},"messages":[{{"role":"user","content":"x"}}]}}"#
        );
        let answer = ask(&stack.url("/v1/chat/completions"), body).await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, "gzip"));
        assert!(answer.complete);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&answer.body[..]), &mut text)
            .unwrap();
        assert!(text.contains("chat.completion"), "{text}");
    }
}

#[tokio::test]
async fn a_compressed_request_passes_with_a_reason() {
    let stack = stack("").await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, ODD.as_bytes()).unwrap();
    let body = encoder.finish().unwrap();
    let mut request = post(&stack.url("/v1/chat/completions"), body.clone());
    request
        .headers_mut()
        .insert("content-encoding", "gzip".parse().unwrap());
    let answer = send(request).await;
    assert_eq!(answer.header("x-liquid-reason"), "encoded_body");
    let received = stack.upstream.last().unwrap();
    assert_eq!(received.body, body);
    assert_eq!(received.header("content-encoding"), Some("gzip"));
}

#[tokio::test]
async fn a_compressed_request_does_not_slip_past_what_must_read_it() {
    for toml in [
        "[upstream]\nmodel = \"openai/m\"",
        "[extract]\non_worker_unavailable = \"reject\"",
    ] {
        let stack = stack(toml).await;
        let mut request = post(&stack.url("/v1/chat/completions"), "gzip");
        request
            .headers_mut()
            .insert("content-encoding", "gzip".parse().unwrap());
        assert_eq!(send(request).await.status, 415);
        assert!(stack.upstream.requests().is_empty());
    }
}

#[tokio::test]
async fn bodies_that_are_no_json_are_the_upstreams_to_judge() {
    let stack = stack("").await;
    for body in [
        &b"not json"[..],
        b"\xff\xfe{}",
        b"",
        b"[]",
        b"{\"model\":\"\xc3\x28\"}",
    ] {
        let answer = ask(&stack.url("/v1/chat/completions"), body.to_vec()).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(stack.upstream.last().unwrap().body, body);
    }
}

#[tokio::test]
async fn expect_continue_is_answered_here() {
    let stack = stack("").await;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n{ODD}",
        ODD.len()
    );
    let answer = raw(stack.sidecar.address, request.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"),
        "{answer}"
    );
    assert_eq!(stack.upstream.last().unwrap().header("expect"), None);
}

#[tokio::test]
async fn chunked_requests_and_trailers_pass() {
    let stack = stack("").await;
    let request =
        b"POST /v1/files HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
                    3\r\nabc\r\n4\r\ndefg\r\n0\r\nx-sum: 1\r\n\r\n";
    let answer = raw(stack.sidecar.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    assert_eq!(stack.upstream.last().unwrap().body, "abcdefg");

    let upstream = raw_upstream(
        "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 42\r\n\r\n",
    )
    .await;
    let sidecar = sidecar("", &format!("http://{upstream}/v1")).await;
    let request = b"GET /v1/x HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: close, te\r\n\r\n";
    let answer = raw(sidecar.address, request).await;
    assert!(answer.contains("x-sum: 42"), "{answer}");
}

#[tokio::test]
async fn a_request_with_two_lengths_is_not_smuggled() {
    let stack = stack("").await;
    let request = b"POST /v1/files HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100\r\n\
                    transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = raw(stack.sidecar.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    if let Some(received) = stack.upstream.last() {
        assert_eq!(received.body, "abc");
        assert_eq!(received.header("content-length"), None);
    }
}
