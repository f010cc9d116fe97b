//! Which layers attend to everything and which to a window.

use super::fields::Fields;
use super::{ConfigError, Family, LayerKind};

/// Window of Mistral's class for a configuration that does not mention one.
const MISTRAL_WINDOW: usize = 4096;

/// Reads the kind of every layer.
pub(super) fn read(fields: &Fields, family: Family) -> Result<Vec<LayerKind>, ConfigError> {
    let count = fields.count("num_hidden_layers")?;
    match family {
        Family::Llama => {
            let kinds = vec![LayerKind::Full; count];
            same(fields, kinds)
        }
        Family::Mistral => {
            let window = match fields.optional_count("sliding_window")? {
                None if fields.is_null("sliding_window") => None,
                None => Some(MISTRAL_WINDOW),
                window => window,
            };
            same(fields, vec![kind(window); count])
        }
        Family::Qwen2 | Family::Qwen3 => qwen(fields, count),
    }
}

fn kind(window: Option<usize>) -> LayerKind {
    window.map_or(LayerKind::Full, |window| LayerKind::Sliding { window })
}

fn qwen(fields: &Fields, count: usize) -> Result<Vec<LayerKind>, ConfigError> {
    let window = match fields.flag("use_sliding_window", false)? {
        true => fields.optional_count("sliding_window")?,
        false => None,
    };
    if let Some(types) = fields.list("layer_types")? {
        return listed(fields, &types, count, window);
    }
    let Some(window) = window else {
        return Ok(vec![LayerKind::Full; count]);
    };
    let full = match fields
        .value("max_window_layers")
        .and_then(serde_json::Value::as_u64)
    {
        Some(0) => 0,
        _ => fields.count("max_window_layers")?,
    };
    let kinds = (0..count).map(|layer| kind((layer >= full).then_some(window)));
    Ok(kinds.collect())
}

/// Reads a list of types: the list counts, never a rule.
fn listed(
    fields: &Fields,
    types: &[String],
    count: usize,
    window: Option<usize>,
) -> Result<Vec<LayerKind>, ConfigError> {
    if types.len() != count {
        let expected = format!("one for each of the {count} layers (num_hidden_layers)");
        return Err(fields.wrong("layer_types", format!("a list of {}", types.len()), expected));
    }
    let kinds = types.iter().map(|name| match (name.as_str(), window) {
        ("full_attention" | "attention", _) => Ok(LayerKind::Full),
        ("sliding_attention", Some(window)) => Ok(LayerKind::Sliding { window }),
        ("sliding_attention", None) => {
            let expected = "full_attention where use_sliding_window is not true with a sliding_window";
            Err(fields.wrong("layer_types", name, expected))
        }
        _ => Err(fields.wrong("layer_types", name, "full_attention or sliding_attention")),
    });
    kinds.collect()
}

/// Checks that a list of types, where there is one, says what the class computes without looking at it.
fn same(fields: &Fields, kinds: Vec<LayerKind>) -> Result<Vec<LayerKind>, ConfigError> {
    let Some(types) = fields.list("layer_types")? else {
        return Ok(kinds);
    };
    let window = kinds.first().and_then(|kind| match kind {
        LayerKind::Sliding { window } => Some(*window),
        LayerKind::Full => None,
    });
    if listed(fields, &types, kinds.len(), window)? == kinds {
        return Ok(kinds);
    }
    let expected = "the same for all layers: this class does not mix them";
    Err(fields.wrong("layer_types", types.join(", "), expected))
}
