//! PPO and A2C.

use rlrun_agents::a2c::{A2c, RmsPropKind};
use rlrun_agents::networks::{ActorCriticConfig, NetArch};
use rlrun_agents::ppo::Ppo;
use rlrun_agents::rehearsal::{Draw, Event, rehearse};
use rlrun_agents::{A2cConfig, Agent, AgentContext, AgentError, Metrics, PpoConfig};
use rlrun_core::State;
use rlrun_env::Space;
use rlrun_nn::Activation;
use serde_json::Value;

use crate::agents::{
    Names, activation, fill_optimizer, normalize, parameters, predicts, same_optimizer,
    same_parameters, schedule, spec, widths,
};
use crate::compare::{close, logged, traced};
use crate::numbers::{count, flags, floats, indices, number, numbers, optional, shape};

fn net_arch(row: &Value) -> NetArch {
    match &row["policy_kwargs"]["net_arch"] {
        Value::Object(arch) => NetArch::PiVf { pi: widths(&arch["pi"]), vf: widths(&arch["vf"]) },
        arch => NetArch::Same(widths(arch)),
    }
}

/// Names of the parameters, in the order of the network.
fn names(row: &Value) -> Names {
    let arch = net_arch(row);
    let mut names = Vec::new();
    for (ours, theirs, head, layers) in [
        ("actor", "policy_net", "action_net", arch.pi().len()),
        ("critic", "value_net", "value_net", arch.critic().len()),
    ] {
        for part in ["weight", "bias"] {
            for layer in 0..layers {
                let at = 2 * layer;
                let theirs = format!("mlp_extractor.{theirs}.{at}.{part}");
                names.push((format!("{ours}.{at}.{part}"), theirs));
            }
            names.push((format!("{ours}.{}.{part}", 2 * layers), format!("{head}.{part}")));
        }
    }
    // Layer after layer, weight before bias.
    names.sort_by_key(|(ours, _)| {
        let mut parts = ours.split('.');
        let (net, layer) = (parts.next().unwrap().to_owned(), parts.next().unwrap().to_owned());
        (net, layer.parse::<usize>().unwrap(), parts.next() == Some("bias"))
    });
    if row["action_space"]["type"] == "box" {
        names.push(("log_std".to_owned(), "log_std".to_owned()));
    }
    names
}

pub(crate) fn ppo(row: &Value) -> Result<(), String> {
    let hyper = &row["hyper"];
    let config = PpoConfig {
        learning_rate: schedule(&hyper["learning_rate"]),
        n_steps: count(&hyper["n_steps"]),
        batch_size: count(&hyper["batch_size"]),
        n_epochs: count(&hyper["n_epochs"]),
        gamma: number(&hyper["gamma"]),
        gae_lambda: number(&hyper["gae_lambda"]),
        clip_range: schedule(&hyper["clip_range"]),
        clip_range_vf: (!hyper["clip_range_vf"].is_null())
            .then(|| schedule(&hyper["clip_range_vf"])),
        normalize_advantage: hyper["normalize_advantage"].as_bool().unwrap(),
        ent_coef: number(&hyper["ent_coef"]),
        vf_coef: number(&hyper["vf_coef"]),
        max_grad_norm: number(&hyper["max_grad_norm"]),
        target_kl: optional(&hyper["target_kl"]),
        net_arch: net_arch(row),
        activation_fn: activation(row, Activation::Tanh),
        ..PpoConfig::default()
    };
    let spec = spec(row);
    let context = context(&spec, row);
    let net = network(&context, &config.net_arch, config.activation_fn);
    let mut agent = Ppo::new(config, &context, net).map_err(|error| error.to_string())?;
    let (metrics, events) = learn(row, &mut agent, Ppo::train)?;
    let state = agent.state();
    compare(row, &agent, &state, &metrics, &events)?;
    let lists = [
        ("pg_losses", "policy_loss"),
        ("value_losses", "value_loss"),
        ("entropy_losses", "entropy_loss"),
    ];
    for (list, name) in lists {
        let values = events.iter().flat_map(|event| &event.values);
        let found: Vec<f32> =
            values.filter(|(found, _)| found == name).map(|(_, numbers)| numbers[0]).collect();
        close(&found, &row["end"][list], 1e-5, list)?;
    }
    let n_updates = state.counter("n_updates").unwrap();
    expect(n_updates, &row["after"]["n_updates"])
}

pub(crate) fn a2c(row: &Value) -> Result<(), String> {
    let (hyper, optim) = (&row["hyper"], &row["before"]["optim"]["policy"]);
    let kind = optim["type"].as_str().unwrap();
    let config = A2cConfig {
        learning_rate: schedule(&hyper["learning_rate"]),
        n_steps: count(&hyper["n_steps"]),
        gamma: number(&hyper["gamma"]),
        gae_lambda: number(&hyper["gae_lambda"]),
        normalize_advantage: hyper["normalize_advantage"].as_bool().unwrap(),
        ent_coef: number(&hyper["ent_coef"]),
        vf_coef: number(&hyper["vf_coef"]),
        max_grad_norm: number(&hyper["max_grad_norm"]),
        use_rms_prop: kind != "Adam",
        rms_prop_kind: match kind {
            "RMSpropTFLike" => RmsPropKind::TensorFlow,
            _ => RmsPropKind::Torch,
        },
        rms_prop_eps: number(&optim["hyper"]["eps"]),
        net_arch: net_arch(row),
        activation_fn: activation(row, Activation::Tanh),
        ..A2cConfig::default()
    };
    let spec = spec(row);
    let context = context(&spec, row);
    let net = network(&context, &config.net_arch, config.activation_fn);
    let mut agent = A2c::new(config, &context, net).map_err(|error| error.to_string())?;
    let (metrics, mut events) = learn(row, &mut agent, A2c::train)?;
    permute(row, &mut events);
    let state = agent.state();
    compare(row, &agent, &state, &metrics, &events)?;
    expect(state.counter("learner.n_updates").unwrap(), &row["after"]["n_updates"])
}

fn context<'a>(spec: &'a rlrun_env::EnvSpec, row: &Value) -> AgentContext<'a> {
    AgentContext::new(spec, count(&row["n_envs"]), 1000, 1).with_normalize(normalize(row))
}

fn network(
    context: &AgentContext<'_>,
    net_arch: &NetArch,
    activation: Activation,
) -> Box<dyn rlrun_agents::networks::ActorCritic> {
    let layers = ActorCriticConfig { net_arch, activation, ortho_init: true, log_std_init: 0.0 };
    layers.build("recorded", context).unwrap()
}

/// Brings the rows of each update into the recorded order, which changes nothing but rounding.
fn permute(row: &Value, events: &mut [Event]) {
    let (n_envs, n_steps) = (count(&row["n_envs"]), count(&row["hyper"]["n_steps"]));
    let mut orders = row["draws"].as_array().unwrap().iter().map(|draw| indices(&draw["value"]));
    let mut order = orders.next().unwrap();
    for event in events {
        for (_, numbers) in event.values.iter_mut().filter(|_| event.name == "loss") {
            if numbers.len() == order.len() {
                let place = |index: &usize| numbers[index % n_steps * n_envs + index / n_steps];
                *numbers = order.iter().map(place).collect();
            }
        }
        if event.name == "step" {
            order = orders.next().unwrap_or_default();
        }
    }
}

fn expect(found: u64, recorded: &Value) -> Result<(), String> {
    if found == count(recorded) as u64 {
        return Ok(());
    }
    Err(format!("n_updates is {found}, recorded {recorded}"))
}

/// Fills the agent with what the row begins with, and trains.
fn learn<A: Agent>(
    row: &Value,
    agent: &mut A,
    train: fn(&mut A) -> Result<Metrics, AgentError>,
) -> Result<(Metrics, Vec<Event>), String> {
    let names = names(row);
    let mut policy = State::new();
    policy.insert_child("net", parameters(&row["before"]["params"], &names));
    agent.policy_mut().load_state(&policy).map_err(|error| error.to_string())?;

    let before = count(&row["call"]["n_updates_before"]) as u64;
    let mut state = agent.state();
    fill_optimizer(&mut state, "learner.optimizer", &row["before"]["optim"]["policy"], &names);
    let counter = if state.0.contains_key("n_updates") { "n_updates" } else { "learner.n_updates" };
    state.insert_u64(counter, [before]);
    let rollout = rollout(row);
    state.insert_child("collector.rollout", rollout.clone());
    agent.load_state(&state).map_err(|error| error.to_string())?;

    let (n_envs, n_steps) = (count(&row["n_envs"]), count(&row["hyper"]["n_steps"]));
    // Environment by environment there, step by step here.
    let place = |index: &usize| index % n_steps * n_envs + index / n_steps;
    let draws = row["draws"].as_array().unwrap().iter();
    // A2C learns from all rows at once: their order changes nothing but rounding.
    let draws = draws.filter(|_| counter == "n_updates").map(|draw| {
        assert_eq!(draw["fn"], "numpy.permutation");
        Draw::Permutation(indices(&draw["value"]).iter().map(place).collect())
    });
    let calls = count(&row["call"]["train_calls"]);
    let (metrics, events, left) = rehearse(draws.collect(), || {
        let mut last = Err("never trained".to_owned());
        for _ in 0..calls {
            // The recorded calls learn from the same rollout.
            let mut state = agent.state();
            state.insert_child("collector.rollout", rollout.clone());
            agent.load_state(&state).map_err(|error| error.to_string())?;
            last = train(agent).map_err(|error| error.to_string());
        }
        last
    });
    if !left.is_empty() && !row["end"]["stopped"].as_bool().unwrap_or(false) {
        return Err(format!("{} draws were not used", left.len()));
    }
    Ok((metrics?, events))
}

/// The recorded rollout as the buffer saves one.
fn rollout(row: &Value) -> State {
    let recorded = &row["rollout"];
    let n_envs = count(&row["n_envs"]);
    let mut state = State::new();
    let obs = shape(&recorded["observations"]);
    let rows = obs[0] * obs[1];
    state.insert_f32("obs", &[rows, obs[2]], &floats(&recorded["observations"]));
    let actions = &recorded["actions"];
    match spec(row).action_space {
        Space::Box(_) => {
            let numbers = floats(actions);
            state.insert_f32("actions", &[rows, numbers.len() / rows], &numbers);
        }
        _ => state.insert_u64(
            "actions",
            numbers(actions).into_iter().map(|choice| choice as u64).collect::<Vec<_>>(),
        ),
    }
    let (terminated, truncated) = (flags(&recorded["terminated"]), flags(&recorded["truncated"]));
    let values = floats(&recorded["values"]);
    let last = floats(&recorded["last_values"]);
    let mut next_values: Vec<f32> = values.iter().skip(n_envs).chain(&last).copied().collect();
    for bootstrap in recorded["bootstraps"].as_array().unwrap() {
        let at = count(&bootstrap["t"]) * n_envs + count(&bootstrap["env"]);
        next_values[at] = number(&bootstrap["value"]) as f32;
    }
    for (value, _) in next_values.iter_mut().zip(&terminated).filter(|(_, end)| **end) {
        *value = 0.0;
    }
    state.insert_bools("masks", &[]);
    state.insert_f32("rewards", &[rows], &floats(&recorded["env_rewards"]));
    state.insert_bools("terminated", &terminated);
    state.insert_bools("truncated", &truncated);
    state.insert_u64("bootstrap_rows", []);
    state.insert_f32("bootstrap_obs", &[0, obs[2]], &[]);
    state.insert_f32("log_probs", &[rows], &floats(&recorded["log_probs"]));
    state.insert_f32("values", &[rows], &values);
    state.insert_f32("next_values", &[rows], &next_values);
    state
}

fn compare(
    row: &Value,
    agent: &dyn Agent,
    state: &State,
    metrics: &Metrics,
    events: &[Event],
) -> Result<(), String> {
    let names = names(row);
    let theirs = |_: &str, ours: &str| {
        names.iter().find(|(name, _)| name == ours).map(|(_, name)| name.clone()).unwrap()
    };
    traced(row, events, theirs)?;
    logged(row, metrics)?;
    same_parameters(row, &agent.policy().state().child("net"), &names)?;
    same_optimizer(row, state, "learner.optimizer", "policy", &names)?;
    predicts(row, agent)
}
