//! Metrics of who called: the clients that are let in by name, and refusals by their reason.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClientLabels {
    client: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusalLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

/// Counters of clients, where the sidecar asks who calls.
#[derive(Debug, Default)]
pub struct ClientMetrics {
    client_calls: Family<ClientLabels, Counter>,
    refused_clients: Family<RefusalLabels, Counter>,
    tls_reloads: Family<ReloadLabels, Counter>,
}

impl ClientMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let liquid = registry.sub_registry_with_prefix("liquid_sidecar");
        let calls = "Calls of the clients that access.clients_folder names";
        liquid.register("client_calls", calls, self.client_calls.clone());
        let refused = "Calls and connections that were not let in, by reason: token_missing, token_unknown; and in the TLS \
                       handshake identity, certificate, untrusted, handshake, timeout";
        liquid.register("refused_clients", refused, self.refused_clients.clone());
        let reloads = "Changes of the TLS files of listen.tls and intercept that were taken over (ok) or could not be used (failed)";
        liquid.register("tls_reloads", reloads, self.tls_reloads.clone());
    }

    /// Counts a call of a client that was let in.
    pub fn count_call(&self, client: &str) {
        let labels = ClientLabels {
            client: client.to_owned(),
        };
        self.client_calls.get_or_create(&labels).inc();
    }

    /// Counts a call or a connection that was not let in, by the reason's stable name.
    pub fn count_refusal(&self, reason: &'static str) {
        self.refused_clients
            .get_or_create(&RefusalLabels { reason })
            .inc();
    }

    /// Counts a change of the TLS files, and whether it could be used.
    pub fn count_reload(&self, worked: bool) {
        let result = if worked { "ok" } else { "failed" };
        self.tls_reloads.get_or_create(&ReloadLabels { result }).inc();
    }
}
