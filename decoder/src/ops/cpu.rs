//! The steps of a pass in the memory of flex's tensors. A function returns none for tensors that are not f32 rows lying
//! one after the other; burn's operations then compute the same.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{Tensor, TensorData};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{Angles, DeviceError, HeadLayout, HeadNorms};
use crate::lanes;

mod attention;
mod delta;
mod heads;
mod pages;
mod product;
mod states;
mod tile;
mod widen;

pub(crate) use attention::attend;
pub(crate) use delta::read_delta;
pub(crate) use pages::HostPages;
pub(crate) use states::HostStates;

/// A tensor of flex: bytes that are shared, a layout and a type.
type FlexTensor = FloatTensor<Flex>;

/// Numbers below which a sweep over rows is not spread over cores.
const SMALL: usize = 1 << 14;

fn flex<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    tensor.clone().try_into_primitive::<Flex>().ok()
}

fn rows_of<const D: usize>(values: Vec<f32>, shape: [usize; D], like: &Tensor<D>) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &like.device())
}

pub(super) fn project(x: &Tensor<2>, weight: &Tensor<2>) -> Option<Tensor<2>> {
    product::project(x, weight)
}

pub(super) fn place_heads(
    packed: Tensor<2>,
    layout: HeadLayout,
    norms: Option<&HeadNorms>,
    angles: &Angles,
) -> Tensor<2> {
    heads::place(packed, layout, norms, angles)
        .unwrap_or_else(|packed| super::portable::place_heads(*packed, layout, norms, angles))
}

pub(super) fn norm(x: &Tensor<2>, weight: &Tensor<1>, epsilon: f64) -> Option<Tensor<2>> {
    let (values, scale) = (flex(x)?, flex(weight)?);
    let (values, scale) = (values.as_slice::<f32>()?, scale.as_slice::<f32>()?);
    let mut output = vec![0.0_f32; values.len()];
    let width = scale.len();
    sweep(
        &mut output,
        width,
        #[inline(always)]
        |first, output| {
            let input = values.get(first * width..).unwrap_or_default();
            let pairs = output.chunks_exact_mut(width).zip(input.chunks_exact(width));
            for (output, input) in pairs {
                lanes::norm(input, scale, epsilon as f32, output);
            }
        },
    );
    Some(rows_of(output, x.dims(), x))
}

pub(super) fn gate(gate_up: &Tensor<2>) -> Option<Tensor<2>> {
    let values = flex(gate_up)?;
    let values = values.as_slice::<f32>()?;
    let [rows, columns] = gate_up.dims();
    let width = columns / 2;
    let mut output = vec![0.0_f32; rows * width];
    sweep(
        &mut output,
        width,
        #[inline(always)]
        |first, output| {
            let input = values.get(first * columns..).unwrap_or_default();
            for (output, input) in output.chunks_exact_mut(width).zip(input.chunks_exact(columns)) {
                let (gate, up) = input.split_at(width);
                for ((output, gate), up) in output.iter_mut().zip(gate).zip(up) {
                    *output = lanes::silu(*gate) * up;
                }
            }
        },
    );
    Some(rows_of(output, [rows, width], gate_up))
}

pub(super) fn open_gates(output: &Tensor<2>, packed: &Tensor<2>, layout: HeadLayout) -> Option<Tensor<2>> {
    let (values, gates) = (flex(output)?, flex(packed)?);
    let (values, gates) = (values.as_slice::<f32>()?, gates.as_slice::<f32>()?);
    let (width, columns) = (layout.queries(), layout.packed());
    let mut opened = vec![0.0_f32; values.len()];
    sweep(
        &mut opened,
        width,
        #[inline(always)]
        |first, opened| {
            let values = values.get(first * width..).unwrap_or_default();
            let gates = gates.get(first * columns..).unwrap_or_default();
            let rows = values.chunks_exact(width).zip(gates.chunks_exact(columns));
            for (opened, (values, gates)) in opened.chunks_exact_mut(width).zip(rows) {
                let (_, gates) = gates.split_at(layout.gates());
                for ((opened, value), gate) in opened.iter_mut().zip(values).zip(gates) {
                    *opened = value * lanes::sigmoid(*gate);
                }
            }
        },
    );
    Some(rows_of(opened, output.dims(), output))
}

/// Copies the numbers of a tensor.
fn numbers<const D: usize>(tensor: &Tensor<D>) -> Result<Vec<f32>, DeviceError> {
    let data = tensor.clone().try_into_data();
    let data = data.map_err(|error| DeviceError(error.to_string()))?;
    let numbers = data.convert::<f32>().try_into_vec::<f32>();
    numbers.map_err(|error| DeviceError(error.to_string()))
}

/// Work that is compiled for the widest registers. pulp takes closures too, but calls those that could be called twice
/// through a function of their own, which large ones then stay outside of: they would run without vectors.
struct Vectorised<F>(F);

impl<R, F: FnMut() -> R> WithSimd for Vectorised<F> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _simd: S) -> R {
        (self.0)()
    }
}

/// Runs `work` with the widest registers that the processor has. It must be `#[inline(always)]`, and all that it calls.
fn vectorised<R>(work: impl FnMut() -> R) -> R {
    Arch::new().dispatch(Vectorised(work))
}

/// Runs `work` on rows of `width` numbers, spread over the cores where that pays; it gets the index of its first row.
fn sweep(output: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let run = |first: usize, part: &mut [f32]| {
        vectorised(
            #[inline(always)]
            || work(first, part),
        );
    };
    if output.len() < SMALL || width == 0 {
        return run(0, output);
    }
    let rows = (output.len() / width)
        .div_ceil(rayon::current_num_threads())
        .max(1);
    let parts = output.par_chunks_mut(rows * width).enumerate();
    parts.for_each(|(index, part)| run(index * rows, part));
}
