//! Rows of episodes: seeded resets, later resets of the continued generator, and every step.

use std::fmt::Debug;

use rlrun_core::{NumpyRng, SeedSequence};
use rlrun_env::{Actions, BoxSpace, Env, Episodes, Space, StepBatch, VecEnv};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Row<'a> {
    env: String,
    /// A number or a text, of any size.
    #[serde(borrow)]
    seed: &'a RawValue,
    action_seed: Option<u64>,
    /// Constructor arguments.
    #[serde(default)]
    kwargs: toml::Table,
    /// Reset options.
    options: Option<toml::Table>,
    episodes: Vec<Episode>,
}

#[derive(Deserialize)]
struct Episode {
    reset_obs: Vec<f32>,
    reset_state: Vec<f64>,
    actions: Vec<Number>,
    obs: Vec<Vec<f32>>,
    state: Vec<Vec<f64>>,
    rewards: Vec<f64>,
    terminated_at: Option<usize>,
    truncated_at: Option<usize>,
}

/// A choice, or a vector of which a single number is written without brackets.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Choice(usize),
    Scalar(f32),
    Vector(Vec<f32>),
}

impl Number {
    /// The action for each of `n_envs` environments.
    fn to_actions(&self, space: &Space, n_envs: usize) -> Actions {
        let continuous = |values: Vec<f32>| Actions::Continuous {
            dim: values.len(),
            values: values.repeat(n_envs),
        };
        match (self, space) {
            (Number::Choice(choice), Space::Discrete(_)) => {
                Actions::Discrete(vec![*choice; n_envs])
            }
            (Number::Choice(choice), _) => continuous(vec![*choice as f32]),
            (Number::Scalar(value), _) => continuous(vec![*value]),
            (Number::Vector(values), _) => continuous(values.clone()),
        }
    }
}

/// Replays a row with a single environment, with a vector environment, and draws its actions.
pub(crate) fn replay(text: &str) -> Result<(), String> {
    let mut row: Row<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if let Some(options) = row.options.take() {
        row.kwargs.insert("reset".to_owned(), toml::Value::Table(options));
    }
    let seed = row.seed.get().trim_matches('"');
    let sequence: SeedSequence = seed.parse().map_err(|error| format!("{error}"))?;
    let replayed = replay_single(&row, &sequence)
        .map_err(|reason| format!("single, {reason}"))
        .and_then(|()| match seed.parse() {
            Ok(seed) => replay_vector(&row, seed).map_err(|reason| format!("vector, {reason}")),
            Err(_) => Ok(()),
        })
        .and_then(|()| draw_actions(&row));
    replayed.map_err(|reason| format!("seed {seed}, {reason}"))
}

/// States, observations, rewards and ends of a single environment under its time limit.
fn replay_single(row: &Row<'_>, sequence: &SeedSequence) -> Result<(), String> {
    let mut env = rlrun_envs::make(&row.env, &row.kwargs).map_err(|error| error.to_string())?;
    let mut start = env.state().map_err(|error| error.to_string())?;
    start.insert_child("rng", NumpyRng::from_sequence(sequence).state());
    env.load_state(&start).map_err(|error| error.to_string())?;
    let space = env.spec().action_space.clone();
    let mut batch = StepBatch::new(1, env.spec().observation_space.dim());
    let mut limit = Episodes::new(env.spec(), 1);
    limit.start(&batch.next_obs).map_err(|error| error.to_string())?;
    for (number, episode) in row.episodes.iter().enumerate() {
        env.reset(None, &mut batch.next_obs).map_err(|error| error.to_string())?;
        equal("reset_state", task_state(&env, episode.reset_state.len()), &episode.reset_state)
            .and_then(|()| equal("reset_obs", batch.next_obs.clone(), &episode.reset_obs))
            .map_err(|reason| format!("episode {number}: {reason}"))?;
        for (t, action) in episode.actions.iter().enumerate() {
            let actions = action.to_actions(&space, 1);
            let step = env.step(actions.row(0), &mut batch.next_obs);
            let step = step.map_err(|error| error.to_string())?;
            (batch.rewards[0], batch.terminated[0]) = (step.reward, step.terminated);
            batch.truncated[0] = step.truncated;
            limit.record(&mut batch).map_err(|error| error.to_string())?;
            equal("state", task_state(&env, episode.state[t].len()), &episode.state[t])
                .and_then(|()| compare_step(&batch, episode, t))
                .map_err(|reason| format!("episode {number}, step {t}: {reason}"))?;
        }
    }
    Ok(())
}

/// Lanes of the vector environment; enough for it to step them in blocks.
const LANES: usize = 20;

/// Observations, rewards and ends of the first lane of a vector environment.
fn replay_vector(row: &Row<'_>, seed: u64) -> Result<(), String> {
    let envs = rlrun_envs::make_vec(&row.env, LANES, &row.kwargs);
    let mut envs = envs.map_err(|error| error.to_string())?;
    let space = envs.spec().action_space.clone();
    let dim = envs.spec().observation_space.dim();
    envs.reset(seed).map_err(|error| error.to_string())?;
    for (number, episode) in row.episodes.iter().enumerate() {
        equal("reset_obs", envs.obs()[..dim].to_vec(), &episode.reset_obs)
            .map_err(|reason| format!("episode {number}: {reason}"))?;
        for (t, action) in episode.actions.iter().enumerate() {
            let batch =
                envs.step(&action.to_actions(&space, LANES)).map_err(|error| error.to_string())?;
            compare_step(batch, episode, t)
                .map_err(|reason| format!("episode {number}, step {t}: {reason}"))?;
        }
    }
    Ok(())
}

fn compare_step(batch: &StepBatch, episode: &Episode, t: usize) -> Result<(), String> {
    let expected = &episode.obs[t];
    equal("obs", batch.next_obs[..expected.len()].to_vec(), expected)?;
    equal("reward", batch.rewards[0], &episode.rewards[t])?;
    equal("terminated", batch.terminated[0], &(episode.terminated_at == Some(t)))?;
    equal("truncated", batch.truncated[0], &(episode.truncated_at == Some(t)))
}

/// The recorded actions are an action space's draws; boxes were widened by half so that clipping
/// is seen, or taken as they are.
fn draw_actions(row: &Row<'_>) -> Result<(), String> {
    let Some(action_seed) = row.action_seed else {
        return Ok(());
    };
    let spec = rlrun_envs::spec(&row.env).map_err(|error| error.to_string())?;
    let mut spaces = vec![spec.action_space.clone()];
    if let Space::Box(space) = &spec.action_space {
        let wider = |bounds: &[f32]| bounds.iter().map(|bound| bound * 1.5).collect::<Vec<_>>();
        spaces.push(Space::Box(BoxSpace::new(wider(&space.low), wider(&space.high))));
    }
    let recorded: Vec<&Number> = row.episodes.iter().flat_map(|e| &e.actions).collect();
    let drawn = spaces.iter().any(|space| {
        let actions = space.sample(recorded.len(), &mut NumpyRng::new(action_seed));
        let same = |(index, number): (usize, &&Number)| {
            actions.row(index) == number.to_actions(space, 1).row(0)
        };
        recorded.iter().enumerate().all(same)
    });
    if drawn { Ok(()) } else { Err(format!("actions are not those of action seed {action_seed}")) }
}

/// The task's first `count` numbers; some tasks keep flags behind them.
fn task_state(env: &dyn Env, count: usize) -> Vec<f64> {
    let state = env.state().unwrap_or_default();
    state.f64("state").map(|numbers| numbers[..count].to_vec()).unwrap_or_default()
}

fn equal<T: PartialEq + Debug>(name: &str, found: T, expected: &T) -> Result<(), String> {
    if found == *expected {
        return Ok(());
    }
    Err(format!("{name} is {found:?}, expected {expected:?}"))
}
