//! The definition, the operator and the sidecar know the same providers, with the same URLs.

use std::collections::BTreeSet;

use kube::core::cel::validate_cel;
use liquid_contract::Provider;
use liquid_operator::api::definition;
use liquid_sidecar::api::Wire;
use liquid_sidecar::upstream::{Routes, Settings};
use serde_json::{Value, json};

use crate::render::{Files, proxy};

/// A base URL where the kind needs one.
fn url(kind: Provider) -> Value {
    match kind.needs_base_url() {
        true => json!("https://llm.example/v1"),
        false => Value::Null,
    }
}

#[test]
fn the_definition_lists_them() {
    let definition = serde_json::to_value(definition::definition()).unwrap();
    let synthesis = definition
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/synthesis/properties")
        .unwrap();
    let contract: BTreeSet<&str> = Provider::ALL.map(Provider::name).into();
    for place in ["/provider/enum", "/fallbacks/items/properties/provider/enum"] {
        let listed = synthesis.pointer(place).and_then(Value::as_array).unwrap();
        let listed: BTreeSet<&str> = listed.iter().filter_map(Value::as_str).collect();
        assert_eq!(listed, contract, "{place}");
    }
}

#[test]
fn the_definitions_rules_ask_for_a_url_where_one_is_needed() {
    for kind in Provider::ALL {
        let accepted = |spec: Value| validate_cel(&proxy(spec)).is_ok();
        // Without it the provider liquid is refused for its own reason.
        let decoder = json!({ "name": "m", "source": { "image": { "path": "/models/decoder" } } });
        let first = json!({ "decoder": decoder, "synthesis": { "provider": kind.name() } });
        assert_eq!(accepted(first), !kind.needs_base_url(), "{kind}");
        let fallback = json!({ "provider": kind.name(), "model": "m" });
        let second = json!({ "decoder": decoder, "synthesis": { "model": "m", "fallbacks": [fallback] } });
        assert_eq!(accepted(second), !kind.needs_base_url(), "fallback {kind}");
    }
}

#[test]
fn the_sidecar_reads_each_that_the_operator_writes() {
    for kind in Provider::ALL {
        let entry = json!({ "provider": kind.name(), "model": "m", "baseURL": url(kind) });
        let config = Files::render(&proxy(json!({ "synthesis": entry })))
            .sidecar(Vec::new())
            .unwrap_or_else(|error| panic!("{kind}: {error}"));
        let model = config.upstream.model.unwrap();
        let expected = if kind.needs_base_url() {
            "synthesis"
        } else {
            kind.name()
        };
        assert_eq!(model, format!("{expected}/m"));
    }
}

#[test]
fn the_operator_writes_the_public_url_beside_a_key() {
    let with_key = Provider::ALL
        .into_iter()
        .filter(|kind| kind.public_url().is_some());
    for kind in with_key {
        let entry = json!({ "provider": kind.name(), "model": "m", "secretRef": { "name": "llm" } });
        let config = Files::render(&proxy(json!({ "synthesis": entry })))
            .sidecar(Vec::new())
            .unwrap();
        let written = &config.upstream.providers["synthesis"];
        assert_eq!(written.base_url.as_deref(), kind.public_url(), "{kind}");
    }
}

#[test]
fn the_sidecar_knows_what_is_built_in_and_where_it_is() {
    for kind in Provider::ALL {
        let settings = Settings {
            model: Some(format!("{kind}/m")),
            ..Settings::default()
        };
        let routes = Routes::resolve(&settings);
        let base = match &routes {
            Ok(routes) => {
                let url = routes.targets(Wire::Chat)[0].provider.url("/p", None);
                url.map(|url| url.to_string())
            }
            Err(_) => None,
        };
        assert_eq!(base, kind.default_url().map(|url| format!("{url}/p")), "{kind}");
        let usable = kind.default_url().is_some() || kind.is_inside();
        assert_eq!(routes.is_ok(), usable, "{kind}");
        if let Err(error) = routes {
            // What is not built in is refused with all that is.
            let listed = Provider::built_in().all(|other| error.to_string().contains(other.name()));
            assert_eq!(listed, Provider::built_in_named(kind.name()).is_none(), "{error}");
        }
    }
}

#[test]
fn the_example_of_the_sidecars_configuration_lists_them() {
    let text = crate::render::read("sidecar/config.example.toml");
    let names = |kinds: &[Provider]| {
        kinds
            .iter()
            .map(|kind| kind.name())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let built_in: Vec<Provider> = Provider::built_in().collect();
    for list in [
        format!("Built in: {}.", names(&built_in)),
        format!("# {}\n", names(&Provider::ALL)),
    ] {
        assert!(text.contains(&list), "{list}");
    }
}
