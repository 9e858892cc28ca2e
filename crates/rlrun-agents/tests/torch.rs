//! Distributions against log-probabilities, entropies, divergences and their gradients recorded
//! from PyTorch, read from the folder in `RLRUN_TORCH_FIXTURES` or, if that is not set, from
//! `tests/fixtures`.

#![allow(clippy::unwrap_used)]

use rlrun_agents::distributions::{Distribution, TanhNormal};
use rlrun_env::Actions;
use rlrun_tensor::{Backward, Tensor, catch};
use serde_json::Value;

#[path = "../../rlrun-tensor/tests/torch/recordings.rs"]
mod recordings;

#[test]
fn distributions_follow_the_recordings() {
    recordings::check_rows("distributions", |row| {
        catch(|| check(row)).unwrap_or_else(|refusal| Err(refusal.to_string()))
    });
}

/// Leaves, under the names that their gradients are recorded under.
struct Params(Vec<(String, Tensor)>);

impl Params {
    fn new(prefix: &str, recorded: &Value) -> Params {
        let leaf = |(name, recorded): (&String, &Value)| {
            (format!("{prefix}{name}"), tensor(recorded).requires_grad_(true))
        };
        Params(recorded.as_object().unwrap().iter().map(leaf).collect())
    }

    fn get(&self, name: &str) -> Tensor {
        let named = |(full, _): &&(String, Tensor)| full.rsplit('.').next() == Some(name);
        self.0.iter().find(named).unwrap_or_else(|| panic!("no parameter `{name}`")).1.clone()
    }
}

fn check(row: &Value) -> Result<(), String> {
    let kind = row["distribution"].as_str().unwrap();
    let mut params = Params::new("", &row["params"]);
    // Rows of these are not summed over the last dimension: each number is a vector of one.
    let single = matches!(kind, "Normal" | "Bernoulli" | "Beta");
    let value = tensor(&row["value"]);
    let value = if single { value.unsqueeze(-1) } else { value };
    if kind == "TanhNormal" {
        let policy = TanhNormal { mean: params.get("mean"), log_std: params.get("std").log() };
        squashes(row)?;
        return compare(row, "log_prob", &policy.log_prob(&value), &params);
    }
    let policy = distribution(kind, &params, single)?;
    compare(row, "log_prob", &policy.log_prob(&value), &params)?;
    compare(row, "entropy", &policy.entropy(), &params)?;
    if row["kl"].is_null() {
        return Ok(());
    }
    let other = Params::new("other.", &row["other"]);
    let kl = policy.kl_divergence(&distribution(kind, &other, single)?);
    params.0.extend(other.0);
    compare(row, "kl", &kl, &params)
}

fn distribution(kind: &str, params: &Params, single: bool) -> Result<Distribution, String> {
    let param = |name: &str| {
        let param = params.get(name);
        if single { param.unsqueeze(-1) } else { param }
    };
    Ok(match kind {
        "Categorical" => Distribution::Categorical { logits: param("logits") },
        "CategoricalProbs" => Distribution::CategoricalProbs { probs: param("probs") },
        "Normal" | "DiagNormal" => {
            Distribution::DiagGaussian { mean: param("mean"), std: param("std") }
        }
        "Bernoulli" => Distribution::Bernoulli { logits: param("logits") },
        "Beta" => Distribution::Beta { alpha: param("alpha"), beta: param("beta") },
        other => return Err(format!("no distribution `{other}`")),
    })
}

/// Compares a quantity and the gradients of its sum, where they are recorded.
fn compare(row: &Value, what: &str, found: &Tensor, params: &Params) -> Result<(), String> {
    if row[what].is_null() {
        return Ok(());
    }
    let shape = shape(&row[what]);
    if found.dims() != shape {
        return Err(format!("{what} has shape {:?}, recorded {shape:?}", found.dims()));
    }
    close(&found.to_vec(), &row[what]["data"], &row[format!("{what}_f64")], what)?;
    let (grads, exact) = (&row[format!("{what}_grads")], &row[format!("{what}_grads_f64")]);
    let leaves: Vec<&Tensor> = params.0.iter().map(|(_, leaf)| leaf).collect();
    // Quantities may share the part of the graph that makes their parameters.
    let options = Backward { retain_graph: true, ..Backward::default() };
    let found = found.sum().grad_of(&leaves, options);
    for ((name, _), grad) in params.0.iter().zip(found) {
        let what = format!("gradient of {what} by {name}");
        match (grad, &grads[name]) {
            (None, Value::Null) => {}
            (Some(grad), recorded) if recorded.is_array() => {
                close(&grad.to_vec(), recorded, &exact[name], &what)?;
            }
            (grad, recorded) => return Err(format!("{what} is {grad:?}, recorded {recorded}")),
        }
    }
    Ok(())
}

fn squashes(row: &Value) -> Result<(), String> {
    let values = floats(&row["value"]["data"]);
    let mean = Tensor::from_slice(&values, [1, values.len()]);
    let mut actions = Actions::Discrete(Vec::new());
    let median = TanhNormal { log_std: mean.zeros_like(), mean }.mode(&mut actions);
    median.map_err(|error| error.to_string())?;
    let Actions::Continuous { values, .. } = actions else { unreachable!() };
    close(&values, &row["squashed"]["data"], &Value::Null, "squashed")
}

/// |a - b| <= 1e-6 + 1e-5 |b| for the recorded b; NaN equals NaN. Where PyTorch's f32 differs from
/// its own f64, a must be as near to the f64 as PyTorch's f32 is, up to that tolerance.
fn close(found: &[f32], recorded: &Value, exact: &Value, what: &str) -> Result<(), String> {
    let recorded: Vec<f64> = floats(recorded).into_iter().map(f64::from).collect();
    let exact = if exact.is_null() { recorded.clone() } else { doubles(exact) };
    let near = |a: f64, b: f64, exact: f64| {
        let tolerance = 1e-6 + 1e-5 * b.abs();
        let exact = if exact.is_finite() { exact } else { b };
        a == b
            || (a.is_nan() && b.is_nan())
            || (b.is_finite() && (a - exact).abs() <= tolerance + (b - exact).abs())
    };
    let same = found.len() == recorded.len()
        && (0..found.len()).all(|i| near(f64::from(found[i]), recorded[i], exact[i]));
    if same { Ok(()) } else { Err(format!("{what} is {found:?}, recorded {recorded:?}")) }
}

fn tensor(recorded: &Value) -> Tensor {
    let (shape, data) = (shape(recorded), floats(&recorded["data"]));
    if recorded["dtype"] == "i64" {
        let data: Vec<i64> = data.into_iter().map(|x| x as i64).collect();
        return Tensor::from_i64(&data, shape);
    }
    Tensor::from_vec(data, shape)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("expected a list, got {value}"))
}

fn doubles(value: &Value) -> Vec<f64> {
    let number = |value: &Value| match value.as_str() {
        Some(text) => text.parse().unwrap(),
        None => value.as_f64().unwrap(),
    };
    list(value).iter().map(number).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    doubles(value).into_iter().map(|x| x as f32).collect()
}

fn shape(recorded: &Value) -> Vec<usize> {
    list(&recorded["shape"]).iter().map(|size| size.as_u64().unwrap() as usize).collect()
}
