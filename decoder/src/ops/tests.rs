//! The processor's own code against burn's operations, in sizes that take every way through it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use burn::tensor::{DType, Device, Distribution, Tensor};

use super::*;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &Device::flex())
}

/// Compares numbers, and that the processor's own code took them.
fn agree<const D: usize>(ours: Option<Tensor<D>>, burns: Tensor<D>, case: &str) {
    let ours = ours.unwrap_or_else(|| panic!("{case}: left to burn"));
    assert_eq!(ours.dims(), burns.dims(), "{case}");
    let worst = (ours - burns).abs().max().into_scalar::<f32>();
    assert!(worst < 2e-5, "{case}: {worst:e}");
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    let numbers = tensor.into_data().convert::<f64>();
    numbers.try_into_vec().expect("numbers")
}

/// Computes a product in f64.
fn exact(x: &Tensor<2>, weight: &Tensor<2>) -> Vec<f64> {
    let [_, depth] = x.dims();
    let (x, weight) = (numbers(x.clone()), numbers(weight.clone()));
    let rows = x.chunks_exact(depth).flat_map(|row| {
        let columns = weight.chunks_exact(depth);
        columns.map(move |column| row.iter().zip(column).map(|(x, weight)| x * weight).sum())
    });
    rows.collect()
}

#[test]
fn products_agree_for_every_type_and_any_number_of_rows() {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        for (rows, depth, columns) in [
            (1, 96, 200),
            (1, 7, 3),
            (2, 33, 65),
            (5, 64, 17),
            (8, 100, 1),
            (9, 40, 700),
            (70, 700, 513),
        ] {
            let x = random([rows, depth]);
            let weight = random([columns, depth]).cast(dtype);
            let case = format!("{dtype:?}, {rows} x {depth} x {columns}");
            let ours = cpu::project(&x, &weight).unwrap_or_else(|| panic!("{case}: left to burn"));
            let exact = exact(&x, &weight);
            let ours = numbers(ours);
            let errors = ours.iter().zip(&exact).map(|(x, exact)| (x - exact).abs());
            let worst = errors.fold(0.0, f64::max);
            assert!(worst < 1e-5, "{case}: {worst:e}");
        }
    }
}

#[test]
fn norms_and_gates_agree_for_few_rows_and_many() {
    for (rows, width) in [(1, 24), (3, 17), (300, 96)] {
        let (x, weight) = (random([rows, width]), random([width]));
        let case = format!("{rows} x {width}");
        agree(
            cpu::norm(&x, &weight, 1e-5),
            portable::norm(x, weight, 1e-5),
            &case,
        );
        let gate_up = random([rows, 2 * width]).mul_scalar(20.0);
        let exact = portable::gate(gate_up.clone()).mul_scalar(0.05);
        agree(
            cpu::gate(&gate_up).map(|gated| gated.mul_scalar(0.05)),
            exact,
            &case,
        );
    }
}

#[test]
fn heads_are_placed_alike_with_norms_and_without() {
    let layout = HeadLayout {
        heads: 6,
        key_value_heads: 2,
        width: 10,
    };
    for rows in [1, 5, 400] {
        let packed = random([rows, layout.packed()]);
        let angles = Angles {
            cos: random([rows, 5]),
            sin: random([rows, 5]),
        };
        let norms = HeadNorms {
            query: random([10]),
            key: random([10]),
            epsilon: 1e-6,
        };
        for norms in [None, Some(&norms)] {
            let ours = cpu::place_heads(packed.clone(), layout, norms, &angles);
            let burns = portable::place_heads(packed.clone(), layout, norms, &angles);
            agree(
                Some(ours),
                burns,
                &format!("{rows} rows, norms {}", norms.is_some()),
            );
        }
    }
}

/// Memory of one layer, with rows of a sequence before those that attend.
fn remembered(kernels: Kernels, layout: HeadLayout, before: &Tensor<2>, pages: &[u32]) -> PageMemory {
    let shape = PageShape {
        layout,
        layers: 2,
        pages: pages.len() + 1,
    };
    let mut memory = PageMemory::new(shape, kernels, &Device::flex()).expect("memory");
    let [rows, _] = before.dims();
    if rows > 0 {
        let piece = Piece {
            rows,
            first: 0,
            pages,
        };
        memory
            .attend(&Attention {
                packed: before.clone(),
                pieces: &[piece],
                layer: 1,
                window: None,
            })
            .expect("outputs");
    }
    memory
}

#[test]
fn attention_agrees_for_any_rows_windows_and_groups() {
    for (heads, key_value_heads, width) in [(6, 2, 12), (4, 4, 32), (3, 1, 70)] {
        let layout = HeadLayout {
            heads,
            key_value_heads,
            width,
        };
        for (first, rows) in [
            (0_usize, 1),
            (40, 1),
            (3, 4),
            (0, 30),
            (64, 64),
            (700, 150),
            (2000, 1),
        ] {
            // Pages in no order.
            let count = (first + rows).div_ceil(PAGE_TOKENS) as u32;
            let pages: Vec<u32> = (0..count).rev().collect();
            let before = match first {
                0 => Tensor::zeros([0, layout.packed()], &Device::flex()),
                _ => random([first, layout.packed()]),
            };
            let mut memories =
                [Kernels::Cpu, Kernels::Portable].map(|kernels| remembered(kernels, layout, &before, &pages));
            for window in [None, Some(1), Some(16), Some(5000)] {
                let attention = Attention {
                    packed: random([rows, layout.packed()]).mul_scalar(3.0),
                    pieces: &[Piece {
                        rows,
                        first,
                        pages: &pages,
                    }],
                    layer: 1,
                    window,
                };
                let case = format!("{heads}/{key_value_heads} heads, {rows} after {first}, {window:?}");
                let [ours, burns] = memories
                    .each_mut()
                    .map(|memory| memory.attend(&attention).expect("outputs"));
                agree(Some(ours), burns, &case);
            }
        }
    }
}
