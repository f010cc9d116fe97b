//! Small bundles: whole ones, and ones with something wrong.

use std::fs;
use std::ops::Range;
use std::path::Path;

use liquid_signing::{PrivateKey, SIGNATURE, SUMS, Sum, Sums};
use serde_json::json;
use tempfile::TempDir;

/// A bundle in a folder: `bundle.tar`, and `key.pub` of the key that is expected.
pub(super) struct Bundle {
    folder: TempDir,
    items: Vec<Item>,
}

/// An image or a chart, tagged 1.0.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) repository: &'static str,
    pub(super) manifest: Vec<u8>,
    /// Digests.
    pub(super) blobs: Vec<String>,
}

/// Files by name, in the order in which they are packed.
type Files = Vec<(String, Vec<u8>)>;

struct Content {
    files: Files,
    items: Vec<Item>,
}

fn content() -> Content {
    let (mut files, mut items, mut manifests) = (Vec::new(), Vec::new(), Vec::new());
    let mut blob = |bytes: &[u8]| {
        let sum = Sum::of(bytes).to_string();
        let name = format!("oci/blobs/sha256/{sum}");
        if !files.iter().any(|(found, _)| *found == name) {
            files.push((name, bytes.to_vec()));
        }
        format!("sha256:{sum}")
    };
    for (repository, layers) in [
        ("liquid-sidecar", [&b"a layer"[..], &[7; 3_000_000]]),
        ("charts/liquid-memory", [&b"a chart"[..], b"its provenance"]),
    ] {
        let config = format!("{{\"of\": \"{repository}\"}}");
        let mut blobs = vec![blob(config.as_bytes())];
        blobs.extend(layers.map(&mut blob));
        let sizes = [config.len(), layers[0].len(), layers[1].len()];
        let descriptor = |index: usize| json!({"mediaType": "application/test", "digest": blobs[index], "size": sizes[index]});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(0), "layers": [descriptor(1), descriptor(2)],
        });
        let manifest = manifest.to_string().into_bytes();
        manifests.push(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": manifest.len(),
            "digest": blob(&manifest),
            "annotations": {"org.opencontainers.image.ref.name": format!("{repository}:1.0")},
        }));
        items.push(Item {
            repository,
            manifest,
            blobs,
        });
    }
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    files.push(("oci/index.json".to_owned(), index.to_string().into_bytes()));
    Content { files, items }
}

fn sums(files: &Files) -> Sums {
    let mut sums = Sums::default();
    for (name, bytes) in files {
        sums.insert(name, Sum::of(bytes)).unwrap();
    }
    sums
}

fn signed(sums: &Sums, key: &PrivateKey) -> Files {
    let head = [(SUMS, sums.to_string().into_bytes()), (SIGNATURE, sums.sign(key))];
    head.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}

impl Bundle {
    /// A whole one.
    pub(super) fn new() -> Self {
        Self::changed(|_, _| {})
    }

    /// One that is changed before it is packed, after it was signed: its files, the list and signature first.
    fn changed(change: impl FnOnce(&mut Files, &PrivateKey)) -> Self {
        let (key, content) = (PrivateKey::generate().unwrap(), content());
        let mut files = signed(&sums(&content.files), &key);
        files.extend(content.files);
        change(&mut files, &key);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("bundle.tar"), pack(&files)).unwrap();
        fs::write(folder.path().join("key.pub"), key.public_key().to_pem()).unwrap();
        let items = content.items;
        Self { folder, items }
    }

    pub(super) fn signed_by_another() -> Self {
        Self::changed(|files, _| {
            let list = signed(&sums(&files.split_off(2)), &PrivateKey::generate().unwrap());
            *files = list.into_iter().chain(content().files).collect();
        })
    }

    pub(super) fn with_additional_file() -> Self {
        Self::changed(|files, _| files.push(("stranger".to_owned(), b"x".to_vec())))
    }

    pub(super) fn without_last_file() -> Self {
        Self::changed(|files, _| drop(files.pop()))
    }

    pub(super) fn with_a_file_twice() -> Self {
        Self::changed(|files, _| {
            let last = files.last().unwrap().clone();
            files.push(last);
        })
    }

    pub(super) fn without_signature() -> Self {
        Self::changed(|files, _| drop(files.remove(1)))
    }

    /// Signed as it is: the maker forgot a blob.
    pub(super) fn without_a_blob() -> Self {
        Self::changed(|files, key| {
            let mut rest = files.split_off(2);
            rest.remove(1);
            *files = signed(&sums(&rest), key);
            files.extend(rest);
        })
    }

    pub(super) fn cut_off() -> Self {
        let bundle = Self::new();
        let path = bundle.folder().join("bundle.tar");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        bundle
    }

    /// A copy with one bit of one byte turned.
    pub(super) fn with_changed_byte(&self, at: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(self.folder().join("key.pub"), folder.path().join("key.pub")).unwrap();
        let mut bytes = fs::read(self.folder().join("bundle.tar")).unwrap();
        bytes[at] ^= 1;
        fs::write(folder.path().join("bundle.tar"), bytes).unwrap();
        let items = self.items.clone();
        Self { folder, items }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    /// How many blobs there are.
    pub(super) fn blobs(&self) -> usize {
        self.items.iter().map(|item| item.blobs.len()).sum()
    }

    /// Where the contents of all files are in the archive.
    pub(super) fn contents(&self) -> Vec<Range<usize>> {
        let file = fs::File::open(self.folder().join("bundle.tar")).unwrap();
        let mut tar = tar::Archive::new(file);
        let entries = tar.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let start = usize::try_from(entry.raw_file_position()).unwrap();
            start..start + usize::try_from(entry.size()).unwrap()
        });
        entries.collect()
    }
}

fn pack(files: &Files) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}
