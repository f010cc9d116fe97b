//! `kubectl liquid images`: every image that the installation runs or would run, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::Result;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use kube::ResourceExt;
use liquid_operator::api::LiquidMemoryProxy;
use liquid_operator::names::SIDECAR_CONTAINER;
use serde::Serialize;

use crate::check::sidecar_of;
use crate::output::{Table, print};
use crate::session::Session;
use crate::snapshot::reader::Gap;
use crate::snapshot::{self, Depth, Snapshot};
use crate::status::render_gaps;

/// What was printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    images: Vec<Image>,
    not_read: Vec<Gap>,
}

/// An image and its use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Image {
    image: String,
    /// Which program it is: `operator`, `sidecar`, `gateway`, `worker`, `model`. A gateway is a sidecar without an application.
    program: &'static str,
    /// Whether new pods get it.
    wanted: bool,
    /// Number of pods that run it.
    pods: usize,
    /// Digests that nodes report for it.
    digests: BTreeSet<String>,
}

/// Prints the images.
///
/// # Errors
/// The cluster cannot be reached.
pub(crate) async fn run(session: &Session) -> Result<ExitCode> {
    session.require_cluster().await?;
    let snapshot = snapshot::read(session, Depth::Workloads).await;
    let report = Report {
        images: collect(&snapshot),
        not_read: snapshot.gaps,
    };
    print(session.format, &report, render)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct Images(BTreeMap<(&'static str, String), Image>);

impl Images {
    fn entry(&mut self, program: &'static str, image: &str) -> &mut Image {
        let key = (program, image.to_owned());
        self.0.entry(key).or_insert_with(|| Image {
            image: image.into(),
            program,
            wanted: false,
            pods: 0,
            digests: BTreeSet::new(),
        })
    }

    fn want(&mut self, program: &'static str, image: &str) {
        self.entry(program, image).wanted = true;
    }

    fn count(
        &mut self,
        program: &'static str,
        container: &Container,
        statuses: Option<&Vec<ContainerStatus>>,
    ) {
        let status = statuses
            .into_iter()
            .flatten()
            .find(|status| status.name == container.name);
        let entry = self.entry(program, container.image.as_deref().unwrap_or_default());
        entry.pods += 1;
        let digest = status.and_then(|status| status.image_id.rsplit_once('@'));
        entry.digests.extend(digest.map(|(_, digest)| digest.to_owned()));
    }
}

fn collect(snapshot: &Snapshot) -> Vec<Image> {
    let mut images = Images::default();
    for operator in snapshot.operators.iter().flatten() {
        images.want("operator", operator.image());
        images.want("sidecar", &operator.settings.sidecar_image);
        images.want("worker", &operator.settings.worker_image);
        for pod in &operator.pods {
            count_main(&mut images, "operator", pod);
        }
    }
    for namespace in &snapshot.namespaces {
        for proxy in &namespace.proxies {
            let spec = &proxy.spec;
            if let Some(image) = &spec.workers.image {
                images.want("worker", image);
            }
            if let Some(image) = &spec.injection.image {
                images.want("sidecar", image);
            }
            if let Some(image) = find_gateway_image(snapshot, proxy) {
                images.want("gateway", image);
            }
            let decoder = spec
                .decoder
                .as_ref()
                .and_then(|decoder| decoder.source.oci_image.as_ref());
            for model in [spec.model.source.oci_image.as_ref(), decoder]
                .into_iter()
                .flatten()
            {
                images.want("model", &model.reference);
            }
            for pod in namespace.workers(&proxy.name_any()) {
                count_main(&mut images, "worker", pod);
            }
            for pod in namespace.gateways(&proxy.name_any()) {
                count_main(&mut images, "gateway", pod);
            }
        }
        for pod in namespace.pods.iter().flatten() {
            if let Some(sidecar) = sidecar_of(pod) {
                let status = pod
                    .status
                    .as_ref()
                    .and_then(|status| status.init_container_statuses.as_ref());
                debug_assert_eq!(sidecar.name, SIDECAR_CONTAINER);
                images.count("sidecar", sidecar, status);
            }
        }
    }
    images.0.into_values().collect()
}

/// Returns the image that new pods of a proxy's gateway get.
fn find_gateway_image<'a>(snapshot: &'a Snapshot, proxy: &'a LiquidMemoryProxy) -> Option<&'a str> {
    let gateway = proxy.spec.gateway.as_ref()?;
    let installed = || Some(snapshot.operator()?.settings.sidecar_image.as_str());
    gateway.image.as_deref().or_else(installed)
}

fn count_main(images: &mut Images, program: &'static str, pod: &Pod) {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    if let Some(container) = container {
        images.count(program, container, statuses);
    }
}

fn render(report: &Report) -> String {
    let mut table = Table::new(&["IMAGE", "PROGRAM", "NEW PODS", "PODS", "DIGEST"]);
    for image in &report.images {
        table.row([
            image.image.clone(),
            image.program.into(),
            if image.wanted { "yes" } else { "no" }.into(),
            image.pods.to_string(),
            image.digests.iter().cloned().collect::<Vec<_>>().join(" "),
        ]);
    }
    table.to_string() + &render_gaps(&report.not_read)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::collect;
    use crate::snapshot::samples;

    #[test]
    fn a_gateways_image_is_listed_as_it_runs_and_as_new_pods_get_it() {
        let images = collect(&samples::with_gateway());
        let seen: Vec<_> = images
            .iter()
            .map(|image| (image.program, &*image.image, image.wanted, image.pods))
            .collect();
        assert_eq!(
            seen,
            [
                ("gateway", "gateway:1", false, 1),
                ("gateway", "gateway:2", true, 0)
            ]
        );
        assert_eq!(images[0].digests.first().unwrap(), "sha256:aa");
    }
}
