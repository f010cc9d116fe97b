//! Rows of numbers in device memory, as all kernels take them.

use crate::device::Address;

/// Rows of bf16 numbers, one a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Address of the first element.
    pub address: Address,
    /// Elements from a token's row to the next one's.
    pub stride: usize,
}

impl Rows {
    /// No tensor.
    pub const NONE: Self = Self {
        address: Address::NULL,
        stride: 0,
    };

    /// The same rows from a later column on, `columns` elements behind.
    pub fn columns_from(self, columns: usize) -> Self {
        Self {
            address: self.address.offset(size_of::<u16>() * columns),
            ..self
        }
    }

    /// The same rows without the first few.
    pub fn rows_from(self, rows: usize) -> Self {
        self.columns_from(rows * self.stride)
    }
}
