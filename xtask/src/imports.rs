//! `cargo xtask imports`: draws which module of a crate imports which, and fails on a circle.
//!
//! A room is a module with everything below it: `sidecar/src/policy.rs` and `sidecar/src/policy/`. Rooms that stand
//! beside each other, at any depth, import in one direction. Not held to it: a room and what is below it, the plain
//! files of one folder below the top, and tests. [`crate::source`] reads the files, [`graph`] finds the circles.

mod graph;

use std::fmt::Write;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::command::root;
use crate::console::{bold, red};
use crate::source;
use graph::{Arrows, Circle};

/// The folders of the crates whose rooms are held to it.
const CRATES: [&str; 13] = [
    "attention",
    "bench",
    "contract",
    "cuda",
    "decoder",
    "kubectl",
    "operator",
    "process",
    "python",
    "sidecar",
    "signing",
    "worker",
    "xtask",
];

/// Arrows that may close a circle: crate, from, to, and why.
const ALLOWED: [(&str, &str, &str, &str); 1] = [(
    "attention",
    "core",
    "portable",
    "the default bodies of the trait `LiquidBackend` are the portable implementation",
)];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folders of the crates; all that are checked, if none is named.
    crates: Vec<String>,
    /// Print the drawing for Graphviz: `cargo xtask imports sidecar --dot | dot -Tsvg`.
    #[arg(long)]
    dot: bool,
}

/// Draws the crates' imports; fails if there is a circle.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let crates = match arguments.crates.as_slice() {
        [] => CRATES.map(str::to_owned).to_vec(),
        some => some.to_vec(),
    };
    let mut circles = 0;
    for name in &crates {
        let arrows = arrows(name)?;
        print!(
            "{}",
            if arguments.dot {
                dot(name, &arrows)
            } else {
                text(name, &arrows)
            }
        );
        circles += report(name, &arrows);
    }
    ensure!(circles == 0, "{circles} circles of imports");
    Ok(())
}

/// The number of circles in these crates, each of them printed.
pub(crate) fn circles(crates: &[&str]) -> Result<usize> {
    crates.iter().map(|name| Ok(report(name, &arrows(name)?))).sum()
}

/// The crates that are checked and exist.
pub(crate) fn crates() -> Vec<&'static str> {
    CRATES
        .into_iter()
        .filter(|name| root().join(name).join("src").is_dir())
        .collect()
}

fn arrows(name: &str) -> Result<Arrows> {
    let folder = root().join(name).join("src");
    ensure!(folder.is_dir(), "there is no crate in {}", folder.display());
    let mut arrows = Arrows::new(&source::read(&folder)?);
    for (_, from, to, _) in ALLOWED.iter().filter(|(of, ..)| *of == name) {
        ensure!(
            arrows.remove(from, to),
            "{name}: {from} no longer imports {to}: take it out of the exceptions in xtask/src/imports.rs"
        );
    }
    Ok(arrows)
}

fn report(name: &str, arrows: &Arrows) -> usize {
    let circles = arrows.circles();
    for Circle { rooms, imports } in &circles {
        println!("{} {name}: {}", red("circle"), rooms.join(" <-> "));
        for import in imports {
            let file = import.file.strip_prefix(root()).unwrap_or(&import.file);
            println!(
                "  {} -> {}: {} in {}",
                import.from,
                import.to,
                import.name,
                show(file)
            );
        }
    }
    circles.len()
}

/// One line a room: the rooms that it imports.
fn text(name: &str, arrows: &Arrows) -> String {
    let mut text = format!("{}\n", bold(name));
    for (from, to) in arrows.rooms() {
        let _ = writeln!(text, "  {from} -> {}", to.join(", "));
    }
    text
}

fn dot(name: &str, arrows: &Arrows) -> String {
    let mut text = format!("digraph {name} {{\n");
    for (from, to) in arrows.rooms() {
        for to in to {
            let _ = writeln!(text, "  \"{from}\" -> \"{to}\";");
        }
    }
    text + "}\n"
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
