//! Networks of one's own with dropout and batch normalisation, in every algorithm: they train in the
//! loss, evaluate everywhere else, and a run that was interrupted is the run that was not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rlrun::agents::a2c::A2c;
use rlrun::agents::distributions::Distribution;
use rlrun::agents::dqn::Dqn;
use rlrun::agents::networks::ActorCritic;
use rlrun::agents::ppo::Ppo;
use rlrun::agents::qrdqn::QrDqn;
use rlrun::agents::sac::Sac;
use rlrun::agents::{A2cConfig, DqnConfig, PpoConfig, QrDqnConfig, SacConfig};
use rlrun::nn::{BatchNorm, Dropout, Init, Linear, check_module};
use rlrun::prelude::*;

#[derive(Module)]
struct Regularised {
    input: Linear,
    norm: BatchNorm,
    dropout: Dropout,
    output: Linear,
}

impl Regularised {
    fn new(inputs: usize, outputs: usize, rng: &mut Rng) -> Regularised {
        Regularised {
            input: Linear::new(inputs, 8, Init::KaimingUniform, rng),
            norm: BatchNorm::new(8),
            dropout: Dropout::new(0.2, rng_stream(7, Purpose::Layers, 1)),
            output: Linear::new(8, outputs, Init::KaimingUniform, rng),
        }
    }
}

impl Layer for Regularised {
    fn forward(&self, input: &Tensor) -> Tensor {
        let features = self.norm.forward(&self.input.forward(input)).relu();
        self.output.forward(&self.dropout.forward(&features))
    }
}

/// Two actions and a value.
#[derive(Module)]
struct Heads(#[module(flatten)] Regularised);

impl ActorCritic for Heads {
    fn policy(&self, obs: &Tensor) -> Distribution {
        self.policy_and_value(obs).0
    }

    fn value(&self, obs: &Tensor) -> Tensor {
        self.policy_and_value(obs).1
    }

    fn policy_and_value(&self, obs: &Tensor) -> (Distribution, Tensor) {
        let output = self.0.forward(obs);
        let logits = output.narrow(-1, 0, 2);
        (Distribution::Categorical { logits }, output.select(-1, 2))
    }
}

fn heads(context: &AgentContext<'_>) -> Box<dyn ActorCritic> {
    let mut rng = rng_stream(1, Purpose::Weights, 0);
    Box::new(Heads(Regularised::new(context.features(), 3, &mut rng)))
}

fn network(inputs: usize, outputs: usize, rng: &mut Rng) -> Box<dyn Layer> {
    Box::new(Regularised::new(inputs, outputs, rng))
}

type Make = fn(&AgentContext<'_>) -> Box<dyn Agent>;

fn ppo(context: &AgentContext<'_>) -> Box<dyn Agent> {
    let config = PpoConfig { n_steps: 16, batch_size: 16, n_epochs: 2, ..PpoConfig::default() };
    Box::new(Ppo::new(config, context, heads(context)).unwrap())
}

fn a2c(context: &AgentContext<'_>) -> Box<dyn Agent> {
    Box::new(A2c::new(A2cConfig::default(), context, heads(context)).unwrap())
}

fn dqn(context: &AgentContext<'_>) -> Box<dyn Agent> {
    let target_update_interval = 20;
    let config = DqnConfig {
        learning_starts: 16,
        double: true,
        target_update_interval,
        ..DqnConfig::default()
    };
    Box::new(Dqn::new(config, context, network).unwrap())
}

fn qrdqn(context: &AgentContext<'_>) -> Box<dyn Agent> {
    let config = QrDqnConfig {
        learning_starts: 16,
        n_quantiles: 5,
        target_update_interval: 20,
        ..QrDqnConfig::default()
    };
    let network = |inputs, n_actions: usize, rng: &mut Rng| network(inputs, 5 * n_actions, rng);
    Box::new(QrDqn::new(config, context, network).unwrap())
}

fn sac(context: &AgentContext<'_>) -> Box<dyn Agent> {
    let config = SacConfig { learning_starts: 16, batch_size: 16, ..SacConfig::default() };
    let actor = |inputs, dim: usize, rng: &mut Rng| network(inputs, 2 * dim, rng);
    let critic = |inputs, rng: &mut Rng| network(inputs, 1, rng);
    Box::new(Sac::new(config, context, actor, critic).unwrap())
}

const AGENTS: [(&str, &str, Make, &[&str]); 5] = [
    ("ppo", "CartPole-v1", ppo, &["learner.layers.dropout"]),
    ("a2c", "CartPole-v1", a2c, &["learner.layers.dropout"]),
    ("dqn", "CartPole-v1", dqn, &["learner.layers.dropout"]),
    ("qrdqn", "CartPole-v1", qrdqn, &["learner.layers.dropout"]),
    (
        "sac",
        "Pendulum-v1",
        sac,
        &[
            "actor_learner.layers.dropout",
            "critic_learner.layers.qf0.dropout",
            "critic_learner.layers.qf1.dropout",
        ],
    ),
];

struct Lane {
    envs: Box<dyn VecEnv>,
    eval_envs: Box<dyn VecEnv>,
}

fn lane(env: &str) -> Lane {
    let text = format!("algorithm = 'ppo'\nenv = {{ id = '{env}', n_envs = 2 }}");
    let run = Run::load(&text, ALGORITHMS, &[]).unwrap();
    Lane { envs: run.make_envs(2).unwrap(), eval_envs: run.make_eval_envs(1).unwrap() }
}

/// The policy and the rest of the agent after 128 steps in two environments, with an evaluation each
/// `eval_freq` steps, interrupted and continued after 72 if asked.
fn train(env: &str, make: Make, eval_freq: u64, interrupted: bool) -> [State; 2] {
    let Lane { envs, eval_envs } = lane(env);
    let spec = envs.spec().clone();
    let new = || make(&AgentContext::new(&spec, 2, 128, 1));
    let config = TrainConfig {
        total_timesteps: 128,
        eval_freq,
        n_eval_episodes: 1,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::new(new(), envs, eval_envs, 1, config).unwrap();
    while interrupted && trainer.timesteps() < 72 {
        trainer.step().unwrap();
    }
    if interrupted {
        let (policy, state) = (trainer.agent.policy().state(), trainer.agent.state());
        trainer.agent = new();
        trainer.agent.policy_mut().load_state(&policy).unwrap();
        trainer.agent.load_state(&state).unwrap();
    }
    trainer.run().unwrap();
    [trainer.agent.policy().state(), trainer.agent.state()]
}

#[test]
fn evaluating_more_often_and_interruptions_change_no_bit() {
    for (name, env, make, _) in AGENTS {
        let whole = train(env, make, 128, false);
        assert_eq!(whole, train(env, make, 16, false), "{name}, evaluated more often");
        assert_eq!(whole, train(env, make, 16, true), "{name}, interrupted");
    }
}

#[test]
fn losses_train_every_layer_of_the_network_that_learns() {
    for (name, env, make, dropouts) in AGENTS {
        let spec = lane(env).envs.spec().clone();
        let start = make(&AgentContext::new(&spec, 2, 128, 1)).state();
        let [policy, agent] = train(env, make, 128, false);
        for path in dropouts {
            let of = |state: &State| state.child(path);
            assert!(!of(&start).0.is_empty(), "`{path}` of {name} is saved");
            assert_ne!(of(&start), of(&agent), "`{path}` of {name} has drawn");
        }
        assert!(policy.counter("net.norm.num_batches_tracked").unwrap() > 0, "{name}");
        assert!(policy.0.keys().all(|path| !path.contains("dropout")), "{name}");
    }
}

/// Batches that moved the statistics of `path`.
fn batches(state: &State, path: &str) -> u64 {
    state.counter(&format!("{path}.norm.num_batches_tracked")).unwrap()
}

#[test]
fn target_networks_take_statistics_over_and_have_none_of_their_own() {
    let [_, agent] = train("Pendulum-v1", sac, 128, false);
    for critic in ["qf0", "qf1"] {
        // One minibatch for each vector step after the first 16 steps; the actor's loss, which asks the
        // critics too, leaves no trace in theirs.
        let online = batches(&agent, &format!("critic.{critic}"));
        assert_eq!(online, agent.counter("critic_learner.n_updates").unwrap());
        assert_eq!(batches(&agent, &format!("target.{critic}")), online);
        let mean = |net: &str| agent.f32(&format!("{net}.{critic}.norm.running_mean")).unwrap();
        assert_eq!(mean("target"), mean("critic"));
    }
    let [policy, agent] = train("CartPole-v1", dqn, 128, false);
    let (online, target) = (batches(&policy, "net"), batches(&agent, "target"));
    assert!(0 < target && target < online, "copied every 20 steps: {target}, {online}");
}

#[test]
fn nothing_of_the_networks_is_forgotten() {
    let mut rng = rng_stream(1, Purpose::Weights, 0);
    let report = check_module(|| Heads(Regularised::new(4, 3, &mut rng)));
    assert!(report.is_ok(), "{report}");
    assert_eq!((report.parameters, report.layers), (6, 2));
}
