#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;

use liquid_process::config::{ConfigError, load_with};
use liquid_process::logs::LogFormat;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn from_file(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), text).unwrap();
    load_with(Some(file.path()), environment(variables))
}

#[test]
fn without_a_file_it_serves_the_lexical_tier_on_loopback() {
    let config: Config = load_with(None, Vec::new()).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.served_tiers(), [Tier::Lexical]);
    assert!(config.grpc.listen.ip().is_loopback() && config.admin.listen.ip().is_loopback());
}

#[test]
fn a_model_folder_opens_the_encoders_tiers_and_a_ranker_its_own() {
    let config = from_file("[model]\nfolder = \"models/minilm\"", &[]).unwrap();
    assert_eq!(
        config.served_tiers(),
        [Tier::Lexical, Tier::Static, Tier::Encoder]
    );
    let both = "[model]\nfolder = \"x\"\nranker = \"y\"";
    assert_eq!(from_file(both, &[]).unwrap().served_tiers(), Tier::EVIDENCE);
    let on_a_gpu = format!("{both}\ndevice = \"cuda\"");
    assert_eq!(from_file(&on_a_gpu, &[]).unwrap().served_tiers(), Tier::EVIDENCE);
    let config = from_file("tiers = [\"static\", \"lexical\"]\n[model]\nfolder = \"x\"", &[]).unwrap();
    assert_eq!(config.served_tiers(), [Tier::Lexical, Tier::Static]);
    assert!(config.needs_model());
}

#[test]
fn a_ranker_that_comes_with_the_encoder_is_served() {
    let models = tempfile::tempdir().unwrap();
    let folder = models.path().join("encoder");
    let config = |tiers: &str| {
        let text = format!("tiers = {tiers}\n[model]\nfolder = {folder:?}");
        from_file(&text, &[]).unwrap()
    };
    let encoder = [Tier::Lexical, Tier::Static, Tier::Encoder];
    assert_eq!(config("[]").served_tiers(), encoder);
    for place in [models.path(), &folder] {
        let ranker = place.join("liquid-ranker");
        std::fs::create_dir_all(&ranker).unwrap();
        assert_eq!(config("[]").served_tiers(), encoder, "it holds no model");
        std::fs::write(ranker.join("manifest.json"), "{}").unwrap();
        assert_eq!(config("[]").served_tiers(), Tier::EVIDENCE);
        assert_eq!(config("[]").model.ranker_folder(), Some(ranker.clone()));
        assert_eq!(config("[\"encoder\"]").served_tiers(), [Tier::Encoder]);
        std::fs::remove_dir_all(ranker).unwrap();
    }
}

#[test]
fn a_ranker_that_cannot_run_is_refused_by_name() {
    for (file, field, part) in [
        ("[model]\nranker = \"y\"", "model.ranker", "model.folder"),
        (
            "tiers = [\"ranker\"]\n[model]\nfolder = \"x\"",
            "tiers",
            "model.ranker",
        ),
        (
            "[model]\nfolder = \"x\"\nranker = \"y\"\nranker_sha256 = \"abc\"",
            "model.ranker_sha256",
            "sha256sum",
        ),
    ] {
        let error = from_file(file, &[]).unwrap_err().to_string();
        assert!(error.starts_with(field) && error.contains(part), "{error}");
    }
}

#[test]
fn the_decoder_has_the_engines_defaults_and_ranges() {
    let config = from_file("[decoder]\nfolder = \"models/smollm2\"", &[]).unwrap();
    let decoder = &config.decoder;
    assert_eq!(
        (decoder.model_name().as_str(), decoder.context_tokens),
        ("smollm2", 0)
    );
    // What the comments of the fields say.
    assert_eq!(
        (decoder.memory_bytes, decoder.sequences, decoder.queue),
        (1 << 30, 16, 64)
    );
    assert_eq!(config.served_tiers(), [Tier::Lexical, Tier::Decoder]);
    let named = "[decoder]\nfolder = \"x\"\nname = \"org/model\"\nsequences = 200";
    let named = from_file(named, &[]).unwrap().decoder;
    assert_eq!(
        (named.model_name().as_str(), named.engine().step_tokens),
        ("org/model", 400)
    );
    for (file, expected) in [
        ("name = \"x\"", "decoder.name = x: needs decoder.folder"),
        ("folder = \"/\"", "decoder.name = : set the name"),
        (
            "folder = \"x\"\nsequences = 4097",
            "decoder.sequences = 4097: set 1 to 4096",
        ),
        ("folder = \"x\"\nqueue = 0", "decoder.queue = 0: set 1 to 65536"),
        (
            "folder = \"x\"\nmemory_share = 0.0",
            "decoder.memory_share = 0: set above 0",
        ),
    ] {
        let error = from_file(&format!("[decoder]\n{file}"), &[])
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn facts_are_served_where_there_is_a_decoder_and_within_their_ranges() {
    let all = "[model]\nfolder = \"x\"\nranker = \"y\"\n[decoder]\nfolder = \"z\"";
    assert_eq!(from_file(all, &[]).unwrap().served_tiers(), Tier::ALL);
    let some = "tiers = [\"static\", \"decoder\"]\n";
    let config = from_file(&format!("{some}{all}"), &[]).unwrap();
    assert_eq!(config.served_tiers(), [Tier::Static, Tier::Decoder]);
    assert!(config.needs_model());
    // What the comments of the fields say.
    let facts = &config.facts;
    assert_eq!(
        (
            facts.passages,
            facts.passage_tokens,
            facts.per_passage,
            facts.constrained
        ),
        (4, 768, 3, true)
    );
    for (file, expected) in [
        (
            "tiers = [\"decoder\"]",
            "tiers = [Decoder]: decoder needs decoder.folder",
        ),
        ("[facts]\npassages = 65", "facts.passages = 65: set 1 to 64"),
        (
            "[facts]\npassage_tokens = 63",
            "facts.passage_tokens = 63: set 64 to 1048576",
        ),
        ("[facts]\nper_passage = 0", "facts.per_passage = 0: set 1 to 16"),
    ] {
        let error = from_file(file, &[]).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn the_models_sum_is_a_sum() {
    let sum = "0a".repeat(32);
    let config = from_file(&format!("[model]\nfolder = \"x\"\nsha256 = \"{sum}\""), &[]).unwrap();
    assert_eq!(config.model.sha256, Some(sum));
    let error = from_file("[model]\nsha256 = \"abc\"", &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("model.sha256 = abc: ") && error.contains("sha256sum"),
        "{error}"
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let file = "[grpc]\nlisten = \"127.0.0.1:1\"\n[limits]\nqueue = 3";
    let variables = [
        ("LIQUID_WORKER__GRPC__LISTEN", "0.0.0.0:2"),
        ("LIQUID_WORKER__TIERS", "lexical,static"),
        ("LIQUID_WORKER__MODEL__FOLDER", "x"),
        ("LIQUID_WORKER__LOG__FORMAT", "json"),
    ];
    let config = from_file(file, &variables).unwrap();
    assert_eq!(config.grpc.listen, "0.0.0.0:2".parse().unwrap());
    assert_eq!(config.limits.queue, 3);
    assert_eq!(config.tiers, [Tier::Lexical, Tier::Static]);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn wrong_values_are_named_all_at_once_with_a_remedy() {
    let file = "tiers = [\"encoder\"]\n[limits]\nmax_chunk_bytes = 0\nmax_buffered_bytes = 1\n\
                [tls]\nclient_ca_file = \"ca.pem\"\n[log]\nlevel = \"a=b=c\"";
    let ConfigError::Invalid(wrong) = from_file(file, &[]).unwrap_err() else {
        panic!("read")
    };
    let wrong = wrong.as_slice();
    let fields: Vec<_> = wrong.iter().map(|invalid| invalid.field.as_str()).collect();
    let expected = [
        "limits.max_chunk_bytes",
        "limits.max_buffered_bytes",
        "tiers",
        "tls.client_ca_file",
        "log.level",
    ];
    assert_eq!(fields, expected);
    assert_eq!(wrong[0].to_string(), "limits.max_chunk_bytes = 0: set at least 1");
}

#[test]
fn client_identities_are_whole_uris_of_clients_that_show_a_certificate() {
    let files = "[tls]\ncert_file = \"a\"\nkey_file = \"b\"\nclient_ca_file = \"c\"\n";
    let uris = (
        "LIQUID_WORKER__TLS__CLIENT_IDENTITIES",
        "spiffe://a/b,spiffe://a/c",
    );
    let config = from_file(files, &[uris]).unwrap();
    assert_eq!(config.tls.client_identities, ["spiffe://a/b", "spiffe://a/c"]);
    let refused = |text: &str| {
        let error = from_file(text, &[]).unwrap_err().to_string();
        assert!(error.starts_with("tls.client_identities = "), "{error}");
    };
    refused("[tls]\nclient_identities = [\"spiffe://a/b\"]");
    refused(&format!("{files}client_identities = [\"sidecar\"]"));
}

#[test]
fn the_device_may_be_a_gpu_and_then_the_whole_document_is_encoded() {
    let device = |text: &str| from_file(text, &[]).unwrap().model.device;
    assert_eq!(device("[model]\ndevice = \"cuda\""), Device::Cuda(0));
    assert_eq!(device("[model]\ndevice = \"cuda:1\""), Device::Cuda(1));
    assert_eq!(device(""), Device::Cpu);
    let limit = |text: &str| from_file(text, &[]).unwrap().limits.most_encoded();
    assert_eq!(limit(""), None);
    assert_eq!(limit("[limits]\nencode_tokens = 500"), Some(500));
}

#[test]
fn unknown_keys_and_devices_are_refused() {
    for text in [
        "[grpc]\nlisten_on = \"x\"",
        "[model]\ndevice = \"gpu\"",
        "tiers = [\"best\"]",
        "[grpc",
    ] {
        let error = from_file(text, &[]).unwrap_err();
        assert!(matches!(error, ConfigError::Read(_)), "{text}: {error}");
    }
    let error = load_with::<Config>(Some(Path::new("absent.toml")), Vec::new()).unwrap_err();
    assert!(error.to_string().contains("absent.toml"), "{error}");
}
