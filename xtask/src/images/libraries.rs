//! The shared libraries that a program needs, as the machine's own loader finds them.
//!
//! The programs link glibc dynamically: a static one cannot look up names through the system's resolver, which
//! loads code at run time. Loader and libraries of the build machine go into the image, nothing else of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::layer::Layer;

/// Adds what `ldd` reports for these programs, at the paths where the loader looks for it.
pub(crate) fn add(layer: &mut Layer, programs: &[PathBuf]) -> Result<()> {
    let mut libraries = BTreeSet::new();
    for program in programs {
        libraries.extend(of(program)?);
    }
    for library in libraries {
        let place = library.display().to_string();
        layer.file(&place, &library)?;
    }
    Ok(())
}

/// The libraries of one program.
pub(crate) fn of(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .context("cannot start ldd")?;
    // It fails for what is linked statically, and says so.
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)` and `/lib64/ld-linux-x86-64.so.2 (0x...)`.
fn parse(text: &str) -> Vec<PathBuf> {
    let paths = text.lines().filter_map(|line| {
        let line = line.rsplit_once(" (")?.0;
        let path = line.split_once(" => ").map_or(line, |(_, path)| path).trim();
        path.starts_with('/').then(|| PathBuf::from(path))
    });
    paths.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ldd() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n\tlibmissing.so => not found\n";
        assert_eq!(
            parse(text),
            ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from)
        );
        assert!(parse("\tstatically linked\n").is_empty());
    }
}
