//! Norms and rotary positions of the heads, in the memory of the packed rows.

use burn::tensor::{DType, Tensor};
use rayon::prelude::*;

use super::super::{Angles, HeadLayout, HeadNorms};
use super::{FlexTensor, SMALL, flex, vectorised};
use crate::lanes;

/// Tensors of flex that the rows are placed by.
struct Tables {
    cos: FlexTensor,
    sin: FlexTensor,
    half: usize,
    norms: Option<(FlexTensor, FlexTensor)>,
}

/// Norms and angles as numbers; one row of angles for each packed row.
#[derive(Clone, Copy)]
struct Numbers<'a> {
    layout: HeadLayout,
    cos: &'a [f32],
    sin: &'a [f32],
    /// Pairs of a head that are turned.
    half: usize,
    norms: Option<(&'a [f32], &'a [f32])>,
    epsilon: f32,
}

impl Tables {
    fn read(norms: Option<&HeadNorms>, angles: &Angles) -> Option<Self> {
        let norms = match norms {
            Some(norms) => Some((flex(&norms.query)?, flex(&norms.key)?)),
            None => None,
        };
        Some(Self {
            cos: flex(&angles.cos)?,
            sin: flex(&angles.sin)?,
            half: angles.cos.dims()[1],
            norms,
        })
    }

    fn numbers(&self, layout: HeadLayout, epsilon: f32) -> Option<Numbers<'_>> {
        let norms = match &self.norms {
            Some((query, key)) => Some((query.as_slice::<f32>()?, key.as_slice::<f32>()?)),
            None => None,
        };
        Some(Numbers {
            layout,
            cos: self.cos.as_slice::<f32>()?,
            sin: self.sin.as_slice::<f32>()?,
            half: self.half,
            norms,
            epsilon,
        })
    }
}

/// Normalises and turns queries and keys of packed rows; gives the rows back as they were if they cannot be read.
pub(super) fn place(
    packed: Tensor<2>,
    layout: HeadLayout,
    norms: Option<&HeadNorms>,
    angles: &Angles,
) -> Result<Tensor<2>, Box<Tensor<2>>> {
    if packed.dtype() != DType::F32 {
        return Err(Box::new(packed));
    }
    let Some(tables) = Tables::read(norms, angles) else {
        return Err(Box::new(packed));
    };
    let epsilon = norms.map_or(0.0, |norms| norms.epsilon as f32);
    let Some(numbers) = tables.numbers(layout, epsilon) else {
        return Err(Box::new(packed));
    };
    let device = packed.device();
    let mut data = packed.into_data();
    match data.as_mut_slice::<f32>() {
        Ok(values) => place_rows(values, numbers),
        Err(_) => return Err(Box::new(Tensor::from_data(data, &device))),
    }
    Ok(Tensor::from_data(data, &device))
}

fn place_rows(values: &mut [f32], numbers: Numbers<'_>) {
    let (packed, half) = (numbers.layout.packed(), numbers.half);
    let run = |first: usize, values: &mut [f32]| {
        let (cos, sin) = (numbers.cos.get(first * half..), numbers.sin.get(first * half..));
        let (cos, sin) = (cos.unwrap_or_default(), sin.unwrap_or_default());
        vectorised(
            #[inline(always)]
            || {
                let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
                for (row, (cos, sin)) in values.chunks_exact_mut(packed).zip(angles) {
                    place_row(row, numbers, cos, sin);
                }
            },
        );
    };
    if values.len() < SMALL {
        return run(0, values);
    }
    let rows = (values.len() / packed)
        .div_ceil(rayon::current_num_threads())
        .max(1);
    let parts = values.par_chunks_mut(rows * packed).enumerate();
    parts.for_each(|(index, values)| run(index * rows, values));
}

#[inline(always)]
fn place_row(row: &mut [f32], numbers: Numbers<'_>, cos: &[f32], sin: &[f32]) {
    let layout = numbers.layout;
    let (queries, rest) = row.split_at_mut(layout.queries());
    let (keys, _) = rest.split_at_mut(layout.keys());
    let (query_norm, key_norm) = numbers.norms.unzip();
    for (heads, norm) in [(queries, query_norm), (keys, key_norm)] {
        for head in heads.chunks_exact_mut(layout.width) {
            if let Some(weight) = norm {
                let scale = lanes::norm_scale(head, numbers.epsilon);
                for (x, weight) in head.iter_mut().zip(weight) {
                    *x = weight * (*x * scale);
                }
            }
            turn(head, cos, sin);
        }
    }
}

/// Turns the pairs of numbers `i` and `i + half` of as many pairs as there are angles; the others stay.
#[inline(always)]
fn turn(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (left, right) = head.split_at_mut(cos.len());
    for (((left, right), cos), sin) in left.iter_mut().zip(right).zip(cos).zip(sin) {
        let (x, y) = (*left, *right);
        *left = x * cos - y * sin;
        *right = y * cos + x * sin;
    }
}
