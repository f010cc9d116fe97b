//! Runs the commands of `deploy/README.md`: what people read is what is tested.

use std::process::Command;

use anyhow::{Context, Result};

use crate::kubectl;
use crate::world::World;

/// Runs the first block of commands below a heading, as a shell with `-e` does; fails with what it printed.
pub(crate) fn run(world: &World, heading: &str) -> Result<String> {
    let guide = world.root.join("deploy/README.md");
    let guide =
        std::fs::read_to_string(&guide).with_context(|| format!("cannot read {}", guide.display()))?;
    let commands =
        block(&guide, heading).with_context(|| format!("the guide has no commands below {heading}"))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell
        .args(["-eu", "-c", commands])
        .current_dir(&world.root)
        .env("PATH", format!("{}:{path}", world.programs.display()))
        .env("REGISTRY", &world.registry);
    kubectl::output(&mut shell)
}

fn block<'g>(guide: &'g str, heading: &str) -> Option<&'g str> {
    let section = guide.split_once(&format!("\n## {heading}\n"))?.1;
    let section = section.split("\n## ").next()?;
    let commands = section.split_once("```sh\n")?.1;
    Some(commands.split_once("```")?.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn finds_the_commands_below_a_heading() {
        let guide = "# T\n\n## A\n\ntext\n\n## B\n\n```sh\none\ntwo\n```\n\n```sh\nthree\n```\n";
        assert_eq!(super::block(guide, "B"), Some("one\ntwo\n"));
        assert_eq!(super::block(guide, "A"), None);
    }
}
