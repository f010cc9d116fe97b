#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;

use burn::tensor::Distribution;

use super::*;

const HIDDEN: usize = 24;
const INNER: usize = 40;
const WORDS: usize = 50;
const POSITIONS: usize = 16;

fn matrix(rows: usize, columns: usize) -> Tensor<2> {
    Tensor::random(
        [rows, columns],
        Distribution::Normal(0.0, 0.4),
        &burn::tensor::Device::flex(),
    )
}

fn vector(size: usize) -> Tensor<1> {
    matrix(1, size).reshape([size])
}

fn linear_of(inputs: usize, outputs: usize) -> Linear {
    Linear {
        weight: matrix(inputs, outputs),
        bias: vector(outputs),
    }
}

fn norm() -> Norm {
    Norm {
        scale: vector(HIDDEN),
        shift: vector(HIDDEN),
    }
}

fn layer() -> Layer {
    let up = linear_of(HIDDEN, INNER);
    Layer {
        query: linear_of(HIDDEN, HIDDEN),
        key: linear_of(HIDDEN, HIDDEN),
        value: linear_of(HIDDEN, HIDDEN),
        attention_output: linear_of(HIDDEN, HIDDEN),
        attention_norm: norm(),
        up_bias: up.bias.to_data().try_into_vec().unwrap(),
        up,
        down: linear_of(INNER, HIDDEN),
        output_norm: norm(),
    }
}

fn bert() -> Bert {
    let config = serde_json::json!({
        "model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "hidden_size": HIDDEN,
        "intermediate_size": INNER, "max_position_embeddings": POSITIONS, "num_attention_heads": 3,
        "num_hidden_layers": 2, "type_vocab_size": 1, "vocab_size": WORDS,
    });
    Bert {
        config: Config::from_bytes(config.to_string().as_bytes(), Path::new("config.json")).unwrap(),
        device: burn::tensor::Device::flex(),
        activations: ActivationCode::Cpu,
        words: matrix(WORDS, HIDDEN),
        positions: matrix(POSITIONS, HIDDEN),
        second_positions: matrix(POSITIONS, HIDDEN),
        norm: norm(),
        layers: vec![layer(), layer()],
    }
}

#[test]
fn our_sweeps_and_burns_give_the_same_states() {
    let mut bert = bert();
    let (length, lengths) = (9, vec![9, 4, 9]);
    let ids = (0..3 * length).map(|i| ((i * 7) % WORDS) as i32).collect();
    let batch = Batch {
        ids,
        lengths: lengths.clone(),
        length,
        second_segment: Some(5),
    };
    let ours = bert.forward(&batch).unwrap();
    bert.activations = ActivationCode::Burn;
    let burns = bert.forward(&batch).unwrap();
    for (window, valid) in lengths.into_iter().enumerate() {
        let start = window * length * HIDDEN;
        let states = start..start + valid * HIDDEN;
        let worst = ours[states.clone()]
            .iter()
            .zip(&burns[states])
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst < 1e-4, "window {window}: differs by {worst:e}");
    }
}
