//! The products of a layer: by the kernel for few rows where it serves, else by cuBLASLt.

#![allow(unsafe_code, reason = "enqueues launches; see Safety in `pass`")]

use super::layer::{Gpu, LayerPass};
use crate::device::{Address, Element, Layout, Operands, Precision, Shape};
use crate::error::Error;
use crate::rule::Rows;
use crate::transformer::{Epilogue, SKINNY_ROWS, SkinnyGemm};

/// What the sizes of a product of few rows are multiples of.
pub(super) const SKINNY_UNIT: usize = 16;

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
}

impl Product {
    /// The product as the kernel for few rows takes it, if it does.
    pub(super) fn skinny(&self, early: bool) -> Option<SkinnyGemm> {
        let serves = self.rows <= SKINNY_ROWS
            && self.columns.is_multiple_of(SKINNY_UNIT)
            && self.depth.is_multiple_of(SKINNY_UNIT);
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

#[cfg(test)]
mod tests {
    use super::super::layer::tests::pass;
    use super::super::work::Set;
    use super::*;

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
