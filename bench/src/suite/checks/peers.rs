//! The kernels against transformers' reference and flash-linear-attention, on the same numbers:
//! `attention/peers/reference.py` computes them on the same GPU.

use std::process::Command;

use anyhow::{Context, Result};
use burn::tensor::{DType, Device, Tensor};
use liquid_attention::core::{DeltaTensors, gated_delta};
use safetensors::SafeTensors;

use super::Report;
use super::recurrence::relative_error;
use super::rule::delta_rule;
use crate::suite::tensors::{tensor, values};

const SCRIPT: &str = include_str!("../../../../attention/peers/reference.py");

/// Runs the script, and compares.
pub(in crate::suite) fn check(device: &Device, report: &mut Report) -> Result<()> {
    let path = std::env::temp_dir().join(format!("reference-{}.safetensors", std::process::id()));
    let status = Command::new("python3").args(["-c", SCRIPT]).arg(&path).status();
    let bytes = std::fs::read(&path);
    // Of no more use; the folder is the system's to tidy if it stays.
    drop(std::fs::remove_file(&path));
    let bytes = bytes.with_context(|| format!("python3 wrote no reference: {status:?}"))?;
    let file = SafeTensors::deserialize(&bytes)?;
    let (output, state) = gated_delta(inputs(&file, device), delta_rule(128, true, false));
    let ours = [values(output), values(state)];
    for other in ["transformers", "fla"] {
        for (name, ours) in [other.to_owned(), format!("{other}_state")].iter().zip(&ours) {
            let theirs: Option<Vec<f64>> =
                numbers(&file, name).map(|(values, _)| values.into_iter().map(f64::from).collect());
            let distance = theirs.map_or(f64::NAN, |theirs| relative_error(ours, &theirs));
            report.add(&format!("against {name}"), distance, 1e-2);
        }
    }
    Ok(())
}

/// The inputs of the rule that the script wrote.
fn inputs(file: &SafeTensors<'_>, device: &Device) -> DeltaTensors {
    fn read<const D: usize>(file: &SafeTensors<'_>, name: &str, dtype: DType, device: &Device) -> Tensor<D> {
        let (values, shape) = numbers(file, name).unwrap_or_default();
        let shape = <[usize; D]>::try_from(shape).unwrap_or([0; D]);
        tensor(&values, shape, dtype, device)
    }
    DeltaTensors {
        q: read(file, "q", DType::BF16, device),
        k: read(file, "k", DType::BF16, device),
        v: read(file, "v", DType::BF16, device),
        g: read(file, "g", DType::F32, device),
        beta: read(file, "beta", DType::F32, device),
        state: read(file, "state", DType::F32, device),
    }
}

/// Numbers and shape of a tensor in f32.
fn numbers(file: &SafeTensors<'_>, name: &str) -> Option<(Vec<f32>, Vec<usize>)> {
    let view = file.tensor(name).ok()?;
    let (chunks, _) = view.data().as_chunks::<4>();
    let values = chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Some((values, view.shape().to_vec()))
}
