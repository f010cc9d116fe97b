//! `cargo xtask crds`: writes `crds/` from the operator's types.

use std::fs;

use anyhow::{Context, Result};

use crate::command::{cargo, output, root};
use crate::console::say;

/// Each file and the arguments that print it.
const FILES: [(&str, &[&str]); 2] = [
    ("liquidmemoryproxies.yaml", &["crds"]),
    ("README.md", &["crds", "--reference"]),
];

/// Writes the definition and its reference.
pub(crate) fn write() -> Result<()> {
    let folder = root().join("crds");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, arguments) in FILES {
        let mut run = cargo(&["run", "--quiet", "--package", "liquid-operator", "--"]);
        let text = output(run.args(arguments))?;
        fs::write(folder.join(name), format!("{}\n", text.trim_end()))?;
        say(format!("crds/{name}"));
    }
    Ok(())
}
