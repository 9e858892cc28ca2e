//! Running statistics, normalised rows, and batches that are normalised when they are drawn.

use rlrun_agents::buffers::{ReplayBuffer, Sampling};
use rlrun_agents::rehearsal::{Draw, rehearse};
use rlrun_agents::{AgentContext, DiscountedReturns, NormalizeConfig, Normalizer};
use rlrun_core::{Purpose, State, rng_stream};
use rlrun_env::{BoxSpace, EnvSpec, Space, StepBatch};
use serde_json::Value;

use crate::compare::close;
use crate::numbers::{count, flags, floats, number, numbers, shape};
use crate::off_policy::{self, drawn_rows, replay};

const TOLERANCE: f64 = 3e-6;

pub(crate) fn check(row: &Value) -> Result<(), String> {
    if row["algo"] == "DQN" {
        return off_policy::dqn(row);
    }
    let (options, n_envs) = (&row["options"], count(&row["n_envs"]));
    let dim = shape(&row["reset"]["raw_obs"])[1];
    let observations = Space::Box(BoxSpace::symmetric(&vec![f32::INFINITY; dim]));
    let spec = EnvSpec::new("Recorded-v0", observations, action_space(row));
    let config = NormalizeConfig {
        obs: options["norm_obs"].as_bool().unwrap(),
        reward: options["norm_reward"].as_bool().unwrap(),
        gamma: number(&options["gamma"]),
        clip_obs: number(&options["clip_obs"]),
        clip_reward: number(&options["clip_reward"]),
        epsilon: number(&options["epsilon"]),
    };
    let context = AgentContext::new(&spec, n_envs, 1000, 1).with_normalize(config);
    let mut normalizer = Normalizer::of(&context).map_err(|error| error.to_string())?;
    let mut returns = DiscountedReturns::new(n_envs);

    normalizer.observe(&floats(&row["reset"]["raw_obs"]));
    same_obs(&normalizer, &row["reset"]["raw_obs"], &row["reset"]["obs"], "first observations")?;
    for (index, step) in row["steps"].as_array().unwrap().iter().enumerate() {
        let what = |name: &str| format!("step {index}: {name}");
        let learning = step["training"].as_bool().unwrap();
        let mut batch = StepBatch::new(n_envs, dim);
        batch.rewards = numbers(&step["raw_rewards"]);
        batch.terminated = flags(&step["dones"]);
        if learning {
            normalizer.observe(&floats(&step["raw_obs"]));
            returns.observe(&batch, &mut normalizer);
        }
        same_obs(&normalizer, &step["raw_obs"], &step["obs"], &what("observations"))?;
        for terminal in step["terminal"].as_array().unwrap() {
            let names = [("raw_obs", "obs"), ("raw", "normalized"), ("raw", "obs")];
            let (raw, normal) = names
                .into_iter()
                .find(|(raw, normal)| !terminal[raw].is_null() && !terminal[normal].is_null())
                .ok_or_else(|| format!("keys of a terminal observation: {terminal}"))?;
            same_obs(&normalizer, &terminal[raw], &terminal[normal], &what("last observation"))?;
        }
        let rewards: Vec<f32> =
            batch.rewards.iter().map(|&r| normalizer.normalized_reward(r) as f32).collect();
        close(&rewards, &step["rewards"], TOLERANCE, &what("rewards"))?;
        for (key, ours) in [("obs_rms", "obs"), ("ret_rms", "return")] {
            let stats = normalizer.state().child(ours);
            if step[key].is_null() || stats.0.is_empty() {
                continue;
            }
            for part in ["mean", "var", "count"] {
                let found = stats.f64(part).map_err(|error| error.to_string())?;
                let found: Vec<f32> = found.iter().map(|&x| x as f32).collect();
                let largest =
                    numbers(&step[key][part]).into_iter().fold(1.0, |a: f64, b| a.max(b.abs()));
                close(
                    &found,
                    &step[key][part],
                    TOLERANCE * largest,
                    &what(&format!("{key} {part}")),
                )?;
            }
        }
    }
    for (key, n_steps, gamma) in [("sample", 1, 0.99), ("sample_n_step_3_gamma_0.97", 3, 0.97)] {
        sampled(row, &spec, &normalizer, key, Sampling { batch_size: 10, n_steps, gamma })?;
    }
    Ok(())
}

fn action_space(row: &Value) -> Space {
    match row["replay"]["actions"]["dtype"].as_str() {
        Some("i64") => Space::Discrete(2),
        _ => Space::Box(BoxSpace::symmetric(&vec![1.0; shape(&row["replay"]["actions"])[2]])),
    }
}

fn same_obs(
    normalizer: &Normalizer,
    raw: &Value,
    recorded: &Value,
    what: &str,
) -> Result<(), String> {
    let mut rows = floats(raw);
    normalizer.normalize_obs(&mut rows);
    close(&rows, recorded, TOLERANCE, what)
}

/// A batch drawn from raw rows.
fn sampled(
    row: &Value,
    spec: &EnvSpec,
    normalizer: &Normalizer,
    key: &str,
    sampling: Sampling,
) -> Result<(), String> {
    let (recorded, n_envs) = (&row["replay"], count(&row["n_envs"]));
    let mut buffer = ReplayBuffer::new(count(&recorded["size"]) * n_envs, n_envs, spec);
    let state: State = replay(recorded, &spec.action_space);
    buffer.load_state(&state).map_err(|error| error.to_string())?;
    let draws = &row[key]["draws"];
    let rows = drawn_rows(&draws[0]["value"], &draws[1]["value"], recorded, n_envs);
    let sampling = Sampling { batch_size: rows.len(), ..sampling };
    let mut batch = buffer.batch();
    let mut rng = rng_stream(1, Purpose::Sampling, 0);
    rehearse(vec![Draw::Rows(rows)], || buffer.sample(sampling, normalizer, &mut rng, &mut batch));
    let expected = &row[key]["batch"];
    for (name, found) in [
        ("observations", &batch.obs),
        ("next_observations", &batch.next_obs),
        ("rewards", &batch.rewards),
    ] {
        close(found, &expected[name], TOLERANCE, &format!("{key}: {name}"))?;
    }
    let dones: Vec<f32> = batch.discounts.iter().map(|&d| f32::from(u8::from(d == 0.0))).collect();
    close(&dones, &expected["dones"], 0.0, &format!("{key}: dones"))
}
