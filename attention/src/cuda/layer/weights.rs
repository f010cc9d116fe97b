//! The weights that read a layer's input: as five matrices, or as views of one in which they lie side by
//! side. Which it is shows in their addresses, so nothing has to be remembered beside the tensors.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use liquid_cuda::device::ColumnCopy;
use liquid_cuda::rule::{Columns, SKINNY_MATRICES};

use super::tensors::{InputWeights, LayerMatrices};
use crate::cuda::device::{DeviceMatrix, DeviceTensor, Gpu, acquire, device_index, on_device};
use crate::cuda::error::CudaError;

/// Bytes of a weight.
const BF16: usize = size_of::<u16>();

/// Queries, keys, values, log-gates, strengths, and the output gate where there is one.
pub(super) struct Weights(pub(super) Vec<DeviceMatrix>);

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
        let matrix = |tensor| DeviceTensor::matrix(tensor)?.typed(DType::BF16);
        Ok(Self(all.map(matrix).collect::<Result<_, _>>()?))
    }

    /// Columns of the matrices, side by side.
    pub(super) fn columns(&self) -> Result<Columns, CudaError> {
        let mut widths = [0; SKINNY_MATRICES];
        for (width, matrix) in widths.iter_mut().zip(&self.0) {
            let [_, columns] = matrix.tensor.shape()?;
            *width = columns;
        }
        Ok(Columns::new(widths))
    }

    /// Whether the matrices are one with these columns.
    pub(super) fn are_one(&self, columns: &Columns) -> bool {
        let first = &self.0[0];
        self.0.iter().zip(columns.starts).all(|(matrix, start)| {
            !matrix.layout.transposed
                && matrix.layout.stride == first.layout.stride
                && matrix.tensor.address == first.tensor.address.offset(BF16 * start)
        })
    }

    fn into_rows(self) -> Result<Self, CudaError> {
        let matrices = self.0.into_iter().map(DeviceMatrix::into_rows);
        Ok(Self(matrices.collect::<Result<_, _>>()?))
    }

    /// Whether each matrix lies row after row.
    pub(super) fn in_rows(&self) -> bool {
        self.0.iter().all(|matrix| !matrix.layout.transposed)
    }
}

/// Copies the weights that read the input into one matrix, and returns views of it, and that of the output
/// row after row.
pub(super) fn lay_out(
    LayerMatrices { input, output }: LayerMatrices<CubeBackend>,
) -> Result<LayerMatrices<CubeBackend>, CudaError> {
    let client = output.client.clone();
    on_device(&client, move || {
        let mut gpu = acquire(device_index(&output)?)?;
        let output = DeviceTensor::matrix(output)?.into_rows()?;
        let weights = Weights::new(input)?.into_rows()?;
        let columns = weights.columns()?;
        let [rows, _] = weights.0[0].tensor.shape()?;
        let whole = DeviceTensor::new(&weights.0[0].tensor.tensor, [rows, columns.pitch], DType::BF16)?;
        gpu.inside(|gpu| copy(gpu, &weights, &columns, &whole))?;
        let mut views = weights
            .0
            .iter()
            .zip(columns.starts)
            .map(|(matrix, start)| view(&whole.tensor, &matrix.tensor.tensor, start, columns.pitch));
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
            output: output.tensor.tensor,
        })
    })
}

fn copy(gpu: &mut Gpu, weights: &Weights, columns: &Columns, whole: &DeviceTensor) -> Result<(), CudaError> {
    for (matrix, start) in weights.0.iter().zip(columns.starts) {
        let [rows, width] = matrix.tensor.shape()?;
        let copy = ColumnCopy {
            to: whole.address.offset(BF16 * start),
            to_pitch: BF16 * columns.pitch,
            from: matrix.tensor.address,
            from_pitch: BF16 * matrix.layout.stride,
            width: BF16 * width,
            rows,
        };
        // SAFETY: the matrix has these rows and columns, and `whole` room for all of them (`Columns`); the
        // caller is `inside`.
        unsafe { gpu.stream.copy_columns(&copy)? };
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
