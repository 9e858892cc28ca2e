//! What every row of `ENVS` keeps: spaces, seeds, saved states, and vectors equal to singles.
#![allow(clippy::unwrap_used, reason = "a test stops at the first error")]

use rlrun_core::NumpyRng;
use rlrun_env::{Actions, Env, EnvError, StepBatch, SyncVecEnv, VecEnv, WrapperConfig, check_env};
use rlrun_envs::{ENVS, EnvEntry};

fn no_args() -> toml::Table {
    toml::Table::new()
}

fn random_actions(entry: &EnvEntry, n_envs: usize, steps: usize) -> Vec<Actions> {
    let space = rlrun_envs::spec(entry.id).unwrap().action_space;
    let mut rng = NumpyRng::new(9);
    (0..steps).map(|_| space.sample(n_envs, &mut rng)).collect()
}

/// Everything that a vector environment shows: what to act on, and each step.
fn run(envs: &mut dyn VecEnv, actions: &[Actions]) -> Vec<(Vec<f32>, StepBatch)> {
    let step = |actions| {
        let obs = envs.obs().to_vec();
        (obs, envs.step(actions).unwrap().clone())
    };
    actions.iter().map(step).collect()
}

#[test]
fn observations_are_in_their_space_and_rewards_are_finite() {
    for entry in ENVS {
        let mut envs = entry.make_vec(16, &no_args()).unwrap();
        let spec = envs.spec().clone();
        envs.reset(3).unwrap();
        for (obs, batch) in run(&mut envs, &random_actions(entry, 16, 600)) {
            for row in obs.chunks(spec.observation_space.dim()) {
                assert!(spec.observation_space.contains_row(row), "{}: {row:?}", entry.id);
            }
            for row in batch.next_obs.chunks(spec.observation_space.dim()) {
                assert!(spec.observation_space.contains_row(row), "{}: {row:?}", entry.id);
            }
            assert!(batch.rewards.iter().all(|reward| reward.is_finite()), "{}", entry.id);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_does_not() {
    for entry in ENVS {
        let actions = random_actions(entry, 12, 300);
        let once = |seed| {
            let mut envs = entry.make_vec(12, &no_args()).unwrap();
            envs.reset(seed).unwrap();
            run(&mut envs, &actions)
        };
        assert_eq!(once(5), once(5), "{}", entry.id);
        assert_ne!(once(5), once(6), "{}", entry.id);
    }
}

/// Long enough that every environment is truncated once; odd, so that the last block is not full.
#[test]
fn a_vector_is_its_single_environments_to_the_bit() {
    for entry in ENVS {
        let (n_envs, steps) = (37, 1100);
        let actions = random_actions(entry, n_envs, steps);
        let mut batched = entry.make_vec(n_envs, &no_args()).unwrap();
        let singles = (0..n_envs).map(|_| entry.make(&no_args()).unwrap()).collect();
        let mut one_by_one = SyncVecEnv::new(singles).unwrap();
        batched.reset(u64::MAX - 3).unwrap();
        one_by_one.reset(u64::MAX - 3).unwrap();
        for (t, actions) in actions.iter().enumerate() {
            assert_eq!(batched.obs(), one_by_one.obs(), "{} before step {t}", entry.id);
            let (found, expected) = (batched.step(actions), one_by_one.step(actions));
            assert_eq!(found.unwrap(), expected.unwrap(), "{}, step {t}", entry.id);
        }
    }
}

#[test]
fn a_lane_is_a_single_environment_of_its_seed() {
    for entry in ENVS {
        let actions = random_actions(entry, 9, 200);
        let mut envs = entry.make_vec(9, &no_args()).unwrap();
        envs.reset(40).unwrap();
        let mut single = entry.make(&no_args()).unwrap();
        let mut obs = vec![0.0; single.spec().observation_space.dim()];
        single.reset(Some(46), &mut obs).unwrap();
        let dim = obs.len();
        for actions in &actions {
            assert_eq!(envs.obs()[6 * dim..7 * dim], obs, "{}", entry.id);
            let step = single.step(actions.row(6), &mut obs).unwrap();
            let batch = envs.step(actions).unwrap();
            assert_eq!((batch.rewards[6], batch.terminated[6]), (step.reward, step.terminated));
            if batch.terminated[6] || batch.truncated[6] {
                single.reset(None, &mut obs).unwrap();
            }
        }
    }
}

#[test]
fn a_state_saved_mid_episode_continues_identically() {
    for entry in ENVS {
        for n_envs in [1, 3, 20] {
            let actions = random_actions(entry, n_envs, 450);
            let mut envs = entry.make_vec(n_envs, &no_args()).unwrap();
            envs.reset(1).unwrap();
            run(&mut envs, &actions[..207]);
            let saved = envs.state().unwrap();
            let expected = run(&mut envs, &actions[207..]);
            let mut restored = entry.make_vec(n_envs, &no_args()).unwrap();
            restored.load_state(&saved).unwrap();
            assert_eq!(run(&mut restored, &actions[207..]), expected, "{} {n_envs}", entry.id);
            assert_eq!(restored.state().unwrap(), envs.state().unwrap(), "{} {n_envs}", entry.id);
        }
    }
}

#[test]
fn a_state_of_another_size_is_refused() {
    for entry in ENVS {
        let state = entry.make_vec(9, &no_args()).unwrap().state().unwrap();
        let error = entry.make_vec(10, &no_args()).unwrap().load_state(&state).unwrap_err();
        assert!(error.to_string().contains("has shape"), "{error}");
    }
}

#[test]
fn check_env_finds_nothing_wrong() {
    for entry in ENVS {
        let report = check_env(|| entry.make(&no_args()).unwrap());
        assert!(report.is_ok(), "{report}");
    }
}

#[test]
fn wrappers_and_another_limit_reach_every_environment() {
    for entry in ENVS {
        let wrappers = WrapperConfig {
            max_episode_steps: Some(5),
            frame_stack: Some(2),
            ..WrapperConfig::default()
        };
        let mut envs = entry.make_wrapped(10, &no_args(), &wrappers).unwrap();
        envs.reset(0).unwrap();
        let steps = run(&mut envs, &random_actions(entry, 10, 5));
        assert_eq!(steps[4].1.truncated, [true; 10], "{}", entry.id);
        let dim = rlrun_envs::spec(entry.id).unwrap().observation_space.dim();
        assert_eq!(steps[4].1.next_obs.len(), 10 * 2 * dim, "{}", entry.id);
    }
}

#[test]
fn stepping_before_the_first_reset_is_an_error() {
    for entry in ENVS {
        let actions = random_actions(entry, 8, 1);
        let error = entry.make_vec(8, &no_args()).unwrap().step(&actions[0]).err();
        assert!(matches!(error, Some(EnvError::StepBeforeReset { id }) if id == entry.id));
        let mut single = entry.make(&no_args()).unwrap();
        let mut obs = vec![0.0; single.spec().observation_space.dim()];
        let error = single.step(actions[0].row(0), &mut obs).err();
        assert!(matches!(error, Some(EnvError::StepBeforeReset { id }) if id == entry.id));
    }
}

#[test]
fn an_action_that_does_not_fit_is_named_with_what_was_expected() {
    let error = |id: &str, actions: Actions| {
        let mut envs = rlrun_envs::make_vec(id, 8, &no_args()).unwrap();
        envs.reset(0).unwrap();
        envs.step(&actions).unwrap_err().to_string()
    };
    let mut choices = vec![0; 8];
    choices[5] = 2;
    assert_eq!(
        error("CartPole-v1", Actions::Discrete(choices)),
        "`CartPole-v1` got the action `2`, expected an element of `Discrete(2)`"
    );
    assert_eq!(
        error("CartPole-v1", Actions::Discrete(vec![0; 7])),
        "`CartPole-v1` got 7 actions for 8 environments"
    );
    assert_eq!(
        error("Acrobot-v1", Actions::Continuous { values: vec![0.5; 8], dim: 1 }),
        "`Acrobot-v1` got the action `[0.5]`, expected an element of `Discrete(3)`"
    );
    assert_eq!(
        error("Pendulum-v1", Actions::Continuous { values: vec![f32::NAN; 8], dim: 1 }),
        "`Pendulum-v1` got the action `[NaN]`, expected an element of `Box(-2, 2)`"
    );
    assert_eq!(
        error("Pendulum-v1", Actions::Continuous { values: vec![0.0; 16], dim: 2 }),
        "`Pendulum-v1` got the action `[0.0, 0.0]`, expected an element of `Box(-2, 2)`"
    );
}

#[test]
fn box_actions_beyond_their_bounds_are_clipped() {
    let row = |torque: f32| {
        let mut env = rlrun_envs::make("Pendulum-v1", &no_args()).unwrap();
        let mut obs = [0.0; 3];
        env.reset(Some(0), &mut obs).unwrap();
        env.step(rlrun_env::Action::Continuous(&[torque]), &mut obs).unwrap();
        obs
    };
    assert_eq!(row(2.0), row(1e30));
    assert_eq!(row(-2.0), row(f32::NEG_INFINITY));
    assert_ne!(row(2.0), row(1.9));
}

/// Physics that explode: the step that leaves `f32` is refused, one by one and in blocks.
#[test]
fn an_observation_that_leaves_f32_is_refused_with_environment_and_step() {
    let args: toml::Table = "tau = 1e38\nforce_mag = 1e5\nx_threshold = 1e300".parse().unwrap();
    for n_envs in [1, 3, 20] {
        let mut envs = rlrun_envs::make_vec("CartPole-v1", n_envs, &args).unwrap();
        envs.reset(0).unwrap();
        let actions = Actions::Discrete(vec![1; n_envs]);
        let error = (0..4).find_map(|_| envs.step(&actions).err()).unwrap();
        let EnvError::NonFinite { id, lane, step, what, value } = &error else { panic!("{error}") };
        assert_eq!((id.as_str(), *lane), ("CartPole-v1", 0), "{n_envs}");
        assert!(*step >= 1 && what.starts_with("observation component ") && !value.is_finite());
    }
}

#[test]
fn arguments_that_make_an_impossible_space_are_refused_when_it_is_made() {
    let args: toml::Table = "x_threshold = 1e300\nmax_position = 0.0".parse().unwrap();
    assert!(rlrun_envs::make("CartPole-v1", &args).is_err());
    let args: toml::Table = "max_speed = 1e-300\nmin_position = inf".parse().unwrap();
    assert!(rlrun_envs::make("MountainCar-v0", &args).is_err());
}

#[test]
fn vectors_show_starts_limits_and_pictures_however_they_step() {
    for entry in ENVS {
        for n_envs in [2, 9] {
            let limited = WrapperConfig { max_episode_steps: Some(3), ..WrapperConfig::default() };
            let mut envs = entry.make_wrapped(n_envs, &no_args(), &limited).unwrap();
            envs.reset(0).unwrap();
            assert_eq!(envs.starts(), vec![true; n_envs], "{}", entry.id);
            let actions = random_actions(entry, n_envs, 3);
            for (t, actions) in (1..).zip(&actions) {
                let lengths = envs.step(actions).unwrap().lengths.clone();
                assert_eq!(lengths, vec![t; n_envs], "{}", entry.id);
                assert_eq!(envs.starts(), vec![t == 3; n_envs], "{}", entry.id);
            }
            assert!(envs.masks().is_empty() && envs.render(1).is_some(), "{}", entry.id);
        }
    }
}
