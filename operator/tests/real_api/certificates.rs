//! Certificates, their Secrets, the webhook's bundle, and rotation under constant traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use libtest_mimic::Trial;
use liquid_operator::api::LiquidMemoryProxy;
use liquid_operator::pki::{Authorities, Facts, Purpose};
use serde_json::json;

use crate::Shared;
use crate::stage::{Stage, pod};

const CA: &str = "liquid-memory-ca";

pub(crate) fn trials(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        shared.trial("workers_and_sidecars_get_certificates", certificates_are_made),
        shared.trial(
            "who_intercepts_gets_a_certificate_and_its_authority",
            interception_is_made,
        ),
        shared.trial("no_key_of_an_authority_is_outside_its_secret", keys_stay),
        shared.alone("a_changed_bundle_is_repaired", a_changed_bundle_is_repaired),
        shared.alone("a_deleted_authority_is_restored", a_deleted_authority_is_restored),
        shared.alone("two_rotations_cost_no_pod", two_rotations_cost_no_pod),
    ]
}

async fn authorities(stage: &Stage) -> Authorities {
    Authorities::read(&stage.secrets(&stage.own).get(CA).await.unwrap()).unwrap()
}

async fn certificates_are_made(stage: Arc<Stage>) {
    for name in ["main-worker-tls", "main-sidecar-tls"] {
        let secrets = stage.secrets(&stage.shop);
        stage
            .wait(name, async || secrets.get_opt(name).await.unwrap().is_some())
            .await;
        let secret = secrets.get(name).await.unwrap();
        assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
        let keys: BTreeSet<String> = secret.data.unwrap().into_keys().collect();
        assert_eq!(
            keys,
            BTreeSet::from(["ca.crt", "tls.crt", "tls.key"].map(str::to_owned))
        );
        // It goes with its proxy.
        let owner = &secret.metadata.owner_references.unwrap()[0];
        assert_eq!(
            (owner.kind.as_str(), owner.name.as_str()),
            ("LiquidMemoryProxy", "main")
        );
    }
    // One that is deleted comes back.
    let secrets = stage.secrets(&stage.plain);
    secrets
        .delete("main-worker-tls", &DeleteParams::default())
        .await
        .unwrap();
    stage
        .wait("the certificate", async || {
            secrets.get_opt("main-worker-tls").await.unwrap().is_some()
        })
        .await;
}

/// The proxy asks for it while it runs; what it gets stays when it no longer does.
async fn interception_is_made(stage: Arc<Stage>) {
    let secrets = stage.secrets(&stage.plain);
    let name = "main-interception-tls";
    assert!(secrets.get_opt(name).await.unwrap().is_none());
    let proxies = Api::<LiquidMemoryProxy>::namespaced(stage.client.clone(), &stage.plain);
    let ask = async |value: serde_json::Value| {
        let spec = json!({ "spec": { "injection": { "tlsInterception": value } } });
        let (params, patch) = (PatchParams::default(), Patch::Merge(spec));
        proxies.patch("main", &params, &patch).await.unwrap();
    };
    ask(json!({})).await;
    let signed = async || {
        let secret = secrets.get_opt(name).await.unwrap()?;
        let certificate = String::from_utf8(secret.data?.remove("tls.crt")?.0).unwrap();
        Some(Facts::from_pem("certificate", &certificate).unwrap())
    };
    stage
        .wait("the certificate for intercepted hosts", async || {
            signed().await.is_some()
        })
        .await;
    let first = signed().await.unwrap();
    assert_eq!(
        first.names.iter().collect::<Vec<_>>(),
        ["DNS:api.anthropic.com", "DNS:api.openai.com"]
    );
    let maps = Api::<ConfigMap>::namespaced(stage.client.clone(), &stage.plain);
    let published = maps.get("main-interception-ca").await.unwrap();
    let texts = published.data.unwrap();
    let (own, all) = (&texts["ca.crt"], &texts["bundle.crt"]);
    assert!(all.ends_with(own.as_str()) && all.len() > 100 * own.len());
    assert!(published.binary_data.unwrap()["truststore.p12"].0.len() > own.len());
    ask(json!(null)).await;
    stage
        .wait("another certificate for intercepted hosts", async || {
            signed()
                .await
                .is_some_and(|now| now.public_key != first.public_key)
        })
        .await;
}

async fn keys_stay(stage: Arc<Stage>) {
    let own = stage.secrets(&stage.own);
    let mut keys: BTreeMap<String, ByteString> = own.get(CA).await.unwrap().data.unwrap();
    let other = own.get_opt(Purpose::Interception.secret()).await.unwrap();
    let other = other.and_then(|secret| secret.data).unwrap_or_default();
    keys.extend(
        other
            .into_iter()
            .map(|(name, value)| (format!("interception-{name}"), value)),
    );
    let keys: Vec<Vec<u8>> = keys
        .into_iter()
        .filter(|(name, _)| name.ends_with(".key"))
        .map(|(_, key)| key.0)
        .collect();
    assert!(!keys.is_empty());
    for namespace in [&stage.shop, &stage.plain, &stage.bare] {
        let secrets: Vec<Secret> = stage
            .secrets(namespace)
            .list(&ListParams::default())
            .await
            .unwrap()
            .items;
        let values = secrets
            .into_iter()
            .flat_map(|secret| secret.data.unwrap_or_default());
        for (name, value) in values {
            assert!(!keys.contains(&value.0), "{namespace} {name}");
        }
    }
}

async fn bundles(stage: &Stage) -> Vec<Option<Vec<u8>>> {
    let found = stage.webhooks().get(&stage.webhook).await.unwrap();
    let all = found.webhooks.unwrap_or_default();
    all.into_iter()
        .map(|webhook| webhook.client_config.ca_bundle.map(|bundle| bundle.0))
        .collect()
}

async fn a_changed_bundle_is_repaired(stage: Arc<Stage>) {
    let wrong = json!({ "webhooks": [
        { "name": "namespaces.inject.liquidmemory.dev", "clientConfig": { "caBundle": null } },
    ] });
    let params = PatchParams::default();
    let patch = Patch::Strategic(wrong);
    stage
        .webhooks()
        .patch(&stage.webhook, &params, &patch)
        .await
        .unwrap();
    stage
        .wait("the bundle", async || {
            let wanted = authorities(&stage).await.bundle().into_bytes();
            bundles(&stage).await == vec![Some(wanted.clone()), Some(wanted)]
        })
        .await;
}

async fn a_deleted_authority_is_restored(stage: Arc<Stage>) {
    let before = authorities(&stage).await;
    stage
        .secrets(&stage.own)
        .delete(CA, &DeleteParams::default())
        .await
        .unwrap();
    stage
        .wait("the authority", async || {
            stage.secrets(&stage.own).get_opt(CA).await.unwrap().is_some()
        })
        .await;
    // The same one, or its successor if it was about to be followed.
    let after = authorities(&stage).await;
    assert!(
        after.bundle().contains(before.current.certificate())
            || before.bundle().contains(after.current.certificate())
    );
}

/// Creates pods without pause (as dry runs, which pass the webhook and cost nothing) while the authority is
/// replaced twice. Not one may fail.
async fn two_rotations_cost_no_pod(stage: Arc<Stage>) {
    let (over, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (end, count, maker) = (Arc::clone(&over), Arc::clone(&made), Arc::clone(&stage));
    let making = tokio::spawn(async move {
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let mut failures = Vec::new();
        while !end.load(Ordering::Relaxed) {
            let made = maker.pods(&maker.shop).create(&params, &pod("constant")).await;
            match made {
                Ok(pod) if pod.spec.as_ref().unwrap().init_containers.is_some() => {}
                Ok(_) => failures.push("not injected".to_owned()),
                Err(error) => failures.push(error.to_string()),
            }
            count.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        failures
    });
    let mut signers: Vec<String> = vec![authorities(&stage).await.current.certificate().into()];
    let begun = Instant::now();
    while signers.len() < 3 && begun.elapsed() < Duration::from_secs(150) {
        let now = authorities(&stage).await;
        let signer = now.current.certificate();
        if signers.last().is_some_and(|last| last != signer) {
            // Overlap: who trusted the one before is still trusted.
            assert!(now.bundle().contains(signers.last().unwrap()), "no overlap");
            signers.push(signer.into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    over.store(true, Ordering::Relaxed);
    let failures = making.await.unwrap();
    assert_eq!(signers.len(), 3, "two rotations within 150 s");
    let made = made.load(Ordering::Relaxed);
    assert!(made > 500, "only {made} pods in {:?}", begun.elapsed());
    assert_eq!(failures, Vec::<String>::new(), "of {made}");
    stage.wait_for_event(&stage.own, CA, "CertificatesRotated").await;
}
