//! What all rows of `train()` share: spaces, parameters, optimizers, predictions.

use rlrun_agents::rehearsal::{Draw, rehearse};
use rlrun_agents::schedule::Schedule;
use rlrun_agents::{Agent, Memory, NormalizeConfig, Policy};
use rlrun_core::{Purpose, State, Streams};
use rlrun_env::{Actions, BoxSpace, EnvSpec, Observations, Space};
use rlrun_nn::Activation;
use serde_json::Value;

use crate::compare::{close, close_moment};
use crate::numbers::{count, floats, indices, number, shape};

pub(crate) fn spec(row: &Value) -> EnvSpec {
    let dim = count(&row["obs_dim"]);
    let infinite = vec![f32::INFINITY; dim];
    let arg = &row["action_space"]["arg"];
    let actions = match row["action_space"]["type"].as_str().unwrap() {
        "discrete" => Space::Discrete(count(&arg[0])),
        "multidiscrete" => Space::MultiDiscrete(indices(&arg[0])),
        "multibinary" => Space::MultiBinary(count(&arg[0])),
        "box" => Space::Box(BoxSpace::new(floats(&arg[0]), floats(&arg[1]))),
        other => panic!("no space `{other}`"),
    };
    EnvSpec::new("Recorded-v0", Space::Box(BoxSpace::symmetric(&infinite)), actions)
}

/// The recorded statistics of a normalised row.
pub(crate) fn normalize(row: &Value) -> NormalizeConfig {
    let recorded = &row["vecnormalize"];
    if recorded.is_null() {
        return NormalizeConfig::default();
    }
    NormalizeConfig {
        obs: !recorded["obs_rms"].is_null(),
        reward: !recorded["ret_rms"].is_null(),
        clip_obs: number(&recorded["clip_obs"]),
        clip_reward: number(&recorded["clip_reward"]),
        epsilon: number(&recorded["epsilon"]),
        ..NormalizeConfig::default()
    }
}

pub(crate) fn schedule(value: &Value) -> Schedule {
    Schedule::Constant(number(value))
}

pub(crate) fn widths(value: &Value) -> Vec<usize> {
    indices(value)
}

pub(crate) fn activation(row: &Value, default: Activation) -> Activation {
    match row["policy_kwargs"]["activation_fn"].as_str() {
        None => default,
        Some("tanh") => Activation::Tanh,
        Some("relu") => Activation::Relu,
        Some(other) => panic!("no activation `{other}`"),
    }
}

/// A parameter's name here and in the recording.
pub(crate) type Names = Vec<(String, String)>;

/// The recorded `params` under their names here.
pub(crate) fn parameters(params: &Value, names: &Names) -> State {
    let mut state = State::new();
    for (ours, theirs) in names {
        let value = &params[theirs];
        assert!(!value.is_null(), "no parameter `{theirs}`");
        state.insert_f32(ours, &shape(value), &floats(value));
    }
    state
}

/// Compares every parameter of `state` below `prefix` with the recorded ones.
pub(crate) fn same_parameters(row: &Value, state: &State, names: &Names) -> Result<(), String> {
    let tolerance = number(&row["tol"]["params"]);
    let unchanged: Vec<&str> =
        row["unchanged_params"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    for (ours, theirs) in names {
        let (_, found) = state.f32(ours).map_err(|error| error.to_string())?;
        close(found, &row["after"]["params"][theirs], tolerance, theirs)?;
        if unchanged.contains(&theirs.as_str()) {
            let before = floats(&row["before"]["params"][theirs]);
            if found != before {
                return Err(format!("`{theirs}` changed, recorded unchanged"));
            }
        }
    }
    Ok(())
}

/// Numbers of `[out, in]` in the memory order of a weight, which lies column by column, and back.
fn transposed(numbers: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let at = |index: usize| numbers[index % rows * columns + index / rows];
    (0..rows * columns).map(at).collect()
}

const MOMENTS: [&str; 3] = ["exp_avg", "exp_avg_sq", "square_avg"];

/// Writes the recorded moments of an optimizer into `state`, whose parameters come in the order of
/// `names`.
pub(crate) fn fill_optimizer(state: &mut State, prefix: &str, optim: &Value, names: &Names) {
    for (index, (_, theirs)) in names.iter().enumerate() {
        let recorded = &optim["state"][theirs];
        if recorded.is_null() {
            continue;
        }
        state.insert_u64(format!("{prefix}.{index}.step"), [count(&recorded["step"]) as u64]);
        for moment in MOMENTS.iter().filter(|moment| !recorded[**moment].is_null()) {
            let numbers = in_memory(&recorded[*moment]);
            state.insert_f32(format!("{prefix}.{index}.{moment}"), &[numbers.len()], &numbers);
        }
    }
}

fn in_memory(value: &Value) -> Vec<f32> {
    match shape(value)[..] {
        [rows, columns] => transposed(&floats(value), rows, columns),
        _ => floats(value),
    }
}

pub(crate) fn same_optimizer(
    row: &Value,
    state: &State,
    prefix: &str,
    key: &str,
    names: &Names,
) -> Result<(), String> {
    let tolerance = number(&row["tol"]["moments"]);
    for (index, (_, theirs)) in names.iter().enumerate() {
        let recorded = &row["after"]["optim"][key]["state"][theirs];
        if recorded.is_null() {
            continue;
        }
        for moment in MOMENTS.iter().filter(|moment| !recorded[**moment].is_null()) {
            let path = format!("{prefix}.{index}.{moment}");
            let (_, found) = state.f32(&path).map_err(|error| error.to_string())?;
            let value = &recorded[*moment];
            let found = match shape(value)[..] {
                [rows, columns] => transposed(found, columns, rows),
                _ => found.to_vec(),
            };
            close_moment(&found, value, tolerance, &format!("{moment} of `{theirs}`"))?;
        }
    }
    Ok(())
}

/// What the updated policy does.
pub(crate) fn predicts(row: &Value, agent: &dyn Agent) -> Result<(), String> {
    let predict = &row["predict"];
    if predict.is_null() {
        return Ok(());
    }
    let tolerance = 10.0 * number(&row["tol"]["params"]);
    let rows = floats(&predict["obs"]);
    let n = shape(&predict["obs"])[0];
    let starts = vec![false; n];
    let seen = Observations { rows: &rows, starts: &starts, masks: &[] };
    let act = |rngs: Option<&mut Streams>| -> Result<Vec<f32>, String> {
        let policy: &dyn Policy = agent.policy();
        let mut actions = Actions::Discrete(Vec::new());
        let rngs = rngs.map(Streams::lanes);
        policy.act(&seen, &mut Memory::none(), rngs, &mut actions).map_err(|e| e.to_string())?;
        Ok(match actions {
            Actions::Discrete(choices) => choices.iter().map(|&choice| choice as f32).collect(),
            Actions::Continuous { values, .. } => values,
            Actions::MultiDiscrete { values, .. } => values.iter().map(|&v| v as f32).collect(),
            other => panic!("{other:?}"),
        })
    };
    close(&act(None)?, &predict["deterministic"], tolerance, "best actions")?;
    if predict["stochastic"].is_null() {
        return Ok(());
    }
    // One standard normal a number, in the order of the numbers.
    let draws = floats(&predict["stochastic_draws"]).into_iter();
    let draws = draws.map(|draw| Draw::Normals(vec![draw])).collect();
    let mut streams = Streams::new(1, Purpose::EvalActions, n);
    let (found, _, _) = rehearse(draws, || act(Some(&mut streams)));
    close(&found?, &predict["stochastic"], tolerance, "drawn actions")
}
