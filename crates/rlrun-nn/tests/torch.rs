//! Optimizers and clipping against trajectories recorded from PyTorch, read from the folder in
//! `RLRUN_TORCH_FIXTURES` or, if that is not set, from `tests/fixtures`.

#![allow(clippy::unwrap_used)]

use rlrun_nn::optim::{
    Adagrad, AdagradConfig, Adam, AdamConfig, Norm, Optimizer, RmsProp, RmsPropConfig, Sgd,
    SgdConfig, clip_grad_norm, clip_grad_value,
};
use rlrun_tensor::{Parameter, Tensor};
use serde_json::Value;

#[path = "../../rlrun-tensor/tests/torch/recordings.rs"]
mod recordings;

#[test]
fn optimizers_follow_the_recorded_trajectories() {
    recordings::check_rows("optimizers", |row| {
        if row["optimizer"].is_null() { clipping(row) } else { trajectory(row) }
    });
}

fn clipping(row: &Value) -> Result<(), String> {
    let parameters: Vec<Parameter> = list(&row["grads_in"])
        .iter()
        .map(|grad| {
            let numbers = floats(grad);
            let parameter = Parameter::new(Tensor::zeros([numbers.len()]));
            parameter.set_grad(Some(&Tensor::from_slice(&numbers, [numbers.len()])));
            parameter
        })
        .collect();
    let total = clip_grad_norm(&parameters, float(&row["max"]), norm(&row["norm_type"]));
    close(&[total], &[float(&row["total_norm"])], "total_norm")?;
    for (parameter, expected) in parameters.iter().zip(list(&row["grads_out"])) {
        close(&parameter.grad().unwrap().to_vec(), &floats(expected), "gradient")?;
    }
    Ok(())
}

fn trajectory(row: &Value) -> Result<(), String> {
    let parameters: Vec<Parameter> = list(&row["init"])
        .iter()
        .map(|init| Parameter::new(Tensor::from_vec(floats(&init["data"]), shape(init))))
        .collect();
    let mut optimizer = build(row, parameters.clone())?;
    for (step, grads) in list(&row["grads"]).iter().enumerate() {
        for ((parameter, grad), init) in parameters.iter().zip(list(grads)).zip(list(&row["init"]))
        {
            let grad = (!grad.is_null()).then(|| Tensor::from_vec(floats(grad), shape(init)));
            parameter.set_grad(grad.as_ref());
        }
        if let Some(total) = clip(&row["clip"], &parameters) {
            close(&[total], &[float(&row["total_norm"][step])], &format!("norm in step {step}"))?;
        }
        optimizer.step();
        for (parameter, expected) in parameters.iter().zip(list(&row["params"][step])) {
            close(&parameter.to_vec(), &floats(expected), &format!("parameter after step {step}"))?;
        }
        // Half-way, go on with a fresh optimizer that loads what the first one saved.
        if step == 2 {
            let saved = optimizer.state();
            optimizer = build(row, parameters.clone())?;
            optimizer.load_state(&saved).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

fn clip(clip: &Value, parameters: &[Parameter]) -> Option<f32> {
    match clip["kind"].as_str()? {
        "norm" => Some(clip_grad_norm(parameters, float(&clip["max"]), norm(&clip["norm_type"]))),
        _ => {
            clip_grad_value(parameters, float(&clip["max"]));
            None
        }
    }
}

fn build(row: &Value, parameters: Vec<Parameter>) -> Result<Box<dyn Optimizer>, String> {
    let hyper = &row["hyper"];
    let number = |key: &str, default: f64| hyper[key].as_f64().unwrap_or(default);
    let flag = |key: &str| hyper[key].as_bool().unwrap_or(false);
    let learning_rate = number("lr", f64::NAN);
    Ok(match row["optimizer"].as_str().unwrap() {
        "SGD" => {
            let config = SgdConfig {
                learning_rate,
                momentum: number("momentum", 0.0),
                dampening: number("dampening", 0.0),
                weight_decay: number("weight_decay", 0.0),
                nesterov: flag("nesterov"),
                maximize: flag("maximize"),
            };
            Box::new(Sgd::new(parameters, config))
        }
        "RMSprop" => {
            let default = RmsPropConfig::default();
            let config = RmsPropConfig {
                learning_rate,
                alpha: number("alpha", default.alpha),
                eps: number("eps", default.eps),
                weight_decay: number("weight_decay", default.weight_decay),
                momentum: number("momentum", default.momentum),
                centered: flag("centered"),
                maximize: flag("maximize"),
                ..default
            };
            Box::new(RmsProp::new(parameters, config))
        }
        name @ ("Adam" | "AdamW") => {
            let default = if name == "Adam" { AdamConfig::default() } else { AdamConfig::adamw() };
            let beta = |k: usize, default| hyper["betas"][k].as_f64().unwrap_or(default);
            let config = AdamConfig {
                learning_rate,
                betas: (beta(0, default.betas.0), beta(1, default.betas.1)),
                eps: number("eps", default.eps),
                weight_decay: number("weight_decay", default.weight_decay),
                amsgrad: flag("amsgrad"),
                maximize: flag("maximize"),
                ..default
            };
            Box::new(Adam::new(parameters, config))
        }
        "Adagrad" => {
            let default = AdagradConfig::default();
            let config = AdagradConfig {
                learning_rate,
                lr_decay: number("lr_decay", default.lr_decay),
                weight_decay: number("weight_decay", default.weight_decay),
                initial_accumulator_value: number("initial_accumulator_value", 0.0) as f32,
                eps: number("eps", default.eps),
                maximize: flag("maximize"),
            };
            Box::new(Adagrad::new(parameters, config))
        }
        other => return Err(format!("no optimizer `{other}`")),
    })
}

/// |a - b| <= 1e-6 + 1e-5 |b|; NaN equals NaN.
fn close(found: &[f32], expected: &[f32], what: &str) -> Result<(), String> {
    let near = |a: f32, b: f32| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-6 + 1e-5 * b.abs()
    };
    let same =
        found.len() == expected.len() && found.iter().zip(expected).all(|(&a, &b)| near(a, b));
    if same { Ok(()) } else { Err(format!("{what} is {found:?}, recorded {expected:?}")) }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("expected a list, got {value}"))
}

fn float(value: &Value) -> f32 {
    match value.as_str() {
        Some(text) => text.parse().unwrap(),
        None => value.as_f64().unwrap() as f32,
    }
}

fn floats(value: &Value) -> Vec<f32> {
    list(value).iter().map(float).collect()
}

fn shape(init: &Value) -> Vec<usize> {
    list(&init["shape"]).iter().map(|size| size.as_u64().unwrap() as usize).collect()
}

fn norm(value: &Value) -> Norm {
    match value.as_str() {
        Some("inf") => Norm::Infinity,
        _ if value.as_f64() == Some(1.0) => Norm::L1,
        _ => Norm::L2,
    }
}
