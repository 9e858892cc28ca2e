//! A recorded rollout or replay buffer, pushed step by step into the agent's kind of buffer.

use rlrun_agents::buffers::{ReplayBuffer, RolloutBuffer};
use rlrun_agents::{AgentContext, Normalizer, Transition};
use rlrun_env::{Actions, BoxSpace, EnvSpec, Observations, Space, StepBatch};
use serde_json::Value;

use crate::compare::{Tolerance, close, count, flags, floats, indices, numbers, shape};
use crate::rows::Row;

/// What the row's environment is like.
pub(crate) fn spec(row: &Row) -> EnvSpec {
    let (kind, arg) = (&row["action_space"]["type"], &row["action_space"]["arg"]);
    let action_space = match kind.as_str().unwrap() {
        "discrete" => Space::Discrete(indices(arg)[0]),
        "multidiscrete" => Space::MultiDiscrete(indices(arg)),
        "multibinary" => Space::MultiBinary(indices(arg)[0]),
        "box" => Space::Box(BoxSpace::new(floats(&arg[0]), floats(&arg[1]))),
        other => panic!("no action space `{other}`"),
    };
    let obs = vec![1e6; count(&row["obs_dim"]) as usize];
    EnvSpec::new("Recorded-v0", Space::Box(BoxSpace::symmetric(&obs)), action_space)
}

pub(crate) fn context<'a>(row: &Row, spec: &'a EnvSpec) -> AgentContext<'a> {
    // Schedules are recorded as the numbers that they gave, so the length of the run is nothing.
    AgentContext::new(spec, count(&row["n_envs"]) as usize, 1 << 40, 0)
}

pub(crate) fn actions(space: &Space, numbers: &[f32]) -> Actions {
    let mut choices = numbers.iter().map(|&choice| choice as usize);
    match space {
        Space::Discrete(_) => Actions::Discrete(choices.collect()),
        Space::Box(bounds) => {
            Actions::Continuous { values: numbers.to_vec(), dim: bounds.low.len() }
        }
        other => Actions::MultiDiscrete { values: choices.by_ref().collect(), dim: other.dim() },
    }
}

/// Row `t` of a recorded array `[T, n_envs, ...]`.
pub(crate) fn at<T: Clone>(all: &[T], t: usize, steps: usize) -> &[T] {
    let width = all.len() / steps;
    &all[t * width..(t + 1) * width]
}

fn step(n_envs: usize, next_obs: &[f32], rewards: &[f32]) -> StepBatch {
    let mut step = StepBatch::new(n_envs, next_obs.len() / n_envs);
    step.next_obs = next_obs.to_vec();
    step.rewards = rewards.iter().copied().map(f64::from).collect();
    step
}

/// The rollout, with the values and log-probabilities that were recorded. The advantages that it
/// estimates must be the recorded ones.
pub(crate) fn rollout(row: &Row, context: &AgentContext<'_>) -> Result<RolloutBuffer, String> {
    let (recorded, hyper) = (&row["rollout"], &row["hyper"]);
    let (steps, n_envs) = (shape(&recorded["rewards"])[0], context.n_envs);
    let [obs, acted, rewards] =
        ["observations", "actions", "env_rewards"].map(|name| floats(&recorded[name]));
    let [terminated, truncated, starts] =
        ["terminated", "truncated", "episode_starts"].map(|name| flags(&recorded[name]));
    let mut buffer = RolloutBuffer::new(steps, n_envs, context.spec);
    let normalizer = Normalizer::of(context).unwrap();
    let mut bootstrap = Vec::new();
    let last_values = floats(&recorded["last_values"]);
    for t in 0..steps {
        let mut step = step(n_envs, at(&obs, t, steps), at(&rewards, t, steps));
        step.terminated = at(&terminated, t, steps).to_vec();
        step.truncated = at(&truncated, t, steps).to_vec();
        let actions = actions(&context.spec.action_space, at(&acted, t, steps));
        let seen =
            Observations { rows: at(&obs, t, steps), starts: at(&starts, t, steps), masks: &[] };
        buffer.push(&Transition { seen, actions: &actions, step: &step }, &normalizer);
        for env in (0..n_envs).filter(|&env| !step.terminated[env]) {
            if step.truncated[env] {
                bootstrap.push(bootstrap_value(recorded, t, env)?);
            } else if t + 1 == steps {
                bootstrap.push(last_values[env]);
            }
        }
    }
    buffer.evaluate(floats(&recorded["log_probs"]), floats(&recorded["values"]), &bootstrap);
    let [gamma, gae_lambda] = ["gamma", "gae_lambda"].map(|name| hyper[name].as_f64().unwrap());
    buffer.estimate_advantages(gamma, gae_lambda);
    for (name, found) in [("advantages", buffer.advantages()), ("returns", buffer.returns())] {
        let expected = numbers(&recorded[name]);
        close(&format!("rollout.{name}"), found, &expected, Tolerance::OfLargest(2e-6, 1.0))?;
    }
    Ok(buffer)
}

fn bootstrap_value(recorded: &Value, t: usize, env: usize) -> Result<f32, String> {
    let of = |b: &&Value| count(&b["t"]) as usize == t && count(&b["env"]) as usize == env;
    let found = recorded["bootstraps"].as_array().unwrap().iter().find(of);
    found.map(|b| floats(&b["value"])[0]).ok_or_else(|| format!("no bootstrap of {t}, {env}"))
}

/// The replay buffer. With `optimize_memory_usage` a step's successor is the next row's observation,
/// and every end is a termination: such rows are pushed as the plain transitions that they mean.
pub(crate) fn replay(
    recorded: &Value,
    context: &AgentContext<'_>,
    capacity: usize,
) -> ReplayBuffer {
    let (stored, n_envs) = (shape(&recorded["rewards"])[0], context.n_envs);
    let [obs, acted, rewards] =
        ["observations", "actions", "rewards"].map(|name| floats(&recorded[name]));
    let [dones, mut timeouts] = ["dones", "timeouts"].map(|name| flags(&recorded[name]));
    let optimized = recorded["next_observations"].is_null();
    let next_obs = if optimized {
        timeouts.fill(false);
        let width = obs.len() / stored;
        [&obs[width..], &obs[..width]].concat()
    } else {
        floats(&recorded["next_observations"])
    };
    let mut buffer = ReplayBuffer::new(capacity, n_envs, context.spec);
    let (starts, oldest) = (vec![false; n_envs], count(&recorded["pos"]) as usize % stored);
    // Once around before the oldest row comes, so that the ring stands where it stood.
    let turns = if recorded["full"].as_bool().unwrap() { 0..stored + oldest } else { 0..stored };
    for t in turns.map(|t| t % stored) {
        let mut step = step(n_envs, at(&next_obs, t, stored), at(&rewards, t, stored));
        let ends = at(&dones, t, stored).iter().zip(at(&timeouts, t, stored));
        step.terminated = ends.map(|(&done, &timeout)| done && !timeout).collect();
        step.truncated = at(&timeouts, t, stored).to_vec();
        let actions = actions(&context.spec.action_space, at(&acted, t, stored));
        let seen = Observations { rows: at(&obs, t, stored), starts: &starts, masks: &[] };
        buffer.push(&Transition { seen, actions: &actions, step: &step });
    }
    buffer
}
