//! The weights that read a layer's input: as five matrices, or as views of one in which they lie side by side. Which it
//! is shows in their addresses, so nothing has to be remembered beside the tensors.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::buffer::{Buffer, Matrix, device_index};
use super::error::CudaError;
use super::gpu::{Gpu, acquire};
use super::layer::{InputWeights, LayerMatrices};
use super::queue::on_device;

/// Elements of bf16 in 16 bytes, which every matrix starts on.
const GRAIN: usize = 8;
const BF16: usize = 2;

/// Matrices that read a layer's input, at most; as many as `Matrices` in project.cu holds.
pub(super) const MATRICES: usize = 6;

/// Queries, keys, values, log-gates, strengths, and the output gate where there is one.
pub(super) struct Weights(pub(super) Vec<Matrix>);

/// Where the columns of each matrix start when they lie side by side, and how many there are in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) starts: [usize; MATRICES],
    /// Columns of each; none of a matrix that is not there.
    pub(super) widths: [usize; MATRICES],
    /// With the last matrix, without what is behind it.
    pub(super) used: usize,
    /// Elements between rows.
    pub(super) pitch: usize,
}

impl Columns {
    /// Of matrices with these columns; none stands for no matrix.
    pub(super) fn new(widths: [usize; MATRICES]) -> Self {
        let mut starts = [0; MATRICES];
        let mut used: usize = 0;
        for (start, width) in starts.iter_mut().zip(widths) {
            if width == 0 {
                continue;
            }
            *start = used.next_multiple_of(GRAIN);
            used = *start + width;
        }
        // Rows start on a line of the cache.
        let pitch = used.next_multiple_of(64);
        Self {
            starts,
            widths,
            used,
            pitch,
        }
    }
}

impl Weights {
    pub(super) fn new(weights: InputWeights<CubeBackend>) -> Result<Self, CudaError> {
        let always = [
            weights.query,
            weights.key,
            weights.value,
            weights.gate_a,
            weights.gate_b,
        ];
        let all = always.into_iter().chain(weights.gate.into_option());
        let matrix = |tensor| Buffer::matrix(tensor)?.typed(DType::BF16);
        Ok(Self(all.map(matrix).collect::<Result<_, _>>()?))
    }

    /// Where they lie side by side.
    pub(super) fn columns(&self) -> Result<Columns, CudaError> {
        let mut widths = [0; MATRICES];
        for (width, matrix) in widths.iter_mut().zip(&self.0) {
            let [_, columns] = matrix.buffer.shape()?;
            *width = columns;
        }
        Ok(Columns::new(widths))
    }

    /// Whether they are one matrix with these columns.
    pub(super) fn are_one(&self, columns: &Columns) -> bool {
        let first = &self.0[0];
        self.0.iter().zip(columns.starts).all(|(matrix, start)| {
            !matrix.layout.transposed
                && matrix.layout.stride == first.layout.stride
                && matrix.buffer.address == first.buffer.address + (BF16 * start) as u64
        })
    }

    fn into_rows(self) -> Result<Self, CudaError> {
        let matrices = self.0.into_iter().map(Matrix::into_rows);
        Ok(Self(matrices.collect::<Result<_, _>>()?))
    }

    /// Whether each lies row after row.
    pub(super) fn in_rows(&self) -> bool {
        self.0.iter().all(|matrix| !matrix.layout.transposed)
    }
}

/// Copies the weights that read the input into one matrix, and gives views of it; that of the output row after row.
pub(super) fn lay_out(
    LayerMatrices { input, output }: LayerMatrices<CubeBackend>,
) -> Result<LayerMatrices<CubeBackend>, CudaError> {
    let client = output.client.clone();
    on_device(&client, move || {
        let mut gpu = acquire(device_index(&output)?)?;
        let output = Buffer::matrix(output)?.into_rows()?;
        let weights = Weights::new(input)?.into_rows()?;
        let columns = weights.columns()?;
        let [rows, _] = weights.0[0].buffer.shape()?;
        let whole = Buffer::new(&weights.0[0].buffer.tensor, [rows, columns.pitch], DType::BF16)?;
        gpu.inside(|gpu| copy(gpu, &weights, &columns, &whole))?;
        let mut views = weights
            .0
            .iter()
            .zip(columns.starts)
            .map(|(matrix, start)| view(&whole.tensor, &matrix.buffer.tensor, start, columns.pitch));
        let mut next = || views.next().ok_or(CudaError::Poisoned);
        let input = InputWeights {
            query: next()?,
            key: next()?,
            value: next()?,
            gate_a: next()?,
            gate_b: next()?,
            gate: views.next().into(),
        };
        Ok(LayerMatrices {
            input,
            output: output.buffer.tensor,
        })
    })
}

fn copy(gpu: &mut Gpu, weights: &Weights, columns: &Columns, whole: &Buffer) -> Result<(), CudaError> {
    for (matrix, start) in weights.0.iter().zip(columns.starts) {
        let [rows, width] = matrix.buffer.shape()?;
        let to = whole.address + (BF16 * start) as u64;
        let from = (matrix.buffer.address, BF16 * matrix.layout.stride);
        gpu.copy_columns((to, BF16 * columns.pitch), from, (BF16 * width, rows))?;
    }
    Ok(())
}

/// The columns of `whole` from `start` on that stand for `matrix`. The memory is freed with the last view.
fn view(whole: &CubeTensor, matrix: &CubeTensor, start: usize, pitch: usize) -> CubeTensor {
    let shape: Shape = matrix.meta.shape().clone();
    let behind = pitch - start - shape[1];
    let mut tensor = whole.clone();
    tensor.handle = whole
        .handle
        .clone()
        .offset_start((BF16 * start) as u64)
        .offset_end((BF16 * behind) as u64);
    tensor.meta.shape = shape;
    tensor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_matrix_starts_on_sixteen_bytes_and_behind_the_one_before() {
        for widths in [
            [4096, 4096, 4096, 32, 32, 0],
            [2048, 2048, 4096, 32, 32, 4096],
            [256, 256, 256, 4, 4, 0],
            [64, 64, 64, 1, 1, 64],
        ] {
            let columns = Columns::new(widths);
            let mut end = 0;
            for (start, width) in columns.starts.into_iter().zip(widths) {
                if width == 0 {
                    continue;
                }
                assert!(start >= end && start - end < GRAIN && start.is_multiple_of(GRAIN));
                end = start + width;
            }
            assert_eq!(columns.used, end);
            assert!(columns.pitch >= end && columns.pitch.is_multiple_of(64));
        }
        let columns = Columns::new([4096, 4096, 4096, 32, 32, 0]);
        assert_eq!((columns.used, columns.pitch), (12_352, 12_352));
    }
}
