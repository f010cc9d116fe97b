//! Products with weights as checkpoints have them: `y [rows, columns] = x [rows, depth] w^T`, `w [columns, depth]`,
//! row after row, in bf16 or in FP8 (E4M3) with a scale for every row of `x` and for every column of `y`.

#![allow(unsafe_code, reason = "calls of cuBLASLt; see SAFETY below")]

use cudarc::cublaslt::sys;

use super::memory::Address;
use super::product::{Element, Layout, Matrices, Plan, Products, Shape, algorithm, describe, set};
use super::stream::Stream;
use crate::error::Error;

/// A scale of f32 for every row or column; cuBLAS 12.9 and later.
const OUTER_VECTOR: sys::cublasLtMatmulMatrixScale_t =
    sys::cublasLtMatmulMatrixScale_t::CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;

/// Number type of the operands of a linear layer's product. Sums are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// bfloat16.
    Bf16,
    /// FP8 E4M3, a byte a number.
    Fp8,
}

impl Precision {
    /// Bytes of a number.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::Fp8 => 1,
        }
    }
}

/// Sizes and number types of a linear layer's product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinearShape {
    /// Number type of `x` and of the weights.
    pub precision: Precision,
    /// Number type of `y`: bf16 or f32.
    pub y: Element,
    /// Rows of `x` and of `y`.
    pub rows: usize,
    /// Columns of `x` and of the weights: numbers that are summed over; a multiple of 16.
    pub depth: usize,
    /// Rows of the weights, columns of `y`; a multiple of 16.
    pub columns: usize,
    /// Elements between rows of `x`.
    pub x_stride: usize,
    /// Elements between rows of `y`.
    pub y_stride: usize,
    /// Whether the product is added to what `y` holds, as a residual stream wants it.
    pub add: bool,
}

/// Addresses of a linear layer's product, each a multiple of 16 bytes.
#[derive(Clone, Copy, Debug)]
pub struct LinearOperands {
    /// Address of `x`.
    pub x: Address,
    /// Address of the weights.
    pub weight: Address,
    /// Address of `y`, which is written.
    pub y: Address,
    /// Address of the scales `[rows]` of `x`, f32; null for bf16.
    pub x_scales: Address,
    /// Address of the scales `[columns]` of the weights, f32; null for bf16.
    pub weight_scales: Address,
    /// Address of a bias `[columns]`, numbers as those of `y`; null where there is none.
    pub bias: Address,
}

impl Products {
    /// Enqueues the product of a linear layer. Its plan is kept, so a shape costs its look-up once; a captured
    /// product must have run before.
    ///
    /// # Errors
    /// [`Error::Product`]: no algorithm serves the shape, or the launch failed.
    ///
    /// # Safety
    /// As for [`Products::run`].
    pub unsafe fn run_linear(
        &mut self,
        shape: LinearShape,
        operands: LinearOperands,
        workspace: Address,
        stream: &Stream,
    ) -> Result<(), Error> {
        let biased = !operands.bias.is_null();
        let key = (shape, biased);
        if !self.linear_plans.contains_key(&key) {
            let plan = plan(self.handle, shape, operands)?;
            self.linear_plans.insert(key, plan);
        }
        let plan = &self.linear_plans[&key];
        // SAFETY: the plan's descriptors live as long as `self`; the operands are the caller's promise.
        unsafe {
            if biased {
                plan.set_bias(operands.bias)?;
            }
            if shape.precision == Precision::Fp8 {
                set_scales(plan.descriptors.operation, &operands)?;
            }
            let matrices = Matrices {
                x: operands.x,
                weight: operands.weight,
                y: operands.y,
            };
            let addend = f32::from(u8::from(shape.add));
            plan.enqueue(self.handle, matrices, addend, workspace, stream)
        }
    }
}

/// The heuristic wants to see the scales' addresses, and refuses FP8 without.
fn plan(handle: sys::cublasLtHandle_t, shape: LinearShape, operands: LinearOperands) -> Result<Plan, Error> {
    use sys::cublasLtMatmulDescAttributes_t as Attribute;
    let biased = !operands.bias.is_null();
    let kind = match shape.precision {
        Precision::Bf16 => sys::cudaDataType::CUDA_R_16BF,
        Precision::Fp8 => sys::cudaDataType::CUDA_R_8F_E4M3,
    };
    let product = Shape {
        operands: Element::Bf16,
        y: shape.y,
        rows: shape.rows,
        depth: shape.depth,
        columns: shape.columns,
        x_layout: Layout::rows(shape.x_stride),
        weight_layout: Layout::columns(shape.depth),
        y_stride: shape.y_stride,
    };
    let sums = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
    let descriptors = describe(kind, sums, product, biased)?;
    let operation = descriptors.operation;
    // SAFETY: the descriptor was just made; the attributes are one data type, and for FP8 two scale modes of 32 bits.
    unsafe {
        if biased {
            let bias_kind = shape.y.kind();
            set(
                operation,
                Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
                &bias_kind,
            )?;
        }
        if shape.precision == Precision::Fp8 {
            set(
                operation,
                Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_MODE,
                &OUTER_VECTOR,
            )?;
            set(
                operation,
                Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_MODE,
                &OUTER_VECTOR,
            )?;
            set_scales(operation, &operands)?;
        }
    }
    Ok(Plan {
        algorithm: algorithm(handle, descriptors)?,
        descriptors,
    })
}

/// Sets the addresses of the scales of both operands.
///
/// # Safety
/// The descriptor is alive.
unsafe fn set_scales(operation: sys::cublasLtMatmulDesc_t, operands: &LinearOperands) -> Result<(), Error> {
    use sys::cublasLtMatmulDescAttributes_t as Attribute;
    // SAFETY: the caller's promise; both attributes are pointers.
    unsafe {
        set(
            operation,
            Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_POINTER,
            &operands.weight_scales,
        )?;
        set(
            operation,
            Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_POINTER,
            &operands.x_scales,
        )
    }
}
