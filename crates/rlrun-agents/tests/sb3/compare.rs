//! Recorded numbers, and how far ours may lie from them.

use serde_json::Value;

/// The numbers of a tensor, of a list of tensors one after the other, or of a plain number.
pub(crate) fn numbers(recorded: &Value) -> Vec<f64> {
    match recorded {
        Value::Object(tensor) => numbers(&tensor["data"]),
        Value::Array(list) => list.iter().flat_map(numbers).collect(),
        Value::Number(number) => vec![number.as_f64().unwrap()],
        Value::Bool(flag) => vec![f64::from(u8::from(*flag))],
        Value::String(text) => vec![text.parse().unwrap()],
        Value::Null => panic!("a number is recorded as null"),
    }
}

/// [`numbers`] as `f32`, which they were recorded from.
pub(crate) fn floats(recorded: &Value) -> Vec<f32> {
    numbers(recorded).into_iter().map(|number| number as f32).collect()
}

pub(crate) fn flags(recorded: &Value) -> Vec<bool> {
    numbers(recorded).into_iter().map(|number| number != 0.0).collect()
}

pub(crate) fn indices(recorded: &Value) -> Vec<usize> {
    numbers(recorded).into_iter().map(|number| number as usize).collect()
}

pub(crate) fn shape(recorded: &Value) -> Vec<usize> {
    indices(&recorded["shape"])
}

pub(crate) fn number(recorded: &Value) -> f64 {
    numbers(recorded)[0]
}

pub(crate) fn count(recorded: &Value) -> u64 {
    number(recorded) as u64
}

/// How far a number may lie from another.
#[derive(Clone, Copy)]
pub(crate) enum Tolerance {
    Absolute(f64),
    /// Times the largest of all, or this if that is smaller.
    OfLargest(f64, f64),
    /// 1e-6 + 1e-5 of each.
    Each,
}

/// Compares each number of `found` with that of `expected`.
pub(crate) fn close<T: Copy + Into<f64>>(
    what: &str,
    found: &[T],
    expected: &[f64],
    tolerance: Tolerance,
) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!("{what}: {} numbers, expected {}", found.len(), expected.len()));
    }
    let largest = expected.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let found: f64 = found.into();
        let allowed = match tolerance {
            Tolerance::Absolute(tolerance) => tolerance,
            Tolerance::OfLargest(tolerance, least) => tolerance * largest.max(least),
            Tolerance::Each => 1e-6 + 1e-5 * expected.abs(),
        };
        let same = found == expected || (found.is_nan() && expected.is_nan());
        // NaN is near nothing.
        let near = (found - expected).abs() <= allowed;
        if !same && !near {
            return Err(format!("{what}[{index}] is {found}, expected {expected} ± {allowed:.1e}"));
        }
    }
    Ok(())
}
