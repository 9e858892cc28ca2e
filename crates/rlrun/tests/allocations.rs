//! Acting allocates nothing after the first step.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use allocation_counter::measure;
use rlrun::prelude::*;

/// Heap allocations of one `act` on `n_envs` observations, after a first one.
fn allocations(algorithm: &str, env: &str, n_envs: usize) -> u64 {
    let text =
        format!("algorithm = \"{algorithm}\"\nenv = {{ id = \"{env}\", n_envs = {n_envs} }}");
    let run = Run::load(&text, ALGORITHMS, &[]).unwrap();
    let envs = run.make_envs(n_envs).unwrap();
    let spec = envs.spec();
    let mut agent = run.into_agent(spec).unwrap();
    let mut actions = Actions::zeros(&spec.action_space, n_envs);
    let rows = vec![0.1; n_envs * spec.observation_space.dim()];
    let seen = Observations { rows: &rows, starts: &vec![false; n_envs], masks: &[] };
    let mut act = || agent.act(&seen, &mut actions).unwrap();
    act();
    measure(act).count_total
}

#[test]
fn acting_allocates_nothing_after_the_first_step() {
    let cases = [
        ("ppo", "CartPole-v1"),
        ("ppo", "Pendulum-v1"),
        ("a2c", "CartPole-v1"),
        ("dqn", "CartPole-v1"),
        ("sac", "Pendulum-v1"),
    ];
    for (algorithm, env) in cases {
        for n_envs in [1, 8, 64] {
            let count = allocations(algorithm, env, n_envs);
            assert_eq!(count, 0, "{algorithm} on {n_envs} x {env}");
        }
    }
}
