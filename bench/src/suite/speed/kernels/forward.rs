//! The launches of a layer's forward pass and of its decoding step.

use std::ops::Range;

use anyhow::Result;
use liquid_cuda::device::{Address, Buffer, Element, Layout, Operands, Shape};
use liquid_cuda::rule::{
    Columns, GateProducts, Gates, HeadNorm, Rows, RuleOptions, Sequences, SkinnyInput, SkinnyProduct,
    SmallParameter, Span, record_bytes,
};

use super::Sizes;
use crate::suite::gpu::Gpu;

/// The rule as a layer with heads of 128 uses it.
pub(super) const OPTIONS: RuleOptions = RuleOptions {
    erase: true,
    normalise: true,
    scale: 0.088_388_35,
    precise: false,
};

/// Launches of a step to enqueue.
#[derive(Clone, Copy)]
pub(super) struct StepParts {
    /// The five products with the token.
    pub(super) projections: bool,
    pub(super) state: bool,
    /// The output projection.
    pub(super) output: bool,
    /// Whether a launch behind another of these may be placed while that one runs.
    pub(super) early: bool,
}

/// Device memory of a layer and of one sequence, and the launches on it.
pub(super) struct Forward {
    pub(super) sizes: Sizes,
    /// Places of queries, keys, values and both gates in a row of the products.
    pub(super) columns: Columns,
    /// Input `[tokens, embed]`.
    x: Buffer,
    /// Weights `[embed, columns]`, side by side.
    weights: Buffer,
    /// Weights `[embed, embed]` of the output projection.
    output_weights: Buffer,
    /// Products `[tokens, columns]`; the heads' output goes into the place of the values.
    products: Buffer,
    /// Output `[tokens, embed]`.
    y: Buffer,
    records: Buffer,
    /// State `[heads, width, width]`.
    pub(super) state: Buffer,
    /// `a_log`, `dt_bias` and the weights of the norm.
    small: Buffer,
}

impl Forward {
    /// Fills device memory with random numbers.
    pub(super) fn new(gpu: &Gpu, sizes: Sizes) -> Result<Self> {
        let Sizes { embed, heads, tokens } = sizes;
        let width = sizes.width();
        let columns = Columns::new([embed, embed, embed, heads, heads, 0]);
        let deviation = 1.0 / (embed as f32).sqrt();
        Ok(Self {
            x: gpu.normals(tokens * embed, 1.0)?,
            weights: gpu.normals(embed * columns.pitch, deviation)?,
            output_weights: gpu.normals(embed * embed, deviation)?,
            products: gpu.normals(tokens * columns.pitch, 1.0)?,
            y: gpu.normals(tokens * embed, 1.0)?,
            records: gpu.zeroed(record_bytes(1, tokens, heads))?,
            state: gpu.zeroed(size_of::<f32>() * heads * width * width)?,
            small: gpu.normals(2 * heads + width, 1.0)?,
            sizes,
            columns,
        })
    }

    /// Rows of a matrix's products.
    fn rows(&self, matrix: usize) -> Rows {
        let all = Rows {
            address: self.products.address(),
            stride: self.columns.pitch,
        };
        all.columns_from(self.columns.starts[matrix])
    }

    /// All tokens.
    pub(super) fn span(&self) -> Span {
        let Sizes { heads, tokens, .. } = self.sizes;
        let small = |start: usize| SmallParameter {
            address: self.small.address().offset(size_of::<u16>() * start),
            narrow: true,
        };
        Span {
            sequences: Sequences::Equal { count: 1, tokens },
            heads,
            width: self.sizes.width(),
            group: 1,
            q: self.rows(0),
            k: self.rows(1),
            v: self.rows(2),
            output: self.rows(2),
            gates: Gates::products(GateProducts {
                a: self.rows(3),
                b: self.rows(4),
                a_log: small(0),
                dt_bias: small(heads),
            }),
            records: self.records.address(),
            initial: self.state.address(),
            last: self.state.address(),
            norm: Some(HeadNorm {
                gamma: small(2 * heads),
                epsilon: 1e-6,
            }),
            gate: Rows::NONE,
        }
    }

    pub(super) fn prepare(&self, gpu: &mut Gpu) -> Result<()> {
        // SAFETY: `new` made everything in the sizes of the span; it lives until the clock has waited for the
        // stream.
        Ok(unsafe { gpu.kernels.prepare(&gpu.stream, &self.span(), OPTIONS) }?)
    }

    pub(super) fn scan(&self, gpu: &mut Gpu, precise: bool) -> Result<()> {
        // SAFETY: as in `prepare`.
        Ok(unsafe { gpu.kernels.scan(&gpu.stream, &self.span(), precise) }?)
    }

    /// Multiplies all tokens with some columns of the weights.
    pub(super) fn multiply(&self, gpu: &mut Gpu, columns: Range<usize>) -> Result<()> {
        let Sizes { embed, tokens, .. } = self.sizes;
        let place = |all: &Buffer| all.address().offset(size_of::<u16>() * columns.start);
        let shape = Shape {
            operands: Element::Bf16,
            y: Element::Bf16,
            rows: tokens,
            depth: embed,
            columns: columns.len(),
            x_layout: Layout::rows(embed),
            weight_layout: Layout::rows(self.columns.pitch),
            y_stride: self.columns.pitch,
        };
        let operands = Operands {
            x: self.x.address(),
            weight: place(&self.weights),
            y: place(&self.products),
            bias: Address::NULL,
        };
        run(gpu, shape, operands)
    }

    /// Multiplies the heads' output of all tokens with the weights of the output projection.
    pub(super) fn multiply_output(&self, gpu: &mut Gpu) -> Result<()> {
        let Sizes { embed, tokens, .. } = self.sizes;
        let x = self.rows(2);
        let shape = Shape {
            operands: Element::Bf16,
            y: Element::Bf16,
            rows: tokens,
            depth: embed,
            columns: embed,
            x_layout: Layout::rows(x.stride),
            weight_layout: Layout::rows(embed),
            y_stride: embed,
        };
        let operands = Operands {
            x: x.address,
            weight: self.output_weights.address(),
            y: self.y.address(),
            bias: Address::NULL,
        };
        run(gpu, shape, operands)
    }

    /// Enqueues some of the launches of a decoding step.
    pub(super) fn step(&self, gpu: &mut Gpu, parts: StepParts) -> Result<()> {
        let Sizes { embed, heads, .. } = self.sizes;
        let span = Span {
            sequences: Sequences::Equal { count: 1, tokens: 1 },
            ..self.span()
        };
        let rows = |address, stride| Rows { address, stride };
        if parts.projections {
            let input = skinny(rows(self.x.address(), embed), embed);
            let products: [SkinnyProduct; 5] = std::array::from_fn(|matrix| SkinnyProduct {
                weight: self
                    .weights
                    .address()
                    .offset(size_of::<u16>() * self.columns.starts[matrix]),
                pitch: self.columns.pitch,
                columns: if matrix < 3 { embed } else { heads },
                bias: Address::NULL,
                to: self.rows(matrix),
            });
            // SAFETY: as in `prepare`; not early.
            unsafe { gpu.kernels.project(&gpu.stream, &input, &products, false) }?;
        }
        if parts.state {
            let early = parts.early && parts.projections;
            // SAFETY: as in `prepare`; the state was there before the projections.
            unsafe { gpu.kernels.step(&gpu.stream, &span, None, OPTIONS, early) }?;
        }
        if parts.output {
            let product = SkinnyProduct {
                weight: self.output_weights.address(),
                pitch: embed,
                columns: embed,
                bias: Address::NULL,
                to: rows(self.y.address(), embed),
            };
            let (input, early) = (skinny(span.output, embed), parts.early && parts.state);
            // SAFETY: as in `prepare`; of what is read the step writes the input alone.
            unsafe { gpu.kernels.project(&gpu.stream, &input, &[product], early) }?;
        }
        Ok(())
    }
}

/// One row as the input of products.
fn skinny(x: Rows, depth: usize) -> SkinnyInput {
    SkinnyInput { x, rows: 1, depth }
}

fn run(gpu: &mut Gpu, shape: Shape, operands: Operands) -> Result<()> {
    let workspace = gpu.workspace.address();
    // SAFETY: `Forward::new` made the operands in these sizes; they live until the clock has waited for the
    // stream, which alone uses the work space.
    Ok(unsafe { gpu.products.run(shape, operands, workspace, &gpu.stream) }?)
}
