//! Evaluations leave training alone, and say of which task they speak.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod small_runs;

use rlrun::prelude::*;
use small_runs::config_of;

/// What has been learnt and where the run stands after 3000 steps, and how many evaluations it had.
fn train(algorithm: &Algorithm, train: &str, normalize: bool) -> ([State; 3], usize, usize) {
    let settings = ["agent.net_arch=[16, 16]", train, "train.total_timesteps=3000", "seed=5"];
    let settings = settings.map(str::to_owned).to_vec();
    let replays = algorithm.default_run_file().unwrap().contains("learning_starts");
    let soon = ["agent.learning_starts=64", "agent.batch_size=32"].map(str::to_owned);
    let soon = soon.into_iter().filter(|_| replays);
    let normalize = [format!("normalize.obs={normalize}"), format!("normalize.reward={normalize}")];
    let settings: Vec<String> = settings.into_iter().chain(soon).chain(normalize).collect();
    let text = config_of(algorithm.name);
    let run = Run::load_with(&text, &settings, ALGORITHMS, &[]).unwrap();
    let mut trainer = run.into_trainer().unwrap();
    let (mut updates, mut evaluations) = (0, 0);
    while !trainer.is_done() {
        let report = trainer.step().unwrap();
        updates += usize::from(report.update.is_some());
        evaluations += usize::from(report.evaluation.is_some());
    }
    let policy = trainer.agent.policy().state();
    ([policy, trainer.agent.state(), trainer.envs.state().unwrap()], updates, evaluations)
}

#[test]
fn a_run_with_an_evaluation_every_1000_steps_ends_with_the_bits_of_one_with_none() {
    for algorithm in ALGORITHMS {
        for normalize in [false, true] {
            let (without, updates, none) = train(algorithm, "train.n_eval_episodes=0", normalize);
            let (with, _, evaluations) = train(algorithm, "train.eval_freq=1000", normalize);
            assert_eq!((none, evaluations), (0, 3), "{}", algorithm.name);
            assert!(updates > 1, "{} has learnt", algorithm.name);
            assert!(without == with, "{}, normalized: {normalize}", algorithm.name);
        }
    }
}

/// The keys that make another task of the registered one.
fn task_changes(env: &str) -> String {
    let text = format!("algorithm = 'ppo'\n[env]\n{env}");
    Run::load(&text, ALGORITHMS, &[]).unwrap().task_changes().unwrap().join(" ")
}

#[test]
fn only_what_differs_from_the_registered_task_changes_it() {
    for same in [
        "id = 'CartPole-v1'",
        "id = 'CartPole-v1'\nargs = { force_mag = 10, gravity = 9.8, sutton_barto_reward = false }",
        "id = 'CartPole-v1'\nwrappers = { max_episode_steps = 500, frame_stack = 2 }",
        "id = 'CartPole-v0'\nwrappers = { max_episode_steps = 200, sticky_actions = 0.0 }",
        "id = 'Pendulum-v1'\nwrappers = { rescale_action = true, reward_scale = 1.0 }",
    ] {
        assert_eq!(task_changes(same), "", "{same}");
    }
    for (other, keys) in [
        ("id = 'CartPole-v0'\nwrappers.max_episode_steps = 500", "env.wrappers.max_episode_steps"),
        ("id = 'Pendulum-v1'\nargs = { g = 9.81, max_speed = 8 }", "env.args.g"),
        ("id = 'CartPole-v1'\nargs.reset = { low = -0.01, high = 0.01 }", "env.args.reset"),
        (
            "id = 'CartPole-v1'\n[env.wrappers]\nsticky_actions = 0.1\nobservation_delay = 1\n\
             reward_scale = 0.5\nreward_clip = [0.0, 1.0]",
            "env.wrappers.sticky_actions env.wrappers.observation_delay env.wrappers.reward_scale \
             env.wrappers.reward_clip",
        ),
    ] {
        assert_eq!(task_changes(other), keys, "{other}");
    }
}
