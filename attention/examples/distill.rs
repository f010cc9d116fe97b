//! The first stage of a distillation, on a model that is small enough for a CPU.
//!
//! 1. A character model with softmax attention (burn's `MultiHeadAttention`) is trained on this repository's own
//!    documentation: the teacher.
//! 2. Each layer's attention is patched with `patch_self_attention` and trained alone, to give on the teacher's
//!    hidden states what the teacher's attention gives (mean squared error).
//! 3. The model's loss on held-out text is printed with the teacher's attention, with the patched layers before
//!    training, and after.
//!
//! ```sh
//! cargo run --release -p liquid-attention --example distill
//! ```
//!
//! A real model needs the same on 10^8 tokens, then training of the whole against the teacher's logits (LoLCATs,
//! arXiv 2410.10254; RADLADS, arXiv 2505.03005). This shows the recipe, not a model of use.

use std::error::Error;
use std::f64::consts::GOLDEN_RATIO;
use std::path::Path;

use burn::module::Module;
use burn::nn::attention::{
    MhaInput, MultiHeadAttention, MultiHeadAttentionConfig, generate_autoregressive_mask,
};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use liquid_attention::{LiquidAttention, LiquidAttentionConfig, LiquidInput, patch_self_attention};

const WIDTH: usize = 64;
const HEADS: usize = 4;
const CONTEXT: usize = 96;
const BATCH: usize = 8;
const TEACHER_STEPS: usize = 400;
const LAYER_STEPS: usize = 300;

/// A block of a transformer, as plain as possible.
#[derive(Module, Debug)]
struct Block {
    before: LayerNorm,
    attention: MultiHeadAttention,
    between: LayerNorm,
    up: Linear,
    down: Linear,
}

#[derive(Module, Debug)]
struct Model {
    embedding: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    after: LayerNorm,
    head: Linear,
}

impl Block {
    fn new(device: &Device) -> Self {
        Self {
            before: LayerNormConfig::new(WIDTH).init(device),
            attention: MultiHeadAttentionConfig::new(WIDTH, HEADS)
                .with_dropout(0.0)
                .init(device),
            between: LayerNormConfig::new(WIDTH).init(device),
            up: LinearConfig::new(WIDTH, 4 * WIDTH).init(device),
            down: LinearConfig::new(4 * WIDTH, WIDTH).init(device),
        }
    }

    fn softmax(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, _] = x.dims();
        let mask = generate_autoregressive_mask(batch, tokens, &x.device());
        self.attention
            .forward(MhaInput::self_attn(x).mask_attn(mask))
            .context
    }

    fn rest(&self, x: Tensor<3>) -> Tensor<3> {
        x.clone()
            + self
                .down
                .forward(activation::gelu(self.up.forward(self.between.forward(x))))
    }
}

impl Model {
    fn new(device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(128, WIDTH).init(device),
            positions: EmbeddingConfig::new(CONTEXT, WIDTH).init(device),
            blocks: (0..2).map(|_| Block::new(device)).collect(),
            after: LayerNormConfig::new(WIDTH).init(device),
            head: LinearConfig::new(WIDTH, 128).init(device),
        }
    }

    /// Logits, and what each block's attention was given. `attend` is asked for each block's attention.
    fn forward(
        &self,
        text: Tensor<2, Int>,
        attend: impl Fn(usize, Tensor<3>) -> Tensor<3>,
    ) -> (Tensor<3>, Vec<Tensor<3>>) {
        let [batch, tokens] = text.dims();
        let places = Tensor::<1, Int>::arange(0..tokens as i64, &text.device());
        let places = places.reshape([1, tokens]).expand([batch, tokens]);
        let mut x = self.embedding.forward(text) + self.positions.forward(places);
        let mut inputs = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            let normed = block.before.forward(x.clone());
            inputs.push(normed.clone());
            x = block.rest(x + attend(index, normed));
        }
        (self.head.forward(self.after.forward(x)), inputs)
    }

    /// Cross-entropy of the next character, in nats.
    fn loss(&self, text: Tensor<2, Int>, attend: impl Fn(usize, Tensor<3>) -> Tensor<3>) -> Tensor<1> {
        let [batch, length] = text.dims();
        let (logits, _) = self.forward(text.clone().narrow(1, 0, length - 1), attend);
        let count = batch * (length - 1);
        let wanted = text.narrow(1, 1, length - 1).reshape([count]);
        CrossEntropyLossConfig::new()
            .init(&logits.device())
            .forward(logits.reshape([count, 128]), wanted)
    }
}

/// Text to learn from and text to be tested on.
struct Text {
    learn: Vec<u8>,
    test: Vec<u8>,
}

impl Text {
    fn read() -> Result<Self, Box<dyn Error>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut all = Vec::new();
        for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "LICENSE"] {
            let bytes = std::fs::read(root.join(name))?;
            all.extend(bytes.into_iter().filter(u8::is_ascii));
        }
        let test = all.split_off(all.len() * 9 / 10);
        Ok(Self { learn: all, test })
    }

    /// `BATCH` pieces, other ones for each `step`. They begin at multiples of the golden ratio, which spread over a text of
    /// any length; whole numbers in its place meet again after a few steps when the length is nearly a multiple.
    fn batch(from: &[u8], step: usize, device: &Device) -> Tensor<2, Int> {
        let span = (from.len() - CONTEXT) as f64;
        let pieces: Vec<i32> = (0..BATCH)
            .flat_map(|row| {
                let turn = ((step * BATCH + row) as f64 * GOLDEN_RATIO).fract();
                let start = (turn * span) as usize;
                from[start..start + CONTEXT].iter().map(|byte| i32::from(*byte))
            })
            .collect();
        Tensor::from_data(TensorData::new(pieces, [BATCH, CONTEXT]), device)
    }
}

fn value(loss: &Tensor<1>) -> Result<f32, Box<dyn Error>> {
    Ok(loss
        .clone()
        .try_into_data()?
        .iter::<f32>()
        .next()
        .unwrap_or(f32::NAN))
}

fn teacher(text: &Text, device: &Device) -> Result<Model, Box<dyn Error>> {
    let mut model = Model::new(device);
    let mut optimizer = AdamConfig::new().init();
    for step in 0..TEACHER_STEPS {
        let loss = model.loss(Text::batch(&text.learn, step, device), |i, x| {
            model.blocks[i].softmax(x)
        });
        if step % 100 == 0 || step + 1 == TEACHER_STEPS {
            println!("  step {step:4}: {:.3} nats a character", value(&loss)?);
        }
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(2e-3, model, grads);
    }
    Ok(model)
}

/// Trains one layer alone; gives it with its first and last loss.
fn layer(
    model: &Model,
    index: usize,
    text: &Text,
    device: &Device,
) -> Result<LiquidAttention, Box<dyn Error>> {
    let options = LiquidAttentionConfig::new(WIDTH, HEADS)
        .with_conv_kernel(Some(4))
        .with_output_gate(true);
    let mut student = patch_self_attention((&model.blocks[index].attention).into(), &options)?;
    let mut optimizer = AdamConfig::new().init();
    let (mut first, mut last) = (None, f32::NAN);
    for step in 0..LAYER_STEPS {
        let batch = Text::batch(&text.learn, step, device);
        let (_, inputs) = model.forward(batch, |i, x| model.blocks[i].softmax(x));
        let x = inputs[index].clone().detach();
        let wanted = model.blocks[index].softmax(x.clone()).detach();
        let size = wanted.clone().square().mean();
        let given = student
            .forward(LiquidInput::self_attn(x).is_causal(true))?
            .context;
        // Relative to the size of what is wanted: 1 is as good as zeros.
        let loss = (given - wanted).square().mean() / size;
        last = value(&loss)?;
        first.get_or_insert(last);
        if step % 100 == 0 || step + 1 == LAYER_STEPS {
            println!("  layer {index}, step {step:4}: relative error {last:.3}");
        }
        let grads = GradientsParams::from_grads(loss.backward(), &student);
        student = optimizer.step(3e-3, student, grads);
    }
    if last >= first.unwrap_or(f32::NAN) {
        return Err(format!("layer {index} did not learn: {first:?} to {last}").into());
    }
    Ok(student)
}

fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::flex().autodiff();
    device.seed(1);
    let text = Text::read()?;
    println!("teacher, softmax attention:");
    let model = teacher(&text, &device)?;

    println!("attention transfer, each layer alone:");
    let students = (0..model.blocks.len())
        .map(|index| layer(&model, index, &text, &device))
        .collect::<Result<Vec<_>, _>>()?;
    let options = LiquidAttentionConfig::new(WIDTH, HEADS);
    let untrained = model
        .blocks
        .iter()
        .map(|block| patch_self_attention((&block.attention).into(), &options))
        .collect::<Result<Vec<_>, _>>()?;

    let held_out = |attend: &dyn Fn(usize, Tensor<3>) -> Tensor<3>| -> Result<f32, Box<dyn Error>> {
        let losses = (0..8)
            .map(|step| value(&model.loss(Text::batch(&text.test, step, &device), attend)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(losses.iter().sum::<f32>() / losses.len() as f32)
    };
    let by = |layers: &[LiquidAttention], index: usize, x: Tensor<3>| {
        let zeros = x.zeros_like();
        layers[index]
            .forward(LiquidInput::self_attn(x).is_causal(true))
            .map_or(zeros, |output| output.context)
    };
    println!("held-out text, nats a character:");
    println!(
        "  teacher                    {:.3}",
        held_out(&|i, x| model.blocks[i].softmax(x))?
    );
    println!(
        "  patched, not trained       {:.3}",
        held_out(&|i, x| by(&untrained, i, x))?
    );
    println!(
        "  patched, after this stage  {:.3}",
        held_out(&|i, x| by(&students, i, x))?
    );
    // What was looked at may serve.
    let served: Vec<_> = students
        .into_iter()
        .map(LiquidAttention::mark_distilled)
        .collect();
    assert!(served.iter().all(|layer| !layer.needs_distillation()));
    Ok(())
}
