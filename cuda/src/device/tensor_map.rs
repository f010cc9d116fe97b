//! Descriptions of tensors for the copy engine: `TensorMap` in base.cuh.

#![allow(unsafe_code, reason = "a call of the CUDA driver; see SAFETY below")]

use std::ffi::c_void;

use cudarc::driver::sys;

use super::memory::Address;
use crate::error::Error;

/// Rows and columns of a box: 128 bytes of bf16 a row, the widest swizzle.
const BOX: u32 = 64;

/// A tensor of bf16 for the copy engine, in boxes of 64 rows and 64 columns, which it leaves in 128-byte swizzle.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct TensorMap(sys::CUtensorMap);

impl TensorMap {
    /// Describes a tensor: sizes of its dimensions, columns first, and bytes between elements of all but the first.
    pub(crate) fn new(address: Address, sizes: &[u64], strides: &[u64]) -> Result<Self, Error> {
        let mut map = std::mem::MaybeUninit::uninit();
        let rank = sizes.len();
        if strides.len() + 1 != rank {
            return Err(Error::Unsupported(format!(
                "a tensor of {rank} dimensions and {} strides",
                strides.len()
            )));
        }
        let mut window = vec![1_u32; rank];
        window.iter_mut().take(2).for_each(|size| *size = BOX);
        let step = vec![1_u32; rank];
        // SAFETY: the arrays have the rank that is said, strides one less, and outlive the call, which writes
        // the whole map.
        unsafe {
            sys::cuTensorMapEncodeTiled(
                map.as_mut_ptr(),
                sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                rank as u32,
                address.get() as *mut c_void,
                sizes.as_ptr(),
                strides.as_ptr(),
                window.as_ptr(),
                step.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
            .result()?;
            Ok(Self(map.assume_init()))
        }
    }
}
