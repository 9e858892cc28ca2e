//! A policy is loaded from a checkpoint by itself and called without an environment.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::thread;

use allocation_counter::measure;
use rlrun::prelude::*;

/// A finished run in `dir`.
fn train(dir: &Path, algorithm: &str, env: &str) {
    let text = format!(
        "algorithm = '{algorithm}'\nenv.id = '{env}'\ntrain = {{ total_timesteps = 256, \
         n_eval_episodes = 0 }}\nagent.net_arch = [16, 16]"
    );
    Run::load(&text, ALGORITHMS, &[]).unwrap().create(dir).unwrap().run().unwrap();
}

fn choice(policy: &dyn Policy, obs: &[f32], actions: &mut Actions) {
    policy.act(&Observations::row(obs), &mut Memory::none(), None, actions).unwrap();
}

#[test]
fn one_policy_serves_two_threads_with_the_same_actions() {
    let dir = tempfile::tempdir().unwrap();
    for (algorithm, env) in [("ppo", "Acrobot-v1"), ("dqn", "CartPole-v1"), ("sac", "Pendulum-v1")]
    {
        let run = dir.path().join(algorithm);
        train(&run, algorithm, env);
        let policy = load_policy(&run, ALGORITHMS).unwrap();
        let spec = rlrun::envs::spec(env).unwrap();
        let acts = || {
            let mut actions = Actions::zeros(&spec.action_space, 1);
            let row =
                |k: usize| (0..spec.observation_space.dim()).map(move |i| ((k + i) as f32).sin());
            let act = |k| {
                choice(&*policy, &row(k).collect::<Vec<_>>(), &mut actions);
                actions.clone()
            };
            (0..200).map(act).collect::<Vec<_>>()
        };
        let alone = acts();
        thread::scope(|scope| {
            let both = [scope.spawn(acts), scope.spawn(acts)];
            for other in both {
                assert_eq!(other.join().unwrap(), alone, "{algorithm}");
            }
        });
    }
}

#[test]
fn a_policy_needs_neither_its_environment_nor_the_rest_of_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    train(&dir.path().join("own"), "dqn", "CartPole-v1");
    let step = dir.path().join("own/step-000000256");
    for name in ["agent", "envs", "trainer"] {
        std::fs::remove_file(step.join(name).with_extension("safetensors")).unwrap();
    }
    let policy = load_policy(&step, ALGORITHMS).unwrap();
    let mut actions = Actions::Discrete(vec![0]);
    let mut act = || choice(&*policy, &[0.1, 0.0, -0.1, 0.0], &mut actions);
    act();
    assert_eq!(measure(act).count_total, 0);
}
