//! The index of a sharded checkpoint: which tensor is in which file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::WeightsError;

/// The file `model.safetensors.index.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Index {
    /// Reads an index; its shards are names of files beside it.
    ///
    /// # Errors
    /// [`WeightsError::Unreadable`] and [`WeightsError::Index`].
    pub(super) fn read(path: &Path) -> Result<Self, WeightsError> {
        let bytes = std::fs::read(path).map_err(|source| WeightsError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let wrong = |reason: String| WeightsError::Index {
            path: path.to_owned(),
            reason,
        };
        let index: Self = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if index.weight_map.is_empty() {
            return Err(wrong("weight_map is empty".to_owned()));
        }
        // A path could lead out of the folder.
        let outside = |shard: &&str| Path::new(shard).file_name().is_none_or(|name| name != *shard);
        let shard = index.shards().into_iter().find(outside).map(str::to_owned);
        match shard {
            Some(shard) => Err(wrong(format!("shard {shard:?} is not the name of a file"))),
            None => Ok(index),
        }
    }

    /// Returns the names of the shards, each once.
    pub(super) fn shards(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }

    /// Returns every tensor and its shard.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &str)> {
        self.weight_map
            .iter()
            .map(|(name, shard)| (name.as_str(), shard.as_str()))
    }

    /// Returns the shard of a tensor.
    pub(super) fn shard_of(&self, name: &str) -> Option<&str> {
        self.weight_map.get(name).map(String::as_str)
    }

    /// Counts the tensors of a shard.
    pub(super) fn tensors_of(&self, shard: &str) -> usize {
        self.weight_map.values().filter(|other| *other == shard).count()
    }
}
