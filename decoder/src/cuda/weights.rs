//! Where each weight lies in device memory, and which tensors of a checkpoint go there.

use std::ops::Range;

use liquid_cuda::device::{Address, Precision};
use safetensors::tensor::Dtype;

use super::CudaError;
use crate::config::{Architecture, LayerKind};
use crate::model::load::{self as parts, Part};
use crate::weights::Checkpoint;

/// Bytes of which every tensor's place is a multiple.
const ALIGNMENT: usize = 256;

/// A matrix `[outputs, inputs]`, as Hugging Face stores it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix {
    pub(super) precision: Precision,
    pub(super) weight: Address,
    /// A scale an output, f32; null for bf16.
    pub(super) scales: Address,
    /// A number an output, bf16; null where there is none.
    pub(super) bias: Address,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
}

/// Weights of a layer; addresses are null where the model has no such weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: Address,
    pub(super) query_key_value: Matrix,
    pub(super) query_norm: Address,
    pub(super) key_norm: Address,
    pub(super) attention_output: Matrix,
    pub(super) feed_norm: Address,
    pub(super) gate_up: Matrix,
    pub(super) down: Matrix,
}

/// Weights of a model.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    /// `[vocab, hidden]`, bf16.
    pub(super) embedding: Address,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Address,
    pub(super) head: Matrix,
}

/// A tensor of a checkpoint on its way to the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) dtype: Dtype,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Bytes behind the beginning of the weights' memory.
    pub(super) to: usize,
    /// Place of the scales, one a row, if the tensor becomes FP8.
    pub(super) scales: Option<usize>,
}

/// The memory of a model's weights: how large it is, and what goes where.
pub(super) struct Layout<'a> {
    pub(super) bytes: usize,
    pub(super) copies: Vec<Copy<'a>>,
    /// With addresses that count from 256, which stands for the beginning.
    weights: Weights,
}

impl Layout<'_> {
    /// Returns the weights of memory that begins at an address.
    pub(super) fn at(&self, base: Address) -> Weights {
        let place = |address: Address| match address.is_null() {
            true => address,
            false => base.offset(address.get() as usize - ALIGNMENT),
        };
        let matrix = |matrix: Matrix| Matrix {
            weight: place(matrix.weight),
            scales: place(matrix.scales),
            bias: place(matrix.bias),
            ..matrix
        };
        let layer = |layer: &Layer| Layer {
            attention_norm: place(layer.attention_norm),
            query_key_value: matrix(layer.query_key_value),
            query_norm: place(layer.query_norm),
            key_norm: place(layer.key_norm),
            attention_output: matrix(layer.attention_output),
            feed_norm: place(layer.feed_norm),
            gate_up: matrix(layer.gate_up),
            down: matrix(layer.down),
        };
        Weights {
            embedding: place(self.weights.embedding),
            layers: self.weights.layers.iter().map(layer).collect(),
            norm: place(self.weights.norm),
            head: matrix(self.weights.head),
        }
    }
}

/// Gives every tensor its place.
struct Planner<'a, 'm> {
    architecture: &'m Architecture,
    checkpoint: &'a Checkpoint,
    precision: Precision,
    bytes: usize,
    copies: Vec<Copy<'a>>,
}

/// Plans the memory of a model's weights; the checkpoint was checked.
pub(super) fn plan<'a>(
    architecture: &Architecture,
    checkpoint: &'a Checkpoint,
    precision: Precision,
) -> Result<Layout<'a>, CudaError> {
    let mut planner = Planner {
        architecture,
        checkpoint,
        precision,
        bytes: 0,
        copies: Vec::new(),
    };
    let (hidden, vocab) = (architecture.hidden_size, architecture.vocab_size);
    let embedding = planner.tensor(&parts::embedding(architecture), &[vocab, hidden])?;
    let norm = planner.tensor(&parts::last_norm(architecture), &[hidden])?;
    let head = match architecture.tied_embeddings {
        true => embedding,
        false => planner.tensor(parts::HEAD, &[vocab, hidden])?,
    };
    let head = Matrix {
        precision: Precision::Bf16,
        weight: head,
        scales: Address::NULL,
        bias: Address::NULL,
        outputs: vocab,
        inputs: hidden,
    };
    let layers = (0..architecture.layers.len()).map(|index| planner.layer(index));
    let weights = Weights {
        embedding,
        layers: layers.collect::<Result<_, _>>()?,
        norm,
        head,
    };
    Ok(Layout {
        bytes: planner.bytes,
        copies: planner.copies,
        weights,
    })
}

impl<'a> Planner<'a, '_> {
    /// Takes so many bytes, and returns where they begin.
    fn take(&mut self, bytes: usize) -> Range<usize> {
        let start = self.bytes;
        self.bytes = (start + bytes).next_multiple_of(ALIGNMENT);
        start..start + bytes
    }

    fn address(place: &Range<usize>) -> Address {
        Address::new((place.start + ALIGNMENT) as u64)
    }

    /// Places a tensor as bf16.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Address, CudaError> {
        let place = self.take(shape.iter().product::<usize>() * size_of::<u16>());
        self.copy(name, shape, place.start, None)?;
        Ok(Self::address(&place))
    }

    /// Notes that a tensor goes to a place.
    fn copy(
        &mut self,
        name: &str,
        shape: &[usize],
        to: usize,
        scales: Option<usize>,
    ) -> Result<(), CudaError> {
        let (bytes, dtype) = self.checkpoint.tensor(name, shape)?;
        let (rows, columns) = match shape {
            [rows, columns] => (*rows, *columns),
            _ => (1, shape.iter().product()),
        };
        self.copies.push(Copy {
            bytes,
            dtype,
            rows,
            columns,
            to,
            scales,
        });
        Ok(())
    }

    /// Places matrices one below the other.
    fn matrix(&mut self, layer: usize, parts: &[Part]) -> Result<Matrix, CudaError> {
        let inputs = parts.first().map_or(0, |part| part.inputs);
        let outputs: usize = parts.iter().map(|part| part.rows).sum();
        let row_bytes = inputs * self.precision.bytes();
        let weight = self.take(outputs * row_bytes);
        let scales = match self.precision {
            Precision::Bf16 => None,
            Precision::Fp8 => Some(self.take(outputs * size_of::<f32>())),
        };
        let bias = parts
            .iter()
            .any(|part| part.bias)
            .then(|| self.take(outputs * size_of::<u16>()));
        let mut first = 0;
        for part in parts {
            let name = |end: &str| parts::in_layer(self.architecture, layer, &format!("{}.{end}", part.name));
            let row_scales = scales
                .as_ref()
                .map(|scales| scales.start + first * size_of::<f32>());
            let shape = [part.rows, inputs];
            self.copy(
                &name("weight"),
                &shape,
                weight.start + first * row_bytes,
                row_scales,
            )?;
            if let Some(bias) = &bias {
                let to = bias.start + first * size_of::<u16>();
                self.copy(&name("bias"), &[part.rows], to, None)?;
            }
            first += part.rows;
        }
        Ok(Matrix {
            precision: self.precision,
            weight: Self::address(&weight),
            scales: scales.as_ref().map_or(Address::NULL, Self::address),
            bias: bias.as_ref().map_or(Address::NULL, Self::address),
            outputs,
            inputs,
        })
    }

    fn layer(&mut self, index: usize) -> Result<Layer, CudaError> {
        let architecture = self.architecture;
        let parts = parts::LayerParts::new(architecture, LayerKind::Full);
        let (hidden, width) = (architecture.hidden_size, architecture.head_dim);
        let mut norm = |part: &str, size: usize, has: bool| match has {
            true => self.tensor(&parts::in_layer(architecture, index, part), &[size]),
            false => Ok(Address::NULL),
        };
        let attention_norm = norm("input_layernorm.weight", hidden, true)?;
        let query_norm = norm("self_attn.q_norm.weight", width, architecture.head_norms)?;
        let key_norm = norm("self_attn.k_norm.weight", width, architecture.head_norms)?;
        let feed_norm = norm("post_attention_layernorm.weight", hidden, true)?;
        Ok(Layer {
            attention_norm,
            query_norm,
            key_norm,
            feed_norm,
            query_key_value: self.matrix(index, &parts.packed)?,
            attention_output: self.matrix(index, &[parts.output])?,
            gate_up: self.matrix(index, &parts.gate_up)?,
            down: self.matrix(index, &[parts.down])?,
        })
    }
}
