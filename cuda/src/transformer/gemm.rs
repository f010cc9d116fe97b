//! Products of few rows, bound by reading their weights once.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `transformer`")]

use std::ffi::c_int;

use super::program::{Kernel, TransformerKernels, Variant};
use crate::device::{Address, Element, Launch, Parameter, Precision, Stream};
use crate::error::Error;
use crate::rows::Rows;

pub(super) static GEMM: Kernel = Kernel {
    file: "transformer/gemm.cu",
    text: include_str!("../../kernels/transformer/gemm.cu"),
    entry: c"skinny_gemm",
};

/// Most rows of a skinny product; more go through [`crate::device::Products::run_linear`].
pub const SKINNY_ROWS: usize = 16;

/// Threads of a block.
const THREADS: usize = 256;
/// Columns of a block: rows of the weights.
const COLUMNS: usize = 16;
/// Rows of a tensor core's product; there are one or two of them.
const ROWS: usize = 8;

/// What becomes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// It is written, as bf16.
    Bf16,
    /// It is written, as f32: logits.
    F32,
    /// It is added to what is there, bf16: the residual stream.
    Add,
    /// `silu(first half) * second half` of its columns is written, as bf16: half as many columns.
    SwiGlu,
}

/// A product `x w^T` of few rows.
#[derive(Clone, Copy, Debug)]
pub struct SkinnyGemm {
    /// Rows `[rows, depth]`, bf16, at addresses of 16 bytes.
    pub x: Rows,
    /// Number of rows, 1 to [`SKINNY_ROWS`].
    pub rows: usize,
    /// Numbers of a row, a multiple of 16.
    pub depth: usize,
    /// Address of the weights `[columns, depth]`.
    pub weight: Address,
    /// Number type of the weights.
    pub precision: Precision,
    /// Address of the scales `[columns]` of the weights, f32; null for bf16.
    pub scales: Address,
    /// Rows of the weights, a multiple of 16; with [`Epilogue::SwiGlu`] of 32.
    pub columns: usize,
    /// Address of a bias `[columns]` of bf16; null without.
    pub bias: Address,
    /// What becomes of the product.
    pub epilogue: Epilogue,
    /// The result `[rows, columns]`, written. The stride counts its numbers.
    pub to: Rows,
    /// Whether the kernel may be placed, and read weights, while the kernel before runs.
    pub early: bool,
}

/// The variant for a product: at most 8 or 16 rows, the number type of its weights, what becomes of it.
pub(super) fn variant(rows: usize, precision: Precision, epilogue: Epilogue) -> Variant {
    Variant::new(&[
        ("TILES", rows.div_ceil(ROWS)),
        ("FP8", usize::from(precision == Precision::Fp8)),
        ("EPILOGUE", epilogue as usize),
        ("RUST_THREADS", THREADS),
        ("RUST_COLUMNS", COLUMNS),
    ])
}

fn check(gemm: &SkinnyGemm) -> Result<(), Error> {
    let SkinnyGemm {
        rows, depth, columns, ..
    } = *gemm;
    let unit = match gemm.epilogue {
        Epilogue::SwiGlu => 2 * COLUMNS,
        _ => COLUMNS,
    };
    if (1..=SKINNY_ROWS).contains(&rows)
        && depth.is_multiple_of(16)
        && depth > 0
        && columns.is_multiple_of(unit)
    {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "a skinny product of {rows} rows, {depth} deep, {columns} columns; it takes 1 to {SKINNY_ROWS} rows, depths \
         that are multiples of 16, columns that are multiples of {unit}"
    )))
}

impl TransformerKernels {
    /// Enqueues a product of few rows. A row does not depend on its neighbours.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: sizes that no kernel has; [`Error::Compile`] at the first call; [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::transformer`]. Written is `to`. If `early`, the kernel before must have written nothing of
    /// what is read but `x` and `to`.
    pub unsafe fn skinny_gemm(&mut self, stream: &Stream, gemm: &SkinnyGemm) -> Result<(), Error> {
        check(gemm)?;
        let (x_stride, to_stride) = (gemm.x.stride as i64, gemm.to.stride as i64);
        let [rows, depth, columns] = [gemm.rows, gemm.depth, gemm.columns].map(|size| size as c_int);
        let parameters = [
            Parameter::new(&gemm.x.address),
            Parameter::new(&x_stride),
            Parameter::new(&gemm.weight),
            Parameter::new(&gemm.scales),
            Parameter::new(&gemm.bias),
            Parameter::new(&gemm.to.address),
            Parameter::new(&to_stride),
            Parameter::new(&rows),
            Parameter::new(&depth),
            Parameter::new(&columns),
        ];
        let per_block = if gemm.epilogue == Epilogue::SwiGlu {
            2 * COLUMNS
        } else {
            COLUMNS
        };
        let function = self.get(&GEMM, variant(gemm.rows, gemm.precision, gemm.epilogue))?;
        let launch = Launch {
            early: gemm.early,
            ..Launch::new(function, [gemm.columns / per_block, 1, 1], THREADS as u32)
        };
        // SAFETY: the parameters are those of `skinny_gemm`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters) }
    }
}

/// The number type of what an epilogue writes.
impl Epilogue {
    /// Number type of the result.
    pub fn element(self) -> Element {
        match self {
            Self::F32 => Element::F32,
            Self::Bf16 | Self::Add | Self::SwiGlu => Element::Bf16,
        }
    }
}
