//! Functions that several algorithms share, by themselves.

use rlrun_agents::buffers::Sampling;
use rlrun_agents::distributions::{Distribution, TanhNormal};
use rlrun_agents::exploration::EpsilonGreedy;
use rlrun_agents::rehearsal::{Draw, rehearse};
use rlrun_agents::targets::{self, Rollout};
use rlrun_agents::{AgentContext, Clock, NormalizeConfig, Normalizer, explained_variance};
use rlrun_core::{Purpose, State, rng_stream};
use rlrun_env::{BoxSpace, EnvSpec, Space};
use rlrun_nn::optim::{Optimizer, RmsProp, RmsPropConfig};
use rlrun_nn::{BatchRenorm, BatchRenormConfig, Layer, Module};
use rlrun_tensor::{Backward, Parameter, Tensor};
use serde_json::Value;

use crate::compare::{Tolerance, close, count, flags, floats, indices, number, numbers, shape};
use crate::rollout::replay;
use crate::rows::{Outcome, Row, outcome};

pub(crate) fn check(row: &Row) -> Outcome {
    let (given, expected) = (&row["in"], &row["out"]);
    outcome(match row["fn"].as_str().unwrap() {
        "quantile_huber_loss" => {
            // QR-DQN's: one critic, summed over the quantiles.
            if given["sum_over_quantiles"] != true || shape(&given["current"]).len() != 2 {
                return Outcome::NotHere("quantile_huber_loss of TQC".to_owned());
            }
            quantile_huber_loss(given, expected)
        }
        "gae" => gae(given, expected),
        "n_step_return" => n_step_return(given, expected),
        "squashed_gaussian" => squashed_gaussian(given, expected),
        "explained_variance" => {
            let found = explained_variance(&floats(&given["y_pred"]), &floats(&given["y_true"]));
            same("value", &[found], &expected["value"])
        }
        "polyak_update" => polyak_update(given, expected),
        "exploration_schedule" => exploration_schedule(given, expected),
        "running_mean_std" => running_mean_std(given, expected),
        "scale_action" => scale_action(given, expected),
        "batch_renorm" => batch_renorm(given, expected),
        "rmsprop_tf_like" => rmsprop_tf_like(given, expected),
        "masked_categorical" => masked_categorical(given, expected),
        other => return Outcome::NotHere(other.to_owned()),
    })
}

fn same<T: Copy + Into<f64>>(what: &str, found: &[T], expected: &Value) -> Result<(), String> {
    close(what, found, &numbers(expected), Tolerance::Each)
}

fn tensor(recorded: &Value) -> Tensor {
    Tensor::from_vec(floats(recorded), shape(recorded))
}

fn leaf(recorded: &Value) -> Tensor {
    tensor(recorded).requires_grad_(true)
}

fn same_grad(what: &str, leaf: &Tensor, expected: &Value) -> Result<(), String> {
    same(what, &leaf.grad().ok_or("no gradient")?.to_vec(), expected)
}

fn quantile_huber_loss(given: &Value, expected: &Value) -> Result<(), String> {
    let current = leaf(&given["current"]);
    let loss = targets::quantile_huber_loss(&current, &tensor(&given["target"]));
    same("loss", &loss.to_vec(), &expected["loss"])?;
    loss.backward();
    same_grad("grad", &current, &expected["grad"])
}

fn gae(given: &Value, expected: &Value) -> Result<(), String> {
    let n_envs = shape(&given["rewards"])[1];
    let (rewards, values) = (floats(&given["rewards"]), floats(&given["values"]));
    let next_values = [&values[n_envs..], &floats(&given["last_values"])].concat();
    let starts = flags(&given["episode_starts"]);
    let ended = [&starts[n_envs..], &flags(&given["last_dones"])].concat();
    let rollout = Rollout {
        n_envs,
        rewards: &rewards,
        values: &values,
        next_values: &next_values,
        terminated: &ended,
        truncated: &vec![false; ended.len()],
    };
    let mut advantages = vec![0.0; rewards.len()];
    let [gamma, gae_lambda] = ["gamma", "gae_lambda"].map(|name| number(&given[name]) as f32);
    targets::gae(&rollout, gamma, gae_lambda, &mut advantages);
    same("advantages", &advantages, &expected["advantages"])
}

fn n_step_return(given: &Value, expected: &Value) -> Result<(), String> {
    let recorded = &given["replay"];
    let n_envs = shape(&recorded["rewards"])[1];
    let obs = Space::Box(BoxSpace::symmetric(&vec![1e6; shape(&recorded["observations"])[2]]));
    let spec = EnvSpec::new("Recorded-v0", obs, Space::Discrete(1 << 10));
    let context = AgentContext::new(&spec, n_envs, 1, 0);
    let buffer = replay(recorded, &context, count(&recorded["size"]) as usize * n_envs);
    let rows = indices(&given["indices"]).into_iter().zip(indices(&given["env_indices"]));
    let rows: Vec<usize> = rows.map(|(slot, env)| slot * n_envs + env).collect();
    let sampling = Sampling {
        batch_size: rows.len(),
        n_steps: count(&given["n_steps"]) as usize,
        gamma: number(&given["gamma"]),
    };
    let normalizer = Normalizer::of(&context).unwrap();
    let mut batch = buffer.batch();
    let mut rng = rng_stream(0, Purpose::Sampling, 0);
    let sample = || buffer.sample(sampling, &normalizer, &mut rng, &mut batch);
    rehearse(vec![Draw::Rows(rows)], sample);
    same("rewards", &batch.rewards, &expected["rewards"])?;
    same("next_observations", &batch.next_obs, &expected["next_observations"])?;
    // A discount of 0 stands for a successor without a value.
    let discounts = numbers(&expected["discounts"]);
    let dones = numbers(&expected["dones"]);
    let discounts: Vec<f64> =
        discounts.iter().zip(&dones).map(|(d, &done)| if done > 0.0 { 0.0 } else { *d }).collect();
    close("discounts", &batch.discounts, &discounts, Tolerance::Each)
}

/// SB3's form loses digits in f32, even its first ones where |u| is large, so that its f32 says little
/// of its formula: the recorded f64 of the same formula is what must be met, within the same tolerance.
fn squashed_gaussian(given: &Value, expected: &Value) -> Result<(), String> {
    let forms = [(number(&given["epsilon"]), "_sb3", ""), (0.0, "_exact", "_exact")];
    for (epsilon, form, gradient) in forms {
        let (mean, log_std) = (leaf(&given["mean"]), leaf(&given["log_std"]));
        let normal = TanhNormal { mean: mean.clone(), log_std: log_std.clone() };
        let mut rng = rng_stream(0, Purpose::Layers, 0);
        let draw = || normal.rsample(&mut rng, epsilon);
        let draws = vec![Draw::Normals(floats(&given["eps"]))];
        let ((action, log_prob), _, _) = rehearse(draws, draw);
        same("action", &action.to_vec(), &expected["action"])?;
        let name = format!("log_prob{form}_f64");
        same(&name, &log_prob.to_vec(), &expected[&name])?;
        log_prob.sum().backward();
        for (name, leaf) in [("grad_mean", &mean), ("grad_log_std", &log_std)] {
            let name = format!("{name}{gradient}_f64");
            same_grad(&name, leaf, &expected[&name])?;
        }
    }
    Ok(())
}

fn polyak_update(given: &Value, expected: &Value) -> Result<(), String> {
    let [online, target] = ["params", "target"].map(|name| Parameter::new(tensor(&given[name])));
    targets::polyak_update(&online, &target, number(&given["tau"]));
    same("target", &target.to_vec(), &expected["target"])
}

fn exploration_schedule(given: &Value, expected: &Value) -> Result<(), String> {
    const TOTAL: u64 = 1_000_000;
    let obs = Space::Box(BoxSpace::symmetric(&[1.0]));
    let spec = EnvSpec::new("Recorded-v0", obs, Space::Discrete(2));
    let context = AgentContext::new(&spec, 1, TOTAL, 0);
    let eps = ["end_fraction", "start", "end"].map(|name| number(&given[name]));
    let exploration = EpsilonGreedy::new(&context, 2, 0, eps);
    let rate = |progress: f64| {
        let mut clock = Clock::of(&context);
        let mut state = State::new();
        state.insert_u64("step", [((1.0 - progress) * TOTAL as f64).round() as u64]);
        clock.load_state(&state).unwrap();
        exploration.rate(&clock)
    };
    let found: Vec<f64> = numbers(&given["progress_remaining"]).into_iter().map(rate).collect();
    same("value", &found, &expected["value"])
}

fn running_mean_std(given: &Value, expected: &Value) -> Result<(), String> {
    let batches = given["batches"].as_array().unwrap();
    let obs = Space::Box(BoxSpace::symmetric(&vec![1e6; shape(&batches[0])[1]]));
    let spec = EnvSpec::new("Recorded-v0", obs, Space::Discrete(2));
    let config = NormalizeConfig { obs: true, ..NormalizeConfig::default() };
    let context = AgentContext::new(&spec, 1, 1, 0).with_normalize(config);
    let mut normalizer = Normalizer::of(&context).unwrap();
    for (batch, expected) in batches.iter().zip(expected["after_each"].as_array().unwrap()) {
        normalizer.observe(&floats(batch));
        let state = normalizer.state();
        for name in ["mean", "var", "count"] {
            same(name, state.f64(&format!("obs.{name}")).unwrap(), &expected[name])?;
        }
    }
    Ok(())
}

fn scale_action(given: &Value, expected: &Value) -> Result<(), String> {
    let bounds = BoxSpace::new(floats(&given["low"]), floats(&given["high"]));
    let mut rows = floats(&given["actions"]);
    bounds.scale(&mut rows);
    same("scaled", &rows, &expected["scaled"])?;
    bounds.unscale(&mut rows);
    same("unscaled_again", &rows, &expected["unscaled_again"])
}

fn batch_renorm(given: &Value, expected: &Value) -> Result<(), String> {
    let [eps, momentum, r_max, d_max] =
        ["eps", "momentum", "rmax", "dmax"].map(|name| number(&given[name]) as f32);
    let warmup_steps = count(&given["warmup_steps"]);
    let config = BatchRenormConfig { eps, momentum, warmup_steps, r_max, d_max };
    let layer = BatchRenorm::new(shape(&given["x"])[1], config);
    let names = ["scale", "bias", "ra_mean", "ra_var"];
    let mut state = State::new();
    for name in names {
        let recorded = &given["state"][name];
        state.insert_f32(name, &shape(recorded), &floats(recorded));
    }
    state.insert_u64("steps", [count(&given["state"]["steps"])]);
    layer.load_state(&state).map_err(|error| error.to_string())?;
    layer.set_training(given["train"] == true);
    let x = leaf(&given["x"]);
    let y = layer.forward(&x);
    same("y", &y.to_vec(), &expected["y"])?;
    let upstream = tensor(&given["upstream"]);
    y.backward_with(Backward { gradient: Some(&upstream), ..Backward::default() });
    same_grad("grad_x", &x, &expected["grad_x"])?;
    same_grad("grad_scale", &layer.scale, &expected["grad_scale"])?;
    same_grad("grad_bias", &layer.bias, &expected["grad_bias"])?;
    let state = layer.state();
    for name in names {
        same(name, state.f32(name).unwrap().1, &expected["state"][name])?;
    }
    if state.counter("steps") != Ok(count(&expected["state"]["steps"])) {
        return Err(format!("steps are {:?}", state.counter("steps")));
    }
    Ok(())
}

fn rmsprop_tf_like(given: &Value, expected: &Value) -> Result<(), String> {
    let default = RmsPropConfig { tf_like: true, ..RmsPropConfig::default() };
    let or = |name: &str, value: f64| given[name].as_f64().unwrap_or(value);
    let config = RmsPropConfig {
        learning_rate: number(&given["lr"]),
        alpha: or("alpha", default.alpha),
        eps: or("eps", default.eps),
        weight_decay: or("weight_decay", default.weight_decay),
        momentum: or("momentum", default.momentum),
        centered: given["centered"] == true,
        ..default
    };
    let parameter = Parameter::new(tensor(&given["param"]));
    let mut optimizer = RmsProp::new(vec![parameter.clone()], config);
    let steps =
        given["grads"].as_array().unwrap().iter().zip(expected["params"].as_array().unwrap());
    for (grad, expected) in steps {
        optimizer.zero_grad();
        (&*parameter * tensor(grad)).sum().backward();
        optimizer.step();
        same("params", &parameter.to_vec(), expected)?;
    }
    for (name, recorded) in expected["state"].as_object().unwrap() {
        let (state, path) = (optimizer.state(), format!("0.{name}"));
        if name == "step" {
            let steps = state.counter(&path).unwrap();
            same(name, &[steps as f64], recorded)?;
        } else {
            same(name, state.f32(&path).map_err(|error| error.to_string())?.1, recorded)?;
        }
    }
    Ok(())
}

fn masked_categorical(given: &Value, expected: &Value) -> Result<(), String> {
    let logits = leaf(&given["logits"]);
    let policy =
        Distribution::Categorical { logits: logits.clone() }.masked(&flags(&given["mask"]));
    let choices: Vec<i64> =
        numbers(&given["actions"]).iter().map(|&choice| choice as i64).collect();
    let log_prob = policy.log_prob(&Tensor::from_i64(&choices, [choices.len()]));
    same("log_prob", &log_prob.to_vec(), &expected["log_prob"])?;
    same("entropy", &policy.entropy().to_vec(), &expected["entropy"])?;
    (log_prob + policy.entropy()).sum().backward();
    let name = "grad_of_log_prob_plus_entropy_sum";
    same_grad(name, &logits, &expected[name])
}
