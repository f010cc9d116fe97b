//! Why weights cannot be used.

use std::io;
use std::path::PathBuf;

use safetensors::tensor::Dtype;

/// Why the weights of a folder do not make the model that its configuration describes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A file is missing or cannot be read.
    #[error("{path}: {source}; the folder needs model.safetensors, or model.safetensors.index.json and its shards", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A file is not in the safetensors format, or is not whole.
    #[error("{path}: not a whole safetensors file: {reason}", path = .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The index cannot be used.
    #[error("{path}: not an index of shards, {{\"weight_map\": {{\"<tensor>\": \"<file>\"}}}}: {reason}", path = .path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// A shard that the index names is not in the folder.
    #[error("{path}: this shard is missing, with {tensors} tensors; copy it beside the index", path = .path.display())]
    MissingShard {
        /// The shard.
        path: PathBuf,
        /// Tensors that it should hold.
        tensors: usize,
    },
    /// A tensor is missing.
    #[error("{path}: has no tensor {name}, which config.json calls for; is the checkpoint whole, and of this model?", path = .path.display())]
    Missing {
        /// The file that should hold it.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The checkpoint has a tensor that the model does not use.
    #[error("{path}: tensor {name} has no place in the model that config.json describes; is config.json of this checkpoint?", path = .path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor holds numbers that are not weights of a model that can be run.
    #[error("{path}: tensor {name} is {actual:?}; weights are read as F32, F16 or BF16, so convert the checkpoint to one of them", path = .path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Type in the file.
        actual: Dtype,
    },
    /// A tensor has another type than the one it is computed together with.
    #[error("{path}: tensor {name} is {actual:?}, but {other} is {expected:?}; convert the checkpoint to one type", path = .path.display())]
    MixedTypes {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Type of the tensor.
        actual: Dtype,
        /// The tensor that it is joined with.
        other: String,
        /// Type of that tensor.
        expected: Dtype,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{path}: tensor {name} has shape {actual:?}, but config.json makes it {expected:?}; is config.json of this checkpoint?", path = .path.display())]
    WrongShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Shape that follows from the configuration.
        expected: Vec<usize>,
        /// Shape in the file.
        actual: Vec<usize>,
    },
}
