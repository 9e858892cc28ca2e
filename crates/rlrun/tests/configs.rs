//! Every shipped run file builds and steps, and its resolved form is the same run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod small_runs;

use rlrun::prelude::*;
use small_runs::configs;

#[test]
fn every_run_file_in_configs_builds_and_takes_ten_steps() {
    assert!(configs().len() >= 2);
    for (path, text) in configs() {
        let mut trainer = Run::load(&text, ALGORITHMS, &[])
            .and_then(Run::into_trainer)
            .unwrap_or_else(|error| panic!("`{}`: {error}", path.display()));
        for _ in 0..10 {
            trainer.step().unwrap();
        }
        assert_eq!(trainer.timesteps(), 10 * trainer.envs.num_envs() as u64);
    }
}

#[test]
fn the_resolved_file_is_a_run_file_that_resolves_to_itself() {
    for (path, text) in configs() {
        let resolved = Run::load(&text, ALGORITHMS, &[]).unwrap().resolved().to_owned();
        let again = Run::load(&resolved, ALGORITHMS, &[]).unwrap();
        assert_eq!(again.resolved(), resolved, "`{}`", path.display());
    }
}

#[test]
fn wrappers_are_put_around_training_and_evaluation_environments() {
    let text = "algorithm = 'ppo'\n[env]\nid = 'CartPole-v1'\nn_envs = 2\n\
                wrappers = { max_episode_steps = 7, frame_stack = 3, reward_scale = 0.5 }\n\
                [agent]\nn_steps = 64\n[train]\ntotal_timesteps = 128\nn_rescore_episodes = 2";
    let run = Run::load(text, ALGORITHMS, &[]).unwrap();
    assert!(run.resolved().contains("frame_stack = 3"), "{}", run.resolved());
    let mut trainer = run.into_trainer().unwrap();
    trainer.run().unwrap();
    for envs in [&trainer.envs, &trainer.eval_envs] {
        assert_eq!(envs.spec().observation_space.dim(), 12);
        assert_eq!(envs.spec().max_episode_steps, Some(7));
    }
    let evaluation = trainer.evaluate().unwrap();
    assert!(evaluation.lengths.iter().all(|&length| length == 7), "{:?}", evaluation.lengths);
    assert_eq!(evaluation.mean_reward, 7.0, "returns are the environment's own");
}

#[test]
fn the_default_file_names_every_wrapper() {
    let text = ALGORITHMS[0].default_run_file().unwrap();
    let section = text.split("[env.wrappers]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    for key in rlrun::env::WrapperConfig::FIELD_NAMES {
        assert!(section.contains(key), "no `{key}` in:\n{section}");
    }
}

#[test]
fn the_default_file_of_every_algorithm_is_valid_and_explains_every_key() {
    for algorithm in ALGORITHMS {
        let text = algorithm.default_run_file().unwrap();
        Run::load(&text, ALGORITHMS, &[]).unwrap().into_trainer().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[1].contains(" = ")) {
            if !pair[1].starts_with('#') {
                assert!(pair[0].starts_with("# "), "no explanation above `{}`", pair[1]);
            }
        }
    }
}

#[test]
fn a_wrapper_that_shows_nothing_or_is_misspelt_is_refused() {
    let text = "algorithm = \"ppo\"\n[env]\nid = \"CartPole-v1\"\nn_envs = 8\n[env.wrappers]\n\
                frame_stack = 3\n";
    let wrong = Run::load(&text.replace("frame_stack = 3", "frame_stack = 0"), ALGORITHMS, &[]);
    let message = wrong.unwrap().make_envs(8).err().unwrap().to_string();
    assert!(message.contains("`frame_stack = 0` shows nothing"), "{message}");
    let unknown = Run::load(&text.replace("frame_stack", "frame_stak"), ALGORITHMS, &[]);
    let message = unknown.err().unwrap().to_string();
    assert!(message.contains("unknown field `frame_stak`"), "{message}");
}
