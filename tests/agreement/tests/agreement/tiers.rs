//! The tiers have one set of names and one order: in the messages, in the definition, in both programs.

use liquid_contract::Tier;
use liquid_proto::worker::v1 as proto;
use serde_json::json;

use crate::render::{Files, proxy};

#[test]
fn the_messages_list_the_tiers_in_the_same_order() {
    let listed: Vec<&str> = (0..)
        .map_while(|number| proto::Tier::try_from(number).ok())
        .map(|tier| tier.as_str_name())
        .collect();
    let named = Tier::ALL.map(|tier| format!("TIER_{}", tier.name().to_uppercase()));
    // The first lets the worker choose.
    assert_eq!(listed.first().copied(), Some("TIER_UNSPECIFIED"));
    assert_eq!(listed[1..], named);
}

#[test]
fn each_tier_of_the_definition_is_asked_for_by_the_sidecar() {
    let definition = serde_json::to_value(liquid_operator::api::definition::definition()).unwrap();
    let place =
        "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/extraction/properties/tier/enum";
    let listed = definition
        .pointer(place)
        .and_then(|tiers| tiers.as_array())
        .unwrap();
    let listed: Vec<&str> = listed.iter().filter_map(|tier| tier.as_str()).collect();
    assert_eq!(listed.len(), Tier::EVIDENCE.len() + 1, "{listed:?}");
    for name in listed {
        let ranker = json!({ "path": "/models/liquid-ranker" });
        let spec = json!({ "extraction": { "tier": name }, "model": { "ranker": ranker } });
        let files = Files::render(&proxy(spec));
        let asked = files.sidecar(Vec::new()).unwrap().policy.tier;
        let expected = name.to_lowercase().parse::<Tier>().ok();
        assert_eq!(expected.is_none(), name == "Auto");
        assert_eq!(
            asked.map(|tier| format!("{tier:?}")),
            expected.map(|tier| format!("{tier:?}"))
        );
        let served = files.worker().unwrap().served_tiers();
        let model = expected.is_none_or(Tier::needs_model);
        let all = if model {
            Tier::EVIDENCE.as_slice()
        } else {
            &[Tier::Lexical]
        };
        assert_eq!(format!("{served:?}"), format!("{all:?}"), "{name}");
    }
}

#[test]
fn each_style_of_the_definition_is_the_sidecars_and_its_tier_is_served() {
    let decoder = json!({ "source": { "image": { "path": "/models/decoder" } } });
    for (style, tier) in [("Quotes", "Auto"), ("Facts", "Auto"), ("Both", "Lexical")] {
        let extraction = json!({ "packStyle": style, "tier": tier });
        let files = Files::render(&proxy(json!({ "extraction": extraction, "decoder": decoder })));
        let read = files.sidecar(Vec::new()).unwrap().pack.style;
        assert_eq!(read.name(), style.to_lowercase());
        let served = files.worker().unwrap().served_tiers();
        assert_eq!(served.last(), Some(&Tier::Decoder), "{style}");
    }
}

#[test]
fn without_a_ranker_its_tier_is_not_served() {
    let files = Files::render(&proxy(json!({ "extraction": { "tier": "Ranker" } })));
    let served = files.worker().unwrap().served_tiers();
    assert_eq!(served.last(), Some(&liquid_worker::tier::Tier::Encoder));
    assert_eq!(files.sidecar(Vec::new()).unwrap().policy.tier, Some(Tier::Ranker));
}
