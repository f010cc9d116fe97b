//! `sidecar.toml` and `worker.toml` of any proxy that the API server accepts are read by their programs, and say there
//! what the resource says.

use kube::core::cel::validate_cel;
use liquid_contract::{files, ports};
use liquid_operator::api::LiquidMemoryProxy;
use liquid_operator::api::decoder::DecoderPrecision;
use liquid_operator::names;
use liquid_sidecar::config::Config as SidecarConfig;
use liquid_worker::config::Config as WorkerConfig;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use crate::render::{Files, everything, proxy};

mod specs;

#[test]
fn an_empty_proxy_is_read_as_the_programs_own_defaults() {
    let files = Files::render(&proxy(json!({})));
    let (sidecar, default) = (files.sidecar(Vec::new()).unwrap(), SidecarConfig::default());
    assert_eq!(sidecar.policy, default.policy);
    assert_eq!(sidecar.upstream, default.upstream);
    assert_eq!(sidecar.pack, default.pack);
    assert_eq!(sidecar.limits, default.limits);
    assert_eq!(sidecar.listen.address, default.listen.address);
    assert_eq!(sidecar.listen.admin.port(), default.listen.admin.port());
    let mut extract = sidecar.extract;
    extract.workers.clone_from(&default.extract.workers);
    extract.tls = None;
    assert_eq!(extract, default.extract);

    let (worker, default) = (files.worker().unwrap(), WorkerConfig::default());
    assert_eq!(worker.limits, default.limits);
    assert_eq!(worker.cache, default.cache);
    assert_eq!(worker.drain.timeout_ms, default.drain.timeout_ms);
    assert_eq!(worker.grpc.listen.port(), default.grpc.listen.port());
    assert_eq!(worker.admin.listen.port(), default.admin.listen.port());
}

#[test]
fn a_proxy_with_everything_is_read_as_it_was_written() {
    let proxy = proxy(everything());
    check(&proxy).unwrap();
    let sidecar = Files::render(&proxy).sidecar(Vec::new()).unwrap();
    assert_eq!(sidecar.upstream.model.as_deref(), Some("synthesis/qwen/qwen3"));
    assert_eq!(
        sidecar.upstream.fallbacks,
        [
            "fallback-1/gpt-5",
            "anthropic/claude-sonnet-4-5",
            "liquid/small",
            "local/extractive"
        ]
    );
    let keys: Vec<bool> = ["synthesis", "fallback-1"]
        .map(|name| sidecar.upstream.providers[name].api_key_file.is_some())
        .into();
    assert_eq!(keys, [true, true]);
}

#[test]
fn a_gateway_is_read_as_the_sidecars_are_but_for_who_may_call() {
    let mut spec = everything();
    spec["gateway"] = json!({ "drainSeconds": 70, "clients": {
        "tokenSecret": "clients",
        "certificates": { "authoritySecret": "ca", "identities": ["spiffe://a/b"] },
    } });
    let files = Files::render(&proxy(spec));
    let (sidecar, gateway) = (
        files.sidecar(Vec::new()).unwrap(),
        files.gateway().unwrap().unwrap(),
    );
    assert_eq!(gateway.policy, sidecar.policy);
    assert_eq!(gateway.upstream, sidecar.upstream);
    assert_eq!(gateway.extract, sidecar.extract);
    assert_eq!(gateway.limits.drain_ms, 70_000);
    assert!(gateway.limits.notice_ms > 0 && sidecar.limits.notice_ms == 0);
    // Nobody but the named clients: without a token, and without a certificate.
    assert_eq!(gateway.access.clients_folder, Some(names::CLIENTS_FOLDER.into()));
    let tls = &gateway.listen.tls;
    assert!(tls.client_ca_file.is_some() && tls.cert_file.is_some());
    assert_eq!(tls.client_identities, ["spiffe://a/b"]);
    assert!(gateway.listen.address.ip().is_unspecified() && sidecar.listen.address.ip().is_loopback());
    assert!(Files::render(&proxy(json!({}))).gateway().is_none());
}

#[test]
fn both_programs_find_their_certificate_where_the_pod_mounts_it() {
    let files = Files::render(&proxy(json!({})));
    let path = |name: &str| std::path::PathBuf::from(format!("{}/{name}", files::TLS_FOLDER));
    let sidecar = files.sidecar(Vec::new()).unwrap().extract.tls.unwrap();
    assert_eq!(sidecar.ca_file, path(files::AUTHORITIES));
    assert_eq!(sidecar.cert_file, Some(path(files::CERTIFICATE)));
    assert_eq!(sidecar.key_file, Some(path(files::KEY)));
    let worker = files.worker().unwrap().tls;
    assert_eq!(worker.client_ca_file, Some(path(files::AUTHORITIES)));
    assert_eq!(worker.cert_file, Some(path(files::CERTIFICATE)));
    assert_eq!(worker.key_file, Some(path(files::KEY)));
}

#[test]
fn a_key_that_a_program_does_not_know_is_refused() {
    // The tests here would see a key that only the operator knows.
    let files = Files::render(&proxy(json!({})));
    let variable = ("LIQUID_SIDECAR__POLICY__MODUS".to_owned(), "auto".to_owned());
    let error = files.sidecar(vec![variable]).unwrap_err();
    assert!(error.contains("modus"), "{error}");
}

#[test]
fn a_url_that_the_definition_accepts_is_one_for_the_sidecar() {
    for (url, accepted) in [
        ("https://llm.example", true),
        ("https://llm.example/", true),
        ("http://llm.models.svc:8000/v1/", true),
        ("http://[fd00::1]:8000/v1", true),
        ("https://user:password@llm.example/v1", false),
        ("https://llm.example/v1?key=secret", false),
        ("https://llm.example/v1#part", false),
        ("https://llm example/v1", false),
        ("https:///v1", false),
        ("ftp://llm.example/v1", false),
        ("llm.example/v1", false),
    ] {
        let first = json!({ "synthesis": { "provider": "vllm", "model": "m", "baseURL": url } });
        let fallback = json!({ "provider": "vllm", "model": "m", "baseURL": url });
        let second = json!({ "synthesis": { "model": "m", "fallbacks": [fallback] } });
        for proxy in [proxy(first), proxy(second)] {
            assert_eq!(validate_cel(&proxy).is_ok(), accepted, "{url}");
            let read = Files::render(&proxy).sidecar(Vec::new());
            assert!(read.is_ok() || !accepted, "{url}: {read:?}");
        }
    }
}

/// Renders a proxy, has both programs read it, and compares what they read with the resource.
fn check(proxy: &LiquidMemoryProxy) -> Result<(), TestCaseError> {
    let files = Files::render(proxy);
    let fail = |program: &str, error: String| {
        TestCaseError::fail(format!("{program}: {error}\n{}", files.sidecar_text()))
    };
    let sidecar = files
        .sidecar(Vec::new())
        .map_err(|error| fail("sidecar", error))?;
    let worker = files.worker().map_err(|error| fail("worker", error))?;
    check_sidecar(proxy, &sidecar)?;
    check_worker(proxy, &worker)
}

fn check_sidecar(proxy: &LiquidMemoryProxy, read: &SidecarConfig) -> Result<(), TestCaseError> {
    let (injection, extraction) = (&proxy.spec.injection, &proxy.spec.extraction);
    prop_assert_eq!(i32::from(read.listen.address.port()), injection.port);
    prop_assert!(read.listen.address.ip().is_loopback());
    prop_assert_eq!(i32::from(read.listen.admin.port()), injection.admin_port);
    prop_assert_eq!(
        read.limits.drain_ms as i64,
        i64::from(injection.drain_seconds) * 1000
    );
    prop_assert_eq!(
        read.policy.min_document_tokens as i64,
        extraction.min_document_tokens
    );
    prop_assert_eq!(read.extract.deadline_ms as i64, extraction.deadline_milliseconds);
    let per_mebibyte = extraction.deadline_per_mebibyte_milliseconds;
    prop_assert_eq!(read.extract.deadline_per_mib_ms as i64, per_mebibyte);
    let tier = read
        .policy
        .tier
        .map_or("Auto".to_owned(), |tier| format!("{tier:?}"));
    prop_assert_eq!(tier, format!("{:?}", extraction.tier));
    check_budget(proxy, &read.policy.budget)?;

    let policy = &proxy.spec.policy;
    // Values of the same name on both sides, with the same spelling in Rust.
    let said = |value: &dyn std::fmt::Debug| format!("{value:?}");
    prop_assert_eq!(said(&read.policy.mode), said(&policy.mode));
    prop_assert_eq!(said(&read.policy.no_question), said(&policy.no_question));
    prop_assert_eq!(said(&read.policy.overview), said(&policy.overview));
    prop_assert_eq!(said(&read.policy.earlier_turns), said(&policy.earlier_turns));
    prop_assert_eq!(said(&read.policy.whole), said(&policy.whole));
    prop_assert_eq!(said(&read.policy.unread), said(&policy.unread));
    prop_assert_eq!(&read.policy.unread_allow, &policy.unread_allow);
    let tools = serde_json::to_value(&read.policy.tools).unwrap();
    let asked = policy
        .tools
        .iter()
        .map(|(name, mode)| (name.clone(), json!(said(mode).to_lowercase())));
    prop_assert_eq!(tools, Value::Object(asked.collect()));
    let unavailable = &read.extract.on_worker_unavailable;
    prop_assert_eq!(said(unavailable), said(&policy.on_worker_unavailable));
    prop_assert_eq!(read.policy.min_saving, policy.min_saving.value());
    prop_assert_eq!(read.policy.min_saved_tokens as i64, policy.min_saved_tokens);
    let (prefix, asked) = (&read.policy.cached_prefix, &policy.cached_prefix);
    prop_assert_eq!(prefix.enabled, asked.enabled);
    prop_assert_eq!(
        (prefix.write, prefix.read),
        (asked.write.value(), asked.read.value())
    );
    prop_assert_eq!(said(&prefix.instead), said(&asked.instead));
    prop_assert_eq!(prefix.ttl_s as i64, asked.ttl_seconds);
    Ok(())
}

fn check_budget(
    proxy: &LiquidMemoryProxy,
    read: &liquid_sidecar::policy::Budget,
) -> Result<(), TestCaseError> {
    let asked = &proxy.spec.extraction.budget;
    if let Some(ratio) = &asked.ratio {
        prop_assert_eq!(read.ratio, ratio.value());
    }
    prop_assert_eq!(read.max_tokens, asked.max_tokens.map(|tokens| tokens as u64));
    prop_assert_eq!(read.auto, asked.auto.is_some());
    prop_assert_eq!(read.further_ratio, asked.further_ratio.value());
    if let Some(auto) = &asked.auto {
        let limits = (auto.floor.value(), auto.min_ratio.value(), auto.max_ratio.value());
        prop_assert_eq!((read.floor, read.min_ratio, read.max_ratio), limits);
    }
    Ok(())
}

fn check_worker(proxy: &LiquidMemoryProxy, read: &WorkerConfig) -> Result<(), TestCaseError> {
    prop_assert_eq!(read.grpc.listen.port(), ports::WORKER);
    prop_assert_eq!(read.admin.listen.port(), ports::WORKER_ADMIN);
    let drain = i64::from(proxy.spec.workers.drain_seconds) * 1000;
    prop_assert_eq!(read.drain.timeout_ms as i64, drain);
    let lexical = format!("{:?}", proxy.spec.extraction.tier) == "Lexical";
    prop_assert_eq!(read.needs_model(), !lexical);
    prop_assert_eq!(read.model.folder.is_some(), !lexical);
    let sum = proxy.spec.model.sha256.as_ref().filter(|_| !lexical);
    prop_assert_eq!(read.model.sha256.as_ref(), sum);
    check_decoder(proxy, &read.decoder)
}

fn check_decoder(
    proxy: &LiquidMemoryProxy,
    read: &liquid_worker::config::Decoder,
) -> Result<(), TestCaseError> {
    let own = liquid_worker::config::Decoder::default();
    let Some(asked) = &proxy.spec.decoder else {
        prop_assert_eq!(read, &own);
        return Ok(());
    };
    prop_assert!(read.folder.is_some());
    prop_assert_eq!(&read.name, &asked.name);
    let tokens = asked.context_tokens.map(|tokens| tokens as usize);
    prop_assert_eq!(read.context_tokens, tokens.unwrap_or(own.context_tokens));
    let bytes = asked.memory_mebibytes.map(|mebibytes| (mebibytes as u64) << 20);
    prop_assert_eq!(read.memory_bytes, bytes.unwrap_or(own.memory_bytes));
    let sequences = asked.sequences.map(|count| count as usize);
    prop_assert_eq!(read.sequences, sequences.unwrap_or(own.sequences));
    let queue = asked.queue.map(|count| count as usize);
    prop_assert_eq!(read.queue, queue.unwrap_or(own.queue));
    for (asked, read, own) in [
        (asked.precision, read.precision, own.precision),
        (asked.kv_precision, read.kv_precision, own.kv_precision),
    ] {
        let asked = asked.map(|precision| match precision {
            DecoderPrecision::Bf16 => liquid_worker::config::DecoderPrecision::Bf16,
            DecoderPrecision::Fp8 => liquid_worker::config::DecoderPrecision::Fp8,
        });
        prop_assert_eq!(read, asked.unwrap_or(own));
    }
    Ok(())
}

/// The spec as a proxy, if the API server would accept it.
fn accepted(spec: Value) -> Option<LiquidMemoryProxy> {
    let proxy = proxy(spec);
    validate_cel(&proxy).is_ok().then_some(proxy)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever the definition accepts is written so that the programs read the same.
    #[test]
    fn every_proxy_that_the_definition_accepts_is_read(
        proxy in specs::spec().prop_filter_map("refused by the definition", accepted),
    ) {
        check(&proxy)?;
    }
}
