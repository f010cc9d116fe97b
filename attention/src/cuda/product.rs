//! Products by cuBLASLt on memory that burn owns. Row-major throughout: `y [rows, columns] = x [rows, depth] w`.
//!
//! cuBLAS counts by columns, and a row-major matrix is its own transpose there: y' = w' x'. An operand may lie turned,
//! column after column, as the transposed view of a tensor does: no copy is made of it. Every shape keeps its plan (descriptors and the algorithm that the heuristic chose), so a shape costs its look-up once.

use std::collections::HashMap;
use std::ffi::c_void;

use cudarc::cublaslt::{result, sys};
use cudarc::driver;

use super::error::CudaError;
use super::gpu::WORKSPACE;

/// What every operand's address is a multiple of; [`Operands::aligned`].
static ALIGNMENT: u32 = 16;

/// `cublasOperation_t`, which the bindings of cuBLASLt leave out.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
enum Operation {
    AsIs = 0,
    Turned = 1,
}

/// Elements of the operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Element {
    Bf16,
    F16,
    /// f32 operands and sums; multiplied as tf32 only where burn would do so too.
    F32,
}

/// Shape of a product; the leading dimensions are elements between rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) element: Element,
    pub(super) rows: u64,
    pub(super) depth: u64,
    pub(super) columns: u64,
    pub(super) x: Lie,
    pub(super) weight: Lie,
    pub(super) y_stride: i64,
}

/// How an operand lies: elements between rows, or between columns if it is `turned`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lie {
    pub(super) stride: i64,
    pub(super) turned: bool,
}

impl Lie {
    /// Row after row.
    pub(super) fn rows(stride: usize) -> Self {
        Self {
            stride: stride as i64,
            turned: false,
        }
    }

    /// cuBLAS's layout of a row-major matrix of these sizes, and the operation that makes it the operand.
    fn layout(
        self,
        kind: sys::cudaDataType,
        rows: u64,
        columns: u64,
    ) -> Result<(sys::cublasLtMatrixLayout_t, Operation), CudaError> {
        let ((across, down), operation) = if self.turned {
            ((rows, columns), Operation::Turned)
        } else {
            ((columns, rows), Operation::AsIs)
        };
        Ok((
            result::create_matrix_layout(kind, across, down, self.stride)?,
            operation,
        ))
    }
}

/// Where the operands lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operands {
    pub(super) x: u64,
    pub(super) weight: u64,
    pub(super) y: u64,
}

impl Operands {
    /// Whether the plans, which are made for addresses of 16 bytes, serve these.
    pub(super) fn aligned(&self) -> bool {
        [self.x, self.weight, self.y]
            .iter()
            .all(|address| address.is_multiple_of(u64::from(ALIGNMENT)))
    }
}

struct Plan {
    operation: sys::cublasLtMatmulDesc_t,
    weight: sys::cublasLtMatrixLayout_t,
    x: sys::cublasLtMatrixLayout_t,
    y: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// A handle of cuBLASLt and the plans made with it.
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
    /// the stream has passed; `workspace` holds [`WORKSPACE`] bytes that nothing else on another stream uses.
    pub(super) unsafe fn run(
        &mut self,
        shape: Shape,
        operands: Operands,
        workspace: u64,
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
                workspace as *mut c_void,
                WORKSPACE,
                stream.cast(),
            )?;
        }
        Ok(())
    }
}

fn plan(handle: sys::cublasLtHandle_t, shape: Shape) -> Result<Plan, CudaError> {
    let kind = match shape.element {
        Element::Bf16 => sys::cudaDataType::CUDA_R_16BF,
        Element::F16 => sys::cudaDataType::CUDA_R_16F,
        Element::F32 => sys::cudaDataType::CUDA_R_32F,
    };
    let sums = match shape.element {
        Element::F32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        Element::Bf16 | Element::F16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
    };
    let operation = result::create_matmul_desc(sums, sys::cudaDataType::CUDA_R_32F)?;
    let (weight, turn_weight) = shape.weight.layout(kind, shape.depth, shape.columns)?;
    let (x, turn_x) = shape.x.layout(kind, shape.rows, shape.depth)?;
    let (y, _) = Lie {
        stride: shape.y_stride,
        turned: false,
    }
    .layout(kind, shape.rows, shape.columns)?;
    use sys::cublasLtMatmulDescAttributes_t as Turn;
    for (operand, turn) in [
        (Turn::CUBLASLT_MATMUL_DESC_TRANSA, turn_weight),
        (Turn::CUBLASLT_MATMUL_DESC_TRANSB, turn_x),
    ] {
        // SAFETY: the descriptor was just made; the attribute is one `Operation`.
        unsafe {
            result::set_matmul_desc_attribute(
                operation,
                operand,
                (&raw const turn).cast(),
                size_of::<Operation>(),
            )?;
        }
    }
    let preference = result::create_matmul_pref()?;
    let workspace = WORKSPACE;
    // SAFETY: all descriptors were just made; the attributes have the types that their documentation says.
    let choice = unsafe {
        result::set_matmul_pref_attribute(
            preference,
            sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            (&raw const workspace).cast(),
            size_of::<usize>(),
        )?;
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let operands = [
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ];
        for operand in operands {
            result::set_matmul_pref_attribute(
                preference,
                operand,
                (&raw const ALIGNMENT).cast(),
                size_of::<u32>(),
            )?;
        }
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
