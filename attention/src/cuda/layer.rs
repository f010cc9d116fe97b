//! A whole layer without gradients: projections, gates, rule, norm and projection, in pieces of the sequence.
//!
//! The weights that read the input may lie side by side ([`lay_out`]); then the input is read once for all
//! five. Besides input and output only two pieces exist at a time, and the border to burn is crossed once.
//! The scan of a piece ([`liquid_cuda::pass::pieces`]) runs on a stream of its own beside the products of the next piece.
//!
//! | file | what |
//! |---|---|
//! | `tensors` | what goes in and comes out, as burn's tensors |
//! | `weights` | the weights that read the input, and laying them side by side |
//! | `pass` | one pass over an input, or one token |
//! | `slot` | a layer whose weights were looked up, as operations find it |
//! | `ops` | the operations that burn knows |
//! | `prepared` | a layer that is ready to run |

mod ops;
mod pass;
mod prepared;
mod slot;
mod tensors;
mod weights;

pub use ops::LayerOps;
pub(crate) use ops::lay_out;
pub(crate) use prepared::{LayerMemory, PreparedLayer, WeightTensors};
pub use slot::LayerSlot;
pub use tensors::{
    InputWeights, LayerInput, LayerMatrices, LayerOutput, LayerRule, LayerWeights, OptionalTensor,
};
