//! Descriptions of tensors for the copy engine: `TensorMap` in base.cuh.

#![allow(unsafe_code, reason = "a call of the CUDA driver; see SAFETY below")]

use std::ffi::c_void;

use cudarc::driver::sys;

use super::linear::Precision;
use super::memory::Address;
use crate::error::Error;

/// Rows and columns of a box of bf16: 128 bytes a row, the widest swizzle.
const BOX: u32 = 64;

/// A tensor for the copy engine, which leaves boxes of it in the widest swizzle of their rows.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct TensorMap(sys::CUtensorMap);

impl TensorMap {
    /// Describes a tensor of bf16, in boxes of 64 rows and 64 columns: sizes of its dimensions, columns first, and bytes between
    /// elements of all but the first.
    pub(crate) fn new(address: Address, sizes: &[u64], strides: &[u64]) -> Result<Self, Error> {
        Self::encode(address, Precision::Bf16, sizes, strides, [BOX, BOX])
    }

    /// Describes a matrix `[rows, columns]` of bytes, FP8 among them, whose rows lie `stride` bytes apart, in boxes of 64 or
    /// 128 columns.
    pub(crate) fn bytes(
        address: Address,
        [rows, columns]: [usize; 2],
        stride: usize,
        window: [u32; 2],
    ) -> Result<Self, Error> {
        let [box_rows, box_columns] = window;
        let sizes = [columns as u64, rows as u64];
        Self::encode(
            address,
            Precision::Fp8,
            &sizes,
            &[stride as u64],
            [box_columns, box_rows],
        )
    }

    fn encode(
        address: Address,
        precision: Precision,
        sizes: &[u64],
        strides: &[u64],
        box_sizes: [u32; 2],
    ) -> Result<Self, Error> {
        let mut map = std::mem::MaybeUninit::uninit();
        let rank = sizes.len();
        if strides.len() + 1 != rank {
            return Err(Error::Unsupported(format!(
                "a tensor of {rank} dimensions and {} strides",
                strides.len()
            )));
        }
        let mut window = vec![1_u32; rank];
        for (size, of_box) in window.iter_mut().zip(box_sizes) {
            *size = of_box;
        }
        let kind = match precision {
            Precision::Bf16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            Precision::Fp8 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT8,
        };
        let swizzle = match box_sizes[0] as usize * precision.bytes() {
            64 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_64B,
            _ => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
        };
        let step = vec![1_u32; rank];
        // SAFETY: the arrays have the rank that is said, strides one less, and outlive the call, which writes
        // the whole map.
        unsafe {
            sys::cuTensorMapEncodeTiled(
                map.as_mut_ptr(),
                kind,
                rank as u32,
                address.get() as *mut c_void,
                sizes.as_ptr(),
                strides.as_ptr(),
                window.as_ptr(),
                step.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                swizzle,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
            .result()?;
            Ok(Self(map.assume_init()))
        }
    }
}
