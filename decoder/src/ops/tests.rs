//! The processor's own code against burn's operations, in sizes that take every way through it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use burn::tensor::{DType, Device, Distribution, Tensor};

use super::*;
use crate::config::GatedDelta;

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
        gated: false,
    };
    for (rows, gated, turned) in [(1, false, 5), (5, true, 2), (400, true, 5), (400, false, 1)] {
        let layout = HeadLayout { gated, ..layout };
        let packed = random([rows, layout.packed()]);
        let angles = Angles {
            cos: random([rows, turned]),
            sin: random([rows, turned]),
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
        if gated {
            let output = random([rows, layout.queries()]);
            let ours = cpu::open_gates(&output, &packed, layout);
            let burns = portable::open_gates(output, packed, layout);
            agree(ours, burns, &format!("gates of {rows} rows"));
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
            state: None,
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
            gated: key_value_heads == 2,
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
                        state: None,
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

/// States of two layers, in slots of random numbers.
fn random_states(
    kernels: Kernels,
    delta: GatedDelta,
    before: &Tensor<2>,
    weights: &DeltaTensors,
) -> StateMemory {
    let shape = StateShape {
        delta: Some(delta),
        layers: 2,
        slots: 4,
    };
    let mut states = StateMemory::new(shape, kernels, &Device::flex()).expect("memory");
    let [rows, _] = before.dims();
    states
        .read(&DeltaPass {
            packed: before.clone(),
            pieces: &[delta_piece(rows, 0, 1, &[])],
            layer: 1,
            weights: weights.clone(),
        })
        .expect("outputs");
    states
}

fn delta_piece(rows: usize, first: usize, slot: u32, snapshots: &[Snapshot]) -> Piece<'_> {
    Piece {
        rows,
        first,
        pages: &[],
        state: Some(StatePlace { slot, snapshots }),
    }
}

#[test]
fn the_gated_delta_rule_agrees_for_any_rows_heads_and_copies() {
    for (key_heads, value_heads, key_width, value_width, kernel) in
        [(2, 4, 8, 12, 4), (1, 3, 33, 40, 2), (2, 2, 128, 128, 4)]
    {
        let delta = GatedDelta {
            key_heads,
            value_heads,
            key_width,
            value_width,
            kernel,
        };
        let weights = DeltaTensors {
            taps: random([kernel, delta.channels()]),
            decay: random([value_heads]),
            decay_bias: random([value_heads]),
            norm: random([value_width]),
            epsilon: 1e-6,
        };
        let before = random([70, delta.packed()]);
        let kernels = [Kernels::Cpu, Kernels::Portable];
        for rows in [1, 2, 64, 130] {
            let packed = random([rows + 3, delta.packed()]);
            // A sequence goes on in the slot 1 and leaves copies in 2 and 3; one begins in 0.
            let position = 70 + rows.div_ceil(2);
            let copies = [(position, 2), (70 + rows, 3)].map(|(position, slot)| Snapshot { position, slot });
            let copies = if rows > 1 { &copies[..] } else { &copies[1..] };
            let run = |kernels| {
                let mut states = random_states(kernels, delta, &before, &weights);
                let output = states.read(&DeltaPass {
                    packed: packed.clone(),
                    pieces: &[delta_piece(rows, 70, 1, copies), delta_piece(3, 0, 0, &[])],
                    layer: 1,
                    weights: weights.clone(),
                });
                states.copy(2, 0);
                // What each slot leads to: 1 and its last copy to the same.
                let next = states.read(&DeltaPass {
                    packed: packed.clone().narrow(0, 0, 1).repeat(&[3, 1]),
                    pieces: &[1, 3, 0].map(|slot| delta_piece(1, 500, slot, &[])),
                    layer: 1,
                    weights: weights.clone(),
                });
                (output.expect("outputs"), next.expect("outputs"))
            };
            let [(ours, our_next), (burns, burns_next)] = kernels.map(run);
            let case = format!("{delta:?}, {rows} rows");
            let same = |row| numbers(our_next.clone().narrow(0, row, 1));
            assert_eq!(same(0), same(1), "{case}: a copy at the end");
            agree(Some(ours), burns, &case);
            agree(Some(our_next), burns_next, &format!("{case}, after it"));
        }
    }
}
