//! Values that hold where nobody gives one, ports, and what they may be: the same in worker, sidecar and operator.

use kube::core::cel::validate_cel;
use liquid_contract::{defaults, ports};
use liquid_operator::api::LiquidMemoryProxySpec;
use liquid_sidecar::config::Config as SidecarConfig;
use liquid_worker::config::Config as WorkerConfig;
use liquid_worker::engine::AutoBudget;
use serde_json::json;

use crate::render::{Files, proxy};

const AUTO: (f64, f64, f64) = (
    defaults::BUDGET_FLOOR,
    defaults::BUDGET_MIN_RATIO,
    defaults::BUDGET_MAX_RATIO,
);

#[test]
fn budgets() {
    let worker = AutoBudget::default();
    assert_eq!(
        (worker.floor(), worker.min_ratio().get(), worker.max_ratio().get()),
        AUTO
    );
    let sidecar = SidecarConfig::default().policy.budget;
    assert_eq!((sidecar.floor, sidecar.min_ratio, sidecar.max_ratio), AUTO);
    assert_eq!(sidecar.ratio, defaults::BUDGET_RATIO);
    let operator = LiquidMemoryProxySpec::default().extraction.budget;
    assert_eq!(operator.ratio.unwrap().value(), defaults::BUDGET_RATIO);
    let further = (sidecar.further_ratio, operator.further_ratio.value());
    assert_eq!(
        further,
        (defaults::BUDGET_FURTHER_RATIO, defaults::BUDGET_FURTHER_RATIO)
    );
    let operator = proxy(json!({ "extraction": { "budget": { "auto": {} } } }));
    let operator = operator.spec.extraction.budget.auto.unwrap();
    let limits = (
        operator.floor.value(),
        operator.min_ratio.value(),
        operator.max_ratio.value(),
    );
    assert_eq!(limits, AUTO);
}

#[test]
fn ratios_that_may_be_asked_for() {
    let (low, high) = (*defaults::BUDGET_RATIOS.start(), *defaults::BUDGET_RATIOS.end());
    for (ratio, valid) in [
        (low, true),
        (high, true),
        (low - 0.01, false),
        (high + 0.01, false),
    ] {
        let proxy = proxy(json!({ "extraction": { "budget": { "ratio": ratio } } }));
        assert_eq!(validate_cel(&proxy).is_ok(), valid, "{ratio}");
        let read = Files::render(&proxy).sidecar(Vec::new());
        assert_eq!(read.is_ok(), valid, "{ratio}: {read:?}");
    }
}

#[test]
fn what_the_resource_writes_is_what_the_sidecar_would_take() {
    let spec = LiquidMemoryProxySpec::default();
    let (sidecar, extraction, policy) = (SidecarConfig::default(), spec.extraction, spec.policy);
    for (name, operator, sidecar, contract) in [
        (
            "minDocumentTokens",
            extraction.min_document_tokens,
            sidecar.policy.min_document_tokens,
            defaults::MIN_DOCUMENT_TOKENS,
        ),
        (
            "minSavedTokens",
            policy.min_saved_tokens,
            sidecar.policy.min_saved_tokens,
            defaults::MIN_SAVED_TOKENS,
        ),
        (
            "deadlineMilliseconds",
            extraction.deadline_milliseconds,
            sidecar.extract.deadline_ms,
            defaults::DEADLINE_MS,
        ),
        (
            "deadlinePerMebibyteMilliseconds",
            extraction.deadline_per_mebibyte_milliseconds,
            sidecar.extract.deadline_per_mib_ms,
            defaults::DEADLINE_PER_MIB_MS,
        ),
        (
            "cachedPrefix.ttlSeconds",
            policy.cached_prefix.ttl_seconds,
            sidecar.policy.cached_prefix.ttl_s,
            defaults::CACHED_PREFIX_TTL_SECONDS,
        ),
        (
            "injection.drainSeconds",
            spec.injection.drain_seconds.into(),
            sidecar.limits.drain_ms / 1000,
            defaults::DRAIN_SECONDS,
        ),
        (
            "workers.drainSeconds",
            spec.workers.drain_seconds.into(),
            WorkerConfig::default().drain.timeout_ms / 1000,
            defaults::DRAIN_SECONDS,
        ),
    ] {
        assert_eq!(operator, i64::from(contract), "{name}");
        assert_eq!(sidecar, u64::from(contract), "{name}");
    }
    let prefix = &sidecar.policy.cached_prefix;
    for (name, operator, sidecar, contract) in [
        (
            "minSaving",
            policy.min_saving.value(),
            sidecar.policy.min_saving,
            defaults::MIN_SAVING,
        ),
        (
            "cachedPrefix.write",
            policy.cached_prefix.write.value(),
            prefix.write,
            defaults::CACHED_PREFIX_WRITE,
        ),
        (
            "cachedPrefix.read",
            policy.cached_prefix.read.value(),
            prefix.read,
            defaults::CACHED_PREFIX_READ,
        ),
    ] {
        assert_eq!((operator, sidecar), (contract, contract), "{name}");
    }
}

#[test]
fn ports_of_the_programs() {
    let (sidecar, worker) = (SidecarConfig::default(), WorkerConfig::default());
    assert_eq!(sidecar.listen.address.port(), ports::SIDECAR);
    assert_eq!(sidecar.listen.admin.port(), ports::SIDECAR_ADMIN);
    assert_eq!(worker.grpc.listen.port(), ports::WORKER);
    assert_eq!(worker.admin.listen.port(), ports::WORKER_ADMIN);
    assert_eq!(sidecar.extract.workers, [format!("127.0.0.1:{}", ports::WORKER)]);
    let injection = LiquidMemoryProxySpec::default().injection;
    let (port, admin) = (i32::from(ports::SIDECAR), i32::from(ports::SIDECAR_ADMIN));
    assert_eq!((injection.port, injection.admin_port), (port, admin));
}

#[test]
fn numbers_of_one_machine_do_not_meet() {
    let ports = [
        ports::SIDECAR,
        ports::SIDECAR_ADMIN,
        ports::WORKER,
        ports::WORKER_ADMIN,
    ];
    let distinct: std::collections::BTreeSet<u16> = ports.into();
    assert_eq!(distinct.len(), ports.len());
}
