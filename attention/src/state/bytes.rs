//! A state as bytes: the safetensors format, so that other programs can read it.

use std::collections::HashMap;

use burn::tensor::{DType, Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};

use super::State;
use crate::error::AttentionError;

/// Name of the one entry of the metadata; a second would come in any order, and equal states shall be equal bytes.
const TOKENS: &str = "liquid_attention_state_tokens";

impl State {
    /// Writes the state in safetensors format: `memory`, `conv` if there is one, and the token counts as metadata.
    ///
    /// # Errors
    /// [`AttentionError::State`] when the device cannot be read.
    pub fn to_bytes(&self) -> Result<Vec<u8>, AttentionError> {
        let read = |data: Result<TensorData, _>| data.map_err(|error| failed("cannot be read", &error));
        let mut parts = vec![("memory", read(self.memory.clone().try_into_data())?)];
        if let Some(conv) = &self.conv {
            parts.push(("conv", read(conv.clone().try_into_data())?));
        }
        let views = parts
            .iter()
            .map(|(name, data)| {
                let dtype = stored(data.dtype())?;
                let view = TensorView::new(dtype, data.shape().to_vec(), data.as_bytes());
                Ok((*name, view.map_err(|error| failed("cannot be written", &error))?))
            })
            .collect::<Result<Vec<_>, AttentionError>>()?;
        let tokens: Vec<String> = self.tokens.iter().map(u64::to_string).collect();
        let metadata = HashMap::from([(TOKENS.to_owned(), tokens.join(","))]);
        serialize(views, Some(metadata)).map_err(|error| failed("cannot be written", &error))
    }

    /// Reads what [`Self::to_bytes`] wrote. Whether it fits a layer is checked when the layer uses it.
    ///
    /// # Errors
    /// [`AttentionError::State`] for other bytes.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self, AttentionError> {
        let (_, header) =
            SafeTensors::read_metadata(bytes).map_err(|error| failed("is not safetensors", &error))?;
        let tokens = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(TOKENS));
        let tokens = tokens
            .ok_or_else(|| AttentionError::State(format!("has no `{TOKENS}` in its metadata")))?
            .split(',')
            .map(|count| {
                count
                    .parse()
                    .map_err(|error| failed("has broken token counts", &error))
            })
            .collect::<Result<Vec<u64>, _>>()?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| failed("is not safetensors", &error))?;
        let memory = tensor::<4>(&file, "memory", device)?;
        let conv = match file.names().contains(&"conv") {
            true => Some(tensor::<3>(&file, "conv", device)?),
            false => None,
        };
        if memory.dtype() != DType::F32 || memory.dims()[0] != tokens.len() {
            let reason = "`memory` is not f32, or counts another number of sequences than `tokens`";
            return Err(AttentionError::State(reason.to_owned()));
        }
        Ok(Self { memory, conv, tokens })
    }
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> AttentionError {
    AttentionError::State(format!("{what}: {error}"))
}

fn stored(dtype: DType) -> Result<Dtype, AttentionError> {
    match dtype {
        DType::F32 => Ok(Dtype::F32),
        DType::F16 => Ok(Dtype::F16),
        DType::BF16 => Ok(Dtype::BF16),
        other => Err(AttentionError::State(format!(
            "has type {other:?}, which is never written"
        ))),
    }
}

fn tensor<const D: usize>(
    file: &SafeTensors<'_>,
    name: &str,
    device: &Device,
) -> Result<Tensor<D>, AttentionError> {
    let view = file
        .tensor(name)
        .map_err(|error| failed("is incomplete", &error))?;
    let dtype = match view.dtype() {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        other => {
            return Err(AttentionError::State(format!(
                "`{name}` has type {other:?}, which is never written"
            )));
        }
    };
    if view.shape().len() != D {
        return Err(AttentionError::State(format!(
            "`{name}` has shape {:?}, not {D} dimensions",
            view.shape()
        )));
    }
    let data = TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype);
    Ok(Tensor::from_data(data, (device, dtype)))
}
