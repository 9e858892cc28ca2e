//! Networks of one's own in the library's algorithms: trained, counted and saved once, and resumed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rlrun::agents::distributions::Distribution;
use rlrun::agents::dqn::Dqn;
use rlrun::agents::networks::ActorCritic;
use rlrun::agents::ppo::Ppo;
use rlrun::agents::sac::Sac;
use rlrun::agents::{DqnConfig, PpoConfig, SacConfig};
use rlrun::nn::{Init, Layer, Linear, Module};
use rlrun::prelude::*;

/// A layer that is used twice, by actor and critic or twice in a row, and one of its own after it.
struct Tied {
    shared: Linear,
    outputs: Linear,
}

impl Tied {
    fn new(inputs: usize, outputs: usize, rng: &mut Rng) -> Tied {
        let shared = Linear::new(inputs, inputs, Init::KaimingUniform, rng);
        Tied { shared, outputs: Linear::new(inputs, outputs, Init::KaimingUniform, rng) }
    }
}

impl Module for Tied {
    fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
        visit("first", &self.shared);
        visit("second", &self.shared);
        visit("outputs", &self.outputs);
    }
}

impl Layer for Tied {
    fn forward(&self, input: &Tensor) -> Tensor {
        let twice = self.shared.forward(&self.shared.forward(input).tanh()).tanh();
        self.outputs.forward(&twice)
    }
}

impl ActorCritic for Tied {
    fn policy(&self, obs: &Tensor) -> Distribution {
        Distribution::Categorical { logits: self.forward(obs).narrow(-1, 0, 2) }
    }

    fn value(&self, obs: &Tensor) -> Tensor {
        self.forward(obs).select(-1, 2)
    }
}

fn ppo(context: &AgentContext<'_>) -> Box<dyn Agent> {
    let mut rng = rng_stream(1, Purpose::Weights, 0);
    let config = PpoConfig { n_steps: 16, batch_size: 32, ..PpoConfig::default() };
    let net = Tied::new(context.features(), 3, &mut rng);
    Box::new(Ppo::new(config, context, Box::new(net)).unwrap())
}

fn dqn(context: &AgentContext<'_>) -> Box<dyn Agent> {
    let network = |inputs, n_actions, rng: &mut Rng| -> Box<dyn Layer> {
        Box::new(Tied::new(inputs, n_actions, rng))
    };
    let config = DqnConfig { learning_starts: 16, ..DqnConfig::default() };
    Box::new(Dqn::new(config, context, network).unwrap())
}

fn sac(context: &AgentContext<'_>) -> Box<dyn Agent> {
    let actor = |inputs, dim, rng: &mut Rng| -> Box<dyn Layer> {
        Box::new(Tied::new(inputs, 2 * dim, rng))
    };
    let critic = |inputs, rng: &mut Rng| -> Box<dyn Layer> { Box::new(Tied::new(inputs, 1, rng)) };
    let config = SacConfig { learning_starts: 16, batch_size: 16, ..SacConfig::default() };
    Box::new(Sac::new(config, context, actor, critic).unwrap())
}

/// Trains for 256 steps in two environments; interrupted and continued after 128 if asked.
fn train(
    env: &str,
    make: fn(&AgentContext<'_>) -> Box<dyn Agent>,
    interrupted: bool,
) -> [State; 2] {
    let run = || {
        let text = format!("algorithm = 'ppo'\nenv = {{ id = '{env}', n_envs = 2 }}");
        let run = Run::load(&text, ALGORITHMS, &[]).unwrap();
        let (envs, eval_envs) = (run.make_envs(2).unwrap(), run.make_eval_envs(1).unwrap());
        let spec = envs.spec().clone();
        let agent = make(&AgentContext::new(&spec, 2, 256, 1));
        let config =
            TrainConfig { total_timesteps: 256, n_eval_episodes: 0, ..TrainConfig::default() };
        Trainer::new(agent, envs, eval_envs, 1, config).unwrap()
    };
    let mut trainer = run();
    while interrupted && trainer.timesteps() < 128 {
        trainer.step().unwrap();
    }
    if interrupted {
        let (policy, state) = (trainer.agent.policy().state(), trainer.agent.state());
        let spec = trainer.envs.spec().clone();
        let mut agent = make(&AgentContext::new(&spec, 2, 256, 1));
        agent.policy_mut().load_state(&policy).unwrap();
        agent.load_state(&state).unwrap();
        trainer.agent = agent;
    }
    trainer.run().unwrap();
    [trainer.agent.policy().state(), trainer.agent.state()]
}

#[test]
fn a_network_of_ones_own_with_shared_weights_learns_and_resumes_in_every_role() {
    for (env, make) in [
        ("CartPole-v1", ppo as fn(&AgentContext<'_>) -> Box<dyn Agent>),
        ("CartPole-v1", dqn),
        ("Pendulum-v1", sac),
    ] {
        let whole = train(env, make, false);
        assert_eq!(whole, train(env, make, true));
        let saved: Vec<&String> = whole[0].0.keys().collect();
        let expected = ["first.bias", "first.weight", "outputs.bias", "outputs.weight"];
        assert_eq!(saved, expected.map(|name| format!("net.{name}")).each_ref());
        let envs = Run::load(&format!("algorithm = 'ppo'\nenv.id = '{env}'"), ALGORITHMS, &[]);
        let spec = envs.unwrap().make_envs(1).unwrap().spec().clone();
        let start = make(&AgentContext::new(&spec, 2, 256, 1)).policy().state();
        for name in saved {
            assert_ne!(
                start.f32(name).unwrap(),
                whole[0].f32(name).unwrap(),
                "`{name}` is trained"
            );
        }
    }
}
