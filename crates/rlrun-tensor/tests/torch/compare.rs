//! Compares what a program did with what was recorded.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::program::Outcome;

/// A recorded number; the non-finite ones are strings.
pub(crate) fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) if text == "nan" => f64::NAN,
        Value::String(text) if text == "inf" => f64::INFINITY,
        Value::String(text) if text == "-inf" => f64::NEG_INFINITY,
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        other => other.as_f64().unwrap_or_else(|| panic!("not a number: {other}")),
    }
}

/// `|a - b| ≤ absolute + relative·|b|`; equal infinities and two NaNs agree.
pub(crate) fn close(a: f64, b: f64, absolute: f64, relative: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= absolute + relative * b.abs()
}

/// How far numbers may be apart: `absolute + relative · |recorded|`.
#[derive(Clone, Copy)]
pub(crate) struct Tolerance {
    pub(crate) absolute: f64,
    pub(crate) relative: f64,
}

impl Tolerance {
    pub(crate) const TIGHT: Tolerance = Tolerance { absolute: 1e-6, relative: 1e-5 };
    /// For sums of products and for what divides by a spread.
    pub(crate) const ROUGH: Tolerance = Tolerance { absolute: 1e-5, relative: 1e-4 };
}

pub(crate) fn numbers_agree(ours: &Value, theirs: &Value) -> bool {
    agree(ours, theirs, Tolerance::TIGHT)
}

fn agree(ours: &Value, theirs: &Value, tolerance: Tolerance) -> bool {
    let (Some(ours), Some(theirs)) = (ours.as_array(), theirs.as_array()) else { return false };
    let pairs = ours.iter().zip(theirs);
    ours.len() == theirs.len()
        && pairs
            .into_iter()
            .all(|(a, b)| close(number(a), number(b), tolerance.absolute, tolerance.relative))
}

fn differs(what: &str, ours: &Value, theirs: &Value) -> Result<(), String> {
    Err(format!("{what}: ours {ours}, recorded {theirs}"))
}

/// Compares two objects key by key; `values` are compared as numbers.
fn objects(what: &str, ours: &Value, theirs: &Value, tolerance: Tolerance) -> Result<(), String> {
    let empty = Map::new();
    let (a, b) = (ours.as_object().unwrap_or(&empty), theirs.as_object().unwrap_or(&empty));
    for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
        let what = format!("{what}.{key}");
        let (x, y) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
        match key.as_str() {
            "values" if agree(x, y, tolerance) => {}
            "values" => return differs(&what, x, y),
            _ if x.is_object() && y.is_object() => objects(&what, x, y, tolerance)?,
            _ if x == y => {}
            _ => return differs(&what, x, y),
        }
    }
    Ok(())
}

/// Compares one entry of a trace, threads included.
fn entry(what: &str, ours: &Value, theirs: &Value) -> Result<(), String> {
    let (Some(a), Some(b)) = (ours["thread"].as_array(), theirs["thread"].as_array()) else {
        return objects(what, ours, theirs, Tolerance::TIGHT);
    };
    trace(what, a, b)?;
    let without = |entry: &Value| {
        let mut entry = entry.clone();
        entry.as_object_mut().map(|fields| fields.remove("thread"));
        entry
    };
    objects(what, &without(ours), &without(theirs), Tolerance::TIGHT)
}

pub(crate) fn trace(what: &str, ours: &[Value], theirs: &[Value]) -> Result<(), String> {
    for (step, (a, b)) in ours.iter().zip(theirs).enumerate() {
        entry(&format!("{what}step {step}"), a, b)?;
    }
    if ours.len() != theirs.len() {
        return Err(format!("{what}: ran {} steps, recorded {}", ours.len(), theirs.len()));
    }
    Ok(())
}

/// Compares the tensors that are left at the end, but for the values that are not specified.
pub(crate) fn finals(
    ours: &Value,
    theirs: &Value,
    unspecified: &HashSet<String>,
    tolerance: Tolerance,
) -> Result<(), String> {
    let known = |tensors: &Value| {
        let mut tensors = tensors.clone();
        for name in unspecified {
            if let Some(fields) = tensors.get_mut(name).and_then(Value::as_object_mut) {
                fields.remove("values");
                fields.remove("grad");
            }
        }
        tensors
    };
    objects("final", &known(ours), &known(theirs), tolerance)
}

/// Whose memory a tensor has.
pub(crate) const ALIASING: [&str; 6] =
    ["base", "is_view", "view_made_in", "version", "same_tensor_as", "storage"];

/// Takes `flags` of the tensors `names` out of a trace or out of the final tensors.
pub(crate) fn forget(part: &mut Value, names: &HashSet<String>, flags: &[&str]) {
    match part {
        Value::Array(entries) => entries.iter_mut().for_each(|e| forget(e, names, flags)),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_object_mut() {
                    Some(known) if names.contains(name) => {
                        known.retain(|flag, _| !flags.contains(&flag.as_str()));
                    }
                    _ => forget(field, names, flags),
                }
            }
        }
        _ => {}
    }
}

/// Compares everything.
pub(crate) fn outcome(
    ours: &Outcome,
    theirs: &Value,
    unspecified: &HashSet<String>,
    tolerance: Tolerance,
) -> Result<(), String> {
    let recorded = theirs["trace"].as_array().expect("a recorded trace");
    trace("", &ours.trace, recorded)?;
    if ours.error != theirs["error"] {
        return differs("error", &ours.error, &theirs["error"]);
    }
    if theirs["error"].is_null() {
        finals(&ours.tensors, &theirs["final"], unspecified, tolerance)?;
    }
    hooks(ours, theirs, tolerance)
}

pub(crate) fn hooks(ours: &Outcome, theirs: &Value, tolerance: Tolerance) -> Result<(), String> {
    let none = Vec::new();
    let recorded = theirs["hooks"].as_array().unwrap_or(&none);
    for (call, (a, b)) in ours.hooks.iter().zip(recorded).enumerate() {
        objects(&format!("hook call {call}"), a, b, tolerance)?;
    }
    if ours.hooks.len() != recorded.len() {
        return Err(format!("{} hook calls, recorded {}", ours.hooks.len(), recorded.len()));
    }
    Ok(())
}
