//! Pushing every item of a bundle, and what was done.

use anyhow::Result;
use serde::Serialize;

use super::archive::Archive;
use super::layout::Item;
use super::registry::Registry;
use crate::output::Table;

/// What a push has done.
#[derive(Debug, Serialize)]
pub(super) struct Pushed {
    items: Vec<PushedItem>,
}

/// An item that is in the registry now.
#[derive(Debug, Serialize)]
struct PushedItem {
    /// Its full name.
    reference: String,
    digest: String,
    /// How many blobs were sent, and how many were there.
    blobs_sent: usize,
    blobs_there: usize,
    bytes_sent: u64,
    /// Whether its name is new, or means another manifest than before.
    changed: bool,
}

impl Pushed {
    /// A table for people.
    pub(super) fn text(&self) -> String {
        let mut table = Table::new(&["NAME", "SENT", "BYTES", "THERE", "DIGEST"]);
        for item in &self.items {
            table.row([
                item.reference.clone(),
                item.blobs_sent.to_string(),
                item.bytes_sent.to_string(),
                item.blobs_there.to_string(),
                item.digest.clone(),
            ]);
        }
        table.to_string()
    }
}

/// Pushes everything, blobs before the manifests that name them. Says on standard error where it is.
///
/// # Errors
/// The first item that the registry does not take; what was pushed before stays, and is found by the next push.
pub(super) async fn push(archive: &Archive, items: &[Item], registry: &Registry) -> Result<Pushed> {
    let mut pushed = Vec::new();
    for (number, item) in items.iter().enumerate() {
        let image = registry.address.reference(item);
        eprintln!("{} of {}: {}", number + 1, items.len(), image.whole());
        let mut done = PushedItem {
            reference: image.whole(),
            digest: item.digest.clone(),
            blobs_sent: 0,
            blobs_there: 0,
            bytes_sent: 0,
            changed: false,
        };
        for blob in &item.blobs {
            if registry.push_blob(&image, blob, archive).await? {
                done.blobs_sent += 1;
                done.bytes_sent += blob.size;
            } else {
                done.blobs_there += 1;
            }
        }
        done.changed = registry.push_manifest(&image, item).await?;
        pushed.push(done);
    }
    Ok(Pushed { items: pushed })
}
