//! The public certificate authorities: those that Mozilla's programs trust.

use std::sync::LazyLock;

use pem::{EncodeConfig, LineEnding, Pem};

/// All of them, PEM.
static PUBLIC_ROOTS: LazyLock<String> = LazyLock::new(|| {
    let roots: Vec<Pem> = list_public_roots()
        .map(|root| Pem::new("CERTIFICATE", root))
        .collect();
    pem::encode_many_config(&roots, EncodeConfig::new().set_line_ending(LineEnding::LF))
});

/// Lists the certificates of all public authorities, DER.
pub(super) fn list_public_roots<'a>() -> impl Iterator<Item = &'a [u8]> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|root| root.as_ref())
}

/// Returns the certificates of all public authorities, PEM.
pub(super) fn public_roots() -> &'static str {
    &PUBLIC_ROOTS
}
