//! A layer without gradients: projections, gates, rule, norm and projection, in pieces of the sequence. The scan of a
//! piece runs on a stream of its own beside the products of the next piece.

#![allow(unsafe_code, reason = "enqueues launches; see Safety in `pass`")]

use super::piece::{Piece, pieces};
use crate::device::{
    Address, Context, Element, Event, Layout, Operands, Precision, Products, Shape, Stream, WORKSPACE,
};
use crate::error::Error;
use crate::rule::{
    Columns, GateProducts, Gates, HeadNorm, Kernels, Rows, RuleOptions, Sequences, SmallParameter, Span,
    record_bytes,
};
use crate::transformer::{Epilogue, SKINNY_ROWS, SkinnyGemm, TransformerKernels};

/// Bytes of a number of a row.
const BF16: usize = size_of::<u16>();
/// Bytes of a number of a state.
const F32: usize = size_of::<f32>();
/// What the parts of the work space begin at multiples of.
const ALIGNED: usize = 256;

/// A GPU as a pass uses it.
#[derive(Debug)]
pub struct Gpu<'a> {
    /// The GPU.
    pub context: &'a Context,
    /// The caller's stream.
    pub stream: &'a Stream,
    /// Stream on which scans run beside products.
    pub side: &'a Stream,
    /// Kernels of the rule.
    pub kernels: &'a mut Kernels,
    /// Products of few rows.
    pub skinny: &'a mut TransformerKernels,
    /// Products of many rows.
    pub products: &'a mut Products,
}

/// Sizes of a layer and of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSizes {
    /// Number of sequences.
    pub batch: usize,
    /// Tokens of each.
    pub tokens: usize,
    /// Width of input and output.
    pub embed: usize,
    /// Heads of the state.
    pub heads: usize,
    /// Numbers of a head.
    pub width: usize,
}

impl LayerSizes {
    /// Numbers of a token's values.
    pub(super) fn inner(&self) -> usize {
        self.heads * self.width
    }

    /// Columns of the products with the weights, side by side: queries, keys, values, log-gates, strengths.
    pub(super) fn columns(&self) -> usize {
        3 * self.inner() + 2 * self.heads
    }

    /// Elements between rows of the products.
    pub(super) fn pitch(&self) -> usize {
        let inner = self.inner();
        Columns::new([inner, inner, inner, 2 * self.heads, 0, 0]).pitch
    }

    /// Whether this is one token of few sequences, and so can go the short way.
    pub(super) fn is_step(&self) -> bool {
        self.tokens == 1 && self.batch <= SKINNY_ROWS
    }
}

/// The weights of a layer, bf16, matrices `[out, in]` row after row as PyTorch keeps them.
#[derive(Clone, Copy, Debug)]
pub struct LayerWeights {
    /// Weights of queries, keys and values, `[3 H D, E]`.
    pub input: Address,
    /// Their bias `[3 H D]`; null without.
    pub input_bias: Address,
    /// Weights of log-gates and of strengths, `[2 H, E]`. Directly behind `input` they are multiplied in one product.
    pub gates: Address,
    /// Logarithm of each head's fastest forgetting, `[H]`.
    pub a_log: SmallParameter,
    /// Bias under the softplus of the log-gates, `[H]`.
    pub dt_bias: SmallParameter,
    /// Norm of every head's output.
    pub norm: HeadNorm,
    /// Weights of the output, `[E, H D]`.
    pub output: Address,
    /// Their bias `[E]`; null without.
    pub output_bias: Address,
}

/// A layer's pass: what it reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct LayerPass {
    /// Sizes.
    pub sizes: LayerSizes,
    /// The weights.
    pub weights: LayerWeights,
    /// Input `[B, N, E]`, bf16.
    pub x: Address,
    /// States `[B, H, D, D]`, f32, read and written.
    pub state: Address,
    /// Output `[B, N, E]`, bf16, written.
    pub y: Address,
    /// Work space of [`layer_work`] bytes.
    pub work: Address,
    /// How the rule is applied.
    pub options: RuleOptions,
}

/// Bytes of work space of a pass.
pub fn layer_work(sizes: &LayerSizes) -> usize {
    let pieces = pieces(sizes.batch, sizes.tokens);
    WORKSPACE + bias_bytes(sizes) + pieces.len().min(2) * Set::bytes(sizes, &pieces)
}

fn bias_bytes(sizes: &LayerSizes) -> usize {
    (BF16 * sizes.columns()).next_multiple_of(ALIGNED)
}

/// What exists for a piece between input and output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set {
    /// Products with the weights side by side.
    pub(super) products: Address,
    pub(super) records: Address,
}

impl Set {
    fn product_bytes(sizes: &LayerSizes, pieces: &[Piece]) -> usize {
        let rows = pieces.iter().map(Piece::rows).max().unwrap_or(0);
        (BF16 * rows * sizes.pitch()).next_multiple_of(ALIGNED)
    }

    fn bytes(sizes: &LayerSizes, pieces: &[Piece]) -> usize {
        let records = |piece: &Piece| record_bytes(piece.sequences, piece.tokens, sizes.heads);
        let records = pieces.iter().map(records).max().unwrap_or(0);
        Self::product_bytes(sizes, pieces) + records.next_multiple_of(ALIGNED)
    }

    /// The sets in a work space, behind what the products use.
    fn in_work(pass: &LayerPass, pieces: &[Piece]) -> Vec<Self> {
        let first = pass.work.offset(WORKSPACE + bias_bytes(&pass.sizes));
        let set = |number| {
            let products = first.offset(number * Self::bytes(&pass.sizes, pieces));
            Self {
                products,
                records: products.offset(Self::product_bytes(&pass.sizes, pieces)),
            }
        };
        (0..pieces.len().min(2)).map(set).collect()
    }
}

/// A product `y = x w^T` of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub(super) x: Rows,
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) weight: Address,
    pub(super) columns: usize,
    pub(super) bias: Address,
    pub(super) y: Rows,
}

impl LayerPass {
    /// Enqueues the pass.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: sizes that no kernel has; [`Error::Compile`] at the first call; [`Error::Driver`],
    /// [`Error::Product`].
    ///
    /// # Safety
    /// As in [`crate::pass`].
    pub unsafe fn run(&self, gpu: &mut Gpu<'_>) -> Result<(), Error> {
        let pieces = pieces(self.sizes.batch, self.sizes.tokens);
        let sets = Set::in_work(self, &pieces);
        // SAFETY: the caller's promise; the sets have room for the largest piece.
        unsafe {
            match sets.first() {
                Some(set) if self.sizes.is_step() => self.step(gpu, set),
                Some(set) if sets.len() == 1 => {
                    self.lay_bias(gpu)?;
                    self.whole(gpu, set, &pieces)
                }
                _ => {
                    self.lay_bias(gpu)?;
                    self.overlapped(gpu, &sets, &pieces)
                }
            }
        }
    }

    /// Whether the weights of the gates lie directly behind the others.
    fn are_one(&self) -> bool {
        let LayerSizes { embed, .. } = self.sizes;
        self.weights.gates == self.weights.input.offset(BF16 * 3 * self.sizes.inner() * embed)
    }

    /// Address of a bias for all columns: that of queries, keys and values, and zeros; null without.
    fn whole_bias(&self) -> Address {
        if self.weights.input_bias.is_null() {
            return Address::NULL;
        }
        self.work.offset(WORKSPACE)
    }

    /// # Safety
    /// As [`Self::run`].
    unsafe fn lay_bias(&self, gpu: &Gpu<'_>) -> Result<(), Error> {
        let to = self.whole_bias();
        if to.is_null() || !self.are_one() {
            return Ok(());
        }
        let bytes = BF16 * 3 * self.sizes.inner();
        // SAFETY: the caller's promise; the work space has room for all columns.
        unsafe {
            gpu.stream.copy(to, self.weights.input_bias, bytes)?;
            gpu.stream
                .clear(to.offset(bytes), BF16 * self.sizes.columns() - bytes)
        }
    }

    /// One piece after the other.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn whole(&self, gpu: &mut Gpu<'_>, set: &Set, pieces: &[Piece]) -> Result<(), Error> {
        for piece in pieces {
            // SAFETY: the caller's promise.
            unsafe {
                self.front(gpu, set, piece)?;
                let stream = gpu.stream;
                self.scan(gpu, set, piece, stream)?;
                self.back(gpu, set, piece)?;
            }
        }
        Ok(())
    }

    /// Scan of a piece beside the projections of the next one, that of the last piece beside the output projection of
    /// the one before. Pieces take turns with two sets of work space.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn overlapped(&self, gpu: &mut Gpu<'_>, sets: &[Set], pieces: &[Piece]) -> Result<(), Error> {
        let (main, side) = (gpu.stream, gpu.side);
        let mut before: Option<(&Set, &Piece, Event)> = None;
        for (piece, set) in pieces.iter().zip(sets.iter().cycle()) {
            // SAFETY: the caller's promise; the streams are ordered by events where one needs what the other wrote.
            unsafe {
                self.front(gpu, set, piece)?;
                side.wait(&mark(gpu.context, main)?)?;
                self.scan(gpu, set, piece, side)?;
                let scanned = mark(gpu.context, side)?;
                if let Some((set, piece, scanned)) = before.replace((set, piece, scanned)) {
                    main.wait(&scanned)?;
                    self.back(gpu, set, piece)?;
                }
            }
        }
        if let Some((set, piece, scanned)) = before {
            main.wait(&scanned)?;
            // SAFETY: the caller's promise.
            unsafe { self.back(gpu, set, piece)? };
        }
        Ok(())
    }

    /// Projections, and what does not depend on the state; all of it, for a single token.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn front(&self, gpu: &mut Gpu<'_>, set: &Set, piece: &Piece) -> Result<(), Error> {
        let span = self.span(set, piece);
        // SAFETY: the caller's promise.
        unsafe {
            self.project(gpu, set, piece)?;
            if piece.tokens == 1 {
                gpu.kernels.step(gpu.stream, &span, None, self.options, false)
            } else {
                gpu.kernels.prepare(gpu.stream, &span, self.options)
            }
        }
    }

    /// # Safety
    /// As [`Self::run`].
    unsafe fn scan(&self, gpu: &mut Gpu<'_>, set: &Set, piece: &Piece, stream: &Stream) -> Result<(), Error> {
        if piece.tokens == 1 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe {
            gpu.kernels
                .scan(stream, &self.span(set, piece), self.options.precise)
        }
    }

    /// The products with the weights that read the input, in one if they lie behind each other.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn project(&self, gpu: &mut Gpu<'_>, set: &Set, piece: &Piece) -> Result<(), Error> {
        let embed = self.sizes.embed;
        let x = Rows {
            address: self.x,
            stride: embed,
        };
        let (x, rows) = (x.rows_from(self.first_row(piece)), piece.rows());
        let [first, gates] = self.input_products(set, x, rows);
        // SAFETY: the caller's promise.
        unsafe {
            if self.are_one() {
                let all = Product {
                    columns: self.sizes.columns(),
                    bias: self.whole_bias(),
                    ..first
                };
                return self.multiply(gpu, &all);
            }
            self.multiply(gpu, &first)?;
            self.multiply(gpu, &gates)
        }
    }

    /// The products of rows with the weights of queries, keys and values, and with those of the gates.
    pub(super) fn input_products(&self, set: &Set, x: Rows, rows: usize) -> [Product; 2] {
        let columns = 3 * self.sizes.inner();
        let y = self.products(set);
        let first = Product {
            x,
            rows,
            depth: self.sizes.embed,
            weight: self.weights.input,
            columns,
            bias: self.weights.input_bias,
            y,
        };
        let gates = Product {
            weight: self.weights.gates,
            columns: 2 * self.sizes.heads,
            bias: Address::NULL,
            y: y.columns_from(columns),
            ..first
        };
        [first, gates]
    }

    /// The projection of the output.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn back(&self, gpu: &mut Gpu<'_>, set: &Set, piece: &Piece) -> Result<(), Error> {
        let product = self.output_product(self.span(set, piece).output, piece);
        // SAFETY: the caller's promise.
        unsafe { self.multiply(gpu, &product) }
    }

    pub(super) fn output_product(&self, heads: Rows, piece: &Piece) -> Product {
        let embed = self.sizes.embed;
        let y = Rows {
            address: self.y,
            stride: embed,
        };
        Product {
            x: heads,
            rows: piece.rows(),
            depth: self.sizes.inner(),
            weight: self.weights.output,
            columns: embed,
            bias: self.weights.output_bias,
            y: y.rows_from(self.first_row(piece)),
        }
    }

    fn first_row(&self, piece: &Piece) -> usize {
        piece.sequence * self.sizes.tokens + piece.token
    }

    fn products(&self, set: &Set) -> Rows {
        Rows {
            address: set.products,
            stride: self.sizes.pitch(),
        }
    }

    /// Enqueues a product.
    ///
    /// # Safety
    /// As [`Self::run`].
    pub(super) unsafe fn multiply(&self, gpu: &mut Gpu<'_>, product: &Product) -> Result<(), Error> {
        if let Some(gemm) = product.skinny(false) {
            // SAFETY: the caller's promise.
            return unsafe { gpu.skinny.skinny_gemm(gpu.stream, &gemm) };
        }
        let shape = Shape {
            operands: Element::Bf16,
            y: Element::Bf16,
            rows: product.rows,
            depth: product.depth,
            columns: product.columns,
            x_layout: Layout::rows(product.x.stride),
            weight_layout: Layout::columns(product.depth),
            y_stride: product.y.stride,
        };
        let operands = Operands {
            x: product.x.address,
            weight: product.weight,
            y: product.y.address,
            bias: product.bias,
        };
        // SAFETY: the caller's promise; the work space begins with that of the products, which run on this stream alone.
        unsafe { gpu.products.run(shape, operands, self.work, gpu.stream) }
    }

    /// The span of a piece.
    pub(super) fn span(&self, set: &Set, piece: &Piece) -> Span {
        let LayerSizes { heads, width, .. } = self.sizes;
        let inner = self.sizes.inner();
        let q = self.products(set);
        let (k, v) = (q.columns_from(inner), q.columns_from(2 * inner));
        let a = q.columns_from(3 * inner);
        let state = self.state.offset(F32 * piece.sequence * heads * width * width);
        Span {
            sequences: Sequences::Equal {
                count: piece.sequences,
                tokens: piece.tokens,
            },
            heads,
            width,
            group: 1,
            q,
            k,
            v,
            // A block reads its columns of V before it writes the same place: the output needs no memory.
            output: v,
            gates: Gates::products(GateProducts {
                a,
                b: a.columns_from(heads),
                a_log: self.weights.a_log,
                dt_bias: self.weights.dt_bias,
            }),
            records: set.records,
            initial: state,
            last: state,
            norm: Some(self.weights.norm),
            gate: Rows::NONE,
        }
    }
}

impl Product {
    /// The product as the kernel for few rows takes it, if it does.
    pub(super) fn skinny(&self, early: bool) -> Option<SkinnyGemm> {
        let serves =
            self.rows <= SKINNY_ROWS && self.columns.is_multiple_of(16) && self.depth.is_multiple_of(16);
        serves.then_some(SkinnyGemm {
            x: self.x,
            rows: self.rows,
            depth: self.depth,
            weight: self.weight,
            precision: Precision::Bf16,
            scales: Address::NULL,
            columns: self.columns,
            bias: self.bias,
            epilogue: Epilogue::Bf16,
            to: self.y,
            early,
        })
    }
}

/// Marks what a stream holds so far, for others to wait for.
fn mark(context: &Context, stream: &Stream) -> Result<Event, Error> {
    let event = context.event()?;
    stream.record(&event)?;
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: LayerSizes = LayerSizes {
        batch: 1,
        tokens: 131_072,
        embed: 4_096,
        heads: 32,
        width: 128,
    };

    fn pass() -> LayerPass {
        let small = SmallParameter {
            address: Address::new(64),
            narrow: true,
        };
        LayerPass {
            sizes: SIZES,
            weights: LayerWeights {
                input: Address::new(1 << 20),
                input_bias: Address::new(4_096),
                gates: Address::new((1 << 20) + 2 * 3 * 4_096 * 4_096),
                a_log: small,
                dt_bias: small,
                norm: HeadNorm {
                    gamma: small,
                    epsilon: 1e-6,
                },
                output: Address::new(1 << 30),
                output_bias: Address::NULL,
            },
            x: Address::new(1 << 31),
            state: Address::new(1 << 32),
            y: Address::new(1 << 33),
            work: Address::new(1 << 34),
            options: RuleOptions {
                erase: true,
                normalise: true,
                scale: 1.0,
                precise: false,
            },
        }
    }

    #[test]
    fn work_space_does_not_grow_with_the_sequence() {
        let longer = LayerSizes {
            tokens: 1 << 20,
            ..SIZES
        };
        assert_eq!(layer_work(&SIZES), layer_work(&longer));
        assert!(layer_work(&SIZES) < 600 << 20);
    }

    #[test]
    fn sets_lie_behind_each_other_within_the_work_space() {
        let pass = pass();
        let pieces = pieces(1, SIZES.tokens);
        let sets = Set::in_work(&pass, &pieces);
        let end = sets[1].products.get() + Set::bytes(&SIZES, &pieces) as u64;
        assert_eq!(end - pass.work.get(), layer_work(&SIZES) as u64);
        assert!(sets[0].records.get() < sets[1].products.get());
    }

    #[test]
    fn gates_behind_the_other_weights_are_one_product_with_them() {
        let mut pass = pass();
        assert!(pass.are_one() && !pass.whole_bias().is_null());
        pass.weights.gates = pass.weights.gates.offset(16);
        assert!(!pass.are_one());
        pass.weights.input_bias = Address::NULL;
        assert!(pass.whole_bias().is_null());
    }

    #[test]
    fn few_rows_take_the_kernel_for_them_where_it_serves() {
        let set = Set {
            products: Address::new(4_096),
            records: Address::NULL,
        };
        let [first, gates] = pass().input_products(&set, Rows::NONE, 3);
        assert!(first.skinny(false).is_some() && gates.skinny(true).is_some());
        assert_eq!((first.columns, gates.columns), (12_288, 64));
        assert!(Product { rows: 17, ..first }.skinny(false).is_none());
        assert!(Product { columns: 8, ..gates }.skinny(false).is_none());
    }
}
