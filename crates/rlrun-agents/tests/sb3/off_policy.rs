//! DQN, QR-DQN and SAC.

use rlrun_agents::dqn::Dqn;
use rlrun_agents::networks::{GaussianHead, NetArch, mlp};
use rlrun_agents::qrdqn::QrDqn;
use rlrun_agents::rehearsal::{Draw, Event, rehearse};
use rlrun_agents::sac::Sac;
use rlrun_agents::{
    Agent, AgentContext, AgentError, Coefficient, DqnConfig, Metrics, QrDqnConfig, SacConfig,
};
use rlrun_core::{Rng, State};
use rlrun_env::{EnvSpec, Space};
use rlrun_nn::{Activation, Layer};
use serde_json::Value;

use crate::agents::{
    Names, activation, fill_optimizer, normalize, parameters, predicts, same_optimizer,
    same_parameters, schedule, spec, widths,
};
use crate::compare::{logged, traced};
use crate::numbers::{count, flags, floats, indices, number, numbers, optional, shape};

/// Names of a network of `layers` hidden layers.
fn layers(ours: &str, theirs: &str, layers: usize) -> Names {
    let name = |layer: usize, part| {
        (format!("{ours}{}.{part}", 2 * layer), format!("{theirs}.{}.{part}", 2 * layer))
    };
    (0..=layers).flat_map(|layer| [name(layer, "weight"), name(layer, "bias")]).collect()
}

fn context<'a>(spec: &'a EnvSpec, row: &Value) -> AgentContext<'a> {
    AgentContext::new(spec, count(&row["n_envs"]), 1000, 1).with_normalize(normalize(row))
}

pub(crate) fn dqn(row: &Value) -> Result<(), String> {
    let hyper = &row["hyper"];
    let config = DqnConfig {
        learning_rate: schedule(&hyper["learning_rate"]),
        buffer_size: count(&hyper["buffer_size"]),
        batch_size: count(&hyper["batch_size"]),
        tau: number(&hyper["tau"]),
        gamma: number(&hyper["gamma"]),
        n_steps: count(&hyper["n_steps"]),
        target_update_interval: count(&hyper["target_update_interval"]) as u64,
        max_grad_norm: number(&hyper["max_grad_norm"]),
        ..DqnConfig::default()
    };
    let spec = spec(row);
    let arch = widths(&row["policy_kwargs"]["net_arch"]);
    let act = activation(row, Activation::Relu);
    let network = |inputs, n_actions, rng: &mut Rng| -> Box<dyn Layer> {
        Box::new(mlp(inputs, &arch, n_actions, act, rng))
    };
    let agent = Dqn::new(config, &context(&spec, row), network);
    let mut agent = agent.map_err(|error| error.to_string())?;
    let names = ["q_net.q_net", "q_net_target.q_net"].map(|net| layers("", net, arch.len()));
    values(row, &mut agent, names, Dqn::train, Dqn::update_target)
}

pub(crate) fn qrdqn(row: &Value) -> Result<(), String> {
    let hyper = &row["hyper"];
    let n_quantiles = count(&row["policy_kwargs"]["n_quantiles"]);
    let config = QrDqnConfig {
        learning_rate: schedule(&hyper["learning_rate"]),
        buffer_size: count(&hyper["buffer_size"]),
        batch_size: count(&hyper["batch_size"]),
        tau: number(&hyper["tau"]),
        gamma: number(&hyper["gamma"]),
        n_steps: count(&hyper["n_steps"]),
        target_update_interval: count(&hyper["target_update_interval"]) as u64,
        max_grad_norm: optional(&hyper["max_grad_norm"]),
        n_quantiles,
        ..QrDqnConfig::default()
    };
    let spec = spec(row);
    let arch = widths(&row["policy_kwargs"]["net_arch"]);
    let act = activation(row, Activation::Relu);
    let network = |inputs, n_actions, rng: &mut Rng| -> Box<dyn Layer> {
        Box::new(mlp(inputs, &arch, n_quantiles * n_actions, act, rng))
    };
    let agent = QrDqn::new(config, &context(&spec, row), network);
    let mut agent = agent.map_err(|error| error.to_string())?;
    let nets = ["quantile_net.quantile_net", "quantile_net_target.quantile_net"];
    let names = nets.map(|net| layers("", net, arch.len()));
    values(row, &mut agent, names, QrDqn::train, QrDqn::update_target)
}

/// Trains an agent of action values and compares it.
fn values<A: Agent>(
    row: &Value,
    agent: &mut A,
    [online, target]: [Names; 2],
    train: fn(&mut A, u64) -> Result<Metrics, AgentError>,
    update_target: fn(&mut A),
) -> Result<(), String> {
    let params = &row["before"]["params"];
    let mut policy = agent.policy().state();
    policy.insert_child("net", parameters(params, &online));
    load_policy(row, agent, policy)?;
    let mut state = agent.state();
    state.insert_child("target", parameters(params, &target));
    let optim = &row["before"]["optim"]["policy"];
    fill_optimizer(&mut state, "learner.optimizer", optim, &online);
    let before = count(&row["call"]["n_updates_before"]) as u64;
    state.insert_u64("learner.n_updates", [before]);
    load(row, agent, state)?;

    let n_envs = count(&row["n_envs"]) as u64;
    let on_step = count(&row["call"]["on_step_calls_after_each"]);
    let mut steps = 0;
    let (metrics, events) = learn(row, |gradient_steps| {
        let metrics = train(agent, gradient_steps)?;
        for _ in 0..on_step {
            // One more vector step is observed.
            steps += n_envs;
            let mut state = agent.state();
            state.insert_u64("clock.step", [steps]);
            agent.load_state(&state).map_err(|error| AgentError::Other(error.into()))?;
            update_target(agent);
        }
        Ok(metrics)
    })?;
    let state = agent.state();
    let theirs = |_: &str, ours: &str| {
        online.iter().find(|(name, _)| name == ours).map(|(_, name)| name.clone()).unwrap()
    };
    traced(row, &events, theirs)?;
    logged(row, &metrics)?;
    same_parameters(row, &agent.policy().state().child("net"), &online)?;
    same_parameters(row, &state.child("target"), &target)?;
    same_optimizer(row, &state, "learner.optimizer", "policy", &online)?;
    expect_updates(&state, "learner.n_updates", row)?;
    predicts(row, agent)
}

fn coefficient(value: &Value) -> Coefficient {
    match value {
        Value::String(text) => {
            let initial = text.strip_prefix("auto_").map_or(1.0, |number| number.parse().unwrap());
            Coefficient::Auto { initial }
        }
        value => Coefficient::Fixed(number(value)),
    }
}

pub(crate) fn sac(row: &Value) -> Result<(), String> {
    let (hyper, kwargs) = (&row["hyper"], &row["policy_kwargs"]);
    let n_critics = kwargs["n_critics"].as_u64().unwrap_or(2) as usize;
    let net_arch = match &kwargs["net_arch"] {
        Value::Object(arch) => NetArch::PiQf { pi: widths(&arch["pi"]), qf: widths(&arch["qf"]) },
        arch => NetArch::Same(widths(arch)),
    };
    let config = SacConfig {
        learning_rate: schedule(&hyper["learning_rate"]),
        buffer_size: count(&hyper["buffer_size"]),
        batch_size: count(&hyper["batch_size"]),
        tau: number(&hyper["tau"]),
        gamma: number(&hyper["gamma"]),
        n_steps: count(&hyper["n_steps"]),
        target_update_interval: count(&hyper["target_update_interval"]) as u64,
        ent_coef: coefficient(&hyper["ent_coef"]),
        target_entropy: coefficient(&hyper["target_entropy"]),
        // The recorded form of the density.
        log_prob_epsilon: 1e-6,
        n_critics,
        net_arch: net_arch.clone(),
        ..SacConfig::default()
    };
    let spec = spec(row);
    let act = activation(row, Activation::Relu);
    let actor = |inputs, dim, rng: &mut Rng| -> Box<dyn Layer> {
        Box::new(GaussianHead::new(inputs, net_arch.pi(), dim, act, rng))
    };
    let critic = |inputs, rng: &mut Rng| -> Box<dyn Layer> {
        Box::new(mlp(inputs, net_arch.critic(), 1, act, rng))
    };
    let agent = Sac::new(config, &context(&spec, row), actor, critic);
    let mut agent = agent.map_err(|error| error.to_string())?;

    let depth = net_arch.pi().len();
    let mut actor_names: Names = layers("latent_pi.", "actor.latent_pi", depth);
    actor_names.truncate(2 * depth);
    for head in ["mu", "log_std"] {
        for part in ["weight", "bias"] {
            actor_names.push((format!("{head}.{part}"), format!("actor.{head}.{part}")));
        }
    }
    let critics = |theirs: &str| -> Names {
        let critic = |index| {
            let (ours, theirs) = (format!("qf{index}."), format!("{theirs}.qf{index}"));
            layers(&ours, &theirs, net_arch.critic().len())
        };
        (0..n_critics).flat_map(critic).collect()
    };
    let (critic_names, target_names) = (critics("critic"), critics("critic_target"));
    let learnt = !row["before"]["params"]["log_ent_coef"].is_null();
    let temperature: Names = match learnt {
        true => vec![("log_alpha".to_owned(), "log_ent_coef".to_owned())],
        false => Vec::new(),
    };
    let learners = [
        ("actor_learner", "actor", &actor_names),
        ("critic_learner", "critic", &critic_names),
        ("temperature_learner", "ent_coef", &temperature),
    ];

    let (params, before) = (&row["before"]["params"], &row["before"]["optim"]);
    let mut policy = agent.policy().state();
    policy.insert_child("net", parameters(params, &actor_names));
    load_policy(row, &mut agent, policy)?;
    let mut state = agent.state();
    state.insert_child("critic", parameters(params, &critic_names));
    state.insert_child("target", parameters(params, &target_names));
    state.insert_child("temperature", parameters(params, &temperature));
    let updates = count(&row["call"]["n_updates_before"]) as u64;
    for (learner, key, names) in &learners {
        fill_optimizer(&mut state, &format!("{learner}.optimizer"), &before[key], names);
        state.insert_u64(format!("{learner}.n_updates"), [updates]);
    }
    load(row, &mut agent, state)?;

    let (metrics, events) = learn(row, |gradient_steps| agent.train(gradient_steps))?;
    let theirs = |of: &str, ours: &str| {
        let (_, _, names) = learners[match of {
            "actor_loss" => 0,
            "critic_loss" => 1,
            _ => 2,
        }];
        names.iter().find(|(name, _)| name == ours).map(|(_, name)| name.clone()).unwrap()
    };
    traced(row, &events, theirs)?;
    logged(row, &metrics)?;
    let state = agent.state();
    same_parameters(row, &agent.policy().state().child("net"), &actor_names)?;
    same_parameters(row, &state.child("critic"), &critic_names)?;
    same_parameters(row, &state.child("target"), &target_names)?;
    same_parameters(row, &state.child("temperature"), &temperature)?;
    for (learner, key, names) in &learners {
        same_optimizer(row, &state, &format!("{learner}.optimizer"), key, names)?;
    }
    expect_updates(&state, "critic_learner.n_updates", row)?;
    predicts(row, &agent)
}

fn expect_updates(state: &State, path: &str, row: &Value) -> Result<(), String> {
    let found = state.counter(path).map_err(|error| error.to_string())?;
    let recorded = count(&row["after"]["n_updates"]) as u64;
    if found == recorded { Ok(()) } else { Err(format!("n_updates is {found}, not {recorded}")) }
}

/// Loads a policy, with the statistics of the row if it is normalised.
fn load_policy(row: &Value, agent: &mut dyn Agent, mut policy: State) -> Result<(), String> {
    for (key, ours) in [("obs_rms", "obs"), ("ret_rms", "return")] {
        let stats = &row["vecnormalize"][key];
        if !stats.is_null() {
            for part in ["mean", "var", "count"] {
                policy.insert_f64(format!("normalizer.{ours}.{part}"), numbers(&stats[part]));
            }
        }
    }
    agent.policy_mut().load_state(&policy).map_err(|error| error.to_string())
}

/// Loads a state with the row's replay buffer.
fn load(row: &Value, agent: &mut dyn Agent, mut state: State) -> Result<(), String> {
    state.insert_child("experience.replay", replay(&row["replay"], &spec(row).action_space));
    agent.load_state(&state).map_err(|error| error.to_string())
}

/// The recorded buffer as ours saves one.
pub(crate) fn replay(recorded: &Value, action_space: &Space) -> State {
    let full = recorded["full"].as_bool().unwrap();
    let (size, pos) = (count(&recorded["size"]), count(&recorded["pos"]));
    let filled = if full { size } else { pos };
    let obs_shape = shape(&recorded["observations"]);
    let (n_envs, dim) = (obs_shape[1], obs_shape[2]);
    let rows = filled * n_envs;
    let obs = floats(&recorded["observations"]);
    let dones = flags(&recorded["dones"]);
    let timeouts = flags(&recorded["timeouts"]);
    // Without stored successors, the next row is the successor, and every end is a termination.
    let implied = recorded["next_observations"].is_null();
    let next_obs = if implied {
        let next = obs[n_envs * dim..].iter().chain(&obs[..n_envs * dim]).copied();
        next.collect::<Vec<f32>>()
    } else {
        floats(&recorded["next_observations"])
    };
    let mut state = State::new();
    state.insert_u64("next_slot", [(pos % size) as u64]);
    state.insert_f32("obs", &[rows, dim], &obs[..rows * dim]);
    state.insert_f32("next_obs", &[rows, dim], &next_obs[..rows * dim]);
    if let Space::Box(_) = action_space {
        let actions = floats(&recorded["actions"]);
        let width = shape(&recorded["actions"])[2];
        state.insert_f32("actions", &[rows, width], &actions[..rows * width]);
    } else {
        let actions = indices(&recorded["actions"]).into_iter().take(rows);
        state.insert_u64("actions", actions.map(|action| action as u64).collect::<Vec<_>>());
    }
    state.insert_f32("rewards", &[rows], &floats(&recorded["rewards"])[..rows]);
    let ends = dones.iter().zip(&timeouts).take(rows);
    let terminated: Vec<bool> =
        ends.clone().map(|(&done, &timeout)| done && (implied || !timeout)).collect();
    let truncated: Vec<bool> = ends.map(|(_, &timeout)| timeout && !implied).collect();
    state.insert_bools("terminated", &terminated);
    state.insert_bools("truncated", &truncated);
    state.insert_bools("next_masks", &[]);
    state
}

/// Rows and environments of a minibatch as rows of our buffer.
pub(crate) fn drawn_rows(
    rows: &Value,
    envs: &Value,
    recorded: &Value,
    n_envs: usize,
) -> Vec<usize> {
    let (size, pos) = (count(&recorded["size"]), count(&recorded["pos"]));
    let shifted = recorded["next_observations"].is_null() && recorded["full"] == true;
    let place = |row: usize| if shifted { (row + pos) % size } else { row };
    let pairs = indices(rows).into_iter().zip(indices(envs));
    pairs.map(|(row, env)| place(row) * n_envs + env).collect()
}

/// Trains as often as the row did, with its draws.
fn learn(
    row: &Value,
    mut train: impl FnMut(u64) -> Result<Metrics, AgentError>,
) -> Result<(Metrics, Vec<Event>), String> {
    let n_envs = count(&row["n_envs"]);
    let mut draws = Vec::new();
    let mut recorded = row["draws"].as_array().unwrap().iter();
    while let Some(draw) = recorded.next() {
        match draw["fn"].as_str().unwrap() {
            "numpy.randint" => {
                let envs = recorded.next().unwrap();
                let rows = drawn_rows(&draw["value"], &envs["value"], &row["replay"], n_envs);
                draws.push(Draw::Rows(rows));
            }
            "torch.normal_" => draws.push(Draw::Normals(floats(&draw["value"]))),
            other => panic!("no draw `{other}`"),
        }
    }
    let (calls, steps) =
        (count(&row["call"]["train_calls"]), count(&row["call"]["gradient_steps"]));
    let (metrics, events, left) = rehearse(draws, || {
        let mut last = Err("never trained".to_owned());
        for _ in 0..calls {
            last = train(steps as u64).map_err(|error| error.to_string());
        }
        last
    });
    if !left.is_empty() {
        return Err(format!("{} draws were not used", left.len()));
    }
    Ok((metrics?, events))
}
