//! Invariants, for random inputs.

use proptest::prelude::*;

use super::{agrees, numbers, rule, tensors};
use crate::core::{DeltaRule, gated_delta};
use crate::oracle::{Case, error};
use burn::tensor::Device;

prop_compose! {
    /// Any shape, gates of any size, strengths that are often 0 or 1.
    fn any_case()(
        seed in any::<u64>(),
        batch in 1usize..4,
        tokens in 1usize..200,
        heads in 1usize..5,
        dk in 1usize..20,
        dv in 1usize..20,
        gate in prop_oneof![Just(0.0), Just(1e-5), Just(0.1), Just(3.0), Just(200.0)],
        edge in prop_oneof![Just(0.0), Just(0.5), Just(1.0)],
    ) -> Case {
        let mut case = Case::random(seed, [batch, tokens, heads, dk, dv]);
        for (at, (g, beta)) in case.g.iter_mut().zip(&mut case.beta).enumerate() {
            *g = f64::from((*g * gate) as f32);
            if at % 3 == 0 {
                *beta = edge;
            }
        }
        case
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn agrees_with_the_recurrence(case in any_case(), erase in any::<bool>()) {
        agrees(&case, DeltaRule { erase, ..rule(case.dk) }, 1e-4);
    }

    /// The outputs are linear in values and state.
    #[test]
    fn is_linear_in_values_and_state(case in any_case()) {
        let mut double = case.clone();
        double.v.iter_mut().for_each(|x| *x *= 2.0);
        double.state.iter_mut().for_each(|x| *x *= 2.0);
        let device = Device::flex();
        let (one, _) = gated_delta(tensors(&case, &device), rule(case.dk));
        let (two, _) = gated_delta(tensors(&double, &device), rule(case.dk));
        prop_assert!(error(&numbers(two), &numbers(one * 2.0)) < 1e-6);
    }

    /// Later tokens change nothing before them.
    #[test]
    fn is_causal(case in any_case()) {
        let mut other = case.clone();
        let last = case.heads * case.dv * (case.tokens - 1);
        let rows = case.tokens * case.heads * case.dv;
        for b in 0..case.batch {
            other.v[b * rows + last..(b + 1) * rows].fill(1e3);
        }
        let device = Device::flex();
        let (one, _) = gated_delta(tensors(&case, &device), rule(case.dk));
        let (two, _) = gated_delta(tensors(&other, &device), rule(case.dk));
        if case.tokens > 1 {
            let before = |t: burn::tensor::Tensor<4>| numbers(t.narrow(1, 0, case.tokens - 1));
            prop_assert_eq!(before(one), before(two));
        }
    }
}
