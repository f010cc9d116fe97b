//! The weights of a Hugging Face folder: one safetensors file, or shards with an index, mapped into memory. Second
//! step of loading: [`Checkpoint::check`] compares all names, shapes and types with what the configuration calls for,
//! then [`Checkpoint::matrix`] and [`Checkpoint::vector`] copy tensors to a device.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, Metadata};

mod error;
mod index;
mod mapping;
#[cfg(test)]
mod tests;

pub use error::WeightsError;
use mapping::Mapping;

/// File of a checkpoint that is not sharded.
const SINGLE: &str = "model.safetensors";
/// File that says which tensor is in which shard.
const INDEX: &str = "model.safetensors.index.json";

/// A tensor that a model needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpectedTensor {
    /// Name in the checkpoint.
    pub(crate) name: String,
    /// Shape that follows from the configuration.
    pub(crate) shape: Vec<usize>,
}

/// Place of a tensor in the checkpoint.
#[derive(Clone, Debug)]
struct Place {
    /// Index in `Checkpoint::files`.
    file: usize,
    bytes: Range<usize>,
    shape: Vec<usize>,
    dtype: Dtype,
}

/// A mapped file with its path for errors.
struct WeightsFile {
    path: PathBuf,
    mapping: Mapping,
}

/// The tensors of a checkpoint by name. The files stay mapped while this lives.
pub(crate) struct Checkpoint {
    folder: PathBuf,
    files: Vec<WeightsFile>,
    places: BTreeMap<String, Place>,
}

impl Checkpoint {
    /// Maps the weights of a folder and reads their headers.
    ///
    /// # Errors
    /// [`WeightsError::Unreadable`], [`WeightsError::Format`], [`WeightsError::MissingShard`] and
    /// [`WeightsError::Index`].
    pub(crate) fn open(folder: &Path) -> Result<Self, WeightsError> {
        let mut checkpoint = Self {
            folder: folder.to_owned(),
            files: Vec::new(),
            places: BTreeMap::new(),
        };
        let single = folder.join(SINGLE);
        let index = folder.join(INDEX);
        if single.is_file() || !index.is_file() {
            checkpoint.add(single, |_| true)?;
            return Ok(checkpoint);
        }
        let index = index::Index::read(&index)?;
        for shard in index.shards() {
            let path = folder.join(shard);
            if !path.is_file() {
                let tensors = index.tensors_of(shard);
                return Err(WeightsError::MissingShard { path, tensors });
            }
            checkpoint.add(path, |name| index.shard_of(name) == Some(shard))?;
        }
        let lost = index
            .tensors()
            .find(|(name, _)| !checkpoint.places.contains_key(*name));
        match lost {
            Some((name, shard)) => Err(WeightsError::Missing {
                path: folder.join(shard),
                name: name.to_owned(),
            }),
            None => Ok(checkpoint),
        }
    }

    /// Maps a file and adds those of its tensors that `keep` takes.
    fn add(&mut self, path: PathBuf, keep: impl Fn(&str) -> bool) -> Result<(), WeightsError> {
        let mapping = Mapping::open(&path).map_err(|source| WeightsError::Unreadable {
            path: path.clone(),
            source,
        })?;
        let (metadata, start) = header(&path, mapping.bytes())?;
        for (name, info) in metadata.tensors() {
            let (from, to) = info.data_offsets;
            let place = Place {
                file: self.files.len(),
                bytes: start + from..start + to,
                shape: info.shape.clone(),
                dtype: info.dtype,
            };
            if keep(&name) {
                self.places.insert(name, place);
            }
        }
        self.files.push(WeightsFile { path, mapping });
        Ok(())
    }

    /// Checks that the checkpoint has every expected tensor in its shape and as floats of 32 or 16 bits, and no tensor
    /// that neither `expected` nor `ignored` knows: a model that has more weights computes something else.
    ///
    /// # Errors
    /// [`WeightsError::Missing`], [`WeightsError::WrongShape`], [`WeightsError::WrongType`] and
    /// [`WeightsError::Unexpected`].
    pub(crate) fn check(
        &self,
        expected: &[ExpectedTensor],
        ignored: impl Fn(&str) -> bool,
    ) -> Result<(), WeightsError> {
        for tensor in expected {
            self.place(&tensor.name, &tensor.shape)?;
        }
        let known: std::collections::BTreeSet<&str> =
            expected.iter().map(|tensor| tensor.name.as_str()).collect();
        let foreign = self
            .places
            .iter()
            .find(|(name, _)| !known.contains(name.as_str()) && !ignored(name));
        match foreign {
            Some((name, place)) => Err(WeightsError::Unexpected {
                path: self.path(place),
                name: name.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Copies rows of matrices of `columns` columns to a device, one below the other, in the type in which they are stored.
    ///
    /// # Errors
    /// As [`Checkpoint::check`]; [`WeightsError::MixedTypes`] if the matrices differ in type.
    pub(crate) fn matrix(
        &self,
        parts: &[TensorRows<'_>],
        columns: usize,
        device: &Device,
    ) -> Result<Tensor<2>, WeightsError> {
        let (bytes, dtype) = self.joined(parts, &[columns])?;
        let rows = parts.iter().map(TensorRows::count).sum();
        let data = TensorData::from_bytes_vec(bytes, [rows, columns], dtype);
        Ok(Tensor::from_data(data, (device, dtype)))
    }

    /// Copies elements of vectors to a device as f32, one behind the other.
    ///
    /// # Errors
    /// As [`Checkpoint::matrix`].
    pub(crate) fn vector(
        &self,
        parts: &[TensorRows<'_>],
        device: &Device,
    ) -> Result<Tensor<1>, WeightsError> {
        let (bytes, dtype) = self.joined(parts, &[])?;
        let size: usize = parts.iter().map(TensorRows::count).sum();
        let data = TensorData::from_bytes_vec(bytes, [size], dtype);
        Ok(Tensor::from_data(
            data.convert_dtype(DType::F32),
            (device, DType::F32),
        ))
    }

    /// Returns a tensor's bytes, mapped, and the type in which it is stored.
    ///
    /// # Errors
    /// As [`Checkpoint::check`].
    #[cfg(feature = "cuda")]
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<(&[u8], Dtype), WeightsError> {
        let place = self.place(name, shape)?;
        Ok((self.slice(place), place.dtype))
    }

    /// Copies the kernels `[channels, 1, width]` of a convolution that mixes no channels to a device as f32,
    /// `[channels, width]`.
    ///
    /// # Errors
    /// As [`Checkpoint::check`].
    pub(crate) fn kernels(
        &self,
        name: &str,
        [channels, width]: [usize; 2],
        device: &Device,
    ) -> Result<Tensor<2>, WeightsError> {
        let (bytes, dtype) = self.joined(&[TensorRows::all(name, channels)], &[1, width])?;
        let data = TensorData::from_bytes_vec(bytes, [channels, width], dtype);
        Ok(Tensor::from_data(
            data.convert_dtype(DType::F32),
            (device, DType::F32),
        ))
    }

    /// Joins the bytes of rows; each is of shape `row`.
    fn joined(&self, parts: &[TensorRows<'_>], row: &[usize]) -> Result<(Vec<u8>, DType), WeightsError> {
        let mut bytes = Vec::new();
        let mut first: Option<(&str, Dtype)> = None;
        for part in parts {
            let name = part.name;
            let place = self.place(name, &[&[part.rows], row].concat())?;
            match first {
                Some((other, dtype)) if dtype != place.dtype => {
                    return Err(WeightsError::MixedTypes {
                        path: self.path(place),
                        name: name.to_owned(),
                        actual: place.dtype,
                        other: other.to_owned(),
                        expected: dtype,
                    });
                }
                _ => first = Some((name, place.dtype)),
            }
            let stored = self.slice(place);
            let size = stored.len() / part.rows.max(1);
            for band in stored.chunks_exact((part.band.every * size).max(1)) {
                let start = part.band.first * size;
                let own = band.get(start..start + part.band.count * size);
                bytes.extend_from_slice(own.unwrap_or_default());
            }
        }
        let dtype = first.and_then(|(_, dtype)| float(dtype)).unwrap_or(DType::F32);
        Ok((bytes, dtype))
    }

    /// Finds a tensor of a shape that holds floats.
    fn place(&self, name: &str, shape: &[usize]) -> Result<&Place, WeightsError> {
        let name = name.to_owned();
        let Some(place) = self.places.get(&name) else {
            let path = self.files.first().filter(|_| self.files.len() == 1);
            let path = path.map_or_else(|| self.folder.join(INDEX), |file| file.path.clone());
            return Err(WeightsError::Missing { path, name });
        };
        let path = self.path(place);
        if place.shape != shape {
            let (expected, actual) = (shape.to_vec(), place.shape.clone());
            return Err(WeightsError::WrongShape {
                path,
                name,
                expected,
                actual,
            });
        }
        match float(place.dtype) {
            Some(_) => Ok(place),
            None => Err(WeightsError::WrongType {
                path,
                name,
                actual: place.dtype,
            }),
        }
    }

    fn path(&self, place: &Place) -> PathBuf {
        self.files
            .get(place.file)
            .map(|file| file.path.clone())
            .unwrap_or_default()
    }

    fn slice(&self, place: &Place) -> &[u8] {
        let file = self.files.get(place.file);
        file.and_then(|file| file.mapping.bytes().get(place.bytes.clone()))
            .unwrap_or_default()
    }
}

/// Rows of a tensor, or elements of a vector, that become part of a larger one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TensorRows<'a> {
    /// Name in the checkpoint.
    pub(crate) name: &'a str,
    /// All rows of the tensor.
    pub(crate) rows: usize,
    /// Those that are taken.
    pub(crate) band: Band,
}

/// Some rows of every few, as in tensors that hold several projections head by head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Band {
    /// The first row.
    pub(crate) first: usize,
    /// How many follow each other.
    pub(crate) count: usize,
    /// Rows from the beginning of these to that of the next ones; a divisor of the tensor's rows.
    pub(crate) every: usize,
}

impl<'a> TensorRows<'a> {
    /// Takes all rows of a tensor.
    pub(crate) fn all(name: &'a str, rows: usize) -> Self {
        let band = Band::all(rows);
        Self { name, rows, band }
    }

    /// Returns how many rows are taken.
    pub(crate) fn count(&self) -> usize {
        self.band.taken(self.rows)
    }
}

impl Band {
    /// Takes all of a tensor's rows.
    pub(crate) fn all(rows: usize) -> Self {
        Self {
            first: 0,
            count: rows,
            every: rows,
        }
    }

    /// Returns how many of a tensor's rows are taken.
    pub(crate) fn taken(self, rows: usize) -> usize {
        rows / self.every.max(1) * self.count
    }
}

/// Returns burn's type for weights, if the file's type is one for weights.
fn float(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// Reads the header of a safetensors file and where its data begins; the reader checks that the data is whole.
fn header(path: &Path, bytes: &[u8]) -> Result<(Metadata, usize), WeightsError> {
    let format = |reason: String| WeightsError::Format {
        path: path.to_owned(),
        reason,
    };
    let (length, metadata) =
        safetensors::SafeTensors::read_metadata(bytes).map_err(|error| format(error.to_string()))?;
    let start = length.saturating_add(8);
    let described = start.saturating_add(metadata.data_len());
    if described != bytes.len() {
        return Err(format(format!(
            "{} bytes where its header describes {described}: copy the file again",
            bytes.len()
        )));
    }
    Ok((metadata, start))
}
