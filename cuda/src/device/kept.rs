//! Compiled programs on disk, so that the next process need not compile them again.
//!
//! A file is named by the digest of everything that the compiler was given and of its version, and begins with the digest of
//! what follows: one that was cut or changed is compiled again. The folder is made for its owner alone, and one that others
//! may write to is not used, since what lies in it runs.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Bytes of a digest.
const DIGEST: usize = 32;

/// Keeps what [`Program::compile`](super::Program::compile) makes from now on in a folder, and takes from it what is
/// there. The first folder named in a process stays; says whether it is this one, and can be used.
pub fn keep_programs_in(folder: PathBuf) -> bool {
    if make_private(&folder).is_err() || !is_private(&folder) {
        return false;
    }
    FOLDER.get_or_init(|| folder.clone()) == &folder
}

/// Everything on which machine code depends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipe<'a> {
    /// Version of the compiler.
    pub(super) version: (i32, i32),
    /// The text.
    pub(super) source: &'a str,
    /// The chip.
    pub(super) target: &'a str,
    /// Macros.
    pub(super) definitions: &'a [String],
}

impl Recipe<'_> {
    fn file(&self, folder: &Path) -> PathBuf {
        let mut digest = Sha256::new();
        let mut part = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        part(&self.version.0.to_le_bytes());
        part(&self.version.1.to_le_bytes());
        part(self.source.as_bytes());
        part(self.target.as_bytes());
        for definition in self.definitions {
            part(definition.as_bytes());
        }
        let name: String = digest
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        folder.join(name).with_extension("cubin")
    }
}

/// The machine code of a recipe: from the folder if it is there, else by `compile`, which is then kept. What cannot be
/// kept is compiled each time.
pub(super) fn kept_or<E>(
    recipe: &Recipe<'_>,
    compile: impl FnOnce() -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    match FOLDER.get() {
        Some(folder) => kept_in(folder, recipe, compile),
        None => compile(),
    }
}

fn kept_in<E>(
    folder: &Path,
    recipe: &Recipe<'_>,
    compile: impl FnOnce() -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let file = recipe.file(folder);
    if let Some(image) = read(&file) {
        return Ok(image);
    }
    let image = compile()?;
    // A full disk costs a second at the next start, and nothing else.
    drop(write(&file, &image));
    Ok(image)
}

fn read(file: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(file).ok()?;
    let (digest, image) = bytes.split_at_checked(DIGEST)?;
    (Sha256::digest(image).as_slice() == digest).then(|| image.to_vec())
}

/// Under another name first: processes that start together write the same file.
fn write(file: &Path, image: &[u8]) -> std::io::Result<()> {
    let unfinished = file.with_extension(std::process::id().to_string());
    let mut to = fs::File::create(&unfinished)?;
    to.write_all(&Sha256::digest(image))?;
    to.write_all(image)?;
    to.sync_all()?;
    fs::rename(unfinished, file)
}

#[cfg(unix)]
fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)
}

/// Whether nobody but its owner may write to a folder.
#[cfg(unix)]
fn is_private(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o022 == 0)
}

#[cfg(not(unix))]
fn is_private(_: &Path) -> bool {
    true
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn recipe(definitions: &[String]) -> Recipe<'_> {
        Recipe {
            version: (13, 0),
            source: "__global__ void f() {}",
            target: "sm_90a",
            definitions,
        }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("liquid-kept-{name}-{}", std::process::id()));
        make_private(&folder).expect("a folder");
        folder
    }

    #[test]
    fn a_program_is_compiled_once_and_again_when_anything_changes() {
        let folder = folder("once");
        let (narrow, wide) = (["D=64".to_owned()], ["D=128".to_owned()]);
        let code = |definitions, code: &[u8]| {
            kept_in(&folder, &recipe(definitions), || {
                Ok::<_, Infallible>(code.to_vec())
            })
            .expect("code")
        };
        assert_eq!(code(&narrow, b"first"), b"first");
        assert_eq!(code(&narrow, b"second"), b"first");
        assert_eq!(code(&wide, b"third"), b"third");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_file_that_was_cut_or_changed_is_compiled_again() {
        let folder = folder("cut");
        let file = recipe(&[]).file(&folder);
        let code = |code: &[u8]| {
            kept_in(&folder, &recipe(&[]), || Ok::<_, Infallible>(code.to_vec())).expect("code")
        };
        code(b"machine code");
        for wrong in [&b""[..], b"short", &[7; 60]] {
            fs::write(&file, wrong).expect("written");
            assert_eq!(code(b"machine code"), b"machine code");
        }
        assert_eq!(code(b"other"), b"machine code");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_may_write_to_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder("open");
        assert!(is_private(&folder));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("changed");
        assert!(!is_private(&folder) && !keep_programs_in(folder.clone()));
        fs::remove_dir_all(folder).expect("removed");
    }
}
