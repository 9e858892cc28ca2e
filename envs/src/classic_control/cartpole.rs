//! CartPole: keep a pole upright on a cart (Barto, Sutton and Anderson 1983).
//!
//! A pole hangs upright on a frictionless joint of a cart; pushing the cart left or right is all
//! one can do.
//!
//! | observation | bounds | unit |
//! |---|---|---|
//! | 0 position of the cart | ±4.8 | m |
//! | 1 velocity of the cart | any | m/s |
//! | 2 angle of the pole, 0 is upright | ±0.418 (24°) | rad |
//! | 3 angular velocity of the pole | any | rad/s |
//!
//! Actions: 0 pushes to the left, 1 to the right. Reward: 1 for every step, the last one included.
//! Start: all four uniform in ±0.05. The episode ends when the cart leaves ±2.4 m or the pole
//! ±12°, and is truncated after 500 steps (v0: 200). Version 1, Gymnasium 1.4.

use rlrun_core::NumpyRng;
use rlrun_env::{Action, BoxSpace, Space, Step};
use serde::{Deserialize, Serialize};

use super::lanes::{LANES, Lanes, sin_cos};
use super::{BlockStep, ResetBounds, Task, check_positive, choice};

/// Which velocities move the cart and the pole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Integrator {
    /// Explicit Euler: the old velocities.
    #[default]
    #[serde(rename = "euler")]
    Euler,
    /// The new velocities.
    #[serde(rename = "semi-implicit euler")]
    SemiImplicitEuler,
}

/// Arguments of CartPole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CartPoleArgs {
    /// Reward 0 for a step and -1 for a failure, instead of 1 for every step.
    pub sutton_barto_reward: bool,
    /// Gravitational acceleration, m/s².
    pub gravity: f64,
    /// Mass of the cart, kg.
    pub masscart: f64,
    /// Mass of the pole, kg.
    pub masspole: f64,
    /// Half the length of the pole, m.
    pub length: f64,
    /// Size of the push, N.
    pub force_mag: f64,
    /// Time between two states, s.
    pub tau: f64,
    /// Which velocities move the cart and the pole: `"euler"` or `"semi-implicit euler"`.
    pub kinematics_integrator: Integrator,
    /// Angle at which the pole has fallen, rad.
    pub theta_threshold_radians: f64,
    /// Position at which the cart has left the track, m.
    pub x_threshold: f64,
    /// Bounds of all four numbers of the first state.
    pub reset: ResetBounds,
}

impl Default for CartPoleArgs {
    fn default() -> CartPoleArgs {
        CartPoleArgs {
            sutton_barto_reward: false,
            gravity: 9.8,
            masscart: 1.0,
            masspole: 0.1,
            length: 0.5,
            force_mag: 10.0,
            tau: 0.02,
            kinematics_integrator: Integrator::Euler,
            theta_threshold_radians: 12.0 * 2.0 * std::f64::consts::PI / 360.0,
            x_threshold: 2.4,
            reset: ResetBounds::default(),
        }
    }
}

/// The equations of CartPole.
#[derive(Clone, Debug)]
pub struct CartPole {
    args: CartPoleArgs,
    total_mass: f64,
    polemass_length: f64,
    reset: (f64, f64),
}

/// Position, velocity, angle, angular velocity, and 1 once the episode has terminated.
pub(super) type CartPoleState = [f64; 5];

impl CartPole {
    /// One step of the equations of motion from the sine and cosine of the pole's angle
    /// (Florian 2007, eqs. 23 and 24).
    #[inline(always)]
    fn advance(&self, state: [f64; 4], force: f64, sin: f64, cos: f64) -> [f64; 4] {
        let [x, x_dot, theta, theta_dot] = state;
        let CartPoleArgs { gravity, masspole, length, tau, .. } = self.args;
        let temp = (force + self.polemass_length * (theta_dot * theta_dot) * sin) / self.total_mass;
        let theta_acc = (gravity * sin - cos * temp)
            / (length * (4.0 / 3.0 - masspole * (cos * cos) / self.total_mass));
        let x_acc = temp - self.polemass_length * theta_acc * cos / self.total_mass;
        let (new_x_dot, new_theta_dot) = (x_dot + tau * x_acc, theta_dot + tau * theta_acc);
        let (moving, turning) = match self.args.kinematics_integrator {
            Integrator::Euler => (x_dot, theta_dot),
            Integrator::SemiImplicitEuler => (new_x_dot, new_theta_dot),
        };
        [x + tau * moving, new_x_dot, theta + tau * turning, new_theta_dot]
    }

    #[inline(always)]
    fn has_failed(&self, x: f64, theta: f64) -> bool {
        let (x_limit, theta_limit) = (self.args.x_threshold, self.args.theta_threshold_radians);
        x < -x_limit || x > x_limit || theta < -theta_limit || theta > theta_limit
    }

    /// The reward of a step, given whether it failed and whether an earlier one had.
    #[inline(always)]
    fn reward(&self, failed: bool, failed_before: bool) -> f64 {
        match (self.args.sutton_barto_reward, failed) {
            (true, false) => 0.0,
            (true, true) => -1.0,
            (false, true) if failed_before => 0.0,
            (false, _) => 1.0,
        }
    }
}

impl Task for CartPole {
    const PAGE: &'static str = include_str!("../../pages/cartpole.md");

    type Args = CartPoleArgs;
    type State = CartPoleState;
    type Block = [Lanes; 5];

    fn new(args: CartPoleArgs) -> Result<CartPole, String> {
        check_positive(&[
            ("gravity", args.gravity),
            ("masscart", args.masscart),
            ("masspole", args.masspole),
            ("length", args.length),
            ("force_mag", args.force_mag),
            ("tau", args.tau),
            ("theta_threshold_radians", args.theta_threshold_radians),
            ("x_threshold", args.x_threshold),
        ])?;
        Ok(CartPole {
            reset: args.reset.resolve(-0.05, 0.05)?,
            total_mass: args.masspole + args.masscart,
            polemass_length: args.masspole * args.length,
            args,
        })
    }

    fn args(&self) -> &CartPoleArgs {
        &self.args
    }

    fn spaces(&self) -> (Space, Space) {
        let position = (self.args.x_threshold * 2.0) as f32;
        let angle = (self.args.theta_threshold_radians * 2.0) as f32;
        let bounds = [position, f32::INFINITY, angle, f32::INFINITY];
        (Space::Box(BoxSpace::symmetric(&bounds)), Space::Discrete(2))
    }

    fn reset(&self, rng: &mut NumpyRng) -> CartPoleState {
        let mut draw = || rng.uniform(self.reset.0, self.reset.1);
        [draw(), draw(), draw(), draw(), 0.0]
    }

    fn step(&self, state: &mut CartPoleState, action: Action<'_>) -> Step {
        let [x, x_dot, theta, theta_dot, ended] = *state;
        let force = if choice(action) == 1 { self.args.force_mag } else { -self.args.force_mag };
        let next = self.advance([x, x_dot, theta, theta_dot], force, theta.sin(), theta.cos());
        let terminated = self.has_failed(next[0], next[2]);
        let reward = self.reward(terminated, ended == 1.0);
        *state = [next[0], next[1], next[2], next[3], ended.max(f64::from(u8::from(terminated)))];
        Step::new(reward, terminated)
    }

    fn observe(&self, state: &CartPoleState, obs: &mut [f32]) {
        obs.iter_mut().zip(state).for_each(|(obs, &value)| *obs = value as f32);
    }

    #[inline(always)]
    fn step_block(&self, block: &mut [Lanes; 5], actions: &Lanes, out: &mut BlockStep) {
        let [x, x_dot, theta, theta_dot, ended] = block;
        let (sin, cos) = sin_cos(theta);
        for lane in 0..LANES {
            let push = self.args.force_mag;
            let force = if actions[lane] == 1.0 { push } else { -push };
            let state = [x[lane], x_dot[lane], theta[lane], theta_dot[lane]];
            let next = self.advance(state, force, sin[lane], cos[lane]);
            let failed = self.has_failed(next[0], next[2]);
            out.rewards[lane] = self.reward(failed, ended[lane] == 1.0);
            out.terminated[lane] = failed;
            [x[lane], x_dot[lane], theta[lane], theta_dot[lane]] = next;
            ended[lane] = if failed { 1.0 } else { ended[lane] };
            next.iter().zip(&mut out.obs).for_each(|(&value, obs)| obs[lane] = value as f32);
        }
    }
}
