//! The agents that rows are about, built from their settings, and what SB3 calls their parameters.

use rlrun_agents::a2c::{A2c, RmsPropKind};
use rlrun_agents::dqn::Dqn;
use rlrun_agents::networks::{
    ActorCriticConfig, Critics, GaussianHead, MlpActorCritic, NetArch, Temperature, mlp, q_network,
};
use rlrun_agents::ppo::Ppo;
use rlrun_agents::qrdqn::QrDqn;
use rlrun_agents::rehearsal::Draw;
use rlrun_agents::sac::Sac;
use rlrun_agents::schedule::Schedule;
use rlrun_agents::{
    A2cConfig, Agent, AgentContext, AgentError, Coefficient, DqnConfig, Metrics, NormalizeConfig,
    PpoConfig, QrDqnConfig, SacConfig,
};
use rlrun_core::{Purpose, Rng, State, rng_stream};
use rlrun_env::Space;
use rlrun_nn::{Activation, Layer, Module};
use serde_json::Value;

use crate::compare::{count, indices, number, numbers};
use crate::rollout::{context, replay, rollout, spec};
use crate::rows::Row;
use crate::update::{LearnerOf, Network, Subject, Update, draws};

impl Update for Ppo {
    fn train(&mut self, _minibatches: u64) -> Result<Metrics, AgentError> {
        Ppo::train(self)
    }
}

impl Update for A2c {
    fn train(&mut self, _minibatches: u64) -> Result<Metrics, AgentError> {
        A2c::train(self)
    }
}

impl Update for Dqn {
    fn train(&mut self, minibatches: u64) -> Result<Metrics, AgentError> {
        Dqn::train(self, minibatches)
    }

    fn on_step(&mut self, n_envs: u64) {
        advance(self, n_envs);
        self.update_target();
    }
}

impl Update for QrDqn {
    fn train(&mut self, minibatches: u64) -> Result<Metrics, AgentError> {
        QrDqn::train(self, minibatches)
    }

    fn on_step(&mut self, n_envs: u64) {
        advance(self, n_envs);
        self.update_target();
    }
}

impl Update for Sac {
    fn train(&mut self, minibatches: u64) -> Result<Metrics, AgentError> {
        Sac::train(self, minibatches)
    }
}

/// Lets a vector step pass.
fn advance(agent: &mut impl Agent, n_envs: u64) {
    let mut state = agent.state();
    let step = state.counter("clock.step").unwrap();
    state.insert_u64("clock.step", [step + n_envs]);
    agent.load_state(&state).unwrap();
}

fn setting(row: &Row, name: &str) -> f64 {
    row["hyper"][name].as_f64().unwrap_or_else(|| panic!("no setting `{name}`"))
}

fn whole(row: &Row, name: &str) -> usize {
    setting(row, name) as usize
}

fn schedule(row: &Row, name: &str) -> Schedule {
    Schedule::Constant(setting(row, name))
}

fn flag(row: &Row, name: &str) -> bool {
    row["hyper"][name].as_bool().unwrap_or_else(|| panic!("no setting `{name}`"))
}

fn coefficient(setting: &Value) -> Coefficient {
    serde_json::from_value(setting.clone()).unwrap()
}

fn activation(row: &Row, default: Activation) -> Activation {
    match row["policy_kwargs"]["activation_fn"].as_str() {
        None => default,
        Some("tanh") => Activation::Tanh,
        Some("relu") => Activation::Relu,
        Some(other) => panic!("no activation `{other}`"),
    }
}

fn net_arch(row: &Row) -> NetArch {
    serde_json::from_value(row["policy_kwargs"]["net_arch"].clone()).unwrap()
}

fn weights() -> Rng {
    rng_stream(0, Purpose::Weights, 0)
}

/// The networks of PPO and A2C: nothing is shared.
fn actor_critic(row: &Row, context: &AgentContext<'_>) -> (MlpActorCritic, Network) {
    let arch = net_arch(row);
    let config = ActorCriticConfig {
        net_arch: &arch,
        activation: activation(row, Activation::Tanh),
        ortho_init: true,
        log_std_init: 0.0,
    };
    let space = &context.spec.action_space;
    let net = MlpActorCritic::new(context.features(), space, &config, &mut weights()).unwrap();
    let name = |own: &str| {
        let part = |hidden: &[usize], rest: &str, layers: &str, last: &str| {
            let output = format!("{}.", 2 * hidden.len());
            match rest.strip_prefix(&output) {
                Some(rest) => format!("{last}.{rest}"),
                None => format!("mlp_extractor.{layers}.{rest}"),
            }
        };
        match own.split_once('.') {
            Some(("actor", rest)) => part(arch.pi(), rest, "policy_net", "action_net"),
            Some(("critic", rest)) => part(arch.critic(), rest, "value_net", "value_net"),
            _ => own.to_owned(),
        }
    };
    let learner = LearnerOf { path: "agent.learner", optimizer: "policy", loss: "loss" };
    let network = Network::new("policy.net", &net, name, Some(learner));
    (net, network)
}

pub(crate) fn ppo(row: &Row) -> Result<(), String> {
    let spec = spec(row);
    let context = context(row, &spec);
    let config = PpoConfig {
        learning_rate: schedule(row, "learning_rate"),
        n_steps: whole(row, "n_steps"),
        batch_size: whole(row, "batch_size"),
        n_epochs: whole(row, "n_epochs"),
        gamma: setting(row, "gamma"),
        gae_lambda: setting(row, "gae_lambda"),
        clip_range: schedule(row, "clip_range"),
        clip_range_vf: row["hyper"]["clip_range_vf"].as_f64().map(Schedule::Constant),
        normalize_advantage: flag(row, "normalize_advantage"),
        ent_coef: setting(row, "ent_coef"),
        vf_coef: setting(row, "vf_coef"),
        max_grad_norm: setting(row, "max_grad_norm"),
        target_kl: row["hyper"]["target_kl"].as_f64(),
        ..PpoConfig::default()
    };
    let (net, network) = actor_critic(row, &context);
    let mut filled = State::new();
    filled.insert_child("agent.collector.rollout", rollout(row, &context)?.state());
    let subject = Subject {
        row,
        agent: Ppo::new(config, &context, Box::new(net)).map_err(|error| error.to_string())?,
        networks: vec![network],
        filled,
        n_updates: &["agent.n_updates"],
        draws: draws(row, context.n_envs),
        orders: Vec::new(),
    };
    subject.check()
}

pub(crate) fn a2c(row: &Row) -> Result<(), String> {
    let spec = spec(row);
    let context = context(row, &spec);
    let optimizer = &row["before"]["optim"]["policy"];
    let kind = optimizer["type"].as_str().unwrap();
    let config = A2cConfig {
        learning_rate: schedule(row, "learning_rate"),
        n_steps: whole(row, "n_steps"),
        gamma: setting(row, "gamma"),
        gae_lambda: setting(row, "gae_lambda"),
        normalize_advantage: flag(row, "normalize_advantage"),
        ent_coef: setting(row, "ent_coef"),
        vf_coef: setting(row, "vf_coef"),
        max_grad_norm: setting(row, "max_grad_norm"),
        use_rms_prop: kind != "Adam",
        rms_prop_kind: match kind {
            "RMSpropTFLike" => RmsPropKind::TensorFlow,
            _ => RmsPropKind::Torch,
        },
        rms_prop_eps: number(&optimizer["hyper"]["eps"]),
        ..A2cConfig::default()
    };
    let (net, network) = actor_critic(row, &context);
    let mut filled = State::new();
    filled.insert_child("agent.collector.rollout", rollout(row, &context)?.state());
    // SB3 shuffles the one batch, which changes nothing; here it stays in its order.
    let orders = draws(row, context.n_envs).into_iter().filter_map(|draw| match draw {
        Draw::Permutation(order) => Some(order),
        _ => None,
    });
    let subject = Subject {
        row,
        agent: A2c::new(config, &context, Box::new(net)).map_err(|error| error.to_string())?,
        networks: vec![network],
        filled,
        n_updates: &["agent.learner.n_updates"],
        draws: Vec::new(),
        orders: orders.collect(),
    };
    subject.check()
}

/// The interval that this row's target update keeps: SB3 counts vector steps, and rounds down.
fn target_update_interval(row: &Row, n_envs: usize) -> u64 {
    let n_envs = n_envs as u64;
    (whole(row, "target_update_interval") as u64 / n_envs).max(1) * n_envs
}

/// The networks of DQN and QR-DQN, under the name that SB3 has for them.
fn online_and_target(name: &str, net: &dyn Module) -> Vec<Network> {
    let learner = LearnerOf { path: "agent.learner", optimizer: "policy", loss: "loss" };
    let of = |net_name: String| move |own: &str| format!("{net_name}.{own}");
    vec![
        Network::new("policy.net", net, of(format!("{name}.{name}")), Some(learner)),
        Network::new("agent.target", net, of(format!("{name}_target.{name}")), None),
    ]
}

/// Fills what the agent samples from, and the statistics that it normalises with.
fn experience(row: &Row, context: &AgentContext<'_>) -> State {
    let mut filled = State::new();
    let replay = replay(&row["replay"], context, whole(row, "buffer_size"));
    filled.insert_child("agent.experience.replay", replay.state());
    for (name, recorded) in [("obs", "obs_rms"), ("return", "ret_rms")] {
        let recorded = &row["vecnormalize"][recorded];
        for field in ["mean", "var", "count"].iter().filter(|_| !recorded.is_null()) {
            let path = format!("policy.normalizer.{name}.{field}");
            filled.insert_f64(path, numbers(&recorded[field]));
        }
    }
    filled
}

fn normalized<'a>(row: &Row, context: AgentContext<'a>) -> AgentContext<'a> {
    let options = &row["vecnormalize"];
    if options.is_null() {
        return context;
    }
    context.with_normalize(NormalizeConfig {
        obs: true,
        reward: true,
        clip_obs: number(&options["clip_obs"]),
        clip_reward: number(&options["clip_reward"]),
        epsilon: number(&options["epsilon"]),
        ..NormalizeConfig::default()
    })
}

fn widths(row: &Row) -> Vec<usize> {
    indices(&row["policy_kwargs"]["net_arch"])
}

pub(crate) fn dqn(row: &Row) -> Result<(), String> {
    let spec = spec(row);
    let context = normalized(row, context(row, &spec));
    let config = DqnConfig {
        learning_rate: schedule(row, "learning_rate"),
        buffer_size: whole(row, "buffer_size"),
        batch_size: whole(row, "batch_size"),
        tau: setting(row, "tau"),
        gamma: setting(row, "gamma"),
        n_steps: whole(row, "n_steps"),
        target_update_interval: target_update_interval(row, context.n_envs),
        max_grad_norm: setting(row, "max_grad_norm"),
        ..DqnConfig::default()
    };
    let network = |inputs, n_actions, rng: &mut Rng| -> Box<dyn Layer> {
        q_network(false, inputs, &widths(row), n_actions, activation(row, Activation::Relu), rng)
    };
    let net = network(context.features(), spec.action_space.mask_len(), &mut weights());
    let subject = Subject {
        row,
        agent: Dqn::new(config, &context, network).map_err(|error| error.to_string())?,
        networks: online_and_target("q_net", &*net),
        filled: experience(row, &context),
        n_updates: &["agent.learner.n_updates"],
        draws: draws(row, context.n_envs),
        orders: Vec::new(),
    };
    subject.check()
}

pub(crate) fn qrdqn(row: &Row) -> Result<(), String> {
    let spec = spec(row);
    let context = context(row, &spec);
    let n_quantiles = count(&row["policy_kwargs"]["n_quantiles"]) as usize;
    let config = QrDqnConfig {
        learning_rate: schedule(row, "learning_rate"),
        buffer_size: whole(row, "buffer_size"),
        batch_size: whole(row, "batch_size"),
        tau: setting(row, "tau"),
        gamma: setting(row, "gamma"),
        n_steps: whole(row, "n_steps"),
        target_update_interval: target_update_interval(row, context.n_envs),
        max_grad_norm: row["hyper"]["max_grad_norm"].as_f64(),
        n_quantiles,
        ..QrDqnConfig::default()
    };
    let network = |inputs, n_actions, rng: &mut Rng| -> Box<dyn Layer> {
        let activation = activation(row, Activation::Relu);
        Box::new(mlp(inputs, &widths(row), n_quantiles * n_actions, activation, rng))
    };
    let net = network(context.features(), spec.action_space.mask_len(), &mut weights());
    let subject = Subject {
        row,
        agent: QrDqn::new(config, &context, network).map_err(|error| error.to_string())?,
        networks: online_and_target("quantile_net", &*net),
        filled: experience(row, &context),
        n_updates: &["agent.learner.n_updates"],
        draws: draws(row, context.n_envs),
        orders: Vec::new(),
    };
    subject.check()
}

pub(crate) fn sac(row: &Row) -> Result<(), String> {
    let spec = spec(row);
    let context = context(row, &spec);
    let n_critics = row["policy_kwargs"]["n_critics"].as_u64().unwrap_or(2) as usize;
    let config = SacConfig {
        learning_rate: schedule(row, "learning_rate"),
        buffer_size: whole(row, "buffer_size"),
        batch_size: whole(row, "batch_size"),
        tau: setting(row, "tau"),
        gamma: setting(row, "gamma"),
        n_steps: whole(row, "n_steps"),
        target_update_interval: whole(row, "target_update_interval") as u64,
        ent_coef: coefficient(&row["hyper"]["ent_coef"]),
        target_entropy: coefficient(&row["hyper"]["target_entropy"]),
        // SB3's form of the squashed density.
        log_prob_epsilon: 1e-6,
        n_critics,
        ..SacConfig::default()
    };
    let activation = activation(row, Activation::Relu);
    let arch = net_arch(row);
    let actor = |inputs, dim, rng: &mut Rng| -> Box<dyn Layer> {
        Box::new(GaussianHead::new(inputs, arch.pi(), dim, activation, rng))
    };
    let critic = |inputs, rng: &mut Rng| -> Box<dyn Layer> {
        Box::new(mlp(inputs, arch.critic(), 1, activation, rng))
    };
    let Space::Box(bounds) = &spec.action_space else { return Err("no box".to_owned()) };
    let (inputs, dim) = (context.features(), bounds.low.len());
    let critics = Critics::new(n_critics, |_| critic(inputs + dim, &mut weights()));
    let temperature = Temperature::new(config.ent_coef);
    let learner = |path, optimizer, loss| Some(LearnerOf { path, optimizer, loss });
    let below = |prefix: &'static str| move |own: &str| format!("{prefix}.{own}");
    let alpha = |_: &str| "log_ent_coef".to_owned();
    let [act, crit, temp] = [
        learner("agent.actor_learner", "actor", "actor_loss"),
        learner("agent.critic_learner", "critic", "critic_loss"),
        learner("agent.temperature_learner", "ent_coef", "ent_coef_loss"),
    ];
    let networks = vec![
        Network::new("policy.net", &*actor(inputs, dim, &mut weights()), below("actor"), act),
        Network::new("agent.critic", &critics, below("critic"), crit),
        Network::new("agent.target", &critics, below("critic_target"), None),
        Network::new("agent.temperature", &temperature, alpha, temp),
    ];
    let subject = Subject {
        row,
        agent: Sac::new(config, &context, actor, critic).map_err(|error| error.to_string())?,
        networks,
        filled: experience(row, &context),
        n_updates: &["agent.critic_learner.n_updates"],
        draws: draws(row, context.n_envs),
        orders: Vec::new(),
    };
    subject.check()
}
