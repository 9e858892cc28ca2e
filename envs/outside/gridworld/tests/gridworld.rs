//! The gridworld keeps its promises and is learnt by every algorithm with choices, mask included.

use gridworld::{GridWorld, environment};
use rlrun::prelude::*;

#[test]
fn the_environment_keeps_its_promises() {
    let report = check_env(GridWorld::default);
    assert!(report.is_ok(), "{report}");
}

/// The mean return of the policy that a run of `algorithm` ends with.
fn learnt(algorithm: &str, agent: &str, total_timesteps: u64) -> f64 {
    let text = format!(
        "algorithm = '{algorithm}'\nenv = {{ id = 'GridWorld-v0', n_envs = 8 }}\nagent = {{ {agent} }}\n\
         train = {{ total_timesteps = {total_timesteps}, n_eval_episodes = 0 }}"
    );
    let run = Run::load(&text, ALGORITHMS, &[environment()]).unwrap();
    let mut trainer = run.into_trainer().unwrap();
    // A move into a wall would be refused by the environment and end the run.
    trainer.run().unwrap();
    let mut envs = SyncVecEnv::new(vec![GridWorld::default(); 8]).unwrap();
    evaluate(trainer.agent.policy(), &mut envs, 200, 1).unwrap().mean_reward
}

#[test]
fn the_shortest_ways_are_learnt_under_the_mask() {
    // The mean length of the shortest ways from the free places, less the last step.
    let best = -5.25;
    for (algorithm, agent, steps) in [
        ("ppo", "n_steps = 64, batch_size = 256, learning_rate = 3e-3, ent_coef = 0.01", 30_720),
        (
            "dqn",
            "learning_rate = 1e-3, target_update_interval = 500, exploration_fraction = 0.5",
            40_000,
        ),
    ] {
        let found = learnt(algorithm, agent, steps);
        assert!(found > best - 1.0, "{algorithm}: mean return {found}, the best is about {best}");
    }
}

#[test]
fn a_move_into_a_wall_is_refused_with_environment_and_lane() {
    let mut envs = SyncVecEnv::new(vec![GridWorld::default(); 2]).unwrap();
    envs.reset(1).unwrap();
    let masks = envs.masks().to_vec();
    let illegal = masks.iter().position(|&legal| !legal).unwrap();
    let mut choices = [0, 1].map(|lane| (0..4).find(|a| masks[4 * lane + a]).unwrap());
    choices[illegal / 4] = illegal % 4;
    let message =
        envs.step(&rlrun::env::Actions::Discrete(choices.to_vec())).unwrap_err().to_string();
    assert!(message.contains("GridWorld-v0"), "{message}");
}
