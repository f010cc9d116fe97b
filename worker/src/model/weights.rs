//! Reads named tensors from a safetensors file and checks their type and shape; the second step of loading.
//!
//! Numbers are f32, f16, or int8 with a scale for each row: the tensor `NAME.scale`, f32 `[rows]`, by which the
//! integers of a row are multiplied.

use std::path::PathBuf;

use half::f16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::manifest::VerifiedFile;

/// What the name of a tensor's scales has behind that of the tensor.
const SCALE: &str = ".scale";

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
    #[error("{path}: tensor {name} is {actual:?}, but must be {expected}", path = .path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The types that can be read.
        expected: &'static str,
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

    /// Returns the values of tensor `name` in row-major order; it must be of exactly this shape. Its scales are
    /// applied.
    pub(super) fn take(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let view = self.view(name, shape)?;
        match view.dtype() {
            Dtype::F32 => Ok(floats(&view)),
            Dtype::F16 => {
                let halves = view.data().as_chunks::<2>().0.iter();
                Ok(halves.map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect())
            }
            Dtype::I8 => self.take_scaled(name, &view),
            actual => Err(self.wrong_type(name, "F32, F16, or I8 with scales", actual)),
        }
    }

    /// Returns the values of an int8 tensor: each row times its scale.
    fn take_scaled(&self, name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, WeightsError> {
        let name = format!("{name}{SCALE}");
        let rows = view.shape().first().copied().unwrap_or(1);
        let scales = self.view(&name, &[rows])?;
        if scales.dtype() != Dtype::F32 {
            return Err(self.wrong_type(&name, "F32", scales.dtype()));
        }
        let width = (view.data().len() / rows.max(1)).max(1);
        let rows = view.data().chunks_exact(width).zip(floats(&scales));
        Ok(rows
            .flat_map(|(row, scale)| row.iter().map(move |byte| f32::from(byte.cast_signed()) * scale))
            .collect())
    }

    /// Returns tensor `name`, whose shape must be this one.
    fn view(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>, WeightsError> {
        let (path, name) = (self.path.clone(), name.to_owned());
        let Ok(view) = self.tensors.tensor(&name) else {
            return Err(WeightsError::Missing { path, name });
        };
        if view.shape() != shape {
            let (expected, actual) = (shape.to_vec(), view.shape().to_vec());
            return Err(WeightsError::WrongShape {
                path,
                name,
                expected,
                actual,
            });
        }
        Ok(view)
    }

    fn wrong_type(&self, name: &str, expected: &'static str, actual: Dtype) -> WeightsError {
        WeightsError::WrongType {
            path: self.path.clone(),
            name: name.to_owned(),
            expected,
            actual,
        }
    }

    /// Returns the number of values in the file, scales not counted.
    pub(super) fn parameters(&self) -> u64 {
        let numbers = self.tensors.iter().filter(|(name, view)| {
            matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::I8) && !name.ends_with(SCALE)
        });
        numbers
            .map(|(_, view)| view.shape().iter().product::<usize>() as u64)
            .sum()
    }
}

/// Returns the values of an f32 tensor.
fn floats(view: &TensorView<'_>) -> Vec<f32> {
    let words = view.data().as_chunks::<4>().0.iter();
    words.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
