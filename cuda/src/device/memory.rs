//! Addresses of device memory, and memory that is freed with its owner.

#![allow(unsafe_code, reason = "frees device memory; see SAFETY below")]

use cudarc::driver::result;

use super::context::Context;

/// An address of device memory, or [`Address::NULL`] where a tensor is not there. It keeps nothing alive.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address(u64);

impl Address {
    /// The null address: no tensor.
    pub const NULL: Self = Self(0);

    /// The address with this number, as the driver gives it.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number, as the driver takes it.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether there is no tensor.
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address so many bytes behind; of no tensor, no tensor.
    pub const fn offset(self, bytes: usize) -> Self {
        if self.is_null() {
            return self;
        }
        Self(self.0 + bytes as u64)
    }

    /// Whether the address is a multiple of so many bytes.
    pub const fn is_aligned(self, bytes: u64) -> bool {
        self.0.is_multiple_of(bytes)
    }
}

/// A number type of which every pattern of bits is a value, so that memory of the device may be read as it is.
pub trait Number: Copy + Default + sealed::Sealed {}

pub(crate) mod sealed {
    pub trait Sealed {}
}

macro_rules! numbers {
    ($($number:ty)*) => {
        $(
            impl sealed::Sealed for $number {}
            impl Number for $number {}
        )*
    };
}

numbers! { u8 u16 u32 u64 i32 i64 f32 f64 }

/// Device memory, freed when this is dropped.
#[derive(Debug)]
pub struct Buffer {
    context: Context,
    address: u64,
    bytes: usize,
}

impl Buffer {
    /// Takes over memory that `cuMemAlloc` gave in this context.
    pub(super) fn new(context: Context, address: u64, bytes: usize) -> Self {
        Self {
            context,
            address,
            bytes,
        }
    }

    /// Address of the first byte.
    pub fn address(&self) -> Address {
        Address(self.address)
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // What fails here fails because the context is broken; then its memory is gone with it.
        let _ = self.context.bind();
        // SAFETY: allocated by `Context::allocate`, freed once; `cuMemFree` waits for work that still uses it.
        let _ = unsafe { result::free_sync(self.address) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tensor_has_no_part() {
        assert_eq!(Address::NULL.offset(64), Address::NULL);
        assert_eq!(Address::new(4_096).offset(64), Address::new(4_160));
        assert!(Address::NULL.is_null() && !Address::new(16).is_null());
        assert!(Address::new(48).is_aligned(16) && !Address::new(40).is_aligned(16));
    }
}
