//! Where each weight lies in device memory, and which tensors of a checkpoint go there.

use std::ops::Range;

use half::{bf16, f16};
use liquid_cuda::device::{Address, Precision};
use safetensors::tensor::Dtype;

use super::CudaError;
use crate::config::{Architecture, GatedDelta, LayerKind};
use crate::model::load::{self as parts, LayerParts, Part, names};
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

/// Weights of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    pub(super) mixer: Mixer,
    pub(super) feed_norm: Address,
    pub(super) gate_up: Matrix,
    pub(super) down: Matrix,
}

/// Weights of what mixes the tokens of a sequence.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mixer {
    /// Softmax attention.
    Attention(AttentionWeights),
    /// The gated delta rule.
    Delta(DeltaWeights),
}

/// Weights of softmax attention; addresses are null where the model has no such weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttentionWeights {
    pub(super) input_norm: Address,
    /// To queries, keys and values; then to the gates, where heads have one.
    pub(super) packed: Matrix,
    pub(super) query_norm: Address,
    pub(super) key_norm: Address,
    pub(super) output: Matrix,
}

/// Weights of the gated delta rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeltaWeights {
    pub(super) input_norm: Address,
    /// To queries, keys, values, gates of the output, strengths and forgetting numbers.
    pub(super) packed: Matrix,
    /// Weights of the convolution, `[channels, kernel]`, bf16.
    pub(super) taps: Address,
    /// Logarithms of how fast each head forgets, `[value_heads]`, f32.
    pub(super) decay: Address,
    /// What is added to the forgetting numbers, `[value_heads]`, f32.
    pub(super) decay_bias: Address,
    /// Norm of every head's output, `[value_width]`, f32.
    pub(super) norm: Address,
    pub(super) output: Matrix,
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

/// A few numbers that stay f32, and how many bytes behind the beginning of the weights' memory they go.
pub(super) struct Vector {
    pub(super) values: Vec<f32>,
    pub(super) to: usize,
}

/// The memory of a model's weights: how large it is, and what goes where.
pub(super) struct Layout<'a> {
    pub(super) bytes: usize,
    pub(super) copies: Vec<Copy<'a>>,
    pub(super) vectors: Vec<Vector>,
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
        let mixer = |mixer: Mixer| match mixer {
            Mixer::Attention(weights) => Mixer::Attention(AttentionWeights {
                input_norm: place(weights.input_norm),
                packed: matrix(weights.packed),
                query_norm: place(weights.query_norm),
                key_norm: place(weights.key_norm),
                output: matrix(weights.output),
            }),
            Mixer::Delta(weights) => Mixer::Delta(DeltaWeights {
                input_norm: place(weights.input_norm),
                packed: matrix(weights.packed),
                taps: place(weights.taps),
                decay: place(weights.decay),
                decay_bias: place(weights.decay_bias),
                norm: place(weights.norm),
                output: matrix(weights.output),
            }),
        };
        let layer = |layer: &Layer| Layer {
            mixer: mixer(layer.mixer),
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
    vectors: Vec<Vector>,
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
        vectors: Vec::new(),
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
    let kinds = architecture.layers.iter().enumerate();
    let layers = kinds.map(|(index, kind)| planner.layer(index, *kind));
    let weights = Weights {
        embedding,
        layers: layers.collect::<Result<_, _>>()?,
        norm,
        head,
    };
    Ok(Layout {
        bytes: planner.bytes,
        copies: planner.copies,
        vectors: planner.vectors,
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
        self.copy(name, shape, place.start)?;
        Ok(Self::address(&place))
    }

    /// Places a vector as f32.
    fn vector(&mut self, name: &str, size: usize) -> Result<Address, CudaError> {
        let (bytes, dtype) = self.checkpoint.tensor(name, &[size])?;
        let place = self.take(size * size_of::<f32>());
        self.vectors.push(Vector {
            values: numbers(bytes, dtype),
            to: place.start,
        });
        Ok(Self::address(&place))
    }

    /// Notes that a tensor goes to a place, as bf16.
    fn copy(&mut self, name: &str, shape: &[usize], to: usize) -> Result<(), CudaError> {
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
            scales: None,
        });
        Ok(())
    }

    /// Notes that bands of a tensor's rows go to a place, one below the other: a copy for each.
    fn copy_bands(&mut self, bands: &Bands<'_>) -> Result<(), CudaError> {
        let Bands {
            name,
            part,
            columns,
            row_bytes,
            to,
            scales,
        } = *bands;
        let (bytes, dtype) = match columns {
            Some(columns) => self.checkpoint.tensor(name, &[part.rows, columns])?,
            None => self.checkpoint.tensor(name, &[part.rows])?,
        };
        let (band, row) = (part.band, bytes.len() / part.rows.max(1));
        for (number, bytes) in bytes.chunks_exact((band.every * row).max(1)).enumerate() {
            let (start, done) = (band.first * row, number * band.count);
            self.copies.push(Copy {
                bytes: bytes.get(start..start + band.count * row).unwrap_or_default(),
                dtype,
                rows: band.count,
                columns: columns.unwrap_or(1),
                to: to + done * row_bytes,
                scales: scales.map(|scales| scales + done * size_of::<f32>()),
            });
        }
        Ok(())
    }

    /// Places matrices one below the other.
    fn matrix(&mut self, layer: usize, parts: &[Part]) -> Result<Matrix, CudaError> {
        let inputs = parts.first().map_or(0, |part| part.inputs);
        let outputs: usize = parts.iter().map(|part| part.band.taken(part.rows)).sum();
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
            self.copy_bands(&Bands {
                name: &name("weight"),
                part,
                columns: Some(inputs),
                row_bytes,
                to: weight.start + first * row_bytes,
                scales: row_scales,
            })?;
            if let Some(bias) = &bias {
                self.copy_bands(&Bands {
                    name: &name("bias"),
                    part,
                    columns: None,
                    row_bytes: size_of::<u16>(),
                    to: bias.start + first * size_of::<u16>(),
                    scales: None,
                })?;
            }
            first += part.band.taken(part.rows);
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

    fn layer(&mut self, index: usize, kind: LayerKind) -> Result<Layer, CudaError> {
        let architecture = self.architecture;
        let parts = parts::LayerParts::new(architecture, kind);
        Ok(Layer {
            mixer: match (kind, architecture.delta) {
                (LayerKind::GatedDelta, Some(delta)) => Mixer::Delta(self.delta(index, &parts, delta)?),
                _ => Mixer::Attention(self.attention(index, &parts)?),
            },
            feed_norm: self.norm(index, "post_attention_layernorm.weight", architecture.hidden_size)?,
            gate_up: self.matrix(index, &parts.gate_up)?,
            down: self.matrix(index, &[parts.down])?,
        })
    }

    /// Places the weights of a layer's norm as they are stored.
    fn norm(&mut self, index: usize, name: &str, size: usize) -> Result<Address, CudaError> {
        self.tensor(&parts::in_layer(self.architecture, index, name), &[size])
    }

    fn attention(&mut self, index: usize, parts: &LayerParts) -> Result<AttentionWeights, CudaError> {
        let architecture = self.architecture;
        let mut head_norm = |name: &str| match architecture.head_norms {
            true => self.norm(index, name, architecture.head_dim),
            false => Ok(Address::NULL),
        };
        let (query_norm, key_norm) = (head_norm(names::QUERY_NORM)?, head_norm(names::KEY_NORM)?);
        Ok(AttentionWeights {
            input_norm: self.norm(index, "input_layernorm.weight", architecture.hidden_size)?,
            query_norm,
            key_norm,
            packed: self.matrix(index, &parts.packed)?,
            output: self.matrix(index, &[parts.output])?,
        })
    }

    fn delta(
        &mut self,
        index: usize,
        parts: &LayerParts,
        delta: GatedDelta,
    ) -> Result<DeltaWeights, CudaError> {
        let architecture = self.architecture;
        let name = |name| parts::in_layer(architecture, index, name);
        let taps = [delta.channels(), 1, delta.kernel];
        Ok(DeltaWeights {
            input_norm: self.norm(index, "input_layernorm.weight", architecture.hidden_size)?,
            taps: self.tensor(&name(names::CONVOLUTION), &taps)?,
            decay: self.vector(&name(names::DECAY), delta.value_heads)?,
            decay_bias: self.vector(&name(names::DECAY_BIAS), delta.value_heads)?,
            norm: self.vector(&name(names::DELTA_NORM), delta.value_width)?,
            packed: self.matrix(index, &parts.packed)?,
            output: self.matrix(index, &[parts.output])?,
        })
    }
}

/// Bands of a tensor's rows, and their place: bytes behind the beginning of the weights' memory.
#[derive(Clone, Copy)]
struct Bands<'n> {
    name: &'n str,
    part: &'n Part,
    /// Numbers of a row; none of a vector, whose elements are the rows.
    columns: Option<usize>,
    /// Bytes of a row at its place.
    row_bytes: usize,
    to: usize,
    /// Place of the rows' scales, if they become FP8.
    scales: Option<usize>,
}

/// Reads floats.
fn numbers(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    let halves = bytes.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F32 => bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|x| f32::from_le_bytes(*x))
            .collect(),
        Dtype::F16 => halves.map(|x| f16::from_le_bytes(*x).to_f32()).collect(),
        _ => halves.map(|x| bf16::from_le_bytes(*x).to_f32()).collect(),
    }
}
