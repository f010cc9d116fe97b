//! The certificate authority, the certificates of workers, sidecars and the webhook, and their rotation.
