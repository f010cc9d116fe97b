//! Which proxy serves a pod: the one that it names, else the oldest of its namespace.

use super::outcome::{Denial, Note, Reason};
use super::settings::Proxy;

/// The proxy that serves a pod, and a note about the choice.
#[derive(Clone, Debug)]
pub struct Choice<'a> {
    /// The chosen proxy.
    pub proxy: &'a Proxy,
    /// A note if there were several proxies and the pod names none.
    pub ambiguous: Option<Note>,
}

/// Chooses by the annotation, else by age and then by name, so that a new proxy never takes pods from an old
/// one.
///
/// # Errors
/// There is no proxy, or none of the name that the pod gives.
pub fn choose_proxy<'a>(
    namespace: &str,
    named: Option<&str>,
    proxies: &'a [Proxy],
) -> Result<Choice<'a>, Denial> {
    if let Some(name) = named {
        let found = proxies.iter().find(|proxy| proxy.name == name);
        return match found {
            Some(proxy) => Ok(Choice {
                proxy,
                ambiguous: None,
            }),
            None => Err(Denial::UnknownProxy {
                name: name.into(),
                namespace: namespace.into(),
                known: list_names(proxies),
            }),
        };
    }
    // One without a time of creation is not stored yet: it comes last.
    let age = |proxy: &&Proxy| (proxy.created.is_none(), proxy.created, proxy.name.clone());
    let oldest = proxies.iter().min_by_key(age);
    let proxy = oldest.ok_or_else(|| Denial::NoProxy {
        namespace: namespace.into(),
    })?;
    let ambiguous = (proxies.len() > 1).then(|| {
        let text = format!(
            "{} are in reach; {} serves the pod because it is the oldest; name one with the annotation \
             liquidmemory.dev/proxy",
            list_names(proxies),
            proxy.name
        );
        Note::new(Reason::ProxyAmbiguous, text)
    });
    Ok(Choice { proxy, ambiguous })
}

fn list_names(proxies: &[Proxy]) -> String {
    let mut names: Vec<&str> = proxies.iter().map(|proxy| proxy.name.as_str()).collect();
    names.sort_unstable();
    match names.is_empty() {
        true => "none".into(),
        false => names.join(", "),
    }
}
