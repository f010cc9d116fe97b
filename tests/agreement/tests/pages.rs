//! What the pages say about the repository is true: the paths and commands that they name exist, their links lead
//! somewhere, and the tests that they name are tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Pages whose backticks name paths of this repository as it is now. A changelog and the bad examples of STYLE.md name
/// what is gone.
const PAGES: [&str; 11] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "attention/README.md",
    "bench/README.md",
    "cuda/README.md",
    "cuda/kernels/README.md",
    "deploy/README.md",
    "kubectl/README.md",
    "operator/CAPABILITIES.md",
];

/// Pages with tables of tests: in a table whose last column is `test`, that column names them.
const TABLES: [&str; 2] = ["SECURITY.md", "operator/CAPABILITIES.md"];

/// What is built or fetched.
const SKIPPED: [&str; 4] = ["target", ".git", ".cache", "node_modules"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Every file of the repository, relative to its root, with `/` between the parts.
fn files() -> Vec<String> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() && !SKIPPED.iter().any(|name| entry.file_name() == *name) {
                folders.push(path);
            } else if kind.is_file() {
                found.push(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

fn read(page: &str) -> String {
    std::fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The text without its blocks of code.
fn prose(text: &str) -> String {
    let mut inside = false;
    let outside = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    outside.collect::<Vec<_>>().join("\n")
}

/// What stands between backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a span names a file or folder of this repository, from its root or, like `handshake.rs` and `sse/`, from
/// the folder that the text is about.
fn is_path(span: &str, tops: &[String]) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    if !span.bytes().all(plain) || span.starts_with('/') || span.contains("..") {
        return false;
    }
    let top = span.split('/').next().unwrap_or_default();
    let known = span.contains('/') && tops.iter().any(|known| known == top);
    let folder = span.strip_suffix('/').is_some_and(|name| !name.contains('.'));
    known || folder || span.ends_with(".rs") || span.ends_with(".cu")
}

/// Whether the repository has the file or folder: from its root where the first part is one of the root's own.
fn exists(span: &str, files: &[String], tops: &[String]) -> bool {
    let name = span.trim_end_matches('/');
    let from_root = |file: &String| {
        file.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let top = name.split('/').next().unwrap_or_default();
    if tops.iter().any(|known| known == top) {
        return files.iter().any(from_root);
    }
    files
        .iter()
        .any(|file| format!("/{file}/").contains(&format!("/{name}/")))
}

/// The parts that paths from the root begin with.
fn tops(files: &[String]) -> Vec<String> {
    let mut tops: Vec<_> = files
        .iter()
        .filter_map(|file| file.split_once('/'))
        .map(|(top, _)| top.to_owned())
        .collect();
    tops.sort_unstable();
    tops.dedup();
    tops
}

#[test]
fn every_path_in_a_page_exists() {
    let files = files();
    let tops = tops(&files);
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in PAGES {
        let text = prose(&read(page));
        for span in spans(&text).filter(|span| is_path(span, &tops)) {
            seen += 1;
            if !exists(span, &files, &tops) {
                wrong.push(format!("{page}: `{span}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "no such file or folder:\n{}", wrong.join("\n"));
    assert!(
        seen > 100,
        "only {seen} paths were found: does the search still work?"
    );
}

#[test]
fn a_moved_file_is_noticed() {
    let files = ["sidecar/src/http/surface.rs", "worker/src/lib.rs"].map(str::to_owned);
    let tops = tops(&files);
    for there in [
        "sidecar/src/http/",
        "sidecar/src/http/surface.rs",
        "surface.rs",
        "http/",
        "worker/",
    ] {
        assert!(is_path(there, &tops) && exists(there, &files, &tops), "{there}");
    }
    for moved in ["sidecar/src/api.rs", "sidecar/http/", "api.rs", "relay/", "lib/"] {
        assert!(is_path(moved, &tops) && !exists(moved, &files, &tops), "{moved}");
    }
    for other in [
        "/liquid/packs/{id}",
        "local/extractive",
        "liquidmemory.dev/",
        "worker.toml",
        "cargo xtask",
    ] {
        assert!(!is_path(other, &tops), "{other}");
    }
}

/// The commands of `cargo xtask`: the variants of its enum, in lower case.
fn commands(source: &str) -> BTreeSet<String> {
    let variants = source
        .split_once("enum Subject {")
        .and_then(|(_, rest)| rest.split_once("\n}"));
    let lines = variants
        .map(|(variants, _)| variants.lines())
        .into_iter()
        .flatten();
    let names = lines
        .map(|line| line.trim().split(['(', ',']).next().unwrap_or_default())
        .filter(|name| name.starts_with(|char: char| char.is_ascii_uppercase()));
    names.map(str::to_lowercase).collect()
}

#[test]
fn every_command_in_a_page_exists() {
    let commands = commands(&read("xtask/src/main.rs"));
    assert!(commands.contains("test") && commands.len() > 5, "{commands:?}");
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in PAGES {
        let text = read(page);
        let asked = text.split("cargo xtask ").skip(1);
        let names = asked.map(|rest| {
            rest.split(|char: char| !char.is_ascii_lowercase())
                .next()
                .unwrap_or_default()
        });
        for name in names.filter(|name| !name.is_empty()) {
            seen += 1;
            if !commands.contains(name) {
                wrong.push(format!("{page}: cargo xtask {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "no such command:\n{}", wrong.join("\n"));
    assert!(
        seen > 30,
        "only {seen} commands were found: does the search still work?"
    );
}

/// A heading's anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|char| match char {
        ' ' => Some('-'),
        _ if char.is_alphanumeric() || "-_".contains(char) => Some(char.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

fn has_anchor(page: &Path, wanted: &str) -> bool {
    let text = prose(&std::fs::read_to_string(page).unwrap());
    let headings = text
        .lines()
        .filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#')));
    headings.map(anchor).any(|found| found == wanted)
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let root = root();
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in files().iter().filter(|file| file.ends_with(".md")) {
        let text = prose(&read(page));
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once(')')?.0));
        for target in targets.filter(|target| !target.contains("://")) {
            seen += 1;
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() {
                root.join(page)
            } else {
                root.join(page).parent().unwrap().join(path)
            };
            if !file.exists() || !(heading.is_empty() || has_anchor(&file, heading)) {
                wrong.push(format!("{page}: {target}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these links lead nowhere:\n{}",
        wrong.join("\n")
    );
    assert!(
        seen > 20,
        "only {seen} links were found: does the search still work?"
    );
}

#[test]
fn anchors_are_made_as_on_github() {
    assert_eq!(
        anchor(" Injection: what happens to a pod"),
        "injection-what-happens-to-a-pod"
    );
    assert_eq!(
        anchor(" 1. A call arrives: `sidecar/src/http/`"),
        "1-a-call-arrives-sidecarsrchttp"
    );
}

/// The tests that a page's tables name.
fn named(page: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        let last = line.strip_suffix('|').and_then(|line| line.rsplit_once('|'));
        let Some((_, cell)) = last else {
            inside = false;
            continue;
        };
        if matches!(cell.trim(), "test" | "tests") {
            inside = true;
        } else if inside {
            let is_name = |span: &&str| {
                span.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte))
            };
            names.extend(spans(cell).filter(is_name).map(str::to_owned));
        }
    }
    names
}

/// Every function with the attribute of a test.
fn functions(files: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files.iter().filter(|file| file.ends_with(".rs")) {
        let mut attribute = false;
        for line in read(file).lines().map(str::trim) {
            if line.starts_with("#[") {
                attribute |= line == "#[test]" || line.starts_with("#[tokio::test");
            } else if let Some((_, name)) = line.split_once("fn ")
                && std::mem::take(&mut attribute)
            {
                found.insert(name.split(['(', '<']).next().unwrap_or_default().to_owned());
            }
        }
    }
    found
}

/// The sources that name trials on a real API server and cases on a cluster, in quotes.
fn trials(files: &[String]) -> String {
    let trials = ["operator/tests/real_api/", "tests/cluster/src/cases/"];
    let files = files
        .iter()
        .filter(|file| trials.iter().any(|folder| file.starts_with(folder)));
    files.map(|file| read(file)).collect()
}

#[test]
fn every_test_in_a_table_exists() {
    let files = files();
    let (functions, trials) = (functions(&files), trials(&files));
    for page in TABLES {
        let names = named(&read(page));
        let is_test = |name: &str| functions.contains(name) || trials.contains(&format!("\"{name}\""));
        let missing: Vec<_> = names.iter().filter(|name| !is_test(name)).collect();
        assert!(
            missing.is_empty(),
            "{page} names tests that are not there: {missing:?}"
        );
        assert!(
            names.len() > 15,
            "{page}: only {} tests were found: does the search still work?",
            names.len()
        );
    }
}

#[test]
fn the_last_column_of_a_table_of_tests_is_read() {
    let page = "| a | test |\n|---|---|\n| `no` | `one_works`, and `x::two_works` |\n\n| b | c |\n|---|---|\n| d | `no` |\n";
    assert_eq!(named(page), ["one_works", "x::two_works"]);
}
