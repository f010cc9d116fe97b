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
            agree(cpu::project(&x, &weight), portable::project(x, weight), &case);
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

#[test]
fn attention_agrees_for_any_rows_windows_and_groups() {
    for (heads, key_value_heads) in [(6, 2), (4, 4), (3, 1)] {
        let layout = HeadLayout {
            heads,
            key_value_heads,
            width: 12,
        };
        for (first, rows) in [(0, 1), (40, 1), (3, 4), (0, 30), (700, 150), (2000, 1)] {
            for window in [None, Some(1), Some(16), Some(5000)] {
                let capacity = first + rows + 3;
                let attention = Attention {
                    packed: random([rows, layout.packed()]).mul_scalar(3.0),
                    keys: random([key_value_heads, capacity, 12]),
                    values: random([key_value_heads, capacity, 12]),
                    first,
                    window,
                    layout,
                };
                let case = format!("{heads}/{key_value_heads} heads, {rows} after {first}, {window:?}");
                agree(cpu::attend(&attention), portable::attend(&attention), &case);
            }
        }
    }
}
