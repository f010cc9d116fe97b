//! The steps of a pass in burn's operations: for any device, and what the others are checked against.

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData, activation, s};

use super::pages::{Attention, DeviceError, PAGE_TOKENS, PageShape, Piece};
use super::{Angles, HeadLayout, HeadNorms};

mod delta;

pub(crate) use delta::{DeviceStates, read_delta};

pub(super) fn project(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let weight = weight.cast(x.dtype());
    x.matmul(weight.transpose())
}

pub(super) fn norm(x: Tensor<2>, weight: Tensor<1>, epsilon: f64) -> Tensor<2> {
    let mean = x.clone().square().mean_dim(1);
    let scale = mean.add_scalar(epsilon).sqrt().recip();
    x * scale * weight.unsqueeze::<2>()
}

pub(super) fn gate(gate_up: Tensor<2>) -> Tensor<2> {
    let [_, columns] = gate_up.dims();
    let width = columns / 2;
    let gate = gate_up.clone().narrow(1, 0, width);
    activation::silu(gate) * gate_up.narrow(1, width, width)
}

pub(super) fn place_heads(
    packed: Tensor<2>,
    layout: HeadLayout,
    norms: Option<&HeadNorms>,
    angles: &Angles,
) -> Tensor<2> {
    let HeadLayout {
        heads,
        key_value_heads,
        width,
        ..
    } = layout;
    let [rows, _] = packed.dims();
    let part = |start: usize, heads: usize, weight: Option<&Tensor<1>>| {
        let part = packed.clone().narrow(1, start, heads * width);
        let part = match (weight, norms) {
            (Some(weight), Some(norms)) => {
                norm(part.reshape([rows * heads, width]), weight.clone(), norms.epsilon)
            }
            _ => part,
        };
        turn(part.reshape([rows, heads, width]), angles).reshape([rows, heads * width])
    };
    let query = part(0, heads, norms.map(|norms| &norms.query));
    let key = part(layout.queries(), key_value_heads, norms.map(|norms| &norms.key));
    let start = layout.queries() + layout.keys();
    let rest = packed.narrow(1, start, layout.packed() - start);
    Tensor::cat(vec![query, key, rest], 1)
}

/// Turns the pairs of numbers `i` and `i + half` of every head, of as many pairs as there are angles; the others stay.
fn turn(x: Tensor<3>, angles: &Angles) -> Tensor<3> {
    let [rows, _, width] = x.dims();
    let [_, half] = angles.cos.dims();
    let cos = angles.cos.clone().reshape([rows, 1, half]);
    let sin = angles.sin.clone().reshape([rows, 1, half]);
    let (left, right) = (x.clone().narrow(2, 0, half), x.clone().narrow(2, half, half));
    let turned_left = left.clone() * cos.clone() - right.clone() * sin.clone();
    let turned_right = right * cos + left * sin;
    let mut parts = vec![turned_left, turned_right];
    if 2 * half < width {
        parts.push(x.narrow(2, 2 * half, width - 2 * half));
    }
    Tensor::cat(parts, 2)
}

pub(super) fn open_gates(output: Tensor<2>, packed: Tensor<2>, layout: HeadLayout) -> Tensor<2> {
    output * activation::sigmoid(packed.narrow(1, layout.gates(), layout.queries()))
}

/// Pages in burn's tensors.
#[derive(Debug)]
pub(crate) struct DevicePages {
    shape: PageShape,
    layers: Vec<LayerPages>,
}

/// Keys and values of a layer, `[pages, key_value_heads, PAGE_TOKENS, width]` each. None only while a pass writes: a
/// tensor that nothing else holds is written in place.
#[derive(Debug)]
struct LayerPages {
    keys: Option<Tensor<4>>,
    values: Option<Tensor<4>>,
}

impl DevicePages {
    pub(super) fn new(shape: PageShape, device: &Device) -> Self {
        let HeadLayout {
            key_value_heads,
            width,
            ..
        } = shape.layout;
        let zeros = || {
            let shape = [shape.pages, key_value_heads, PAGE_TOKENS, width];
            Some(Tensor::<4>::zeros(shape, (device, DType::F32)))
        };
        let layers = (0..shape.layers).map(|_| LayerPages {
            keys: zeros(),
            values: zeros(),
        });
        Self {
            shape,
            layers: layers.collect(),
        }
    }

    pub(super) fn shape(&self) -> PageShape {
        self.shape
    }

    pub(super) fn is_whole(&self) -> bool {
        let whole = |layer: &LayerPages| layer.keys.is_some() && layer.values.is_some();
        self.layers.iter().all(whole)
    }
}

/// Writes rows `[rows, key_value_heads * width]` of a sequence into its pages.
fn store(pages: &mut Tensor<4>, new: Tensor<2>, piece: &Piece<'_>) {
    let [_, heads, _, width] = pages.dims();
    let new = new.reshape([piece.rows, heads, width]).swap_dims(0, 1);
    let mut row = 0;
    while row < piece.rows {
        let position = piece.first + row;
        let place = position % PAGE_TOKENS;
        let count = (PAGE_TOKENS - place).min(piece.rows - row);
        if let Some(page) = piece.pages.get(position / PAGE_TOKENS) {
            let page = *page as usize;
            let part = new.clone().narrow(1, row, count).unsqueeze::<4>();
            pages.inplace(|pages| pages.slice_assign(s![page..page + 1, .., place..place + count, ..], part));
        }
        row += count;
    }
}

/// Copies the first positions of a sequence into one piece, `[key_value_heads, length, width]`.
fn gather(pages: &Tensor<4>, piece: &Piece<'_>, length: usize) -> Tensor<3> {
    let [_, heads, _, width] = pages.dims();
    let count = length.div_ceil(PAGE_TOKENS);
    let own: Vec<i32> = piece.pages.iter().take(count).map(|page| *page as i32).collect();
    let indices = Tensor::<1, Int>::from_data(TensorData::new(own, [count]), &pages.device());
    let own = pages.clone().select(0, indices).swap_dims(0, 1);
    own.reshape([heads, count * PAGE_TOKENS, width])
        .narrow(1, 0, length)
}

pub(crate) fn attend(memory: &mut DevicePages, attention: &Attention<'_>) -> Result<Tensor<2>, DeviceError> {
    let lost =
        || DeviceError("a failure within an earlier pass lost the memory for keys and values".to_owned());
    let layout = memory.shape.layout;
    let layer = memory.layers.get_mut(attention.layer).ok_or_else(lost)?;
    let (mut keys, mut values) = (
        layer.keys.take().ok_or_else(lost)?,
        layer.values.take().ok_or_else(lost)?,
    );
    let mut first = 0;
    let mut outputs = Vec::with_capacity(attention.pieces.len());
    for piece in attention.pieces {
        let packed = attention.packed.clone().narrow(0, first, piece.rows);
        let part = |column: usize| packed.clone().narrow(1, column, layout.keys());
        store(&mut keys, part(layout.queries()), piece);
        store(&mut values, part(layout.queries() + layout.keys()), piece);
        let length = piece.first + piece.rows;
        let remembered = Remembered {
            keys: gather(&keys, piece, length),
            values: gather(&values, piece, length),
        };
        outputs.push(attend_piece(packed, &remembered, piece, attention.window, layout));
        first += piece.rows;
    }
    (layer.keys, layer.values) = (Some(keys), Some(values));
    Ok(Tensor::cat(outputs, 0))
}

/// Keys and values of a sequence, `[key_value_heads, length, width]` each.
struct Remembered {
    keys: Tensor<3>,
    values: Tensor<3>,
}

fn attend_piece(
    packed: Tensor<2>,
    remembered: &Remembered,
    piece: &Piece<'_>,
    window: Option<usize>,
    layout: HeadLayout,
) -> Tensor<2> {
    let HeadLayout {
        heads,
        key_value_heads,
        width,
        ..
    } = layout;
    let rows = piece.rows;
    let length = piece.first + rows;
    let group = heads / key_value_heads;
    let device = packed.device();
    let query = packed.narrow(1, 0, heads * width);
    let query = query.reshape([rows, heads, width]).swap_dims(0, 1);
    let expand = |remembered: &Tensor<3>| {
        let remembered = remembered.clone().reshape([key_value_heads, 1, length, width]);
        remembered
            .expand([key_value_heads, group, length, width])
            .reshape([heads, length, width])
    };
    let scale = 1.0 / (width as f64).sqrt();
    let scores = query
        .matmul(expand(&remembered.keys).swap_dims(1, 2))
        .mul_scalar(scale);
    let unseen = unseen(piece, window, &device)
        .unsqueeze::<3>()
        .expand([heads, rows, length]);
    let shares = activation::softmax(scores.mask_fill(unseen, f32::NEG_INFINITY), 2);
    let output = shares.matmul(expand(&remembered.values));
    output.swap_dims(0, 1).reshape([rows, heads * width])
}

/// Makes the mask of what each row does not see, `[rows, length]`.
fn unseen(piece: &Piece<'_>, window: Option<usize>, device: &Device) -> Tensor<2, Bool> {
    let (first, rows) = (piece.first, piece.rows);
    let length = first + rows;
    let positions = |range: std::ops::Range<usize>| {
        let numbers: Vec<i32> = range.map(|position| position as i32).collect();
        let count = numbers.len();
        Tensor::<1, Int>::from_data(TensorData::new(numbers, [count]), device)
    };
    let query = positions(first..length).reshape([rows, 1]).expand([rows, length]);
    let key = positions(0..length).reshape([1, length]).expand([rows, length]);
    let later = key.clone().greater(query.clone());
    match window {
        Some(window) => later.bool_or(key.add_scalar(window as i32).lower_equal(query)),
        None => later,
    }
}
