//! Products by cuBLASLt. Row-major throughout: `y [rows, columns] = x [rows, depth] w [depth, columns]`.
//!
//! cuBLAS counts by columns, and a row-major matrix is its own transpose there: y' = w' x'. An operand may be
//! transposed in memory, column after column, as a view of a tensor can be: no copy is made of it. Every
//! shape keeps its plan (descriptors and the algorithm that the heuristic chose), so a shape costs its
//! look-up once.

#![allow(unsafe_code, reason = "calls of cuBLASLt; see SAFETY below")]

use std::collections::HashMap;
use std::ffi::c_void;

use cudarc::cublaslt::{result, sys};

use super::library::Library;
use super::linear::LinearShape;
use super::memory::Address;
use super::stream::Stream;
use crate::error::Error;

/// Bytes of work space that a product may use; what cuBLAS asks for on Hopper.
pub const WORKSPACE: usize = 32 << 20;

/// What every operand's address is a multiple of; [`Operands::are_aligned`].
static ALIGNMENT: u32 = 16;

/// How sums that several blocks make in parts may be added up: in f32. By itself the heuristic also takes algorithms that
/// round the parts to the type of the result.
static REDUCTIONS: u32 = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;

/// `cublasOperation_t`, which the bindings of cuBLASLt leave out.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    AsIs = 0,
    Transpose = 1,
}

/// Number type of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
    /// Single precision. As an operand it is multiplied as tf32, as burn does it.
    F32,
}

impl Element {
    pub(super) fn kind(self) -> sys::cudaDataType {
        match self {
            Self::Bf16 => sys::cudaDataType::CUDA_R_16BF,
            Self::F16 => sys::cudaDataType::CUDA_R_16F,
            Self::F32 => sys::cudaDataType::CUDA_R_32F,
        }
    }
}

/// Sizes, number types and layouts of a product. Sums are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Element type of `x` and of the weights.
    pub operands: Element,
    /// Element type of `y`: that of the operands, or f32.
    pub y: Element,
    /// Rows of `x` and of `y`.
    pub rows: usize,
    /// Columns of `x`, rows of the weights.
    pub depth: usize,
    /// Columns of the weights and of `y`.
    pub columns: usize,
    /// Layout of `x` in memory.
    pub x_layout: Layout,
    /// Layout of the weights in memory.
    pub weight_layout: Layout,
    /// Elements between rows of `y`.
    pub y_stride: usize,
}

/// How an operand lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Elements between rows, or between columns of a transposed matrix; the leading dimension.
    pub stride: usize,
    /// Column after column.
    pub transposed: bool,
}

impl Layout {
    /// Row after row.
    pub fn rows(stride: usize) -> Self {
        Self {
            stride,
            transposed: false,
        }
    }

    /// Column after column.
    pub fn columns(stride: usize) -> Self {
        Self {
            stride,
            transposed: true,
        }
    }

    /// cuBLAS's description of a row-major matrix of these sizes, and the operation that makes it the operand.
    pub(super) fn descriptor(
        self,
        kind: sys::cudaDataType,
        rows: usize,
        columns: usize,
    ) -> Result<(sys::cublasLtMatrixLayout_t, Operation), Error> {
        let ((across, down), operation) = if self.transposed {
            ((rows, columns), Operation::Transpose)
        } else {
            ((columns, rows), Operation::AsIs)
        };
        Ok((
            result::create_matrix_layout(kind, across as u64, down as u64, self.stride as i64)?,
            operation,
        ))
    }
}

/// Addresses of a product's matrices.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Address of `x`.
    pub x: Address,
    /// Address of the weights.
    pub weight: Address,
    /// Address of `y`, which is written.
    pub y: Address,
    /// Address of a bias, one number of the type of `y` for every column; null where there is none.
    pub bias: Address,
}

impl Operands {
    /// Whether the plans, which are made for addresses of 16 bytes, serve these.
    pub fn are_aligned(&self) -> bool {
        [self.x, self.weight, self.y, self.bias]
            .iter()
            .all(|address| address.is_aligned(u64::from(ALIGNMENT)))
    }
}

/// A product as cuBLASLt runs it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) descriptors: Descriptors,
    pub(super) algorithm: sys::cublasLtMatmulAlgo_t,
}

/// What cuBLASLt knows of a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptors {
    pub(super) operation: sys::cublasLtMatmulDesc_t,
    pub(super) weight: sys::cublasLtMatrixLayout_t,
    pub(super) x: sys::cublasLtMatrixLayout_t,
    pub(super) y: sys::cublasLtMatrixLayout_t,
}

/// A handle of cuBLASLt and the plans made with it. Both stay until the process ends.
#[derive(Debug)]
pub struct Products {
    pub(super) handle: sys::cublasLtHandle_t,
    /// Plans of shapes, with and without a bias.
    plans: HashMap<(Shape, bool), Plan>,
    /// Plans of linear layers, with and without a bias.
    pub(super) linear_plans: HashMap<(LinearShape, bool), Plan>,
}

// SAFETY: the handle and the descriptors are used through `&mut self`, so by one thread at a time, and
// cuBLASLt ties neither to the thread that made them.
unsafe impl Send for Products {}

impl Products {
    /// Opens cuBLASLt.
    ///
    /// # Errors
    /// [`Error::Library`]: it cannot be loaded; [`Error::Product`]: it failed.
    pub fn new() -> Result<Self, Error> {
        Library::CublasLt.require()?;
        Ok(Self {
            handle: result::create_handle()?,
            plans: HashMap::new(),
            linear_plans: HashMap::new(),
        })
    }

    /// Enqueues a product.
    ///
    /// # Errors
    /// [`Error::Product`]: no algorithm serves the shape, or the launch failed.
    ///
    /// # Safety
    /// The operands must be device memory of the current context with the extent that `shape` says, and stay
    /// so until the stream has passed; `workspace` holds [`WORKSPACE`] bytes that nothing else on another
    /// stream uses.
    pub unsafe fn run(
        &mut self,
        shape: Shape,
        operands: Operands,
        workspace: Address,
        stream: &Stream,
    ) -> Result<(), Error> {
        let biased = !operands.bias.is_null();
        let key = (shape, biased);
        if !self.plans.contains_key(&key) {
            let plan = plan(self.handle, shape, biased)?;
            self.plans.insert(key, plan);
        }
        let plan = &self.plans[&key];
        // SAFETY: the plan's descriptors live as long as `self`; the operands are the caller's promise.
        unsafe {
            if biased {
                plan.set_bias(operands.bias)?;
            }
            let matrices = Matrices {
                x: operands.x,
                weight: operands.weight,
                y: operands.y,
            };
            plan.enqueue(self.handle, matrices, 0.0, workspace, stream)
        }
    }
}

/// Addresses of a product's matrices, as cuBLASLt takes them.
#[derive(Clone, Copy)]
pub(super) struct Matrices {
    pub(super) x: Address,
    pub(super) weight: Address,
    pub(super) y: Address,
}

impl Plan {
    /// Sets the address of the bias, for the products that are enqueued from now on.
    ///
    /// # Safety
    /// The plan was made with a bias, and its descriptors are alive.
    pub(super) unsafe fn set_bias(&self, bias: Address) -> Result<(), Error> {
        use sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER as BIAS;
        // SAFETY: the caller's promise; the attribute is a pointer.
        unsafe { set(self.descriptors.operation, BIAS, &bias) }
    }

    /// Enqueues the product, with `addend` times what `y` holds added to it.
    ///
    /// # Safety
    /// As for [`Products::run`]; the descriptors are alive. The product reads them while it is enqueued.
    pub(super) unsafe fn enqueue(
        &self,
        handle: sys::cublasLtHandle_t,
        matrices: Matrices,
        addend: f32,
        workspace: Address,
        stream: &Stream,
    ) -> Result<(), Error> {
        let descriptors = self.descriptors;
        let one = 1_f32;
        // SAFETY: the caller's promise.
        unsafe {
            result::matmul(
                handle,
                descriptors.operation,
                (&raw const one).cast(),
                (&raw const addend).cast(),
                matrices.weight.get() as *const c_void,
                descriptors.weight,
                matrices.x.get() as *const c_void,
                descriptors.x,
                matrices.y.get() as *const c_void,
                descriptors.y,
                matrices.y.get() as *mut c_void,
                descriptors.y,
                std::ptr::from_ref(&self.algorithm),
                workspace.get() as *mut c_void,
                WORKSPACE,
                stream.handle().cast(),
            )?;
        }
        Ok(())
    }
}

/// Sets an attribute of a product.
///
/// # Safety
/// The descriptor is alive, and the attribute is one `T`.
pub(super) unsafe fn set<T>(
    operation: sys::cublasLtMatmulDesc_t,
    attribute: sys::cublasLtMatmulDescAttributes_t,
    value: &T,
) -> Result<(), Error> {
    // SAFETY: the caller's promise.
    unsafe {
        result::set_matmul_desc_attribute(
            operation,
            attribute,
            std::ptr::from_ref(value).cast(),
            size_of::<T>(),
        )?;
    }
    Ok(())
}

fn plan(handle: sys::cublasLtHandle_t, shape: Shape, biased: bool) -> Result<Plan, Error> {
    let kind = shape.operands.kind();
    let sums = match shape.operands {
        Element::F32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        Element::Bf16 | Element::F16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
    };
    let descriptors = describe(kind, sums, shape, biased)?;
    Ok(Plan {
        algorithm: algorithm(handle, descriptors)?,
        descriptors,
    })
}

/// Makes the descriptors of a product whose operands are numbers of a kind, whatever the shape says of them.
pub(super) fn describe(
    kind: sys::cudaDataType,
    sums: sys::cublasComputeType_t,
    shape: Shape,
    biased: bool,
) -> Result<Descriptors, Error> {
    let operation = result::create_matmul_desc(sums, sys::cudaDataType::CUDA_R_32F)?;
    let (weight, transpose_weight) = shape.weight_layout.descriptor(kind, shape.depth, shape.columns)?;
    let (x, transpose_x) = shape.x_layout.descriptor(kind, shape.rows, shape.depth)?;
    let (y, _) = Layout::rows(shape.y_stride).descriptor(shape.y.kind(), shape.rows, shape.columns)?;
    use sys::cublasLtMatmulDescAttributes_t as Attribute;
    // SAFETY: the descriptor was just made; the attributes are two of `Operation` and one of
    // `cublasLtEpilogue_t`.
    unsafe {
        set(
            operation,
            Attribute::CUBLASLT_MATMUL_DESC_TRANSA,
            &transpose_weight,
        )?;
        set(operation, Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &transpose_x)?;
        if biased {
            let bias = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            set(operation, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &bias)?;
        }
    }
    Ok(Descriptors {
        operation,
        weight,
        x,
        y,
    })
}

/// The algorithm that the heuristic prefers for a product.
pub(super) fn algorithm(
    handle: sys::cublasLtHandle_t,
    descriptors: Descriptors,
) -> Result<sys::cublasLtMatmulAlgo_t, Error> {
    let Descriptors {
        operation,
        weight,
        x,
        y,
    } = descriptors;
    use sys::cublasLtMatmulPreferenceAttributes_t as Preference;
    let preference = result::create_matmul_pref()?;
    let workspace = WORKSPACE;
    let operands = [
        Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
    ];
    // SAFETY: all descriptors are alive; the attributes have the types that their documentation says.
    let choice = unsafe {
        result::set_matmul_pref_attribute(
            preference,
            Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            (&raw const workspace).cast(),
            size_of::<usize>(),
        )?;
        result::set_matmul_pref_attribute(
            preference,
            Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
            (&raw const REDUCTIONS).cast(),
            size_of::<u32>(),
        )?;
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
    Ok(choice.algo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_serve_addresses_of_sixteen_bytes_only() {
        let at = |x, weight, y, bias| {
            let [x, weight, y, bias] = [x, weight, y, bias].map(Address::new);
            Operands { x, weight, y, bias }.are_aligned()
        };
        assert!(at(0, 16, 4096, 0) && at(0, 16, 4096, 32));
        assert!(!at(8, 16, 4096, 0) && !at(16, 2, 4096, 0) && !at(16, 32, 4100, 0) && !at(16, 32, 64, 2));
    }

    #[test]
    fn a_transposed_matrix_is_another_shape() {
        let [rows, columns] = [Layout::rows(64), Layout::columns(64)];
        assert_ne!(rows, columns);
        assert_eq!((rows.stride, columns.stride), (64, 64));
    }
}
