//! Normalisation step by step, and of what is sampled from a buffer of raw rows.

use rlrun_agents::buffers::Sampling;
use rlrun_agents::rehearsal::rehearse;
use rlrun_agents::{AgentContext, DiscountedReturns, NormalizeConfig, Normalizer};
use rlrun_core::{Purpose, State, rng_stream};
use rlrun_env::{BoxSpace, EnvSpec, Space, StepBatch};
use serde_json::{Value, json};

use crate::compare::{Tolerance, close, count, flags, floats, number, numbers, shape};
use crate::rollout::replay;
use crate::rows::Row;
use crate::update::draws;

const TOLERANCE: Tolerance = Tolerance::OfLargest(3e-6, 1.0);

pub(crate) fn check(row: &Row) -> Result<(), String> {
    if row["algo"] == "DQN" {
        return crate::agents::dqn(row);
    }
    let obs = vec![1e6; *shape(&row["reset"]["raw_obs"]).last().unwrap()];
    let obs = Space::Box(BoxSpace::symmetric(&obs));
    let spec = EnvSpec::new("Recorded-v0", obs, Space::Discrete(1 << 10));
    let options = &row["options"];
    let config = NormalizeConfig {
        obs: options["norm_obs"] == true,
        reward: options["norm_reward"] == true,
        gamma: number(&options["gamma"]),
        clip_obs: number(&options["clip_obs"]),
        clip_reward: number(&options["clip_reward"]),
        epsilon: number(&options["epsilon"]),
    };
    let n_envs = count(&row["n_envs"]) as usize;
    let context = AgentContext::new(&spec, n_envs, 1, 0).with_normalize(config);
    let mut normalizer = Normalizer::of(&context).map_err(|error| error.to_string())?;
    let mut returns = DiscountedReturns::new(n_envs);
    check_obs("reset", &mut normalizer, &row["reset"], true)?;
    for (index, recorded) in row["steps"].as_array().unwrap().iter().enumerate() {
        check_step(&format!("step {index}"), &mut normalizer, &mut returns, recorded)?;
    }
    check_sample("sample", row, &context, &normalizer, 1, 0.99)?;
    check_sample("sample_n_step_3_gamma_0.97", row, &context, &normalizer, 3, 0.97)
}

fn normalized(normalizer: &Normalizer, raw: &Value) -> Vec<f32> {
    let mut rows = floats(raw);
    normalizer.normalize_obs(&mut rows);
    rows
}

/// An observation enters the statistics when it is acted on, and is normalised by them afterwards.
fn check_obs(
    at: &str,
    normalizer: &mut Normalizer,
    recorded: &Value,
    training: bool,
) -> Result<(), String> {
    if training {
        normalizer.observe(&floats(&recorded["raw_obs"]));
    }
    let found = normalized(normalizer, &recorded["raw_obs"]);
    close(&format!("{at}: obs"), &found, &numbers(&recorded["obs"]), TOLERANCE)?;
    check_statistics(at, &normalizer.state().child("obs"), &recorded["obs_rms"])
}

fn check_statistics(at: &str, state: &State, recorded: &Value) -> Result<(), String> {
    // Without normalisation there are no statistics here.
    for name in ["mean", "var", "count"].iter().filter(|_| !state.0.is_empty()) {
        let what = format!("{at}: {name}");
        close(&what, state.f64(name).unwrap(), &numbers(&recorded[name]), TOLERANCE)?;
    }
    Ok(())
}

fn check_step(
    at: &str,
    normalizer: &mut Normalizer,
    returns: &mut DiscountedReturns,
    recorded: &Value,
) -> Result<(), String> {
    let training = recorded["training"] == true;
    check_obs(at, normalizer, recorded, training)?;
    for terminal in recorded["terminal"].as_array().unwrap() {
        let found = normalized(normalizer, &terminal["raw"]);
        close(&format!("{at}: terminal"), &found, &numbers(&terminal["normalized"]), TOLERANCE)?;
    }
    let rewards = numbers(&recorded["raw_rewards"]);
    if training {
        let (dones, truncated) = (flags(&recorded["dones"]), flags(&recorded["truncated"]));
        let mut step = StepBatch::new(rewards.len(), 1);
        step.terminated = dones.iter().zip(&truncated).map(|(&done, &cut)| done && !cut).collect();
        step.truncated = truncated;
        step.rewards.clone_from(&rewards);
        returns.observe(&step, normalizer);
        if !normalizer.state().child("return").0.is_empty() {
            let state = returns.state();
            let found = state.f64("running").unwrap();
            let expected = numbers(&recorded["returns_after"]);
            close(&format!("{at}: returns"), found, &expected, TOLERANCE)?;
        }
    }
    let found: Vec<f64> = rewards.iter().map(|&r| normalizer.normalized_reward(r)).collect();
    close(&format!("{at}: rewards"), &found, &numbers(&recorded["rewards"]), TOLERANCE)?;
    check_statistics(at, &normalizer.state().child("return"), &recorded["ret_rms"])
}

fn check_sample(
    name: &str,
    row: &Row,
    context: &AgentContext<'_>,
    normalizer: &Normalizer,
    n_steps: usize,
    gamma: f64,
) -> Result<(), String> {
    let (recorded, n_envs) = (&row[name], context.n_envs);
    let size = count(&row["replay"]["size"]) as usize;
    let buffer = replay(&row["replay"], context, size * n_envs);
    let sampling =
        Sampling { batch_size: shape(&recorded["draws"][0]["value"])[0], n_steps, gamma };
    let mut batch = buffer.batch();
    let mut rng = rng_stream(0, Purpose::Sampling, 0);
    let of = json!({ "draws": recorded["draws"], "replay": row["replay"] });
    rehearse(draws(&of, n_envs), || buffer.sample(sampling, normalizer, &mut rng, &mut batch));
    let recorded = &recorded["batch"];
    let columns = [
        ("observations", &batch.obs),
        ("next_observations", &batch.next_obs),
        ("rewards", &batch.rewards),
    ];
    for (column, found) in columns {
        close(&format!("{name}: {column}"), found, &numbers(&recorded[column]), TOLERANCE)?;
    }
    let ended: Vec<f64> =
        batch.discounts.iter().map(|&discount| f64::from(u8::from(discount == 0.0))).collect();
    close(&format!("{name}: dones"), &ended, &numbers(&recorded["dones"]), TOLERANCE)
}
