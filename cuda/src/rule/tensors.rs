//! Tensors as the kernels take them: an address and how the elements lie.

use std::ffi::c_int;

use super::options::{BF16, F32};
use crate::device::Address;
pub use crate::rows::Rows;

/// A small parameter of a layer, in f32 or, `narrow`, in bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmallParameter {
    /// Address of the first number.
    pub address: Address,
    /// Whether the numbers are bf16.
    pub narrow: bool,
}

impl SmallParameter {
    /// No parameter.
    pub(super) const NONE: Self = Self {
        address: Address::NULL,
        narrow: false,
    };
}

/// Root mean square norm of every head's output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadNorm {
    /// Weights `[width]` of the norm.
    pub gamma: SmallParameter,
    /// Number added to the mean of the squares.
    pub epsilon: f32,
}

/// The products from which a layer's gates are made, and what belongs to them.
#[derive(Clone, Copy, Debug)]
pub struct GateProducts {
    /// Products `[rows, heads]` with `gate_a`.
    pub a: Rows,
    /// Products `[rows, heads]` with `gate_b`, with the stride of `a`.
    pub b: Rows,
    /// Parameter `a_log [heads]`.
    pub a_log: SmallParameter,
    /// Parameter `dt_bias [heads]`.
    pub dt_bias: SmallParameter,
}

/// Log-gates and strengths of a span's tokens, given as numbers or as a layer's products. `Gates` in
/// common.cuh.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Gates {
    pub(super) log_gate: Address,
    pub(super) beta: Address,
    a: Address,
    b: Address,
    stride: i64,
    a_log: Address,
    dt_bias: Address,
    pub(super) lengths: Address,
    first: c_int,
    narrow: c_int,
}

impl Gates {
    /// Numbers: log-gates and strengths `[rows, heads]`, f32.
    pub fn numbers(log_gate: Address, strengths: Address) -> Self {
        Self {
            log_gate,
            beta: strengths,
            a: Address::NULL,
            b: Address::NULL,
            stride: 0,
            a_log: Address::NULL,
            dt_bias: Address::NULL,
            lengths: Address::NULL,
            first: 0,
            narrow: 0,
        }
    }

    /// Products of a layer: `g = -exp(a_log) softplus(a + dt_bias)`, `beta = sigmoid(b)`.
    pub fn products(products: GateProducts) -> Self {
        let GateProducts { a, b, a_log, dt_bias } = products;
        debug_assert!(a.stride == b.stride, "both products lie alike");
        Self {
            a: a.address,
            b: b.address,
            stride: a.stride as i64,
            a_log: a_log.address,
            dt_bias: dt_bias.address,
            narrow: c_int::from(a_log.narrow) | c_int::from(dt_bias.narrow) << 1,
            ..Self::numbers(Address::NULL, Address::NULL)
        }
    }

    /// The same gates for sequences of one length with padding behind their `lengths [count]`, f32, where the
    /// span's first token is number `first` of its sequence. Null lengths stand for no padding.
    pub fn padded(self, lengths: Address, first: usize) -> Self {
        Self {
            lengths,
            first: first as c_int,
            ..self
        }
    }

    /// The same gates without the first few rows, of tokens with so many heads.
    pub(super) fn rows_from(self, rows: usize, heads: usize) -> Self {
        let numbers = rows * heads * F32;
        let products = BF16 * rows * self.stride as usize;
        Self {
            log_gate: self.log_gate.offset(numbers),
            beta: self.beta.offset(numbers),
            a: self.a.offset(products),
            b: self.b.offset(products),
            first: self.first + rows as c_int,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(address: u64) -> Rows {
        Rows {
            address: Address::new(address),
            stride: 192,
        }
    }

    #[test]
    fn rows_and_columns_are_skipped_in_bytes_of_bf16() {
        assert_eq!(rows(1_000).columns_from(8).address, Address::new(1_016));
        assert_eq!(rows(1_000).rows_from(2).address, Address::new(1_768));
        assert_eq!(Rows::NONE.rows_from(5), Rows::NONE);
    }

    #[test]
    fn gates_from_a_later_row_start_there_in_every_tensor() {
        let numbers = Gates::numbers(Address::new(5_000_000), Address::new(6_000_000)).rows_from(5, 3);
        assert_eq!(
            (numbers.log_gate.get(), numbers.beta.get()),
            (5_000_060, 6_000_060)
        );
        assert_eq!((numbers.a, numbers.b), (Address::NULL, Address::NULL));
        let small = SmallParameter {
            address: Address::new(10),
            narrow: true,
        };
        let products = Gates::products(GateProducts {
            a: rows(7_000_000),
            b: rows(8_000_000),
            a_log: small,
            dt_bias: small,
        });
        let later = products.padded(Address::new(11), 64).rows_from(5, 3);
        assert_eq!((later.log_gate, later.beta), (Address::NULL, Address::NULL));
        assert_eq!(
            (later.a.get(), later.b.get(), later.first),
            (7_001_920, 8_001_920, 69)
        );
        assert_eq!((later.lengths.get(), later.narrow), (11, 3));
    }
}
