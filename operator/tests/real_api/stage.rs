//! What the tests play on: namespaces, a Service that leads to this process, a webhook configuration, a
//! proxy, and the operator's parts with certificates that live for seconds.

use std::ffi::OsString;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::delete::delete_and_finalize;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config};
use liquid_operator::api::{LiquidMemoryProxy, LiquidMemoryProxySpec, definition};
use liquid_operator::config::Settings;
use liquid_operator::webhook::metrics::WebhookMetrics;
use liquid_operator::webhook::run::{RunningWebhook, start};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The operator's flags.
#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

pub(crate) struct Stage {
    pub(crate) client: Client,
    /// The operator's namespace.
    pub(crate) own: String,
    /// Opted in, with a proxy `main`, Pod Security "restricted".
    pub(crate) shop: String,
    /// Not opted in, with a proxy `main`.
    pub(crate) plain: String,
    /// Opted in, without a proxy.
    pub(crate) bare: String,
    /// The webhook configuration's name.
    pub(crate) webhook: String,
    /// The resource type was not there before.
    defined: bool,
    running: RunningWebhook,
    stop: CancellationToken,
}

const DEFINITION: &str = "liquidmemoryproxies.liquidmemory.dev";

/// An authority every 20 s, a certificate every 6 s or so. The propagation is that of a watch on a busy machine.
const FAST: [&str; 6] = [
    "--ca-lifetime",
    "30s",
    "--leaf-lifetime",
    "10s",
    "--cert-propagation",
    "3s",
];

pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

impl Stage {
    pub(crate) async fn set(kubeconfig: OsString) -> Self {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .unwrap();
        let address: IpAddr = config.cluster_url.host().unwrap().parse().unwrap();
        let client = Client::try_from(config).unwrap();
        let port = TcpListener::bind((address, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();

        let suffix = format!("{:06x}", std::process::id());
        let name = |kind: &str| format!("lm-{kind}-{suffix}");
        let (own, shop, plain, bare) = (name("own"), name("shop"), name("plain"), name("bare"));
        let webhook = name("webhook");
        let listen = format!("0.0.0.0:{port}");
        let mut flags = vec!["operator", "--namespace", &own, "--webhook-name", &webhook];
        flags.extend([
            "--sidecar-image",
            "registry.test/sidecar:1",
            "--worker-image",
            "x",
        ]);
        flags.extend(["--webhook-service", "hook", "--webhook-listen", &listen]);
        flags.extend(["--image-pull-secrets", "registry-key", "--lease-name", "operator"]);
        flags.extend(FAST);
        let settings = Flags::parse_from(flags).settings;

        let defined = define(&client).await;
        for (name, opted_in) in [(&own, false), (&shop, true), (&plain, false), (&bare, true)] {
            namespace(&client, name, opted_in, name == &shop).await;
        }
        lead_here(&client, &own, address, port).await;
        configure(&client, &webhook, &own, &[&shop, &plain, &bare]).await;
        for namespace in [&shop, &plain] {
            let proxy = LiquidMemoryProxy::new("main", LiquidMemoryProxySpec::default());
            let proxies = Api::namespaced(client.clone(), namespace);
            proxies.create(&PostParams::default(), &proxy).await.unwrap();
        }

        let stop = CancellationToken::new();
        let metrics = Arc::new(WebhookMetrics::default());
        let running = start(
            client.clone(),
            &settings,
            "test",
            metrics,
            Arc::default(),
            stop.clone(),
        );
        let running = running.await.unwrap();
        let (keeper, term) = (running.make_keeper(), stop.clone());
        tokio::spawn(async move { keeper.run(term).await });
        let stage = Self {
            client,
            own,
            shop,
            plain,
            bare,
            webhook,
            defined,
            running,
            stop,
        };
        stage
            .wait("the webhook to be ready", async || stage.running.is_ready())
            .await;
        stage
            .wait("the webhook to be trusted", async || stage.is_trusted().await)
            .await;
        stage
    }

    /// Polls for up to 30 s.
    pub(crate) async fn wait(&self, what: &str, done: impl AsyncFn() -> bool) {
        for _ in 0..300 {
            if done().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("waited in vain for {what}");
    }

    async fn is_trusted(&self) -> bool {
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let pod = pod("probe");
        self.pods(&self.shop).create(&params, &pod).await.is_ok()
    }

    pub(crate) fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn webhooks(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }

    /// Events about an object: reason and note.
    pub(crate) async fn events(&self, namespace: &str, about: &str) -> Vec<(String, String)> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let only = ListParams::default().fields(&format!("regarding.name={about}"));
        let list = events.list(&only).await.unwrap();
        list.into_iter()
            .map(|event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default()))
            .collect()
    }

    pub(crate) async fn wait_for_event(&self, namespace: &str, about: &str, reason: &str) -> String {
        self.wait(&format!("Event {reason} about {about}"), async || {
            let events = self.events(namespace, about).await;
            events.iter().any(|(found, _)| found == reason)
        })
        .await;
        let events = self.events(namespace, about).await;
        events.into_iter().find(|(found, _)| found == reason).unwrap().1
    }

    /// Ends the operator's parts and removes everything.
    pub(crate) async fn clear(&self) {
        self.stop.cancel();
        self.running.wait().await;
        let now = DeleteParams::background();
        self.webhooks().delete(&self.webhook, &now).await.unwrap();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        for name in [&self.own, &self.shop, &self.plain, &self.bare] {
            namespaces.delete(name, &now).await.unwrap();
        }
        if self.defined {
            let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
            delete_and_finalize(definitions, DEFINITION, &now).await.unwrap();
        }
    }
}

/// A pod that passes Pod Security "restricted".
pub(crate) fn pod(name: &str) -> Pod {
    typed(json!({
        "metadata": { "name": name },
        "spec": {
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 1000,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "app",
                "image": "registry.test/app:1",
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    }))
}

/// Whether the resource type was not there.
async fn define(client: &Client) -> bool {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let absent = definitions.get_opt(DEFINITION).await.unwrap().is_none();
    let params = PatchParams::apply("test").force();
    let definition = definition::definition();
    definitions
        .patch(DEFINITION, &params, &Patch::Apply(definition))
        .await
        .unwrap();
    let established = conditions::is_crd_established();
    await_condition(definitions, DEFINITION, established)
        .await
        .unwrap();
    absent
}

async fn namespace(client: &Client, name: &str, opted_in: bool, restricted: bool) {
    let mut labels = json!({});
    if opted_in {
        labels["liquidmemory.dev/inject"] = "enabled".into();
    }
    if restricted {
        labels["pod-security.kubernetes.io/enforce"] = "restricted".into();
    }
    let namespace = typed(json!({ "metadata": { "name": name, "labels": labels } }));
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    // Pods need the account that a controller makes.
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client.clone(), name);
    for _ in 0..100 {
        if accounts.get_opt("default").await.unwrap().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no service account in {name}");
}

async fn lead_here(client: &Client, namespace: &str, address: IpAddr, port: u16) {
    let service = typed(json!({
        "metadata": { "name": "hook" },
        "spec": { "ports": [{ "port": 443, "targetPort": port }] },
    }));
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    services.create(&PostParams::default(), &service).await.unwrap();
    let slice = typed(json!({
        "metadata": { "name": "hook-1", "labels": { "kubernetes.io/service-name": "hook" } },
        "addressType": "IPv4",
        "ports": [{ "port": port, "protocol": "TCP" }],
        "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
    }));
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    slices.create(&PostParams::default(), &slice).await.unwrap();
}

/// As the chart's, for the namespaces of these tests alone.
async fn configure(client: &Client, name: &str, own: &str, namespaces: &[&String]) {
    let entry = |entry: &str, opted_in: &str, pods: Value| {
        json!({
            "name": format!("{entry}.inject.liquidmemory.dev"),
            "admissionReviewVersions": ["v1"],
            "sideEffects": "NoneOnDryRun",
            "reinvocationPolicy": "IfNeeded",
            "failurePolicy": "Fail",
            "timeoutSeconds": 5,
            "clientConfig": { "service": { "name": "hook", "namespace": own, "path": "/inject", "port": 443 } },
            "rules": [{
                "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
                "scope": "Namespaced",
            }],
            "namespaceSelector": { "matchExpressions": [
                { "key": "liquidmemory.dev/inject", "operator": opted_in, "values": ["enabled"] },
                { "key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces },
            ] },
            "objectSelector": { "matchExpressions": [pods] },
        })
    };
    let label = |operator: &str, value: &str| {
        let key = "liquidmemory.dev/inject";
        json!({ "key": key, "operator": operator, "values": [value] })
    };
    let configuration = typed(json!({
        "metadata": { "name": name },
        "webhooks": [
            entry("namespaces", "In", label("NotIn", "disabled")),
            entry("pods", "NotIn", label("In", "enabled")),
        ],
    }));
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    webhooks
        .create(&PostParams::default(), &configuration)
        .await
        .unwrap();
}
