//! One token of every sequence of a layer: products of few rows, bound by reading their weights once, and between them
//! everything else in one kernel, each placed while the one before still runs: the weights of the output projection are
//! on their way to L2 while the state is updated.

#![allow(unsafe_code, reason = "enqueues launches; see Safety in `pass`")]

use super::layer::{Gpu, LayerPass};
use super::piece::Piece;
use super::product::Product;
use super::work::Set;
use crate::error::Error;
use crate::rule::Rows;

impl LayerPass {
    /// # Safety
    /// As [`Self::run`].
    pub(super) unsafe fn step(&self, gpu: &mut Gpu<'_>, set: &Set) -> Result<(), Error> {
        let piece = Piece {
            sequence: 0,
            sequences: self.sizes.batch,
            token: 0,
            tokens: 1,
        };
        let x = Rows {
            address: self.x,
            stride: self.sizes.embed,
        };
        let span = self.span(set, &piece);
        let [first, gates] = self.input_products(set, x, piece.rows());
        let out = self.output_product(span.output, &piece);
        // SAFETY: the caller's promise. What the later kernels read before they wait are weights and states, which no
        // kernel of this pass before them writes.
        unsafe {
            self.multiply(gpu, &first)?;
            self.multiply_early(gpu, &gates)?;
            gpu.kernels.step(gpu.stream, &span, None, self.options, true)?;
            self.multiply_early(gpu, &out)
        }
    }

    /// A product that may be placed while the kernel before runs, where the kernel for few rows serves it.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn multiply_early(&self, gpu: &mut Gpu<'_>, product: &Product) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe {
            match product.skinny(true) {
                Some(gemm) => gpu.skinny.skinny_gemm(gpu.stream, &gemm),
                None => self.multiply(gpu, product),
            }
        }
    }
}
