//! The tensors of the rule in device memory.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use liquid_cuda::device::Address;
use liquid_cuda::rule::{Gates, Rows, RuleOptions, Sequences, Span, serves};

use crate::core::{DeltaInputs, DeltaRule};
use crate::cuda::device::DeviceTensor;
use crate::cuda::error::CudaError;

/// Bytes of a number of a state.
pub(super) const F32: usize = size_of::<f32>();

impl From<DeltaRule> for RuleOptions {
    fn from(rule: DeltaRule) -> Self {
        let DeltaRule {
            erase,
            normalise,
            scale,
            precise,
        } = rule;
        Self {
            erase,
            normalise,
            scale,
            precise,
        }
    }
}

/// The inputs of the rule in device memory, and their sizes.
pub(super) struct Inputs {
    pub(super) q: DeviceTensor,
    pub(super) k: DeviceTensor,
    pub(super) v: DeviceTensor,
    pub(super) gates: DeviceTensor,
    pub(super) strengths: DeviceTensor,
    pub(super) state: DeviceTensor,
    pub(super) batch: usize,
    pub(super) tokens: usize,
    pub(super) heads: usize,
    pub(super) width: usize,
}

impl Inputs {
    pub(super) fn new(inputs: DeltaInputs<CubeBackend>) -> Result<Self, CudaError> {
        let rows = |tensor| DeviceTensor::of(tensor)?.typed(DType::BF16);
        let numbers = |tensor| DeviceTensor::of(tensor)?.typed(DType::F32);
        let (q, k, v) = (rows(inputs.q)?, rows(inputs.k)?, rows(inputs.v)?);
        let [batch, tokens, heads, width] = q.shape()?;
        let [_, _, _, value] = v.shape()?;
        if !serves(heads, width, value) {
            let text =
                format!("heads of {width} and {value} numbers, the kernels take 64, 128 or 256 for both");
            return Err(CudaError::Unsupported(text));
        }
        let (gates, strengths, state) = (numbers(inputs.g)?, numbers(inputs.beta)?, numbers(inputs.state)?);
        Ok(Self {
            q,
            k,
            v,
            gates,
            strengths,
            state,
            batch,
            tokens,
            heads,
            width,
        })
    }

    /// Bytes of the states of all sequences and heads.
    pub(super) fn state_bytes(&self) -> usize {
        self.batch * self.heads * self.width * self.width * F32
    }

    /// Elements between the rows of two tokens.
    pub(super) fn stride(&self) -> usize {
        self.heads * self.width
    }

    /// One sequence of [`Self::span`].
    pub(super) fn sequence(&self, output: &DeviceTensor, number: usize) -> Span {
        Span {
            sequences: Sequences::Equal {
                count: 1,
                tokens: self.tokens,
            },
            ..self.span(output).rows_from(number * self.tokens)
        }
    }

    /// All sequences; work space and last states are still to be filled in.
    pub(super) fn span(&self, output: &DeviceTensor) -> Span {
        let rows = |tensor: &DeviceTensor| Rows {
            address: tensor.address,
            stride: self.stride(),
        };
        Span {
            sequences: Sequences::Equal {
                count: self.batch,
                tokens: self.tokens,
            },
            heads: self.heads,
            width: self.width,
            group: 1,
            q: rows(&self.q),
            k: rows(&self.k),
            v: rows(&self.v),
            output: rows(output),
            gates: Gates::numbers(self.gates.address, self.strengths.address),
            records: Address::NULL,
            initial: self.state.address,
            last: Address::NULL,
            norm: None,
            gate: Rows::NONE,
        }
    }
}
