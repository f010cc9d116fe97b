//! A checkpoint on disk: one safetensors file, or shards with an index. Only the headers are held; a tensor is
//! read when it is asked for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, Metadata};

use super::LoadError;

/// Place of a tensor in the checkpoint.
#[derive(Clone, Debug)]
struct Place {
    file: PathBuf,
    start: u64,
    length: usize,
    shape: Vec<usize>,
    dtype: DType,
}

/// The tensors of a checkpoint by name.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    places: HashMap<String, Place>,
}

impl Checkpoint {
    /// Opens `path`: a safetensors file, or a folder with `model.safetensors` or `model.safetensors.index.json`.
    ///
    /// # Errors
    /// [`LoadError::Read`] and [`LoadError::Format`], naming the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let mut checkpoint = Self::default();
        if path.is_file() {
            checkpoint.add(path)?;
            return Ok(checkpoint);
        }
        let index = path.join("model.safetensors.index.json");
        if !index.is_file() {
            checkpoint.add(&path.join("model.safetensors"))?;
            return Ok(checkpoint);
        }
        for shard in shards(&index)? {
            checkpoint.add(&path.join(shard))?;
        }
        Ok(checkpoint)
    }

    /// Returns the names of all tensors, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Returns the shape of a tensor, if the checkpoint has it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.places.get(name).map(|place| place.shape.as_slice())
    }

    fn add(&mut self, path: &Path) -> Result<(), LoadError> {
        let mut file = open(path)?;
        let json = header(path, &mut file)?;
        let metadata: Metadata =
            serde_json::from_slice(&json).map_err(|error| format(path, error.to_string()))?;
        let data = 8 + json.len();
        let length = file.metadata().map_err(|error| unread(path, error))?.len();
        if length != data.saturating_add(metadata.data_len()) as u64 {
            let reason = format!(
                "{length} bytes where its header describes {}",
                data.saturating_add(metadata.data_len())
            );
            return Err(format(path, reason));
        }
        for (name, info) in metadata.tensors() {
            let Some(dtype) = float(info.dtype) else {
                continue;
            };
            let (start, end) = info.data_offsets;
            let elements = info
                .shape
                .iter()
                .try_fold(dtype.size(), |size, next| size.checked_mul(*next));
            if end.checked_sub(start) != elements {
                return Err(format(
                    path,
                    format!("{name}: its bytes are not those of its shape"),
                ));
            }
            let place = Place {
                file: path.to_owned(),
                start: (data + start) as u64,
                length: end - start,
                shape: info.shape.clone(),
                dtype,
            };
            self.places.insert(name, place);
        }
        Ok(())
    }

    /// Reads a tensor of the wanted shape, in `dtype` if that is given and as it is stored otherwise.
    ///
    /// # Errors
    /// [`LoadError::Missing`], [`LoadError::Shape`], [`LoadError::Read`].
    pub fn tensor<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        dtype: Option<DType>,
        device: &Device,
    ) -> Result<Tensor<D>, LoadError> {
        let place = self.places.get(name).ok_or_else(|| LoadError::Missing {
            name: name.to_owned(),
        })?;
        if place.shape != shape {
            let (name, wanted) = (name.to_owned(), shape.to_vec());
            return Err(LoadError::Shape {
                name,
                given: place.shape.clone(),
                wanted,
            });
        }
        let mut bytes = vec![0; place.length];
        let mut file = open(&place.file)?;
        file.seek(SeekFrom::Start(place.start))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| unread(&place.file, error))?;
        let data = TensorData::from_bytes_vec(bytes, shape.to_vec(), place.dtype);
        let tensor = Tensor::<D>::from_data(data, (device, place.dtype));
        Ok(match dtype {
            Some(dtype) => tensor.cast(dtype),
            None => tensor,
        })
    }
}

/// Returns the number type of a weight; tensors of other types are not weights of a layer of ours.
fn float(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

fn format(path: &Path, reason: String) -> LoadError {
    LoadError::Format {
        path: path.display().to_string(),
        reason,
    }
}

fn open(path: &Path) -> Result<File, LoadError> {
    File::open(path).map_err(|error| unread(path, error))
}

fn unread(path: &Path, source: std::io::Error) -> LoadError {
    LoadError::Read {
        path: path.display().to_string(),
        source,
    }
}

/// Reads the JSON at the beginning, whose length is in the first 8 bytes.
fn header(path: &Path, file: &mut File) -> Result<Vec<u8>, LoadError> {
    /// Limit of the format's own reader, in bytes.
    const MOST: u64 = 100_000_000;
    let mut length = [0; 8];
    file.read_exact(&mut length)
        .map_err(|error| unread(path, error))?;
    let length = u64::from_le_bytes(length);
    if length > MOST {
        return Err(format(
            path,
            format!("a header of {length} bytes; not a safetensors file"),
        ));
    }
    let mut json = Vec::new();
    file.take(length)
        .read_to_end(&mut json)
        .map_err(|error| unread(path, error))?;
    Ok(json)
}

/// Returns the file names of the shards, each once.
fn shards(index: &Path) -> Result<Vec<String>, LoadError> {
    let text = std::fs::read_to_string(index).map_err(|error| unread(index, error))?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format(index, error.to_string()))?;
    let map = json["weight_map"]
        .as_object()
        .ok_or_else(|| format(index, "no object `weight_map`".to_owned()))?;
    let mut shards: Vec<String> = map
        .values()
        .filter_map(|file| file.as_str().map(str::to_owned))
        .collect();
    shards.sort();
    shards.dedup();
    // A shard is a file beside the index, never a path to somewhere else.
    match shards.iter().find(|shard| {
        Path::new(shard)
            .file_name()
            .is_none_or(|name| name != shard.as_str())
    }) {
        Some(shard) => Err(format(index, format!("shard {shard:?} is not a file name"))),
        None => Ok(shards),
    }
}
