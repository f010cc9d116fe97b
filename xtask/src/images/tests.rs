//! The same files give the same image, whenever and wherever they are read.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::archive::{Image, User, Written};
use super::layer::{Layer, Packing};

/// Files of an image, written in this order, last changed so many seconds after 1970.
fn image(folder: &Path, files: &[(&str, &str)], seconds: u64) -> Result<Written> {
    let source = folder.join("source");
    for (name, text) in files {
        let path = source.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&source))?;
        fs::write(&path, text)?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::options().write(true).open(&path)?.set_modified(time)?;
    }
    let mut tree = Layer::default();
    tree.tree("data", &source, &|_| true)?;
    let mut text = Layer::default();
    text.bytes("LICENSE", "text");
    let image = Image {
        reference: "registry.test/image:1".to_owned(),
        entrypoint: vec!["/data/program".to_owned()],
        environment: Vec::new(),
        user: User::Nobody,
        layers: vec![(tree, Packing::Gzip), (text, Packing::Plain)],
        title: "A test",
    };
    image.write(&folder.join("out"))
}

#[test]
fn the_same_files_give_the_same_image() -> Result<()> {
    let (one, two, three) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let files = [("program", "code"), ("lib/a", "1"), ("lib/b", "2")];
    let mut turned = files;
    turned.reverse();
    let first = image(one.path(), &files, 1_000_000_000)?;
    let second = image(two.path(), &turned, 1_700_000_000)?;
    assert_eq!(first.digest, second.digest);
    assert!(fs::read(first.archive)? == fs::read(second.archive)?);
    let other = image(three.path(), &[("program", "code."), ("lib/a", "1")], 1)?;
    assert_ne!(first.digest, other.digest);
    Ok(())
}
