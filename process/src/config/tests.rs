//! Precedence, lists, and what a wrong value says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde::Deserialize;

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Kitchen {
    cooks: u32,
    guests: Vec<String>,
    oven: Oven,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Oven {
    degrees: u32,
    name: String,
    spices: Vec<String>,
}

impl Default for Oven {
    fn default() -> Self {
        Self {
            degrees: 180,
            name: String::new(),
            spices: Vec::new(),
        }
    }
}

impl Configuration for Kitchen {
    const PREFIX: &'static str = "KITCHEN";
    const LISTS: &'static [&'static str] = &["guests", "oven.spices"];
    const ALIASES: &'static [Alias] = &[Alias {
        name: "OVEN",
        variable: "KITCHEN__OVEN__NAME",
    }];

    fn validate(&self) -> Vec<Invalid> {
        let hot = (self.oven.degrees > 300)
            .then(|| Invalid::new("degrees", self.oven.degrees, "set at most 300").within("oven"));
        let busy = (self.cooks > 9).then(|| Invalid::new("cooks", self.cooks, "set at most 9"));
        busy.into_iter().chain(hot).collect()
    }
}

fn read(toml: &str, variables: &[(&str, &str)]) -> Result<Kitchen, ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    load_with(Some(file.path()), variables.collect())
}

#[test]
fn an_alias_goes_before_the_file_and_after_the_keys_own_variable() {
    let name = |variables: &[(&str, &str)]| read("[oven]\nname = \"file\"\n", variables).unwrap().oven.name;
    assert_eq!(name(&[("OVEN", "1")]), "1");
    assert_eq!(name(&[("OVEN", "")]), "file");
    assert_eq!(name(&[("OVEN", "alias"), ("KITCHEN__OVEN__NAME", "own")]), "own");
}

#[test]
fn without_file_and_variables_the_defaults_hold() {
    assert_eq!(
        load_with::<Kitchen>(None, Vec::new()).unwrap(),
        Kitchen::default()
    );
}

#[test]
fn variables_win_over_the_file_key_by_key() {
    let toml = "cooks = 2\n[oven]\ndegrees = 200\nname = \"Agnes\"";
    let kitchen = read(toml, &[("KITCHEN__OVEN__DEGREES", "220"), ("OTHER__COOKS", "7")]).unwrap();
    assert_eq!((kitchen.cooks, kitchen.oven.degrees), (2, 220));
    assert_eq!(kitchen.oven.name, "Agnes");
}

#[test]
fn lists_are_split_at_commas_and_other_texts_are_not() {
    let variables = [
        ("KITCHEN__GUESTS", "ada,grace"),
        ("KITCHEN__OVEN__SPICES", "salt"),
        ("KITCHEN__OVEN__NAME", "a,b"),
    ];
    let kitchen = read("", &variables).unwrap();
    assert_eq!(kitchen.guests, ["ada", "grace"]);
    assert_eq!(kitchen.oven.spices, ["salt"]);
    assert_eq!(kitchen.oven.name, "a,b");
}

#[test]
fn every_wrong_value_is_named_in_one_error() {
    let error = read("cooks = 10\n[oven]\ndegrees = 301", &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cooks = 10: set at most 9\noven.degrees = 301: set at most 300"
    );
    assert!(matches!(error, ConfigError::Invalid(found) if found.as_slice().len() == 2));
}

#[test]
fn unknown_keys_wrong_types_bad_toml_and_absent_files_cannot_be_read() {
    for (toml, variables, part) in [
        ("cook = 1", [].as_slice(), "cook"),
        ("[oven]\ndegree = 1", &[], "degree"),
        ("", &[("KITCHEN__OVEN__DEGREE", "1")], "degree"),
        ("cooks = \"many\"", &[], "cooks"),
        ("[oven", &[], "TOML"),
    ] {
        let error = read(toml, variables).unwrap_err();
        assert!(matches!(error, ConfigError::Read(_)), "{toml}: {error}");
        assert!(error.to_string().contains(part), "{toml}: {error}");
    }
    let error = load_with::<Kitchen>(Some(Path::new("absent.toml")), Vec::new()).unwrap_err();
    assert!(error.to_string().contains("absent.toml"), "{error}");
}
