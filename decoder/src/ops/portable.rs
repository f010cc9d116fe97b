//! The steps of a pass in burn's operations: for any device, and what the others are checked against.

use burn::tensor::{Bool, Int, Tensor, TensorData, activation};

use super::{Angles, Attention, HeadLayout, HeadNorms};

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
    let value = packed.narrow(1, layout.queries() + layout.keys(), layout.keys());
    Tensor::cat(vec![query, key, value], 1)
}

/// Turns the pairs of numbers `i` and `i + width / 2` of every head.
fn turn(x: Tensor<3>, angles: &Angles) -> Tensor<3> {
    let [rows, _, width] = x.dims();
    let half = width / 2;
    let cos = angles.cos.clone().reshape([rows, 1, half]);
    let sin = angles.sin.clone().reshape([rows, 1, half]);
    let (left, right) = (x.clone().narrow(2, 0, half), x.narrow(2, half, half));
    let turned_left = left.clone() * cos.clone() - right.clone() * sin.clone();
    let turned_right = right * cos + left * sin;
    Tensor::cat(vec![turned_left, turned_right], 2)
}

pub(super) fn attend(attention: &Attention) -> Tensor<2> {
    let HeadLayout {
        heads,
        key_value_heads,
        width,
    } = attention.layout;
    let [rows, _] = attention.packed.dims();
    let length = attention.first + rows;
    let group = heads / key_value_heads;
    let query = attention.packed.clone().narrow(1, 0, heads * width);
    let query = query.reshape([rows, heads, width]).swap_dims(0, 1);
    let expand = |remembered: &Tensor<3>| {
        let remembered = remembered.clone().narrow(1, 0, length);
        let remembered = remembered.reshape([key_value_heads, 1, length, width]);
        remembered
            .expand([key_value_heads, group, length, width])
            .reshape([heads, length, width])
    };
    let scale = 1.0 / (width as f64).sqrt();
    let scores = query
        .matmul(expand(&attention.keys).swap_dims(1, 2))
        .mul_scalar(scale);
    let unseen = unseen(attention, rows)
        .unsqueeze::<3>()
        .expand([heads, rows, length]);
    let shares = activation::softmax(scores.mask_fill(unseen, f32::NEG_INFINITY), 2);
    let output = shares.matmul(expand(&attention.values));
    output.swap_dims(0, 1).reshape([rows, heads * width])
}

/// Makes the mask of what each row does not see, `[rows, length]`.
fn unseen(attention: &Attention, rows: usize) -> Tensor<2, Bool> {
    let device = attention.packed.device();
    let (first, last) = (attention.first, attention.first + rows);
    let positions = |range: std::ops::Range<usize>| {
        let numbers: Vec<i32> = range.map(|position| position as i32).collect();
        let count = numbers.len();
        Tensor::<1, Int>::from_data(TensorData::new(numbers, [count]), &device)
    };
    let length = last;
    let query = positions(first..last).reshape([rows, 1]).expand([rows, length]);
    let key = positions(0..last).reshape([1, length]).expand([rows, length]);
    let later = key.clone().greater(query.clone());
    match attention.window {
        Some(window) => later.bool_or(key.add_scalar(window as i32).lower_equal(query)),
        None => later,
    }
}
