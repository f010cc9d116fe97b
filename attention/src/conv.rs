//! The short convolution before the recurrence: each channel of queries, keys and values becomes a weighted sum
//! of its last few tokens, then SiLU. It lets a key depend on the token before, which the recurrence alone
//! cannot do within one layer.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Int, Tensor, activation};

use crate::padding::Packing;

/// The convolution `y_t = silu(sum_j weight[:, j] x_(t - K + 1 + j))`, with one weight for each channel and offset.
#[derive(Module, Debug)]
pub struct ShortConvolution {
    /// Weights, `[channels, K]`; the last column weighs the token itself.
    pub weight: Param<Tensor<2>>,
}

impl ShortConvolution {
    pub(crate) fn new(channels: usize, kernel: usize, device: &Device) -> Self {
        let limit = 1.0 / (kernel as f64).sqrt();
        let weight = Initializer::Uniform {
            min: -limit,
            max: limit,
        }
        .init([channels, kernel], device);
        Self { weight }
    }

    /// Number of earlier tokens that a token depends on.
    pub(crate) fn reach(&self) -> usize {
        self.weight.shape()[1] - 1
    }

    /// Convolves `x [B, N, channels]` after the `tail [B, K - 1, channels]` of what came before; returns the next
    /// tail too.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        tail: Tensor<3>,
        packing: Option<&Packing>,
    ) -> (Tensor<3>, Tensor<3>) {
        let [_, tokens, channels] = x.dims();
        let weight = self.weight.val();
        let kernel = self.reach() + 1;
        let all = Tensor::cat(vec![tail, x], 1);
        let tap = |j: usize| {
            let weight = weight.clone().narrow(1, j, 1).reshape([1, 1, channels]);
            all.clone().narrow(1, j, tokens) * weight
        };
        let sum = (1..kernel).fold(tap(0), |sum, j| sum + tap(j));
        (activation::silu(sum), self.tail(all, packing))
    }

    /// Returns the last `K - 1` tokens of each sequence, from `[B, K - 1 + N, channels]`.
    fn tail(&self, all: Tensor<3>, packing: Option<&Packing>) -> Tensor<3> {
        let [batch, width, channels] = all.dims();
        let reach = self.reach();
        let Some(packing) = packing else {
            return all.narrow(1, width - reach, reach);
        };
        let device = all.device();
        let rows =
            Tensor::<1, Int>::arange(0..batch as i64, &device) * width as i64 + packing.lengths.clone();
        let offsets = Tensor::<1, Int>::arange(0..reach as i64, &device).reshape([1, reach]);
        let index = rows.reshape([batch, 1]).expand([batch, reach]) + offsets.expand([batch, reach]);
        all.reshape([batch * width, channels])
            .select(0, index.reshape([batch * reach]))
            .reshape([batch, reach, channels])
    }
}
