//! Precedence, and what a wrong value says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use liquid_process::logs::LogFormat;

use super::*;

fn read(toml: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, toml).unwrap();
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    load_with(Some(&path), variables)
}

#[test]
fn defaults_are_valid_and_local() {
    let config = load_with(None, Vec::new()).unwrap();
    assert_eq!(config, Config::default());
    assert!(config.listen.address.ip().is_loopback());
    assert!(config.listen.admin.ip().is_loopback());
}

#[test]
fn later_sources_win() {
    let toml = "[upstream]\nmodel = \"ollama/a\"\nretries = 5\n";
    let model = |variables: &[(&str, &str)]| read(toml, variables).unwrap().upstream.model.unwrap();
    assert_eq!(model(&[]), "ollama/a");
    assert_eq!(model(&[("SYNTHESIS_MODEL", "ollama/b")]), "ollama/b");
    let both = [
        ("SYNTHESIS_MODEL", "ollama/b"),
        ("LIQUID_SIDECAR__UPSTREAM__MODEL", "ollama/c"),
    ];
    assert_eq!(model(&both), "ollama/c");
    assert_eq!(read(toml, &both).unwrap().upstream.retries, 5);
}

#[test]
fn every_kind_of_key_comes_from_the_environment() {
    let config = read(
        "",
        &[
            ("LIQUID_SIDECAR__LISTEN__ADDRESS", "0.0.0.0:1"),
            ("LIQUID_SIDECAR__LIMITS__MAX_BODY_BYTES", "12345"),
            ("LIQUID_SIDECAR__UPSTREAM__MODEL", "ollama/x"),
            ("LIQUID_SIDECAR__UPSTREAM__FALLBACKS", "vllm/a/b,local/extractive"),
            (
                "LIQUID_SIDECAR__UPSTREAM__PROVIDERS__VLLM__BASE_URL",
                "http://vllm:8000/v1",
            ),
            ("LIQUID_SIDECAR__EXTRACT__WORKERS", "a:1,b:2"),
            ("LIQUID_SIDECAR__POLICY__BUDGET__RATIO", "8"),
            ("LIQUID_SIDECAR__LOG__FORMAT", "json"),
        ],
    )
    .unwrap();
    assert_eq!(config.listen.address.to_string(), "0.0.0.0:1");
    assert_eq!(config.limits.max_body_bytes, 12345);
    assert_eq!(config.upstream.fallbacks, ["vllm/a/b", "local/extractive"]);
    assert_eq!(
        config.upstream.providers["vllm"].base_url.as_deref(),
        Some("http://vllm:8000/v1")
    );
    assert_eq!(config.extract.workers, ["a:1", "b:2"]);
    assert!((config.policy.budget.ratio - 8.0).abs() < f64::EPSILON);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn wrong_values_name_the_field_and_the_remedy() {
    for (toml, want) in [
        (
            "[limits]\nmax_body_bytes = 0",
            vec!["limits.max_body_bytes = 0", "at least 1"],
        ),
        (
            "[limits]\nmax_body_bytes = \"many\"",
            vec!["limits.max_body_bytes"],
        ),
        ("[limits]\nmax_boddy = 1", vec!["max_boddy"]),
        (
            "[upstream]\nmodel = \"gpt\"",
            vec!["upstream.model = \"gpt\"", "provider/model"],
        ),
        (
            "[upstream]\nmodel = \"nobody/x\"",
            vec!["upstream.model", "nobody", "upstream.providers.nobody"],
        ),
        (
            "[upstream]\nfallbacks = [\"local/extractive\"]",
            vec!["upstream.fallbacks", "upstream.model"],
        ),
        (
            "[upstream.providers.a]\nkind = \"azure\"",
            vec!["upstream.providers.a.base_url", "missing"],
        ),
        (
            "[upstream.providers.a]\nbase_url = \"http://x\"\napi_key_env = \"NOT_SET_HERE\"",
            vec!["providers.a", "NOT_SET_HERE"],
        ),
        ("[policy.budget]\nratio = 0", vec!["policy.budget.ratio = 0"]),
        ("[log]\nlevel = \"a=b=c\"", vec!["log.level"]),
        ("[pages]\ncalls = 0", vec!["pages.calls = 0", "1 to 1000"]),
        (
            "[pages]\nkeep_texts = true",
            vec!["pages.keep_texts", "pages.enabled"],
        ),
        ("[listen]\nadmin = \"127.0.0.1:8787\"", vec!["listen.admin"]),
    ] {
        let error = read(toml, &[]).unwrap_err().to_string();
        for part in want {
            assert!(error.contains(part), "{toml}: {error}");
        }
    }
    assert!(load_with(Some(Path::new("/nowhere/liquid.toml")), Vec::new()).is_err());
}

#[test]
fn the_example_holds_every_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    assert_eq!(load_with(Some(&path), Vec::new()).unwrap(), Config::default());
    let text = std::fs::read_to_string(path).unwrap();
    for section in [
        include_str!("../config.rs"),
        include_str!("../../../process/src/logs.rs"),
        include_str!("../upstream/settings.rs"),
        include_str!("../policy/settings.rs"),
        include_str!("../extract/settings.rs"),
        include_str!("../pack/settings.rs"),
        include_str!("../pages/settings.rs"),
    ] {
        for line in section.lines() {
            let field = line
                .trim()
                .strip_prefix("pub ")
                .and_then(|line| line.split_once(": "));
            if let Some((field, _)) = field.filter(|(field, _)| !field.contains(['(', ' '])) {
                assert!(text.contains(field), "the example does not name {field:?}");
            }
        }
    }
}
