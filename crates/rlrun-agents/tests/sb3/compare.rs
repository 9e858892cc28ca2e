//! Held against what was recorded.

use std::collections::BTreeMap;

use rlrun_agents::Metrics;
use rlrun_agents::rehearsal::Event;
use serde_json::Value;

use crate::numbers::{number, numbers};

/// |a - b| within `tolerance` for each pair; NaN equals NaN.
pub(crate) fn close(
    found: &[f32],
    recorded: &Value,
    tolerance: f64,
    what: &str,
) -> Result<(), String> {
    let recorded = numbers(recorded);
    if found.len() != recorded.len() {
        return Err(format!("{what} has {} numbers, recorded {}", found.len(), recorded.len()));
    }
    for (index, (&a, b)) in found.iter().zip(recorded).enumerate() {
        let a = f64::from(a);
        let near = (a - b).abs() <= tolerance || (a.is_nan() && b.is_nan()) || a == b;
        if !near {
            return Err(format!("{what}[{index}] is {a}, recorded {b} ± {tolerance:.1e}"));
        }
    }
    Ok(())
}

/// The largest of the numbers, without their signs.
fn largest(value: &Value) -> f64 {
    numbers(value).into_iter().map(f64::abs).filter(|x| x.is_finite()).fold(0.0, f64::max)
}

/// [`close`] with a tolerance relative to max(1, largest).
pub(crate) fn close_trace(
    found: &[f32],
    recorded: &Value,
    tolerance: f64,
    what: &str,
) -> Result<(), String> {
    close(found, recorded, tolerance * largest(recorded).max(1.0), what)
}

/// [`close`] with a tolerance relative to the largest.
pub(crate) fn close_moment(
    found: &[f32],
    recorded: &Value,
    tolerance: f64,
    what: &str,
) -> Result<(), String> {
    close(found, recorded, tolerance * largest(recorded).max(1e-30), what)
}

/// What a row logged, all of it.
pub(crate) fn logged(row: &Value, metrics: &Metrics) -> Result<(), String> {
    let relative = number(&row["tol"]["logger_rel"]);
    for (tag, recorded) in row["logger"].as_object().unwrap() {
        let found = metrics.get(tag).ok_or_else(|| format!("`{tag}` is not logged"))?;
        let expected = number(recorded);
        let near = (found - expected).abs() <= relative * expected.abs().max(1e-3);
        let undefined = found.is_nan() && expected.is_nan();
        if !near && !undefined {
            return Err(format!("`{tag}` is {found}, recorded {expected} ± {relative:.1e} of it"));
        }
    }
    Ok(())
}

/// Names of the recording that are no tensors of an update, or that follow from others which are
/// compared.
const NOT_TRACED: [&str; 10] = [
    "event",
    "of",
    "batch",
    "ent_coef",
    "approx_kl_div",
    "clip_fraction",
    "grad_before_clip_norm_f64sum",
    "grad_in_step_norm_f64sum",
    "grad_before_clip",
    "grad_in_step",
];

/// The values on the way and the gradients of every step of a row, against the events of an update.
/// `rename` gives the name of a parameter in the recording.
pub(crate) fn traced(
    row: &Value,
    events: &[Event],
    rename: impl Fn(&str, &str) -> String,
) -> Result<(), String> {
    let recorded = row["trace"].as_array().unwrap();
    let steps: Vec<usize> =
        (0..events.len()).filter(|&index| events[index].name == "step").collect();
    if steps.len() != recorded.len() {
        return Err(format!("{} steps were made, recorded {}", steps.len(), recorded.len()));
    }
    let mut known = BTreeMap::new();
    let (mut first, mut seen) = (0, Vec::new());
    for (&last, recorded) in steps.iter().zip(recorded) {
        let of = recorded["of"].as_str().unwrap();
        if row["sensitive"] == true && seen.contains(&of) {
            // After its first step, f32 does not determine this row; its end has a tolerance.
            break;
        }
        seen.push(of);
        let here = &events[first..=last];
        first = last + 1;
        for event in here.iter().filter(|event| !["gradient", "step"].contains(&event.name)) {
            known.extend(event.values.iter().map(|(name, numbers)| (name.as_str(), numbers)));
        }
        for (name, value) in recorded.as_object().unwrap() {
            if NOT_TRACED.contains(&name.as_str()) {
                continue;
            }
            let tolerance = number(&row["tol"]["trace"][name]);
            let what = format!("{of}: `{name}`");
            match known.get(name.as_str()) {
                Some(found) => close_trace(found, value, tolerance, &what)?,
                None if value.is_array() => {
                    // Several tensors under one name.
                    for (index, value) in value.as_array().unwrap().iter().enumerate() {
                        let single = format!("{name}.{index}");
                        let found = known.get(single.as_str());
                        let found = found.ok_or_else(|| format!("{what} is not traced"))?;
                        close_trace(found, value, tolerance, &what)?;
                    }
                }
                None if name == "q_values_pi" => {}
                None => return Err(format!("{what} is not traced")),
            }
        }
        for (event, key) in [("gradient", "grad_before_clip"), ("step", "grad_in_step")] {
            let Some(grads) = recorded[key].as_object() else { continue };
            let found = here.iter().find(|found| found.name == event).unwrap();
            let tolerance = number(&row["tol"]["trace"][key]);
            let found: BTreeMap<String, &Vec<f32>> =
                found.values.iter().map(|(name, grad)| (rename(of, name), grad)).collect();
            for (name, grad) in grads {
                let what = format!("{of}: {key} of `{name}`");
                let found = found.get(name).ok_or_else(|| format!("{what} is missing"))?;
                close_trace(found, grad, tolerance, &what)?;
            }
        }
    }
    Ok(())
}
