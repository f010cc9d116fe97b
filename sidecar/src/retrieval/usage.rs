//! Adds up the usage that an upstream reports for each round.

use serde_json::{Map, Number, Value};

/// Adds the numbers of `more`, an object of counts, to those of `usage`, at every depth. All else of `usage` stays.
pub(super) fn add(usage: &mut Value, more: &Value) {
    if usage.is_null() && more.is_object() {
        *usage = Value::Object(Map::new());
    }
    let (Some(usage), Some(more)) = (usage.as_object_mut(), more.as_object()) else {
        return;
    };
    for (name, more) in more {
        match usage.get_mut(name) {
            Some(count) => match (count.as_u64(), more.as_u64()) {
                (Some(one), Some(two)) => *count = one.saturating_add(two).into(),
                _ if more.is_object() => add(count, more),
                // A price is added too; what is no number stays as it is.
                _ => {
                    if let (Some(one), Some(two)) = (count.as_f64(), more.as_f64())
                        && let Some(sum) = Number::from_f64(one + two)
                    {
                        *count = sum.into();
                    }
                }
            },
            None => {
                usage.insert(name.clone(), more.clone());
            }
        }
    }
}
