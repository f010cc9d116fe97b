//! Metrics of connections to the hosts whose TLS ends in the sidecar.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::intercept::ConnectionEnd;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConnectionLabels {
    end: &'static str,
}

/// Counters of those connections.
#[derive(Debug, Default)]
pub struct InterceptionMetrics {
    connections: Family<ConnectionLabels, Counter>,
}

impl InterceptionMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let liquid = registry.sub_registry_with_prefix("liquid_sidecar");
        let help = "Connections to intercept.address, by what became of them: served, passed_on (to another host), untrusted \
                    (the client does not trust the certificate), unused (it left after the handshake), no_server_name, \
                    handshake, timeout, unreachable, too_many";
        liquid.register("intercepted_connections", help, self.connections.clone());
    }

    /// Counts a connection.
    pub fn count(&self, end: ConnectionEnd) {
        let labels = ConnectionLabels { end: end.name() };
        self.connections.get_or_create(&labels).inc();
    }
}
