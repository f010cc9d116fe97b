//! Runs the commands of `deploy/README.md`: what people read is what is tested.

use std::process::Command;

use anyhow::{Context, Result};

use crate::kubectl;
use crate::world::World;

/// A chapter that has a block of commands. The compiler says which no case runs, a test which are missing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chapter {
    AirGap,
    Install,
    Use,
    Upgrade,
    Uninstall,
    RemoveEverything,
}

impl Chapter {
    fn heading(self) -> &'static str {
        match self {
            Self::AirGap => "Air gap",
            Self::Install => "Install",
            Self::Use => "Use",
            Self::Upgrade => "Upgrade",
            Self::Uninstall => "Uninstall",
            Self::RemoveEverything => "Remove everything",
        }
    }
}

/// Runs a chapter's block of commands, as a shell with `-e` does; fails with what it printed.
pub(crate) fn run(world: &World, chapter: Chapter) -> Result<String> {
    run_with(world, chapter, &[])
}

/// Runs it with further variables.
pub(crate) fn run_with(world: &World, chapter: Chapter, variables: &[(&str, &str)]) -> Result<String> {
    let guide = world.root.join("deploy/README.md");
    let guide =
        std::fs::read_to_string(&guide).with_context(|| format!("cannot read {}", guide.display()))?;
    let chapters = chapters(&guide);
    let mut found = chapters
        .iter()
        .filter(|(heading, _)| *heading == chapter.heading());
    let (_, commands) = found
        .next()
        .with_context(|| format!("the guide has no commands for {chapter:?}"))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let plugin = world.plugin.parent().unwrap_or(&world.plugin);
    let mut shell = Command::new("sh");
    shell
        .args(["-eu", "-c", commands])
        .current_dir(&world.root)
        .env(
            "PATH",
            format!("{}:{}:{path}", world.programs.display(), plugin.display()),
        )
        .env("REGISTRY", &world.registry)
        .envs(variables.iter().copied());
    kubectl::output(&mut shell)
}

/// Every block of commands, with the heading of its chapter.
fn chapters(guide: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for chapter in guide.split("\n## ").skip(1) {
        let heading = chapter.lines().next().unwrap_or_default();
        let blocks = chapter.split("```sh\n").skip(1);
        found.extend(
            blocks
                .filter_map(|block| block.split_once("```"))
                .map(|(commands, _)| (heading, commands)),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_commands_below_each_heading() {
        let guide = "# T\n\n## A\n\ntext\n\n## B\n\n```sh\none\ntwo\n```\n\n```sh\nthree\n```\n";
        assert_eq!(chapters(guide), [("B", "one\ntwo\n"), ("B", "three\n")]);
    }

    #[test]
    fn every_block_of_the_guide_is_run() -> Result<()> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/README.md");
        let guide = std::fs::read_to_string(path)?;
        let run = [
            Chapter::AirGap,
            Chapter::Install,
            Chapter::Use,
            Chapter::Upgrade,
            Chapter::Uninstall,
            Chapter::RemoveEverything,
        ];
        let found = chapters(&guide);
        let headings = found.iter().map(|(heading, _)| *heading).collect::<Vec<_>>();
        assert_eq!(headings, run.map(Chapter::heading));
        Ok(())
    }
}
