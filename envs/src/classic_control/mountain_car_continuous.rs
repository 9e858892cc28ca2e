//! MountainCarContinuous: MountainCar with a force to choose, and a price on using it (Moore 1990).
//!
//! | observation | bounds | unit |
//! |---|---|---|
//! | 0 position of the car | -1.2 to 0.6 | m |
//! | 1 velocity of the car | ±0.07 | m/step |
//!
//! Action: the force, clipped to ±1. Reward: -0.1 times the square of the action as it was given,
//! and 100 for arriving. Start: position uniform in -0.6 to -0.4, at rest. The episode ends at
//! position 0.45 or beyond with at least the goal velocity, and is truncated after 999 steps. The
//! left wall stops the car. Version 0, Gymnasium 1.4.
//!
//! Gymnasium keeps a double-precision state from the reset to the first step, and a
//! single-precision one from there on; its promotion rules decide the rounding of each product.

use rlrun_core::NumpyRng;
use rlrun_env::{Action, BoxSpace, Space, Step};
use serde::{Deserialize, Serialize};

use super::lanes::{LANES, Lanes, cos, each};
use super::{BlockStep, ResetBounds, Task, check_finite, check_positive, force_of};

/// Arguments of MountainCarContinuous.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MountainCarContinuousArgs {
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
    /// Change of velocity by the force 1, m/step.
    pub power: f64,
    /// Bounds of the first position.
    pub reset: ResetBounds,
}

impl Default for MountainCarContinuousArgs {
    fn default() -> MountainCarContinuousArgs {
        MountainCarContinuousArgs {
            goal_velocity: 0.0,
            min_position: -1.2,
            max_position: 0.6,
            max_speed: 0.07,
            goal_position: 0.45,
            power: 0.0015,
            reset: ResetBounds::default(),
        }
    }
}

/// Largest change of velocity by the slope, m/step.
const GRAVITY: f64 = 0.0025;

/// The equations of MountainCarContinuous.
#[derive(Clone, Debug)]
pub struct MountainCarContinuous {
    args: MountainCarContinuousArgs,
    reset: (f64, f64),
}

/// `value` as numpy stores it: double precision until the first step, single from there on.
#[inline(always)]
fn stored(value: f64, single: bool) -> f64 {
    if single { f64::from(value as f32) } else { value }
}

impl MountainCarContinuous {
    /// Three times the position, in the precision of the state.
    #[inline(always)]
    fn slope_angle(position: f64, single: bool) -> f64 {
        stored(3.0 * position, single)
    }

    /// Position and velocity after one step, from the action and the cosine of [`slope_angle`].
    ///
    /// [`slope_angle`]: MountainCarContinuous::slope_angle
    #[inline(always)]
    fn advance(&self, state: [f64; 2], single: bool, action: f32, cos: f64) -> [f64; 2] {
        let MountainCarContinuousArgs { min_position, max_position, max_speed, power, .. } =
            self.args;
        let [position, velocity] = state;
        // A force within its bounds is numpy's f32, a clipped one is Python's f64.
        let within = f64::from(action * power as f32 - (GRAVITY * cos) as f32);
        let clipped = action.clamp(-1.0, 1.0);
        let beyond = stored(f64::from(clipped) * power - GRAVITY * cos, single);
        let change = if clipped == action { within } else { beyond };
        let round = |value: f64| stored(value, single);
        let velocity = round(velocity + change).max(round(-max_speed)).min(round(max_speed));
        let position = round(position + velocity);
        let position = position.max(round(min_position)).min(round(max_position));
        let stopped = position == round(min_position) && velocity < 0.0;
        [position, if stopped { 0.0 } else { velocity }]
    }

    #[inline(always)]
    fn has_arrived(&self, [position, velocity]: [f64; 2], single: bool) -> bool {
        position >= stored(self.args.goal_position, single)
            && velocity >= stored(self.args.goal_velocity, single)
    }

    #[inline(always)]
    fn reward(action: f32, arrived: bool) -> f64 {
        let action = f64::from(action);
        (if arrived { 100.0 } else { 0.0 }) - action * action * 0.1
    }
}

impl Task for MountainCarContinuous {
    const PAGE: &'static str = include_str!("../../pages/mountain-car-continuous.md");

    type Args = MountainCarContinuousArgs;
    /// Position, velocity, and 1 from the first step on, when the state is in single precision.
    type State = [f64; 3];
    type Block = [Lanes; 3];

    fn new(args: MountainCarContinuousArgs) -> Result<MountainCarContinuous, String> {
        check_positive(&[
            ("max_speed", args.max_speed),
            ("power", args.power),
            ("max_position - min_position", args.max_position - args.min_position),
        ])?;
        check_finite(&[
            ("goal_velocity", args.goal_velocity),
            ("goal_position", args.goal_position),
        ])?;
        Ok(MountainCarContinuous { reset: args.reset.resolve(-0.6, -0.4)?, args })
    }

    fn args(&self) -> &MountainCarContinuousArgs {
        &self.args
    }

    fn spaces(&self) -> (Space, Space) {
        let MountainCarContinuousArgs { min_position, max_position, max_speed, .. } = self.args;
        let low = vec![min_position as f32, -max_speed as f32];
        let high = vec![max_position as f32, max_speed as f32];
        (Space::Box(BoxSpace::new(low, high)), Space::Box(BoxSpace::symmetric(&[1.0])))
    }

    fn reset(&self, rng: &mut NumpyRng) -> [f64; 3] {
        [rng.uniform(self.reset.0, self.reset.1), 0.0, 0.0]
    }

    fn step(&self, state: &mut [f64; 3], action: Action<'_>) -> Step {
        let (action, [position, velocity, stepped]) = (force_of(action), *state);
        let single = stepped == 1.0;
        let cos = MountainCarContinuous::slope_angle(position, single).cos();
        let next = self.advance([position, velocity], single, action, cos);
        let terminated = self.has_arrived(next, single);
        *state = [stored(next[0], true), stored(next[1], true), 1.0];
        Step::new(MountainCarContinuous::reward(action, terminated), terminated)
    }

    fn observe(&self, state: &[f64; 3], obs: &mut [f32]) {
        obs.iter_mut().zip(state).for_each(|(obs, &value)| *obs = value as f32);
    }

    #[inline(always)]
    fn step_block(&self, block: &mut [Lanes; 3], actions: &Lanes, out: &mut BlockStep) {
        let [position, velocity, stepped] = block;
        let slope = cos(&each(|lane| {
            MountainCarContinuous::slope_angle(position[lane], stepped[lane] == 1.0)
        }));
        for lane in 0..LANES {
            let (single, action) = (stepped[lane] == 1.0, actions[lane] as f32);
            let state = [position[lane], velocity[lane]];
            let next = self.advance(state, single, action, slope[lane]);
            let arrived = self.has_arrived(next, single);
            out.rewards[lane] = MountainCarContinuous::reward(action, arrived);
            out.terminated[lane] = arrived;
            let observed = next.map(|value| value as f32);
            [out.obs[0][lane], out.obs[1][lane]] = observed;
            [position[lane], velocity[lane]] = observed.map(f64::from);
            stepped[lane] = 1.0;
        }
    }
}
