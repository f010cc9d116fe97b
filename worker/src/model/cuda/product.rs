//! Products by cuBLASLt: `y [rows, columns] f32 = x [rows, depth] f16 times weight [columns, depth] f16, transposed`, all
//! row-major, sums in f32.
//!
//! cuBLAS counts by columns, and a row-major matrix is its own transpose there: y' = weight x'. Every shape keeps its
//! plan (descriptors and the algorithm that the heuristic chose), so a shape costs its look-up once, in the warm-up.

use std::collections::HashMap;
use std::ffi::c_void;

use cudarc::cublaslt::{result, sys};
use cudarc::driver;

use super::error::CudaError;

/// Work space of the products; what cuBLAS asks for on Hopper.
pub(super) const WORK_BYTES: usize = 32 << 20;

/// `cublasOperation_t` for a transposed operand, which cudarc's bindings of cuBLASLt leave out.
const CUBLAS_OP_T: i32 = 1;

/// Sizes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) columns: usize,
}

/// Addresses of a product's matrices and of [`WORK_BYTES`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Operands {
    pub(super) x: u64,
    pub(super) weight: u64,
    pub(super) y: u64,
    pub(super) work: u64,
}

struct Plan {
    operation: sys::cublasLtMatmulDesc_t,
    weight: sys::cublasLtMatrixLayout_t,
    x: sys::cublasLtMatrixLayout_t,
    y: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// A handle of cuBLASLt and the plans made with it. Both stay until the process ends.
pub(super) struct Products {
    handle: sys::cublasLtHandle_t,
    plans: HashMap<Shape, Plan>,
}

impl Products {
    pub(super) fn new() -> Result<Self, CudaError> {
        Ok(Self {
            handle: result::create_handle()?,
            plans: HashMap::new(),
        })
    }

    /// Enqueues a product.
    ///
    /// # Safety
    /// The operands must be device memory of the current context with the extent that `shape` says, and stay so until
    /// the stream has passed.
    pub(super) unsafe fn run(
        &mut self,
        shape: Shape,
        operands: Operands,
        stream: driver::sys::CUstream,
    ) -> Result<(), CudaError> {
        if !self.plans.contains_key(&shape) {
            let plan = plan(self.handle, shape)?;
            self.plans.insert(shape, plan);
        }
        let plan = &self.plans[&shape];
        let (one, zero) = (1_f32, 0_f32);
        // SAFETY: the plan's descriptors live as long as `self`; the operands are the caller's promise.
        unsafe {
            result::matmul(
                self.handle,
                plan.operation,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                operands.weight as *const c_void,
                plan.weight,
                operands.x as *const c_void,
                plan.x,
                operands.y as *const c_void,
                plan.y,
                operands.y as *mut c_void,
                plan.y,
                &raw const plan.algorithm,
                operands.work as *mut c_void,
                WORK_BYTES,
                stream.cast(),
            )?;
        }
        Ok(())
    }
}

fn plan(handle: sys::cublasLtHandle_t, shape: Shape) -> Result<Plan, CudaError> {
    let (half, single) = (sys::cudaDataType::CUDA_R_16F, sys::cudaDataType::CUDA_R_32F);
    let (rows, depth, columns) = (shape.rows as u64, shape.depth as u64, shape.columns as u64);
    let operation = result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, single)?;
    let weight = result::create_matrix_layout(half, depth, columns, depth as i64)?;
    let x = result::create_matrix_layout(half, depth, rows, depth as i64)?;
    let y = result::create_matrix_layout(single, columns, rows, columns as i64)?;
    let preference = result::create_matmul_pref()?;
    let (transpose, bytes) = (CUBLAS_OP_T, WORK_BYTES);
    // SAFETY: all descriptors were just made; the attributes have the types that their documentation says.
    let choice = unsafe {
        result::set_matmul_desc_attribute(
            operation,
            sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
            (&raw const transpose).cast(),
            size_of_val(&transpose),
        )?;
        result::set_matmul_pref_attribute(
            preference,
            sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            (&raw const bytes).cast(),
            size_of_val(&bytes),
        )?;
        let choice = result::get_matmul_algo_heuristic(handle, operation, weight, x, y, y, preference);
        result::destroy_matmul_pref(preference)?;
        choice?
    };
    Ok(Plan {
        operation,
        weight,
        x,
        y,
        algorithm: choice.algo,
    })
}
