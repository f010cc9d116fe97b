//! The layer against the same layer in f64.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Bool, DType, Device, Tensor, TensorData};

use super::LiquidAttention;
use crate::oracle::layer::Layer;
use crate::oracle::{Random, error};
use crate::{AttentionError, LiquidAttentionConfig, LiquidInput, Precision};

mod gradients;
mod padding;
mod states;

const CLOSE: f64 = 2e-5;

/// Layers of every kind that can be causal.
fn kinds() -> Vec<(&'static str, LiquidAttentionConfig)> {
    let plain = || LiquidAttentionConfig::new(24, 3);
    vec![
        ("plain", plain()),
        ("no erase", plain().with_erase(false)),
        ("convolution", plain().with_conv_kernel(Some(4))),
        ("gate", plain().with_output_gate(true)),
        (
            "as in Qwen3.5",
            LiquidAttentionConfig::new(20, 4)
                .with_n_key_heads(Some(2))
                .with_d_key(Some(8))
                .with_d_value(Some(6))
                .with_conv_kernel(Some(4))
                .with_output_gate(true)
                .with_query_bias(false)
                .with_key_bias(false)
                .with_value_bias(false)
                .with_output_bias(false),
        ),
    ]
}

/// Creates a layer with the same weights at every call. burn draws from one generator for the whole process, so
/// with tests side by side its seed promises nothing.
fn layer(config: &LiquidAttentionConfig, device: &Device) -> LiquidAttention {
    let mut drawn = Drawn {
        random: Random::new(5),
        name: String::new(),
    };
    config.init(device).expect("a layer").map(&mut drawn)
}

/// Draws all weights and biases again, as burn does by default: evenly, up to one by the root of the inputs.
struct Drawn {
    random: Random,
    name: String,
}

impl ModuleMapper for Drawn {
    fn enter_module(&mut self, name: &str, _: &str) {
        name.clone_into(&mut self.name);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !matches!(self.name.as_str(), "weight" | "bias") {
            return param;
        }
        param.map(|tensor| {
            let limit = 1.0 / (tensor.dims()[0] as f64).sqrt();
            let draw = |_| ((2.0 * self.random.uniform() - 1.0) * limit) as f32;
            let values: Vec<f32> = (0..tensor.shape().num_elements()).map(draw).collect();
            let drawn = Tensor::from_data(TensorData::new(values, tensor.dims()), &tensor.device());
            drawn.set_require_grad(tensor.is_require_grad())
        })
    }
}

/// Returns one sequence, `[N][width]`.
fn sequence(seed: u64, tokens: usize, width: usize) -> Vec<Vec<f64>> {
    Random::new(seed)
        .normals(tokens * width)
        .chunks(width)
        .map(<[f64]>::to_vec)
        .collect()
}

fn tensor(sequences: &[Vec<Vec<f64>>], device: &Device) -> Tensor<3> {
    let shape = [sequences.len(), sequences[0].len(), sequences[0][0].len()];
    let values: Vec<f32> = sequences.concat().concat().iter().map(|x| *x as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

fn causal(layer: &LiquidAttention, x: Tensor<3>) -> Tensor<3> {
    layer
        .forward(LiquidInput::self_attn(x).is_causal(true))
        .expect("an output")
        .context
}

#[test]
fn causal_agrees_with_the_recurrence() {
    let device = Device::flex();
    for (name, config) in kinds() {
        let layer = layer(&config, &device);
        for tokens in [1, 2, 5, 63, 64, 65, 133] {
            let sequences = [
                sequence(1, tokens, config.d_model),
                sequence(2, tokens, config.d_model),
            ];
            let given = numbers(causal(&layer, tensor(&sequences, &device)));
            let wanted = sequences.map(|x| Layer::new(&layer).causal(&x)).concat().concat();
            let error = error(&given, &wanted);
            assert!(error < CLOSE, "{name}, {tokens} tokens: {error:.1e}");
        }
    }
}

#[test]
fn has_the_projections_of_multi_head_attention() {
    let device = Device::flex();
    let theirs = burn::nn::attention::MultiHeadAttentionConfig::new(24, 3).init(&device);
    let ours = LiquidAttentionConfig::new(24, 3).init(&device).expect("a layer");
    for (theirs, ours) in [
        (&theirs.query, &ours.query),
        (&theirs.key, &ours.key),
        (&theirs.value, &ours.value),
        (&theirs.output, &ours.output),
    ] {
        assert_eq!(theirs.weight.dims(), ours.weight.dims());
        let bias = |linear: &burn::nn::Linear| linear.bias.as_ref().map(|bias| bias.dims());
        assert_eq!(bias(theirs), bias(ours));
    }
}

#[test]
fn full_and_cross_attention_sum_over_all_keys() {
    let device = Device::flex();
    let config = LiquidAttentionConfig::new(24, 3).with_output_gate(true);
    let layer = layer(&config, &device);
    let oracle = Layer::new(&layer);
    let x = sequence(3, 70, 24);
    let own = layer
        .forward(LiquidInput::self_attn(tensor(std::slice::from_ref(&x), &device)))
        .expect("an output");
    assert!(
        error(
            &numbers(own.context),
            &oracle.full(&x, &x, &x, &[true; 70]).concat()
        ) < CLOSE
    );

    for queries in [1, 9, 90] {
        let (query, value) = (sequence(4, queries, 24), sequence(5, 70, 24));
        let keep: Vec<bool> = (0..70).map(|t| t % 5 != 1).collect();
        let mask: Vec<bool> = keep.iter().map(|keep| !keep).collect();
        let mask = Tensor::<1, Bool>::from_bool(TensorData::from(mask.as_slice()), &device).reshape([1, 70]);
        let one = |rows: &Vec<Vec<f64>>| tensor(std::slice::from_ref(rows), &device);
        let input = LiquidInput::new(one(&query), one(&x), one(&value)).key_padding_mask(mask);
        let given = numbers(layer.forward(input).expect("an output").context);
        let error = error(&given, &oracle.full(&query, &x, &value, &keep).concat());
        assert!(error < CLOSE, "{queries} queries: {error:.1e}");
    }
}

#[test]
fn full_attention_has_no_order() {
    let device = Device::flex();
    let layer = layer(&LiquidAttentionConfig::new(24, 3), &device);
    let x = tensor(&[sequence(3, 70, 24)], &device);
    let full = |x| {
        layer
            .forward(LiquidInput::self_attn(x))
            .expect("an output")
            .context
    };
    let turned = full(x.clone().flip([1])).flip([1]);
    assert!(error(&numbers(full(x)), &numbers(turned)) < CLOSE);
}

#[test]
fn bidirectional_adds_two_scans() {
    let device = Device::flex();
    let layer = layer(
        &LiquidAttentionConfig::new(24, 3).with_bidirectional(true),
        &device,
    );
    let x = sequence(6, 90, 24);
    let given = layer
        .forward(LiquidInput::self_attn(tensor(std::slice::from_ref(&x), &device)))
        .expect("an output");
    assert!(
        error(
            &numbers(given.context),
            &Layer::new(&layer).both_ways(&x).concat()
        ) < CLOSE
    );
}

#[test]
fn bf16_layers_answer_in_bf16() {
    let device = Device::flex();
    let exact = layer(&LiquidAttentionConfig::new(24, 3), &device);
    let wide = tensor(&[sequence(7, 100, 24)], &device);
    let narrow = narrow(exact.clone());
    let given = causal(&narrow, wide.clone().cast(DType::BF16));
    assert_eq!(given.dtype(), DType::BF16);
    assert!(error(&numbers(given), &numbers(causal(&exact, wide.clone()))) < 2e-2);
    let refused = narrow.forward(LiquidInput::self_attn(wide).is_causal(true));
    assert!(matches!(refused, Err(AttentionError::Type { .. })), "{refused:?}");
}

/// Casts the weights of a layer to bf16.
fn narrow(layer: LiquidAttention) -> LiquidAttention {
    struct Narrow;
    impl ModuleMapper for Narrow {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor.cast(DType::BF16))
        }
    }
    layer.map(&mut Narrow)
}

#[test]
fn refuses_what_it_cannot_do_and_says_what_to_do() {
    let device = Device::flex();
    let plain = layer(&LiquidAttentionConfig::new(24, 3), &device);
    let both = layer(
        &LiquidAttentionConfig::new(24, 3).with_bidirectional(true),
        &device,
    );
    let conv = layer(
        &LiquidAttentionConfig::new(24, 3).with_conv_kernel(Some(4)),
        &device,
    );
    let x = || tensor(&[sequence(1, 5, 24)], &device);
    let own = || LiquidInput::self_attn(x());
    let pairs = Tensor::<3, Bool>::full([1, 5, 5], false, &device);
    let short = Tensor::<2, Bool>::full([1, 4], false, &device);
    let refusals = [
        (plain.forward(own().need_weights(true)), "MultiHeadAttention"),
        (plain.forward(own().mask_attn(pairs)), "is_causal(true)"),
        (
            plain.forward(LiquidInput::new(x(), x(), x()).is_causal(true)),
            "self_attn",
        ),
        (both.forward(own().is_causal(true)), "bidirectional = false"),
        (
            both.forward(LiquidInput::new(x(), x(), x())),
            "bidirectional = false",
        ),
        (conv.forward(own()), "conv_kernel = None"),
        (plain.forward(own().mask_pad(short)), "[1, 5]"),
        (
            plain.forward(LiquidInput::self_attn(tensor(&[sequence(1, 5, 23)], &device))),
            "24",
        ),
    ];
    for (result, remedy) in refusals {
        let text = result.expect_err("a refusal").to_string();
        assert!(text.contains(remedy), "{text} does not say {remedy}");
    }
    let step = plain.step(x(), &mut plain.fresh_state(1)).expect_err("a refusal");
    assert!(step.to_string().contains("[any, 1, 24]"), "{step}");
}

#[test]
fn refuses_settings_that_do_not_fit() {
    let refused = [
        (LiquidAttentionConfig::new(24, 5), "n_heads = 5"),
        (
            LiquidAttentionConfig::new(24, 4).with_n_key_heads(Some(3)),
            "n_key_heads = 3",
        ),
        (
            LiquidAttentionConfig::new(24, 4).with_conv_kernel(Some(1)),
            "conv_kernel = 1",
        ),
        (LiquidAttentionConfig::new(0, 4), "d_model, n_heads = 0, 4"),
        (
            LiquidAttentionConfig::new(24, 4)
                .with_bidirectional(true)
                .with_conv_kernel(Some(4)),
            "bidirectional",
        ),
    ];
    for (config, field) in refused {
        let text = config.init(&Device::flex()).expect_err("a refusal").to_string();
        assert!(text.contains(field), "{text} does not name {field}");
    }
}

#[test]
fn precise_mode_is_visible_and_can_be_overridden() {
    let layer = layer(&LiquidAttentionConfig::new(24, 3), &Device::flex());
    assert!(!layer.is_precise(65_535));
    assert!(layer.is_precise(65_536));
    assert!(layer.clone().with_precision(Precision::Precise).is_precise(1));
    assert!(!layer.with_precision(Precision::Standard).is_precise(1_000_000));
}

#[test]
fn a_warm_up_serves_every_kind_and_changes_nothing() {
    let device = Device::flex();
    for (name, config) in kinds() {
        let layer = layer(&config, &device);
        let x = || tensor(&[sequence(3, 70, config.d_model)], &device);
        let before = numbers(causal(&layer, x()));
        layer.warm_up(2).expect(name);
        assert_eq!(numbers(causal(&layer, x())), before, "{name}");
        assert_eq!(layer.settings.precision, Precision::Auto);
    }
    let both = layer(
        &LiquidAttentionConfig::new(24, 3).with_bidirectional(true),
        &device,
    );
    both.warm_up(1).expect("bidirectional");
    assert!(matches!(both.warm_up(0), Err(AttentionError::Shape { .. })));
}
