//! Names of files in pods. The operator writes them into ConfigMaps and Secrets, mounts them and names them in the
//! containers' arguments and in `sidecar.toml` and `worker.toml`; sidecar and worker read them there, and the cluster
//! tests look at them.

/// The sidecars' configuration, in a ConfigMap.
pub const SIDECAR_CONFIG: &str = "sidecar.toml";

/// The workers' configuration, in a ConfigMap.
pub const WORKER_CONFIG: &str = "worker.toml";

/// Folder of the configuration file.
pub const CONFIG_FOLDER: &str = "/etc/liquid/config";

/// Folder of [`CERTIFICATE`], [`KEY`] and [`AUTHORITIES`].
pub const TLS_FOLDER: &str = "/etc/liquid/tls";

/// A program's certificate chain, PEM.
pub const CERTIFICATE: &str = "tls.crt";

/// The certificate's private key, PEM.
pub const KEY: &str = "tls.key";

/// The authorities whose certificates are accepted, PEM.
pub const AUTHORITIES: &str = "ca.crt";

/// The folder of the ranker's weights, where they come with the encoder's: beside its folder, or in it. Worker; xtask,
/// which packs both into images.
pub const RANKER_FOLDER: &str = "liquid-ranker";

/// Folder of images, models and charts in a bundle: an OCI image layout. `cargo xtask bundle` writes it, `kubectl liquid
/// bundle` reads it.
pub const BUNDLE_IMAGES: &str = "oci";

/// Folder of the charts in a bundle, and first part of their names in its image layout: `charts/liquid-memory:0.1.0`.
pub const BUNDLE_CHARTS: &str = "charts";
