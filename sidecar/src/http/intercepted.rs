//! Calls on intercepted connections: which host they are for decides what they can be.
//!
//! Elsewhere the path alone says which API is called. Here the host does: each provider has its own API and is called
//! with its own key, so a call on `api.anthropic.com` never goes to OpenAI's provider, whatever its path looks like.

use http::uri::Authority;
use http::{Request, StatusCode, header};
use liquid_contract::{InterceptedHost, Provider};

use super::route::{Destination, Route, below_version};
use crate::api::Wire;
use crate::error::ApiError;

/// Returns the intercepted host that a call is for; `None` on any other connection.
///
/// # Errors
/// 421: HTTP/2 lets a client use a connection for each host that its certificate names, and the call is for another one.
pub(super) fn find_host<B>(request: &Request<B>) -> Result<Option<InterceptedHost>, ApiError> {
    let Some(connected) = request.extensions().get::<InterceptedHost>().copied() else {
        return Ok(None);
    };
    let header = request.headers().get(header::HOST);
    let header = header.and_then(|value| Authority::try_from(value.as_bytes()).ok());
    let Some(authority) = request.uri().authority().or(header.as_ref()) else {
        return Ok(Some(connected));
    };
    match InterceptedHost::named(authority.host()) {
        Some(host) => Ok(Some(host)),
        None => {
            let message = format!(
                "this connection is for {}, and the call is for {:?}: open another connection for it",
                connected.name(),
                authority.host()
            );
            let status = StatusCode::MISDIRECTED_REQUEST;
            Err(ApiError::invalid(status, "misdirected_request", message))
        }
    }
}

/// Keeps the surfaces that the host's API has. A path of the other API is one more path of the host.
pub(super) fn narrow(destination: Destination, host: Option<InterceptedHost>) -> Destination {
    let Some(host) = host else {
        return destination;
    };
    let has = |route: &Route| (route.wire == Wire::Messages) == (host.provider() == Provider::Anthropic);
    match destination {
        Destination::Surface(route) if has(&route) => Destination::Surface(route),
        Destination::Misspelt(route) if has(&route) => Destination::Misspelt(route),
        _ => Destination::Other,
    }
}

/// Returns the API of calls on no surface.
pub(super) fn find_wire(host: InterceptedHost) -> Wire {
    match host {
        InterceptedHost::Openai => Wire::Chat,
        InterceptedHost::Anthropic => Wire::Messages,
    }
}

/// Returns whether a call names a path of a provider's host that is not below the API's version. Elsewhere the client has a
/// base URL with the version, or leaves it out.
pub(super) fn is_unversioned<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    request.extensions().get::<InterceptedHost>().is_some() && below_version(path).len() == path.len()
}
