//! The cluster's certificates and kubeconfigs: one authority that lives as long as the cluster's folder.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::layout::{API_SERVICE, Layout, api_url, node_address, node_name};

/// Who talks to the API server, and as whom: name, user, group.
const USERS: [(&str, &str, Option<&str>); 5] = [
    ("admin", "admin", Some("system:masters")),
    (
        "kubelet-client",
        "apiserver-kubelet-client",
        Some("system:masters"),
    ),
    ("scheduler", "system:kube-scheduler", None),
    ("controller-manager", "system:kube-controller-manager", None),
    ("proxy", "system:kube-proxy", None),
];

/// Writes everything below `pki/`.
pub(super) fn create(layout: &Layout, nodes: u8) -> Result<()> {
    fs::create_dir_all(layout.pki(""))?;
    let authority = Authority::new(layout)?;
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        API_SERVICE,
    ];
    let mut names = names.map(str::to_owned).to_vec();
    names.push(node_address(1).to_string());
    authority.issue("apiserver", "kube-apiserver", None, names)?;
    for (name, user, group) in USERS {
        authority.issue(name, user, group, Vec::new())?;
        kubeconfig(layout, name)?;
    }
    for node in 1..=nodes {
        let name = node_name(node);
        let names = vec![name.clone(), node_address(node).to_string()];
        authority.issue(&name, &format!("system:node:{name}"), Some("system:nodes"), names)?;
        kubeconfig(layout, &name)?;
    }
    let tokens = KeyPair::generate()?;
    write(layout, "service-accounts.key", &tokens.serialize_pem())?;
    write(layout, "service-accounts.pub", &tokens.public_key_pem())
}

struct Authority<'l> {
    layout: &'l Layout,
    issuer: Issuer<'static, KeyPair>,
}

impl<'l> Authority<'l> {
    fn new(layout: &'l Layout) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params
            .distinguished_name
            .push(DnType::CommonName, "liquid-test-cluster");
        write(layout, "ca.crt", &params.self_signed(&key)?.pem())?;
        write(layout, "ca.key", &key.serialize_pem())?;
        Ok(Self {
            layout,
            issuer: Issuer::new(params, key),
        })
    }

    fn issue(&self, name: &str, user: &str, group: Option<&str>, names: Vec<String>) -> Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer)?;
        write(self.layout, &format!("{name}.crt"), &certificate.pem())?;
        write(self.layout, &format!("{name}.key"), &key.serialize_pem())
    }
}

fn kubeconfig(layout: &Layout, user: &str) -> Result<()> {
    let file = |name: &str| layout.pki(name).display().to_string();
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {
            "server": api_url(),
            "certificate-authority": file("ca.crt"),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": file(&format!("{user}.crt")),
            "client-key": file(&format!("{user}.key")),
        }}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        "current-context": "test",
    });
    write(
        layout,
        &format!("{user}.conf"),
        &serde_json::to_string_pretty(&config)?,
    )
}

fn write(layout: &Layout, file: &str, text: &str) -> Result<()> {
    let path = layout.pki(file);
    let mut options = fs::File::options();
    options.create(true).truncate(true).write(true).mode(0o600);
    let mut opened = options
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    std::io::Write::write_all(&mut opened, text.as_bytes())?;
    Ok(())
}
