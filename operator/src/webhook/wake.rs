//! Where sidecars ask for a worker while there is none. Who asks is what his certificate says, so nobody can start workers
//! of a proxy but its own sidecars.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Extension, Router};
use http::StatusCode;

use crate::controller::Demand;
use crate::names::{WAKE_PATH, read_sidecar_identity};

/// The URIs in the certificate that the client of a connection has shown; none without one.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerIdentities(pub(super) Arc<[String]>);

/// Builds the route.
pub(super) fn build_router(demand: Arc<Demand>) -> Router {
    Router::new().route(WAKE_PATH, post(answer)).with_state(demand)
}

async fn answer(
    State(demand): State<Arc<Demand>>,
    Extension(PeerIdentities(identities)): Extension<PeerIdentities>,
) -> (StatusCode, &'static str) {
    let mut sidecars = identities.iter().filter_map(|uri| read_sidecar_identity(uri));
    let Some(sidecar) = sidecars.next() else {
        return (
            StatusCode::FORBIDDEN,
            "show the certificate of a proxy's sidecars\n",
        );
    };
    if demand.ask(sidecar.namespace, sidecar.proxy) {
        (StatusCode::ACCEPTED, "a worker is started if there is none\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "another replica leads: ask again\n",
        )
    }
}
