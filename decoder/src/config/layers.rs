//! Which layers attend to everything, which to a window, and which by the gated delta rule.

use super::fields::Fields;
use super::{ConfigError, Family, LayerKind};

/// Window of Mistral's class for a configuration that does not mention one.
const MISTRAL_WINDOW: usize = 4096;
/// A hybrid without a list attends to everything in every so many-th layer, unless it says another number.
const FULL_INTERVAL: usize = 4;

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
        Family::Qwen3_5 | Family::Qwen3Next => hybrid(fields, count),
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

/// Reads the kinds of a hybrid's layers: the list counts; the rule is only for configurations without one.
fn hybrid(fields: &Fields, count: usize) -> Result<Vec<LayerKind>, ConfigError> {
    let kinds = match fields.list("layer_types")? {
        Some(types) => {
            check_length(fields, &types, count)?;
            let kinds = types.iter().map(|name| match name.as_str() {
                "full_attention" | "attention" => Ok(LayerKind::Full),
                "linear_attention" | "mamba" => Ok(LayerKind::GatedDelta),
                _ => Err(fields.wrong("layer_types", name, "full_attention or linear_attention")),
            });
            kinds.collect::<Result<Vec<_>, _>>()?
        }
        None => {
            let interval = fields.optional_count("full_attention_interval")?;
            let interval = interval.unwrap_or(FULL_INTERVAL);
            let kinds = (1..=count).map(|layer| match layer.is_multiple_of(interval) {
                true => LayerKind::Full,
                false => LayerKind::GatedDelta,
            });
            kinds.collect()
        }
    };
    match kinds.contains(&LayerKind::Full) {
        true => Ok(kinds),
        false => Err(fields.wrong(
            "layer_types",
            "without full_attention",
            "of at least one such layer",
        )),
    }
}

fn check_length(fields: &Fields, types: &[String], count: usize) -> Result<(), ConfigError> {
    if types.len() == count {
        return Ok(());
    }
    let expected = format!("one for each of the {count} layers (num_hidden_layers)");
    Err(fields.wrong("layer_types", format!("a list of {}", types.len()), expected))
}

/// Reads a list of types: the list counts, never a rule.
fn listed(
    fields: &Fields,
    types: &[String],
    count: usize,
    window: Option<usize>,
) -> Result<Vec<LayerKind>, ConfigError> {
    check_length(fields, types, count)?;
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
        LayerKind::Full | LayerKind::GatedDelta => None,
    });
    if listed(fields, &types, kinds.len(), window)? == kinds {
        return Ok(kinds);
    }
    let expected = "the same for all layers: this class does not mix them";
    Err(fields.wrong("layer_types", types.join(", "), expected))
}
