//! A case as its folder has it.

use liquid_cases::{input, read, read_if_there};
use serde::Deserialize;
use serde_json::{Value, json};

/// A document with its right value.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) folder: String,
    pub(crate) rules: Rules,
    pub(crate) path: String,
    pub(crate) inputs: Vec<Input>,
}

/// A request of a case.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) request: Value,
    pub(crate) expected: Vec<String>,
    pub(crate) unwanted: Vec<String>,
    pub(crate) decision: String,
}

/// What `case.toml` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    /// What is right, as the test's name says it.
    right: String,
    /// The public report.
    #[serde(rename = "report")]
    _report: String,
    /// Whether the sidecar decides alone, so that the other tier would prove the same once more.
    #[serde(default)]
    pub(crate) lexical_only: bool,
    /// What the worker is asked.
    pub(crate) asked: Option<String>,
    /// Words that the worker is not asked.
    #[serde(default)]
    pub(crate) not_asked: Vec<String>,
    /// Reasons that the decision does not give.
    #[serde(default)]
    pub(crate) not_reasons: Vec<String>,
    /// Bound of the estimated tokens that leave.
    pub(crate) tokens_after_below: Option<u64>,
    /// JSON pointers of what leaves as it came.
    #[serde(default)]
    pub(crate) unchanged: Vec<String>,
    /// What leads a passage.
    #[serde(default)]
    pub(crate) leads: Vec<Lead>,
}

/// A text that leads a passage: the last `lead` before `passage` has nothing of `without` behind it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lead {
    pub(crate) lead: String,
    pub(crate) passage: String,
    #[serde(default)]
    pub(crate) without: Vec<String>,
}

impl Case {
    /// Reads a folder; `None` for one without `case.toml`, which is a case of another kind.
    pub(crate) fn read(folder: &str) -> Option<Self> {
        let rules = read_if_there(&format!("{folder}/case.toml"))?;
        let rules = toml::from_str(&rules).unwrap_or_else(|error| panic!("{folder}/case.toml: {error}"));
        let path = read_if_there(&format!("{folder}/path.txt"));
        Some(Self {
            folder: folder.to_owned(),
            rules,
            path: path.map_or("/v1/chat/completions".to_owned(), |path| path.trim().to_owned()),
            inputs: requests(folder),
        })
    }

    pub(crate) fn test_name(&self) -> String {
        let number = self.folder.split('-').next().unwrap_or_default();
        format!("case_{number}_{}", self.rules.right.replace(' ', "_"))
    }
}

fn requests(folder: &str) -> Vec<Input> {
    if let Some(document) = read_if_there(&format!("{folder}/document.txt")) {
        let question = read(&format!("{folder}/question.txt"));
        let parts =
            [document.as_str(), question.trim_end()].map(|text| json!({"type": "text", "text": text}));
        let request = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": parts}]});
        return vec![Input::new(folder, "", request)];
    }
    let suffixes = ["", "-b", "-c", "-d", "-e", "-f"];
    let there = suffixes
        .into_iter()
        .filter(|suffix| read_if_there(&format!("{folder}/input{suffix}.json")).is_some());
    there
        .map(|suffix| Input::new(folder, suffix, input(&format!("{folder}/input{suffix}.json"))))
        .collect()
}

impl Input {
    fn new(folder: &str, suffix: &str, request: Value) -> Self {
        let own = |name: &str| {
            read_if_there(&format!("{folder}/{name}{suffix}.txt"))
                .or_else(|| read_if_there(&format!("{folder}/{name}.txt")))
                .unwrap_or_default()
        };
        let lines = |name: &str| {
            let text = own(name);
            let lines = text.split('\n').filter(|line| !line.is_empty());
            lines.map(str::to_owned).collect()
        };
        Self {
            name: format!("{folder}/input{suffix}"),
            request,
            expected: lines("expect"),
            unwanted: lines("expect_not"),
            decision: own("expect_decision"),
        }
    }
}
