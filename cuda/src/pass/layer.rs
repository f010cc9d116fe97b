//! A layer without gradients: projections, gates, rule, norm and projection, in pieces of the sequence. The scan of a
//! piece runs on a stream of its own beside the products of the next piece.

#![allow(unsafe_code, reason = "enqueues launches; see Safety in `pass`")]

use super::piece::{Piece, pieces};
use super::product::Product;
use super::work::{Set, product_space};
use crate::device::{Address, Context, Event, Products, Stream};
use crate::error::Error;
use crate::rule::{
    Columns, GateProducts, Gates, HeadNorm, Kernels, Rows, RuleOptions, Sequences, SmallParameter, Span,
};
use crate::transformer::{SKINNY_ROWS, TransformerKernels};

/// Bytes of a number of a row.
const BF16: usize = size_of::<u16>();
/// Bytes of a number of a state.
const F32: usize = size_of::<f32>();

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
    /// Work space of [`layer_work`](crate::pass::layer_work) bytes.
    pub work: Address,
    /// How the rule is applied.
    pub options: RuleOptions,
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
        self.work.offset(product_space(&self.sizes))
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

/// Marks what a stream holds so far, for others to wait for.
fn mark(context: &Context, stream: &Stream) -> Result<Event, Error> {
    let event = context.event()?;
    stream.record(&event)?;
    Ok(event)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::pass) const SIZES: LayerSizes = LayerSizes {
        batch: 1,
        tokens: 131_072,
        embed: 4_096,
        heads: 32,
        width: 128,
    };

    pub(in crate::pass) fn pass() -> LayerPass {
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
    fn gates_behind_the_other_weights_are_one_product_with_them() {
        let mut pass = pass();
        assert!(pass.are_one() && !pass.whole_bias().is_null());
        pass.weights.gates = pass.weights.gates.offset(16);
        assert!(!pass.are_one());
        pass.weights.input_bias = Address::NULL;
        assert!(pass.whole_bias().is_null());
    }
}
