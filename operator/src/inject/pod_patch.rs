//! Builds the patch: for a pod without the sidecar, and for one that has it.

use json_patch::jsonptr::Token;
use liquid_contract::InterceptedHost;
use serde_json::{Value, json};

use super::annotations::Overrides;
use super::choose::choose_proxy;
use super::env::{self, EnvContext, Upstreams};
use super::interception::Interception;
use super::mesh;
use super::outcome::{Decision, Denial, Note, Outcome, Reason};
use super::patch_builder::{Annotation, PatchBuilder, container_path};
use super::pod::{Container, ContainerList, Pod, env_entries, items, text};
use super::pod_resources::fit_into_pod;
use super::probes::{ProbeMethod, asks_over_network, build_probes};
use super::settings::{Input, Proxy};
use super::sidecar::{self, InjectedSidecar, SidecarSpec};
use super::volumes;
use crate::api::PodUser;
use crate::names::INJECTED_ANNOTATION;

/// Patches a pod that has no sidecar yet: everything is added.
pub(super) fn patch_new_pod(
    input: &Input<'_>,
    pod: &Pod<'_>,
    overrides: &Overrides,
) -> Result<Outcome, Denial> {
    let choice = choose_proxy(input.namespace, overrides.proxy.as_deref(), input.proxies)?;
    let proxy = choice.proxy;
    let (port, admin_port) = choose_ports(pod, overrides, proxy)?;
    let resources = overrides.merge_resources(&proxy.resources)?;
    let resources = fit_into_pod(&resources, &overrides.resources, pod)?;
    let mut notes = choice.ambiguous.into_iter().collect::<Vec<_>>();
    notes.extend(overrides.list_notes(pod));
    let interception = Interception::decide(pod, overrides, proxy, input.defaults, &mut notes)?;
    let intercepts = interception.is_some();
    let missing = volumes::list_missing(pod, proxy, intercepts)?;

    let mut patch = PatchBuilder::default();
    let mut upstreams = Upstreams::default();
    let context = EnvContext {
        port,
        overrides,
        config_maps: input.config_maps,
        intercepted: list_intercepted(interception.as_ref()),
    };
    let served = patch_containers(&mut patch, pod, 0, &context, &mut upstreams, &mut notes);
    let image = proxy.image.as_deref().unwrap_or(&input.defaults.image);
    let probes = choose_probes(input, pod, image);
    let spec = SidecarSpec {
        defaults: input.defaults,
        image,
        user: choose_user(pod, proxy.user.unwrap_or(input.defaults.user)),
        probes,
        port,
        admin_port,
        intercept: interception.as_ref().map(|interception| interception.address),
        mode: overrides.mode,
        unread: overrides.unread,
        whole: overrides.whole,
        resources,
        upstreams: &upstreams,
        mounts: volumes::build_mounts(proxy, intercepts),
    };
    insert_sidecar(&mut patch, pod, sidecar::build_container(&spec));
    if let Some(interception) = &interception {
        interception.patch_pod(&mut patch, pod);
    }
    patch.append(pod.spec, &[Token::new("spec")], "volumes", missing);
    append_pull_secrets(&mut patch, pod, &input.defaults.pull_secrets);
    let mut annotations = vec![name_proxy(proxy)];
    if probes == ProbeMethod::Http {
        annotations.extend(mesh::exclude_port(pod, admin_port));
    }
    patch.annotate(input.pod, annotations);
    notes.insert(0, note_injected(&proxy.name, &served, interception.as_ref()));
    Ok(Outcome {
        decision: Decision::Patch(patch.finish()),
        notes,
        proxy: Some(proxy.name.clone()),
    })
}

/// Returns the annotation by which an injected pod names its proxy.
fn name_proxy(proxy: &Proxy) -> Annotation {
    Annotation {
        name: INJECTED_ANNOTATION,
        value: proxy.name.clone(),
    }
}

/// Patches a pod that has the sidecar: only containers that later webhooks added get their variables. The
/// sidecar itself says what its port is, so this needs no proxy.
pub(super) fn patch_injected_pod(
    input: &Input<'_>,
    pod: &Pod<'_>,
    overrides: &Overrides,
    present: &InjectedSidecar<'_>,
) -> Outcome {
    let mut patch = PatchBuilder::default();
    let mut upstreams = present.upstreams.clone();
    let interception = present
        .intercept
        .and_then(|address| Interception::read(pod, address));
    let context = EnvContext {
        port: present.port,
        overrides,
        config_maps: input.config_maps,
        intercepted: list_intercepted(interception.as_ref()),
    };
    let mut notes = Vec::new();
    let after = present.container.index + 1;
    patch_containers(&mut patch, pod, after, &context, &mut upstreams, &mut notes);
    let known: Vec<&str> = present.upstreams.variables().map(|(name, _)| name).collect();
    let added: Vec<Value> = upstreams
        .variables()
        .filter(|(name, _)| !known.contains(name))
        .map(|(name, value)| sidecar::build_variable(name, value))
        .collect();
    let path = container_path(ContainerList::Init, present.container.index);
    patch.append(present.container.value, &path, "env", added);
    replace_probes(&mut patch, input, pod, present);
    Outcome {
        decision: Decision::Patch(patch.finish()),
        notes,
        proxy: pod.meta("annotations", INJECTED_ANNOTATION).map(str::to_owned),
    }
}

/// Chooses how the kubelet asks the sidecar. An image that the proxy names may be older than the program's option that
/// asks.
fn choose_probes(input: &Input<'_>, pod: &Pod<'_>, image: &str) -> ProbeMethod {
    match mesh::has_mesh(pod) && image == input.defaults.image {
        true => ProbeMethod::Exec,
        false => ProbeMethod::Http,
    }
}

/// Chooses the sidecar's user. A pod that runs as root says so itself, and its platform lets it: there the sidecar, which
/// never does, needs a user of its own.
fn choose_user(pod: &Pod<'_>, wanted: PodUser) -> PodUser {
    let root = pod
        .spec
        .pointer("/securityContext/runAsUser")
        .and_then(Value::as_u64)
        == Some(0);
    match root {
        true => PodUser::Fixed,
        false => wanted,
    }
}

/// Replaces probes of the sidecar that a mesh would refuse, where its proxy was added after the sidecar.
fn replace_probes(patch: &mut PatchBuilder, input: &Input<'_>, pod: &Pod<'_>, present: &InjectedSidecar<'_>) {
    let container = &present.container;
    let image = text(container.value, "image").unwrap_or_default();
    let (Some(admin), ProbeMethod::Exec) = (present.admin, choose_probes(input, pod, image)) else {
        return;
    };
    for (field, probe) in build_probes(ProbeMethod::Exec, admin) {
        if container.value.get(field).is_some_and(asks_over_network) {
            let mut path = container_path(container.list, container.index);
            path.push(Token::new(field));
            patch.replace(&path, probe);
        }
    }
}

/// Chooses the sidecar's ports, none of which a container may claim.
fn choose_ports(pod: &Pod<'_>, overrides: &Overrides, proxy: &Proxy) -> Result<(u16, u16), Denial> {
    let port = overrides.port.unwrap_or(proxy.port);
    let admin_port = overrides.admin_port.unwrap_or(proxy.admin_port);
    let pair = [(port, "port"), (admin_port, "admin-port")];
    for container in pod.all_containers() {
        for declared in container.declared_ports() {
            let clash = pair.iter().find(|(port, _)| u64::from(*port) == declared);
            if let Some((port, annotation)) = clash {
                return Err(Denial::PortTaken {
                    container: container.name.into(),
                    port: *port,
                    annotation,
                });
            }
        }
    }
    if port == admin_port {
        return Err(Denial::Annotation {
            name: "liquidmemory.dev/port".into(),
            value: port.to_string(),
            remedy: "the sidecar needs two ports; choose another one than its admin port".into(),
        });
    }
    Ok((port, admin_port))
}

/// Gives the containers their variables. Ordinary init containers before `first_init` run before the sidecar
/// does and get none. Returns the names of those whose calls pass the sidecar.
fn patch_containers<'a>(
    patch: &mut PatchBuilder,
    pod: &Pod<'a>,
    first_init: usize,
    context: &EnvContext<'_>,
    upstreams: &mut Upstreams,
    notes: &mut Vec<Note>,
) -> Vec<&'a str> {
    let mut served = Vec::new();
    for container in pod.all_containers() {
        let early = container.list == ContainerList::Init && container.index < first_init;
        let skipped = context.overrides.skip.contains(container.name);
        if early || skipped || container.is_native_sidecar() || mesh::is_part(&container) {
            continue;
        }
        let plan = env::plan_container(&container, context, upstreams);
        if plan.served {
            served.push(container.name);
        }
        apply_plan(patch, &container, plan.add, plan.replace);
        if !context.intercepted.is_empty() {
            let path = container_path(container.list, container.index);
            let mounts = volumes::build_trust_mount(&container).into_iter().collect();
            patch.append(container.value, &path, "volumeMounts", mounts);
        }
        notes.extend(plan.notes);
    }
    served
}

fn apply_plan(
    patch: &mut PatchBuilder,
    container: &Container<'_>,
    add: Vec<(&'static str, String)>,
    replace: Vec<(usize, String)>,
) {
    let path = container_path(container.list, container.index);
    for (index, value) in replace {
        let entry = env_entries(container.value).nth(index);
        let mut path = path.clone();
        path.extend([Token::new("env"), index.into(), Token::new("value")]);
        match entry.and_then(|entry| entry.get("value")) {
            Some(_) => patch.replace(&path, value.into()),
            None => patch.add(&path, value.into()),
        }
    }
    let add = add
        .into_iter()
        .map(|(name, value)| sidecar::build_variable(name, &value))
        .collect();
    patch.append(container.value, &path, "env", add);
}

/// Puts the sidecar before all other init containers, after their own paths were used.
fn insert_sidecar(patch: &mut PatchBuilder, pod: &Pod<'_>, sidecar: Value) {
    let mut path = vec![Token::new("spec"), Token::new("initContainers")];
    if pod.spec.get("initContainers").is_some_and(Value::is_array) {
        path.push(0.into());
        patch.add(&path, sidecar);
    } else {
        patch.add(&path, json!([sidecar]));
    }
}

fn append_pull_secrets(patch: &mut PatchBuilder, pod: &Pod<'_>, wanted: &[String]) {
    let present: Vec<&str> = items(pod.spec, "imagePullSecrets")
        .filter_map(|secret| text(secret, "name"))
        .collect();
    let missing = wanted
        .iter()
        .filter(|name| !present.contains(&name.as_str()))
        .map(|name| json!({ "name": name }))
        .collect();
    patch.append(pod.spec, &[Token::new("spec")], "imagePullSecrets", missing);
}

fn list_intercepted(interception: Option<&Interception>) -> &[InterceptedHost] {
    interception.map_or(&[], |interception| &interception.hosts)
}

fn note_injected(proxy: &str, served: &[&str], interception: Option<&Interception>) -> Note {
    let who = match served.is_empty() {
        true => "no container calls through it".to_owned(),
        false => format!("calls of {} pass it", served.join(", ")),
    };
    let tls = interception.map(|found| format!("; TLS to {} ends in it", found.list_hosts()));
    let tls = tls.unwrap_or_default();
    Note::new(
        Reason::Injected,
        format!("sidecar of LiquidMemoryProxy {proxy} added; {who}{tls}"),
    )
}
