//! What a patched layer takes over, and that it refuses to serve.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use burn::nn::attention::MultiHeadAttentionConfig;
use burn::tensor::{Device, Distribution, Tensor};

use super::{Projections, patch_self_attention};
use crate::{AttentionError, LiquidAttentionConfig, LiquidInput};

fn softmax(device: &Device) -> Projections {
    Projections::from(&MultiHeadAttentionConfig::new(24, 6).init(device))
}

/// Two of six heads of keys and values.
fn shared(device: &Device) -> Projections {
    let mut projections = softmax(device);
    for linear in [&mut projections.key, &mut projections.value] {
        linear.weight = burn::module::Param::from_tensor(linear.weight.val().narrow(1, 0, 8).detach());
        linear.bias = linear
            .bias
            .take()
            .map(|b| burn::module::Param::from_tensor(b.val().narrow(0, 0, 8).detach()));
    }
    Projections {
        key_value_heads: 2,
        ..projections
    }
}

#[test]
fn repeats_shared_heads() {
    let device = Device::flex();
    let given = shared(&device);
    let layer = patch_self_attention(given.clone(), &LiquidAttentionConfig::new(1, 1)).expect("a layer");
    assert_eq!(
        layer.query.weight.val().into_data(),
        given.query.weight.val().into_data()
    );
    let (old, new) = (given.key.weight.val(), layer.key.weight.val());
    let bias = layer.key.bias.as_ref().expect("a bias").val();
    let old_bias = given.key.bias.as_ref().expect("a bias").val();
    for head in 0..6 {
        let (from, to) = (head / 3 * 4, head * 4);
        assert_eq!(
            new.clone().narrow(1, to, 4).into_data(),
            old.clone().narrow(1, from, 4).into_data()
        );
        assert_eq!(
            bias.clone().narrow(0, to, 4).into_data(),
            old_bias.clone().narrow(0, from, 4).into_data()
        );
    }
}

#[test]
fn refuses_to_serve_until_told() {
    let device = Device::flex();
    let layer = patch_self_attention(softmax(&device), &LiquidAttentionConfig::new(24, 6)).expect("a layer");
    assert!(layer.needs_distillation());
    let x = || Tensor::<3>::random([1, 5, 24], Distribution::Default, &device);
    let mut state = layer.fresh_state(1);
    let refused = [
        layer
            .forward(LiquidInput::self_attn(x()).is_causal(true))
            .map(|output| output.context),
        layer.prefill(x(), &mut state),
        layer.step(x().narrow(1, 0, 1), &mut state),
    ];
    for result in refused {
        assert!(
            matches!(result, Err(AttentionError::NeedsDistillation)),
            "{result:?}"
        );
    }
    let layer = layer.mark_distilled();
    assert!(layer.prefill(x(), &mut state).is_ok());
}

#[cfg(feature = "training")]
#[test]
fn runs_where_it_can_be_trained() {
    let device = Device::flex().autodiff();
    let layer = patch_self_attention(shared(&device), &LiquidAttentionConfig::new(24, 6)).expect("a layer");
    let x = Tensor::<3>::random([1, 5, 24], Distribution::Default, &device);
    let output = layer
        .forward(LiquidInput::self_attn(x).is_causal(true))
        .expect("an output");
    let grads = output.context.sum().backward();
    for weight in [
        &layer.query.weight,
        &layer.key.weight,
        &layer.gate_a.weight,
        &layer.gate_b.weight,
    ] {
        assert!(weight.val().grad(&grads).is_some());
    }
}

#[test]
fn refuses_heads_that_do_not_fit() {
    let device = Device::flex();
    let options = LiquidAttentionConfig::new(24, 6);
    for (heads, key_value_heads) in [(5, 5), (6, 4), (6, 3), (0, 1)] {
        let projections = Projections {
            heads,
            key_value_heads,
            ..softmax(&device)
        };
        let error = patch_self_attention(projections, &options).expect_err("a refusal");
        assert!(matches!(error, AttentionError::Config { .. }), "{error}");
    }
}
