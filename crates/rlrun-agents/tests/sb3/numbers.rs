//! Numbers of a recording.

use serde_json::Value;

/// A number, which may be written as `"nan"`, `"inf"` or `"-inf"`.
pub(crate) fn number(value: &Value) -> f64 {
    match value {
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::String(text) => text.parse().unwrap_or_else(|_| panic!("`{text}` is no number")),
        value => value.as_f64().unwrap_or_else(|| panic!("`{value}` is no number")),
    }
}

/// The numbers of a tensor, of a list, or one number.
pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Object(tensor) => numbers(&tensor["data"]),
        Value::Array(list) => list.iter().flat_map(numbers).collect(),
        single => vec![number(single)],
    }
}

pub(crate) fn floats(value: &Value) -> Vec<f32> {
    // An f32 is written as the shortest decimal that gives it back.
    numbers(value).into_iter().map(|number| number as f32).collect()
}

pub(crate) fn flags(value: &Value) -> Vec<bool> {
    numbers(value).into_iter().map(|number| number != 0.0).collect()
}

pub(crate) fn indices(value: &Value) -> Vec<usize> {
    numbers(value).into_iter().map(|number| number as usize).collect()
}

pub(crate) fn shape(value: &Value) -> Vec<usize> {
    indices(&value["shape"])
}

pub(crate) fn count(value: &Value) -> usize {
    value.as_f64().unwrap_or_else(|| panic!("`{value}` is no count")) as usize
}

pub(crate) fn optional(value: &Value) -> Option<f64> {
    (!value.is_null()).then(|| number(value))
}
