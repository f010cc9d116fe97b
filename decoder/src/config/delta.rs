//! Sizes of layers that attend by the gated delta rule.

use super::ConfigError;
use super::fields::Fields;

/// Sizes of the layers that attend by the gated delta rule. A row of such a layer is packed as it is computed: queries,
/// keys and values, which the convolution reads; the gate on the output; then a strength and a forgetting number for each
/// value head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatedDelta {
    /// Number of query heads, and of key heads.
    pub key_heads: usize,
    /// Number of value heads, and of states; a multiple of `key_heads`, and neighbours share keys and queries.
    pub value_heads: usize,
    /// Width of a query and of a key.
    pub key_width: usize,
    /// Width of a value.
    pub value_width: usize,
    /// Tokens that the convolution reads for each one, the token itself included; at least 2.
    pub kernel: usize,
}

impl GatedDelta {
    pub(super) fn read(fields: &Fields) -> Result<Self, ConfigError> {
        let delta = Self {
            key_heads: fields.count("linear_num_key_heads")?,
            value_heads: fields.count("linear_num_value_heads")?,
            key_width: fields.count("linear_key_head_dim")?,
            value_width: fields.count("linear_value_head_dim")?,
            kernel: fields.count("linear_conv_kernel_dim")?,
        };
        if !delta.value_heads.is_multiple_of(delta.key_heads) {
            let expected = format!("a multiple of linear_num_key_heads, {}", delta.key_heads);
            return Err(fields.wrong("linear_num_value_heads", delta.value_heads, expected));
        }
        if delta.kernel < 2 {
            return Err(fields.wrong("linear_conv_kernel_dim", delta.kernel, "at least 2"));
        }
        Ok(delta)
    }

    /// Returns the numbers of all keys of a row, and of all queries.
    pub(crate) fn keys(self) -> usize {
        self.key_heads * self.key_width
    }

    /// Returns the numbers of all values of a row.
    pub(crate) fn values(self) -> usize {
        self.value_heads * self.value_width
    }

    /// Returns the value heads that share a key head.
    pub(crate) fn group(self) -> usize {
        self.value_heads / self.key_heads
    }

    /// Returns the numbers of a row that the convolution reads.
    pub(crate) fn channels(self) -> usize {
        2 * self.keys() + self.values()
    }

    /// Returns the numbers of a packed row.
    pub(crate) fn packed(self) -> usize {
        self.channels() + self.values() + 2 * self.value_heads
    }

    /// Returns the numbers of the state of a head, `[key_width, value_width]`.
    pub(crate) fn head_state(self) -> usize {
        self.key_width * self.value_width
    }

    /// Returns the numbers that the convolution remembers, `[kernel - 1, channels]`.
    pub(crate) fn tail(self) -> usize {
        (self.kernel - 1) * self.channels()
    }

    /// Returns the numbers that a layer remembers of a sequence: the states of all heads, then the tail.
    pub(crate) fn memory(self) -> usize {
        self.value_heads * self.head_state() + self.tail()
    }
}
