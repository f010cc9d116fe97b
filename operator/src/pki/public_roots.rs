//! The public certificate authorities: those that Mozilla's programs trust.

use std::sync::LazyLock;

use pem::{EncodeConfig, LineEnding, Pem};

/// All of them, PEM.
static PUBLIC_ROOTS: LazyLock<String> = LazyLock::new(|| {
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
    let roots: Vec<Pem> = roots
        .iter()
        .map(|root| Pem::new("CERTIFICATE", root.as_ref()))
        .collect();
    pem::encode_many_config(&roots, EncodeConfig::new().set_line_ending(LineEnding::LF))
});

/// Returns the certificates of all public authorities, PEM.
pub(super) fn public_roots() -> &'static str {
    &PUBLIC_ROOTS
}
