//! The launches of a pass: from the rows' tokens to the residual stream after the last layer, and from there to logits.

use liquid_cuda::Error;
use liquid_cuda::Rows;
use liquid_cuda::device::{Address, Element, LinearOperands, LinearShape, Precision, Products, Stream};
use liquid_cuda::rule;
use liquid_cuda::transformer::{
    Attention, BatchTables, Epilogue, GateRows, GatherRows, Heads, NormedRows, Quantise, RmsNorm, Rotary,
    SKINNY_ROWS, SkinnyGemm, SwiGlu, TransformerKernels,
};

use super::space::{Space, Widths};
use super::weights::{AttentionWeights, Layer, Matrix, Mixer, Weights};
use crate::config::{Architecture, LayerKind};
use crate::ops::cuda::{Place, Recurrence};

/// What launches a model's passes.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) stream: Stream,
    pub(super) kernels: TransformerKernels,
    pub(super) rule: rule::Kernels,
    pub(super) products: Products,
}

/// A model and its buffers, for one pass.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) architecture: &'a Architecture,
    pub(super) weights: &'a Weights,
    pub(super) space: &'a Space,
    pub(super) place: &'a Place,
    pub(super) tables: &'a BatchTables,
    /// Of a hybrid.
    pub(super) recurrence: Option<&'a Recurrence>,
    /// Number of rows.
    pub(super) rows: usize,
}

/// A linear map of a pass's rows.
struct Linear<'a> {
    matrix: &'a Matrix,
    x: NormedRows,
    rows: usize,
    to: Rows,
    epilogue: Epilogue,
}

/// A layer's place among those of its kind, and the kind.
#[derive(Clone, Copy)]
struct AttentionPlace {
    index: usize,
    kind: LayerKind,
}

/// Most rows of bf16 for which the kernel of few rows is quicker than cuBLASLt.
const SKINNY_BF16_ROWS: usize = 8;

/// Returns the heads as the kernels take them.
pub(super) fn heads(architecture: &Architecture) -> Heads {
    Heads {
        query: architecture.heads,
        kv: architecture.key_value_heads,
        width: architecture.head_dim,
    }
}

impl Matrix {
    /// Whether the kernel of few rows multiplies so many with the matrix.
    fn is_skinny(&self, rows: usize) -> bool {
        match self.precision {
            Precision::Bf16 => rows <= SKINNY_BF16_ROWS,
            Precision::Fp8 => rows <= SKINNY_ROWS,
        }
    }
}

impl Pass<'_> {
    /// Whether a matrix is multiplied with FP8 rows: weights alone are FP8 where few rows share them.
    fn rounds(&self, matrix: &Matrix) -> bool {
        matrix.precision == Precision::Fp8 && !matrix.is_skinny(self.rows)
    }
}

impl Launcher {
    /// Enqueues all layers: reads the rows' tokens, leaves the residual stream.
    pub(super) fn layers(&mut self, pass: &Pass<'_>) -> Result<(), Error> {
        let (space, architecture) = (pass.space, pass.architecture);
        let gather = GatherRows {
            from: Rows {
                address: pass.weights.embedding,
                stride: architecture.hidden_size,
            },
            limit: architecture.vocab_size,
            numbers: space.tokens.address(),
            width: architecture.hidden_size,
            rows: pass.rows,
            to: space.hidden(),
        };
        // SAFETY: see Safety in `cuda`; so are all launches below.
        unsafe { self.kernels.gather_rows(&self.stream, &gather)? };
        let (mut attention, mut delta) = (0, 0);
        for (layer, kind) in pass.weights.layers.iter().zip(&architecture.layers) {
            match &layer.mixer {
                Mixer::Attention(weights) => {
                    let place = AttentionPlace {
                        index: attention,
                        kind: *kind,
                    };
                    self.attention(pass, weights, place)?;
                    attention += 1;
                }
                Mixer::Delta(weights) => {
                    self.delta(pass, weights, delta)?;
                    delta += 1;
                }
            }
            self.feed_forward(pass, layer)?;
        }
        Ok(())
    }

    fn norm(
        &mut self,
        pass: &Pass<'_>,
        x: Rows,
        weight: Address,
        to: NormedRows,
        rows: usize,
    ) -> Result<(), Error> {
        let norm = RmsNorm {
            x,
            delta: Rows::NONE,
            weight,
            zero_centred: pass.architecture.centred_norms,
            epsilon: pass.architecture.norm_epsilon as f32,
            rows,
            width: pass.architecture.hidden_size,
            to,
            early: true,
        };
        // SAFETY: as in `layers`.
        unsafe { self.kernels.rms_norm(&self.stream, &norm) }
    }

    /// Enqueues the attention of a layer, whose outcome is added to the residual stream.
    fn attention(
        &mut self,
        pass: &Pass<'_>,
        weights: &AttentionWeights,
        place: AttentionPlace,
    ) -> Result<(), Error> {
        let widths = Widths::new(pass.architecture);
        let (packed, mixed) = (pass.space.packed(widths.packed), pass.space.mixed(widths.queries));
        self.project_input(pass, weights.input_norm, &weights.packed, packed)?;
        self.rotate(pass, weights, place.index)?;
        self.attend(pass, place)?;
        self.project_output(pass, &weights.output, mixed, widths.queries)
    }

    /// Enqueues the norm of the residual stream and the packed projection with which the mixing of tokens begins.
    pub(super) fn project_input(
        &mut self,
        pass: &Pass<'_>,
        norm: Address,
        matrix: &Matrix,
        to: Rows,
    ) -> Result<(), Error> {
        let (space, rows) = (pass.space, pass.rows);
        let normed = space.input(space.normed(), pass.rounds(matrix));
        self.norm(pass, space.hidden(), norm, normed, rows)?;
        self.linear(
            pass,
            &Linear {
                matrix,
                x: normed,
                rows,
                to,
                epilogue: Epilogue::Bf16,
            },
        )
    }

    /// Enqueues the projection of the heads' outputs with which it ends, added to the residual stream.
    pub(super) fn project_output(
        &mut self,
        pass: &Pass<'_>,
        matrix: &Matrix,
        mixed: Rows,
        width: usize,
    ) -> Result<(), Error> {
        let mixed = self.rounded(pass, matrix, mixed, width)?;
        self.add(pass, matrix, mixed)
    }

    /// Enqueues a linear map of all rows, which is added to the residual stream.
    fn add(&mut self, pass: &Pass<'_>, matrix: &Matrix, x: NormedRows) -> Result<(), Error> {
        self.linear(
            pass,
            &Linear {
                matrix,
                x,
                rows: pass.rows,
                to: pass.space.hidden(),
                epilogue: Epilogue::Add,
            },
        )
    }

    /// Enqueues the attention of rows whose queries, keys and values are in their places, and the gates of its output.
    fn attend(&mut self, pass: &Pass<'_>, place: AttentionPlace) -> Result<(), Error> {
        let widths = Widths::new(pass.architecture);
        let packed = pass.space.packed(widths.packed);
        let mixed = pass.space.mixed(widths.queries);
        let attention = Attention {
            queries: packed,
            heads: heads(pass.architecture),
            cache: pass.place.layer(place.index),
            scale: (pass.architecture.head_dim as f32).powf(-0.5),
            window: match place.kind {
                LayerKind::Full | LayerKind::GatedDelta => None,
                LayerKind::Sliding { window } => Some(window),
            },
            to: mixed,
            early: true,
        };
        // SAFETY: as in `layers`.
        unsafe {
            let (stream, workspace) = (&self.stream, pass.place.workspace);
            self.kernels.attend_prefill(stream, &attention, pass.tables)?;
            self.kernels
                .attend_decode(stream, &attention, pass.tables, workspace)?;
        }
        if pass.architecture.gated_heads {
            let gate = GateRows {
                x: mixed,
                gates: packed.columns_from(widths.queries + 2 * widths.keys),
                rows: pass.rows,
                width: widths.queries,
                early: true,
            };
            // SAFETY: as in `layers`.
            unsafe { self.kernels.gate_rows(&self.stream, &gate)? };
        }
        Ok(())
    }

    /// Enqueues norms and rotation of queries and keys, and writes keys and values to their pages.
    fn rotate(&mut self, pass: &Pass<'_>, weights: &AttentionWeights, index: usize) -> Result<(), Error> {
        let widths = Widths::new(pass.architecture);
        let packed = pass.space.packed(widths.packed);
        let rotary = Rotary {
            queries: packed,
            query_pitch: pass.architecture.head_dim,
            keys: packed.columns_from(widths.queries),
            values: packed.columns_from(widths.queries + widths.keys),
            to: packed,
            rows: pass.rows,
            heads: heads(pass.architecture),
            rotated: pass.architecture.rotary_dim,
            cosines: pass.place.cosines,
            sines: pass.place.sines,
            query_norm: weights.query_norm,
            key_norm: weights.key_norm,
            zero_centred: pass.architecture.centred_norms,
            epsilon: pass.architecture.norm_epsilon as f32,
            cache: pass.place.layer(index),
            early: true,
        };
        // SAFETY: as in `layers`.
        unsafe { self.kernels.rotate_and_write(&self.stream, &rotary, pass.tables) }
    }

    /// Enqueues the feed-forward part of a layer, whose outcome is added to the residual stream.
    fn feed_forward(&mut self, pass: &Pass<'_>, layer: &Layer) -> Result<(), Error> {
        let (space, rows, inner) = (pass.space, pass.rows, pass.architecture.intermediate_size);
        let normed = space.input(space.normed(), pass.rounds(&layer.gate_up));
        self.norm(pass, space.hidden(), layer.feed_norm, normed, rows)?;
        let gate_up = Linear {
            matrix: &layer.gate_up,
            x: normed,
            rows,
            to: space.gate_up(),
            epilogue: Epilogue::Bf16,
        };
        let mut activated = NormedRows::Bf16(space.inner());
        if layer.gate_up.is_skinny(rows) {
            let fused = Linear {
                to: space.inner(),
                epilogue: Epilogue::SwiGlu,
                ..gate_up
            };
            self.linear(pass, &fused)?;
        } else {
            self.linear(pass, &gate_up)?;
            activated = space.input(space.inner(), pass.rounds(&layer.down));
            let swiglu = SwiGlu {
                gate_up: space.gate_up(),
                rows,
                width: inner,
                to: activated,
                early: true,
            };
            // SAFETY: as in `layers`.
            unsafe { self.kernels.swiglu(&self.stream, &swiglu)? };
        }
        self.add(pass, &layer.down, activated)
    }

    /// Rounds the input of a product to FP8, if the product is one.
    fn rounded(
        &mut self,
        pass: &Pass<'_>,
        matrix: &Matrix,
        x: Rows,
        width: usize,
    ) -> Result<NormedRows, Error> {
        let input = pass.space.input(x, pass.rounds(matrix));
        if let NormedRows::Fp8(to) = input {
            let quantise = Quantise {
                x,
                rows: pass.rows,
                width,
                to,
                early: true,
            };
            // SAFETY: as in `layers`.
            unsafe { self.kernels.quantise_rows(&self.stream, &quantise)? };
        }
        Ok(input)
    }

    /// Enqueues the copies of wanted rows, whose numbers are in the space, and their norm and logits.
    pub(super) fn logits_of(&mut self, pass: &Pass<'_>, wanted: usize) -> Result<(), Error> {
        let space = pass.space;
        let gather = GatherRows {
            from: space.hidden(),
            limit: pass.rows,
            numbers: space.wanted.address(),
            width: pass.architecture.hidden_size,
            rows: wanted,
            to: space.last(),
        };
        // SAFETY: as in `layers`.
        unsafe { self.kernels.gather_rows(&self.stream, &gather)? };
        self.logits(pass, space.last(), wanted)
    }

    /// Enqueues the norm of rows of the residual stream, and their logits.
    pub(super) fn logits(&mut self, pass: &Pass<'_>, x: Rows, rows: usize) -> Result<(), Error> {
        let space = pass.space;
        let normed = NormedRows::Bf16(space.last_normed());
        self.norm(pass, x, pass.weights.norm, normed, rows)?;
        self.linear(
            pass,
            &Linear {
                matrix: &pass.weights.head,
                x: normed,
                rows,
                to: Rows {
                    address: space.logits.address(),
                    stride: pass.architecture.vocab_size,
                },
                epilogue: Epilogue::F32,
            },
        )
    }

    /// Enqueues a linear map: few rows by the kernel that reads weights once, more by cuBLASLt.
    fn linear(&mut self, pass: &Pass<'_>, linear: &Linear<'_>) -> Result<(), Error> {
        let Linear {
            matrix,
            x,
            rows,
            to,
            epilogue,
        } = *linear;
        if let (NormedRows::Bf16(x), true) = (x, matrix.is_skinny(rows)) {
            let gemm = SkinnyGemm {
                x,
                rows,
                depth: matrix.inputs,
                weight: matrix.weight,
                precision: matrix.precision,
                scales: matrix.scales,
                columns: matrix.outputs,
                bias: matrix.bias,
                epilogue,
                to,
                early: true,
            };
            // SAFETY: as in `layers`.
            return unsafe { self.kernels.skinny_gemm(&self.stream, &gemm) };
        }
        let (x, x_scales) = match x {
            NormedRows::Bf16(x) => (x, Address::NULL),
            NormedRows::Fp8(x) => (x.codes, x.scales),
        };
        let shape = LinearShape {
            precision: matrix.precision,
            y: match epilogue {
                Epilogue::F32 => Element::F32,
                _ => Element::Bf16,
            },
            rows,
            depth: matrix.inputs,
            columns: matrix.outputs,
            x_stride: x.stride,
            y_stride: to.stride,
            add: epilogue == Epilogue::Add,
        };
        let operands = LinearOperands {
            x: x.address,
            weight: matrix.weight,
            y: to.address,
            x_scales,
            weight_scales: matrix.scales,
            bias: matrix.bias,
        };
        // SAFETY: as in `layers`.
        unsafe {
            let workspace = pass.space.products.address();
            self.products.run_linear(shape, operands, workspace, &self.stream)
        }
    }
}
