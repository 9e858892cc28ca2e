//! Single functions.

use rlrun_agents::buffers::{ReplayBuffer, Sampling};
use rlrun_agents::distributions::{Distribution, TanhNormal};
use rlrun_agents::exploration::linear;
use rlrun_agents::rehearsal::{Draw, rehearse};
use rlrun_agents::targets::{Rollout, gae, polyak_update, quantile_huber_loss};
use rlrun_agents::{AgentContext, NormalizeConfig, Normalizer, explained_variance};
use rlrun_core::{Purpose, rng_stream};
use rlrun_env::{BoxSpace, EnvSpec, Space};
use rlrun_nn::Module;
use rlrun_nn::optim::{Optimizer, RmsProp, RmsPropConfig};
use rlrun_tensor::{Backward, Parameter, Tensor};
use serde_json::Value;

use crate::numbers::{count, flags, floats, indices, number, numbers, shape};
use crate::off_policy::replay;

pub(crate) fn check(row: &Value) -> Option<Result<(), String>> {
    let (input, output) = (&row["in"], &row["out"]);
    Some(match row["fn"].as_str().unwrap() {
        "quantile_huber_loss" => quantile_huber(input, output)?,
        "gae" => advantages(input, output),
        "n_step_return" => n_step(input, output),
        "squashed_gaussian" => squashed(input, output),
        "explained_variance" => {
            let found = explained_variance(&floats(&input["y_pred"]), &floats(&input["y_true"]));
            close(&[found as f32], &output["value"], "value")
        }
        "polyak_update" => polyak(input, output),
        "exploration_schedule" => exploration(input, output),
        "running_mean_std" => running(input, output),
        "scale_action" => scale(input, output),
        "rmsprop_tf_like" => rmsprop(input, output),
        "masked_categorical" => masked(input, output),
        _ => return None,
    })
}

/// Within 1e-6 + 1e-5 |b|.
fn close(found: &[f32], recorded: &Value, what: &str) -> Result<(), String> {
    let recorded = numbers(recorded);
    if found.len() != recorded.len() {
        return Err(format!("{what} has {} numbers, recorded {}", found.len(), recorded.len()));
    }
    for (index, (&a, b)) in found.iter().zip(recorded).enumerate() {
        let a = f64::from(a);
        if (a - b).abs() > 1e-6 + 1e-5 * b.abs() && a != b && !(a.is_nan() && b.is_nan()) {
            return Err(format!("{what}[{index}] is {a}, recorded {b}"));
        }
    }
    Ok(())
}

fn tensor(value: &Value) -> Tensor {
    Tensor::from_slice(&floats(value), shape(value))
}

fn gradients(of: &Tensor, by: &[&Tensor]) -> Vec<Vec<f32>> {
    let grads = of.grad_of(by, Backward::default());
    grads.into_iter().map(|grad| grad.unwrap().to_vec()).collect()
}

/// Two-dimensional and summed over the quantiles, as QR-DQN uses it.
fn quantile_huber(input: &Value, output: &Value) -> Option<Result<(), String>> {
    if shape(&input["current"]).len() != 2 || input["sum_over_quantiles"] != true {
        return None;
    }
    let current = tensor(&input["current"]).requires_grad_(true);
    let loss = quantile_huber_loss(&current, &tensor(&input["target"]));
    let grad = gradients(&loss, &[&current]);
    Some(
        close(&[loss.item() as f32], &output["loss"], "loss")
            .and_then(|()| close(&grad[0], &output["grad"], "grad")),
    )
}

fn advantages(input: &Value, output: &Value) -> Result<(), String> {
    let [n_steps, n_envs] = shape(&input["rewards"])[..] else { unreachable!() };
    let (values, last) = (floats(&input["values"]), floats(&input["last_values"]));
    // An episode starts in the row after its end.
    let starts = flags(&input["episode_starts"]).into_iter().skip(n_envs);
    let terminated: Vec<bool> = starts.chain(flags(&input["last_dones"])).collect();
    let next_values: Vec<f32> = values.iter().skip(n_envs).chain(&last).copied().collect();
    let rollout = Rollout {
        n_envs,
        rewards: &floats(&input["rewards"]),
        values: &values,
        next_values: &next_values,
        terminated: &terminated,
        truncated: &vec![false; n_steps * n_envs],
    };
    let mut found = vec![0.0; n_steps * n_envs];
    let (gamma, lambda) = (number(&input["gamma"]), number(&input["gae_lambda"]));
    gae(&rollout, gamma as f32, lambda as f32, &mut found);
    close(&found, &output["advantages"], "advantages")
}

fn n_step(input: &Value, output: &Value) -> Result<(), String> {
    let recorded = &input["replay"];
    let [_, n_envs, dim] = shape(&recorded["observations"])[..] else { unreachable!() };
    let observations = Space::Box(BoxSpace::symmetric(&vec![f32::INFINITY; dim]));
    let width = shape(&recorded["actions"])[2];
    let actions = match recorded["actions"]["dtype"].as_str() {
        Some("i64") => Space::Discrete(1000),
        _ => Space::Box(BoxSpace::symmetric(&vec![1.0; width])),
    };
    let spec = EnvSpec::new("Recorded-v0", observations, actions);
    let mut buffer = ReplayBuffer::new(count(&recorded["size"]) * n_envs, n_envs, &spec);
    let state = replay(recorded, &spec.action_space);
    buffer.load_state(&state).map_err(|error| error.to_string())?;
    let pairs = indices(&input["indices"]).into_iter().zip(indices(&input["env_indices"]));
    let rows: Vec<usize> = pairs.map(|(row, env)| row * n_envs + env).collect();
    let normalizer = Normalizer::of(&AgentContext::new(&spec, n_envs, 1, 1)).unwrap();
    let sampling = Sampling {
        batch_size: rows.len(),
        n_steps: count(&input["n_steps"]),
        gamma: number(&input["gamma"]),
    };
    let mut batch = buffer.batch();
    let mut rng = rng_stream(1, Purpose::Sampling, 0);
    rehearse(vec![Draw::Rows(rows)], || buffer.sample(sampling, &normalizer, &mut rng, &mut batch));
    close(&batch.rewards, &output["rewards"], "rewards")?;
    close(&batch.next_obs, &output["next_observations"], "next observations")?;
    let dones = flags(&output["dones"]);
    let discounts = numbers(&output["discounts"]);
    for (index, &found) in batch.discounts.iter().enumerate() {
        let expected = if dones[index] { 0.0 } else { discounts[index] };
        close(&[found], &Value::from(expected), &format!("discount {index}"))?;
    }
    Ok(())
}

fn squashed(input: &Value, output: &Value) -> Result<(), String> {
    let [mean, log_std] = ["mean", "log_std"].map(|key| tensor(&input[key]).requires_grad_(true));
    let policy = TanhNormal { mean: mean.clone(), log_std: log_std.clone() };
    for (epsilon, log_prob, grad_mean, grad_log_std) in [
        (number(&input["epsilon"]), "log_prob_sb3", "grad_mean", "grad_log_std"),
        (0.0, "log_prob_exact", "grad_mean_exact", "grad_log_std_exact"),
    ] {
        let draws = vec![Draw::Normals(floats(&input["eps"]))];
        let mut rng = rng_stream(1, Purpose::Layers, 0);
        let ((action, found), _, _) = rehearse(draws, || policy.rsample(&mut rng, epsilon));
        // Where f32 does not determine the ε form, its f64 says how far it is off.
        let loose = |key: &str| {
            let (f32s, f64s) = (numbers(&output[key]), numbers(&output[format!("{key}_f64")]));
            f32s.iter().zip(f64s).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) * 8.0
        };
        let near = |found: &[f32], key: &str| {
            let recorded = numbers(&output[key]);
            let slack = loose(key);
            for (index, (&a, b)) in found.iter().zip(recorded).enumerate() {
                if (f64::from(a) - b).abs() > 1e-6 + 1e-5 * b.abs() + slack {
                    return Err(format!("{key}[{index}] is {a}, recorded {b} ± {slack:.1e}"));
                }
            }
            Ok(())
        };
        near(&action.to_vec(), "action")?;
        near(&found.to_vec(), log_prob)?;
        let grads = gradients(&found.sum(), &[&mean, &log_std]);
        near(&grads[0], grad_mean)?;
        near(&grads[1], grad_log_std)?;
    }
    Ok(())
}

/// One parameter as a module.
struct Single(Parameter);

impl Module for Single {
    fn visit_parameters(&self, _: &str, visit: &mut dyn FnMut(&str, &Parameter)) {
        visit("parameter", &self.0);
    }
}

fn polyak(input: &Value, output: &Value) -> Result<(), String> {
    let [online, target] =
        ["params", "target"].map(|key| Single(Parameter::new(tensor(&input[key]))));
    polyak_update(&online, &target, number(&input["tau"]));
    close(&target.0.to_vec(), &output["target"], "target")
}

fn exploration(input: &Value, output: &Value) -> Result<(), String> {
    let [start, end, share] = ["start", "end", "end_fraction"].map(|key| number(&input[key]));
    let found: Vec<f32> = numbers(&input["progress_remaining"])
        .into_iter()
        .map(|progress| linear(progress, share, start, end) as f32)
        .collect();
    close(&found, &output["value"], "value")
}

fn running(input: &Value, output: &Value) -> Result<(), String> {
    let dim = shape(&input["batches"][0])[1];
    let observations = Space::Box(BoxSpace::symmetric(&vec![f32::INFINITY; dim]));
    let spec = EnvSpec::new("Recorded-v0", observations, Space::Discrete(2));
    let config = NormalizeConfig { obs: true, ..NormalizeConfig::default() };
    let context = AgentContext::new(&spec, 1, 1, 1).with_normalize(config);
    let mut normalizer = Normalizer::of(&context).unwrap();
    let batches = input["batches"].as_array().unwrap().iter();
    for (batch, after) in batches.zip(output["after_each"].as_array().unwrap()) {
        normalizer.observe(&floats(batch));
        let state = normalizer.state();
        for part in ["mean", "var", "count"] {
            let found = state.f64(&format!("obs.{part}")).unwrap();
            let found: Vec<f32> = found.iter().map(|&x| x as f32).collect();
            close(&found, &after[part], part)?;
        }
    }
    Ok(())
}

fn scale(input: &Value, output: &Value) -> Result<(), String> {
    let space = BoxSpace::new(floats(&input["low"]), floats(&input["high"]));
    let mut actions = floats(&input["actions"]);
    space.scale(&mut actions);
    close(&actions, &output["scaled"], "scaled")?;
    space.unscale(&mut actions);
    close(&actions, &output["unscaled_again"], "unscaled again")
}

fn rmsprop(input: &Value, output: &Value) -> Result<(), String> {
    let parameter = Parameter::new(tensor(&input["param"]));
    // Settings beside the rate and TensorFlow's form are torch's, unless the row names them.
    let setting = |key: &str, default: f64| match &input[key] {
        Value::Null => default,
        value => number(value),
    };
    let mut optimizer = RmsProp::new(
        vec![parameter.clone()],
        RmsPropConfig {
            learning_rate: number(&input["lr"]),
            alpha: setting("alpha", 0.99),
            eps: setting("eps", 1e-8),
            weight_decay: setting("weight_decay", 0.0),
            momentum: setting("momentum", 0.0),
            centered: input["centered"].as_bool().unwrap_or(false),
            tf_like: true,
            ..RmsPropConfig::default()
        },
    );
    let grads = input["grads"].as_array().unwrap().iter();
    for (grad, after) in grads.zip(output["params"].as_array().unwrap()) {
        parameter.set_grad(Some(&tensor(grad)));
        optimizer.step();
        close(&parameter.to_vec(), after, "parameter")?;
    }
    Ok(())
}

fn masked(input: &Value, output: &Value) -> Result<(), String> {
    let logits = tensor(&input["logits"]).requires_grad_(true);
    let policy = Distribution::Categorical { logits: logits.clone() };
    let policy = policy.masked(&flags(&input["mask"]));
    let actions = indices(&input["actions"]).into_iter().map(|action| action as i64);
    let actions: Vec<i64> = actions.collect();
    let log_prob = policy.log_prob(&Tensor::from_i64(&actions, [actions.len()]));
    let entropy = policy.entropy();
    close(&log_prob.to_vec(), &output["log_prob"], "log_prob")?;
    close(&entropy.to_vec(), &output["entropy"], "entropy")?;
    let grads = gradients(&(log_prob + entropy).sum(), &[&logits]);
    close(&grads[0], &output["grad_of_log_prob_plus_entropy_sum"], "gradient")
}
