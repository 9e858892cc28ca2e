//! MountainCar: leave a valley with an engine too weak to climb out of it (Moore 1990).
//!
//! | observation | bounds | unit |
//! |---|---|---|
//! | 0 position of the car | -1.2 to 0.6 | m |
//! | 1 velocity of the car | ±0.07 | m/step |
//!
//! Actions: 0 accelerates to the left, 1 does nothing, 2 accelerates to the right. Reward: -1 for
//! every step, the last one included. Start: position uniform in -0.6 to -0.4, at rest. The episode
//! ends at position 0.5 or beyond with at least the goal velocity, and is truncated after 200 steps.
//! The left wall stops the car. Version 0, Gymnasium 1.4.

use rlrun_core::NumpyRng;
use rlrun_env::{Action, BoxSpace, Space, Step};
use serde::{Deserialize, Serialize};

use super::lanes::{LANES, Lanes, cos, each};
use super::{BlockStep, ResetBounds, Task, check_finite, check_positive, choice};

/// Arguments of MountainCar.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MountainCarArgs {
    /// Least velocity at the goal, m/step.
    pub goal_velocity: f64,
    /// Left wall, m.
    pub min_position: f64,
    /// Right end, m.
    pub max_position: f64,
    /// Largest velocity, m/step.
    pub max_speed: f64,
    /// Position of the flag, m.
    pub goal_position: f64,
    /// Change of velocity by the engine, m/step.
    pub force: f64,
    /// Largest change of velocity by the slope, m/step.
    pub gravity: f64,
    /// Bounds of the first position.
    pub reset: ResetBounds,
}

impl Default for MountainCarArgs {
    fn default() -> MountainCarArgs {
        MountainCarArgs {
            goal_velocity: 0.0,
            min_position: -1.2,
            max_position: 0.6,
            max_speed: 0.07,
            goal_position: 0.5,
            force: 0.001,
            gravity: 0.0025,
            reset: ResetBounds::default(),
        }
    }
}

/// The equations of MountainCar.
#[derive(Clone, Debug)]
pub struct MountainCar {
    args: MountainCarArgs,
    reset: (f64, f64),
}

impl MountainCar {
    /// Position and velocity after one step, from the cosine of three times the position.
    #[inline(always)]
    fn advance(&self, [position, velocity]: [f64; 2], push: f64, cos: f64) -> [f64; 2] {
        let MountainCarArgs { min_position, max_position, max_speed, force, gravity, .. } =
            self.args;
        let velocity = velocity + (push * force + cos * -gravity);
        let velocity = velocity.max(-max_speed).min(max_speed);
        let position = (position + velocity).max(min_position).min(max_position);
        let stopped = position == min_position && velocity < 0.0;
        [position, if stopped { 0.0 } else { velocity }]
    }

    #[inline(always)]
    fn has_arrived(&self, [position, velocity]: [f64; 2]) -> bool {
        position >= self.args.goal_position && velocity >= self.args.goal_velocity
    }
}

impl Task for MountainCar {
    const PAGE: &'static str = include_str!("../../pages/mountain-car.md");

    type Args = MountainCarArgs;
    type State = [f64; 2];
    type Block = [Lanes; 2];

    fn new(args: MountainCarArgs) -> Result<MountainCar, String> {
        check_positive(&[
            ("max_speed", args.max_speed),
            ("force", args.force),
            ("gravity", args.gravity),
            ("max_position - min_position", args.max_position - args.min_position),
        ])?;
        check_finite(&[
            ("goal_velocity", args.goal_velocity),
            ("goal_position", args.goal_position),
        ])?;
        Ok(MountainCar { reset: args.reset.resolve(-0.6, -0.4)?, args })
    }

    fn args(&self) -> &MountainCarArgs {
        &self.args
    }

    fn spaces(&self) -> (Space, Space) {
        let MountainCarArgs { min_position, max_position, max_speed, .. } = self.args;
        let low = vec![min_position as f32, -max_speed as f32];
        let high = vec![max_position as f32, max_speed as f32];
        (Space::Box(BoxSpace::new(low, high)), Space::Discrete(3))
    }

    fn reset(&self, rng: &mut NumpyRng) -> [f64; 2] {
        [rng.uniform(self.reset.0, self.reset.1), 0.0]
    }

    fn step(&self, state: &mut [f64; 2], action: Action<'_>) -> Step {
        let push = choice(action) as f64 - 1.0;
        *state = self.advance(*state, push, (3.0 * state[0]).cos());
        Step::new(-1.0, self.has_arrived(*state))
    }

    fn observe(&self, state: &[f64; 2], obs: &mut [f32]) {
        obs.copy_from_slice(&state.map(|value| value as f32));
    }

    #[inline(always)]
    fn step_block(&self, block: &mut [Lanes; 2], actions: &Lanes, out: &mut BlockStep) {
        let [position, velocity] = block;
        let slope = cos(&each(|lane| 3.0 * position[lane]));
        for lane in 0..LANES {
            let state = [position[lane], velocity[lane]];
            let next = self.advance(state, actions[lane] - 1.0, slope[lane]);
            out.rewards[lane] = -1.0;
            out.terminated[lane] = self.has_arrived(next);
            [position[lane], velocity[lane]] = next;
            (out.obs[0][lane], out.obs[1][lane]) = (next[0] as f32, next[1] as f32);
        }
    }
}
