//! Reads named tensors from a safetensors file and checks their type and shape; the second step of loading.

use std::path::PathBuf;

use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::manifest::VerifiedFile;

/// Why a weights file does not fit the model.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file is not in the safetensors format.
    #[error("{path}: not a safetensors file: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the reader.
        source: SafeTensorError,
    },
    /// A tensor is missing.
    #[error("{path}: has no tensor {name}, which the configuration calls for", path = .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor holds numbers of another type.
    #[error("{path}: tensor {name} is {actual:?}, but the model is run in F32", path = .path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Type in the file.
        actual: Dtype,
    },
    /// A tensor has another shape than the configuration says.
    #[error(
        "{path}: tensor {name} has shape {actual:?}, but the configuration says {expected:?}",
        path = .path.display()
    )]
    WrongShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that follows from the configuration.
        expected: Vec<usize>,
        /// The shape in the file.
        actual: Vec<usize>,
    },
}

/// The tensors of a weights file.
pub(super) struct Weights<'a> {
    path: PathBuf,
    tensors: SafeTensors<'a>,
}

impl<'a> Weights<'a> {
    pub(super) fn read(file: &'a VerifiedFile) -> Result<Self, WeightsError> {
        let path = file.path.clone();
        match SafeTensors::deserialize(&file.bytes) {
            Ok(tensors) => Ok(Self { path, tensors }),
            Err(source) => Err(WeightsError::Unreadable { path, source }),
        }
    }

    /// Returns the values of tensor `name` in row-major order; it must be f32 of exactly this shape.
    pub(super) fn take(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let (path, name) = (self.path.clone(), name.to_owned());
        let Ok(view) = self.tensors.tensor(&name) else {
            return Err(WeightsError::Missing { path, name });
        };
        if view.dtype() != Dtype::F32 {
            return Err(WeightsError::WrongType {
                path,
                name,
                actual: view.dtype(),
            });
        }
        if view.shape() != shape {
            let (expected, actual) = (shape.to_vec(), view.shape().to_vec());
            return Err(WeightsError::WrongShape {
                path,
                name,
                expected,
                actual,
            });
        }
        Ok(view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect())
    }

    /// Returns the number of f32 values in the file.
    pub(super) fn parameters(&self) -> u64 {
        let floats = self.tensors.iter().filter(|(_, view)| view.dtype() == Dtype::F32);
        floats
            .map(|(_, view)| view.shape().iter().product::<usize>() as u64)
            .sum()
    }
}
