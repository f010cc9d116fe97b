//! Products of few rows, bound by reading their weights once: the projections of a step. Nothing is captured,
//! so inputs, weights and results may lie elsewhere at every call.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `rule`")]

use std::ffi::c_int;

use super::options::BF16;
use super::program::{Kernel, Kernels, Variant};
use super::tensors::Rows;
use crate::device::{Address, Launch, Parameter, Stream};
use crate::error::Error;

/// Rows up to which a product is bound by its weights; more go through [`crate::device::Products`].
pub const SKINNY_ROWS: usize = 8;
/// Matrices of one launch.
pub const SKINNY_MATRICES: usize = 6;

/// Threads of a block.
const THREADS: u32 = 256;
/// Columns of a block.
const COLUMNS: usize = 128;
/// Blocks of a cluster, which share the depth: at most as many as any GPU takes, and so many that two on each
/// of 132 multiprocessors are all of them. Three would fit, but not in whole clusters: then some run when all
/// others are done.
const PARTS: [usize; 4] = [8, 4, 2, 1];
const AT_ONCE: usize = 264;
/// Bytes of weights that are asked for ahead; a part of L2, so that they are still there when they are read.
const AHEAD: usize = 20 << 20;

pub(super) static PROJECT: Kernel = Kernel {
    file: "project.cu",
    text: include_str!("../../kernels/project.cu"),
    entry: c"project",
    sizes: |_| {
        vec![
            ("SIZEOF_MATRIX", size_of::<Matrix>()),
            ("SIZEOF_MATRICES", size_of::<Matrices>()),
            ("RUST_COLUMNS", COLUMNS),
            ("RUST_THREADS", THREADS as usize),
        ]
    },
    shared: |_| 0,
};

/// What all matrices of a launch are multiplied with.
#[derive(Clone, Copy, Debug)]
pub struct SkinnyInput {
    /// Rows `[rows, depth]`, bf16.
    pub x: Rows,
    /// Number of rows, at most [`SKINNY_ROWS`].
    pub rows: usize,
    /// Numbers of a row.
    pub depth: usize,
}

/// A matrix `[depth, columns]`, row after row, and where its product goes. Numbers are bf16.
#[derive(Clone, Copy, Debug)]
pub struct SkinnyProduct {
    /// Address of the matrix.
    pub weight: Address,
    /// Elements between rows of the matrix.
    pub pitch: usize,
    /// Columns of the matrix.
    pub columns: usize,
    /// A bias `[columns]`; null without.
    pub bias: Address,
    /// The product `[rows, columns]`, written.
    pub to: Rows,
}

/// `Matrix` in project.cu.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Matrix {
    weight: Address,
    y: Address,
    bias: Address,
    pitch: i64,
    stride: i64,
    columns: c_int,
    first: c_int,
}

/// `Matrices` in project.cu.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Matrices {
    matrix: [Matrix; SKINNY_MATRICES],
    count: c_int,
}

impl Matrices {
    /// The matrices, and the blocks that work on them.
    fn new(products: &[SkinnyProduct]) -> (Self, usize) {
        let mut all = Self::default();
        let mut blocks = 0;
        for (slot, product) in all.matrix.iter_mut().zip(products) {
            *slot = Matrix {
                weight: product.weight,
                y: product.to.address,
                bias: product.bias,
                pitch: product.pitch as i64,
                stride: product.to.stride as i64,
                columns: product.columns as c_int,
                first: blocks as c_int,
            };
            blocks += product.columns.div_ceil(COLUMNS);
        }
        all.count = products.len() as c_int;
        (all, blocks)
    }
}

impl Kernels {
    /// Enqueues the products of a few rows with some matrices. With `early` the launch may be placed while
    /// the kernel before runs.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: no rows, more than [`SKINNY_ROWS`], or more than [`SKINNY_MATRICES`] matrices;
    /// [`Error::Compile`] at the first call; [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::rule`]. Written is `to` of every product; everything else is read. If `early`, the
    /// kernel before must have written nothing of what is read but `x`.
    pub unsafe fn project(
        &mut self,
        stream: &Stream,
        input: &SkinnyInput,
        products: &[SkinnyProduct],
        early: bool,
    ) -> Result<(), Error> {
        let SkinnyInput { x, rows, depth } = *input;
        check(rows, products.len())?;
        let (matrices, blocks) = Matrices::new(products);
        let columns: usize = products.iter().map(|product| product.columns).sum();
        let parts = PARTS
            .into_iter()
            .find(|parts| parts * blocks <= AT_ONCE)
            .unwrap_or(1);
        let ahead = if early {
            AHEAD / (BF16 * columns.max(1) * parts)
        } else {
            0
        };
        let (stride, depth, ahead) = (x.stride as i64, depth as c_int, ahead as c_int);
        let parameters = [
            Parameter::new(&x.address),
            Parameter::new(&stride),
            Parameter::new(&depth),
            Parameter::new(&ahead),
            Parameter::new(&matrices),
        ];
        let launch = Launch {
            cluster: Some([1, parts as u32, 1]),
            early,
            ..Launch::new(
                self.get(&PROJECT, Variant::of(rows))?,
                [blocks, parts, 1],
                THREADS,
            )
        };
        // SAFETY: the parameters are those of `project`; addresses, and what was there early enough, are the
        // caller's promise. Before it waits, the kernel reads weights alone.
        unsafe { launch.enqueue(stream, &parameters) }
    }
}

/// An error unless one launch takes so many rows and matrices.
fn check(rows: usize, matrices: usize) -> Result<(), Error> {
    if (1..=SKINNY_ROWS).contains(&rows) && (1..=SKINNY_MATRICES).contains(&matrices) {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "{rows} rows and {matrices} matrices in one small product; take 1 to {SKINNY_ROWS} rows and 1 to {SKINNY_MATRICES} matrices"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_and_matrices_are_taken_and_more_refused_by_number() {
        assert!(check(1, 1).is_ok() && check(SKINNY_ROWS, SKINNY_MATRICES).is_ok());
        for (rows, matrices) in [(0, 1), (9, 1), (1, 0), (1, 7)] {
            let text = check(rows, matrices).map_err(|error| error.to_string());
            assert!(
                text.as_ref()
                    .is_err_and(|text| text.contains(&format!("{rows} rows and {matrices} matrices"))),
                "{text:?}"
            );
        }
    }

    #[test]
    fn every_matrix_has_blocks_of_its_own() {
        let product = |columns| SkinnyProduct {
            weight: Address::new(16),
            pitch: columns,
            columns,
            bias: Address::NULL,
            to: Rows::NONE,
        };
        let (matrices, blocks) = Matrices::new(&[product(4_096), product(32), product(129)]);
        let firsts: Vec<_> = matrices.matrix[..3].iter().map(|matrix| matrix.first).collect();
        assert_eq!((firsts, blocks, matrices.count), (vec![0, 32, 33], 35, 3));
    }
}
