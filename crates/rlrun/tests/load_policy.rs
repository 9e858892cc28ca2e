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
    // Its replay buffer would hold a million transitions.
    let mut policy = None;
    let loading = measure(|| policy = Some(load_policy(&step, ALGORITHMS).unwrap()));
    assert!(loading.bytes_max < 2_000_000, "{} bytes", loading.bytes_max);
    let policy = policy.unwrap();
    let mut actions = Actions::Discrete(vec![0]);
    let mut act = || choice(&*policy, &[0.1, 0.0, -0.1, 0.0], &mut actions);
    act();
    assert_eq!(measure(act).count_total, 0);
}

/// The names of a page that stand for those of a file: `<k>` is any number.
fn is_documented(page: &str, name: &str) -> bool {
    let general =
        name.split('.').map(|part| if part.parse::<u32>().is_ok() { "<k>" } else { part });
    let general = general.collect::<Vec<_>>().join(".");
    let (stem, last) = general.rsplit_once('.').unwrap();
    page.contains(&format!("`{general}`"))
        || page
            .lines()
            .any(|line| line.contains(&format!("`{stem}.")) && line.contains(&format!("`.{last}`")))
}

#[test]
fn every_name_and_word_of_a_policy_file_is_documented() {
    let page = include_str!("../../../docs/reference/policy-file.md");
    let dir = tempfile::tempdir().unwrap();
    for algorithm in ALGORITHMS {
        let run = dir.path().join(algorithm.name);
        let env = if algorithm.name == "sac" { "Pendulum-v1" } else { "CartPole-v1" };
        train(&run, algorithm.name, env);
        let bytes = std::fs::read(run.join("step-000000256/policy.safetensors")).unwrap();
        for name in State::from_safetensors(&bytes).unwrap().0.keys() {
            assert!(is_documented(page, name), "`{}`: `{name}`", algorithm.name);
        }
        let words = rlrun::core::safetensors_metadata(&bytes).unwrap();
        assert_eq!(words.len(), 6);
        for key in words.keys() {
            assert!(page.contains(&format!("| `{key}` |")), "{key}");
        }
        assert_eq!(words["algorithm"], algorithm.name);
    }
}
