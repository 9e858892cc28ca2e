//! Pendulum: swing a pendulum up and hold it there with a torque that cannot lift it directly.
//!
//! | observation | bounds | unit |
//! |---|---|---|
//! | 0, 1 cosine and sine of the angle, 0 is upright | ±1 | |
//! | 2 angular velocity | ±8 | rad/s |
//!
//! Action: the torque, clipped to ±2 N m. Reward: -(θ² + 0.1 θ'² + 0.001 u²) of the state before the
//! step, with θ brought into ±π and u the clipped torque. Start: θ uniform in ±π, θ' uniform in
//! ±1. The episode never ends by itself; it is truncated after 200 steps. Version 1, Gymnasium 1.4.

use std::f64::consts::PI;

use rlrun_core::NumpyRng;
use rlrun_env::{Action, BoxSpace, Space, Step};
use serde::{Deserialize, Serialize};

use super::lanes::{LANES, Lanes, each, sin, sin_cos, squares, squares_f32};
use super::libm::{square, square_f32};
use super::{BlockStep, Task, check_finite, check_positive, force_of};

/// Largest sizes of the first state, Gymnasium's `reset(options={"x_init": …, "y_init": …})`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PendulumReset {
    /// Largest size of the first angle, rad.
    pub x_init: f64,
    /// Largest size of the first angular velocity, rad/s.
    pub y_init: f64,
}

impl Default for PendulumReset {
    fn default() -> PendulumReset {
        PendulumReset { x_init: PI, y_init: 1.0 }
    }
}

/// Arguments of Pendulum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PendulumArgs {
    /// Gravitational acceleration, m/s².
    pub g: f64,
    /// Largest angular velocity, rad/s.
    pub max_speed: f64,
    /// Largest torque, N m.
    pub max_torque: f64,
    /// Time between two states, s.
    pub dt: f64,
    /// Mass, kg.
    pub m: f64,
    /// Length, m.
    pub l: f64,
    /// Bounds of the first state.
    pub reset: PendulumReset,
}

impl Default for PendulumArgs {
    fn default() -> PendulumArgs {
        PendulumArgs {
            g: 10.0,
            max_speed: 8.0,
            max_torque: 2.0,
            dt: 0.05,
            m: 1.0,
            l: 1.0,
            reset: PendulumReset::default(),
        }
    }
}

/// The equations of Pendulum.
#[derive(Clone, Debug)]
pub struct Pendulum {
    args: PendulumArgs,
    /// 3g / 2l.
    weight: f64,
    /// 3 / ml², in the precision of the torque.
    leverage: f32,
}

impl Pendulum {
    /// Angle and velocity after one step, from the clipped torque and the sine of the angle:
    /// velocity first, then the angle with the new velocity.
    #[inline(always)]
    fn advance(&self, [angle, velocity]: [f64; 2], torque: f32, sin: f64) -> [f64; 2] {
        let PendulumArgs { dt, max_speed, .. } = self.args;
        let acceleration = self.weight * sin + f64::from(self.leverage * torque);
        let velocity = (velocity + acceleration * dt).max(-max_speed).min(max_speed);
        [angle + velocity * dt, velocity]
    }

    /// The reward, from the squares of the angle, the velocity and the torque.
    #[inline(always)]
    fn reward(angle_squared: f64, velocity_squared: f64, torque_squared: f32) -> f64 {
        -(angle_squared + 0.1 * velocity_squared + f64::from(0.001 * torque_squared))
    }

    #[inline(always)]
    fn clip(&self, torque: f32) -> f32 {
        let limit = self.args.max_torque as f32;
        torque.max(-limit).min(limit)
    }
}

/// Brings an angle into [-π, π).
fn normalized(angle: f64) -> f64 {
    (angle + PI).rem_euclid(2.0 * PI) - PI
}

/// [`normalized`] of every lane. The remainder of a division is always a number that can be stored,
/// so that one fused multiply-add gives it exactly once the quotient is right.
#[inline(always)]
fn all_normalized(angles: &Lanes) -> Lanes {
    const TURN: f64 = 2.0 * PI;
    let mut largest = 0.0_f64;
    for angle in angles {
        largest = largest.max(angle.abs());
    }
    if largest > 1e6 || angles.iter().any(|angle| angle.is_nan()) {
        return each(|lane| normalized(angles[lane]));
    }
    each(|lane| {
        let shifted = angles[lane] + PI;
        let quotient = (shifted / TURN).trunc();
        let remainder = (-quotient).mul_add(TURN, shifted);
        // The rounded quotient may be one too large.
        let sign = 1f64.copysign(shifted);
        let one_less = (sign - quotient).mul_add(TURN, shifted);
        let remainder = if remainder * sign < 0.0 { one_less } else { remainder };
        (if remainder < 0.0 { remainder + TURN } else { remainder }) - PI
    })
}

impl Task for Pendulum {
    const PAGE: &'static str = include_str!("../../pages/pendulum.md");

    type Args = PendulumArgs;
    /// Angle and angular velocity.
    type State = [f64; 2];
    type Block = [Lanes; 2];

    fn new(args: PendulumArgs) -> Result<Pendulum, String> {
        check_finite(&[("g", args.g)])?;
        check_positive(&[
            ("max_speed", args.max_speed),
            ("max_torque", args.max_torque),
            ("dt", args.dt),
            ("m", args.m),
            ("l", args.l),
        ])?;
        let PendulumReset { x_init, y_init } = args.reset;
        match [("reset.x_init", x_init), ("reset.y_init", y_init)]
            .iter()
            .find(|(_, size)| !(size.is_finite() && *size >= 0.0))
        {
            Some((name, size)) => Err(format!("`{name} = {size}` is not a size")),
            None => Ok(Pendulum {
                weight: 3.0 * args.g / (2.0 * args.l),
                leverage: (3.0 / (args.m * square(args.l))) as f32,
                args,
            }),
        }
    }

    fn args(&self) -> &PendulumArgs {
        &self.args
    }

    fn spaces(&self) -> (Space, Space) {
        let observations = BoxSpace::symmetric(&[1.0, 1.0, self.args.max_speed as f32]);
        let torques = BoxSpace::symmetric(&[self.args.max_torque as f32]);
        (Space::Box(observations), Space::Box(torques))
    }

    fn reset(&self, rng: &mut NumpyRng) -> [f64; 2] {
        let PendulumReset { x_init, y_init } = self.args.reset;
        [rng.uniform(-x_init, x_init), rng.uniform(-y_init, y_init)]
    }

    fn step(&self, state: &mut [f64; 2], action: Action<'_>) -> Step {
        let torque = self.clip(force_of(action));
        let [angle, velocity] = *state;
        *state = self.advance(*state, torque, angle.sin());
        let squares = (square(normalized(angle)), square(velocity), square_f32(torque));
        Step::new(Pendulum::reward(squares.0, squares.1, squares.2), false)
    }

    fn observe(&self, state: &[f64; 2], obs: &mut [f32]) {
        let [angle, velocity] = *state;
        obs.copy_from_slice(&[angle.cos() as f32, angle.sin() as f32, velocity as f32]);
    }

    #[inline(always)]
    fn step_block(&self, block: &mut [Lanes; 2], actions: &Lanes, out: &mut BlockStep) {
        let [angle, velocity] = block;
        let torques = each(|lane| f64::from(self.clip(actions[lane] as f32)));
        let angles_squared = squares(&all_normalized(angle));
        let velocities_squared = squares(velocity);
        let torques_squared = squares_f32(&torques);
        let weight = sin(angle);
        for lane in 0..LANES {
            let state = [angle[lane], velocity[lane]];
            [angle[lane], velocity[lane]] = self.advance(state, torques[lane] as f32, weight[lane]);
            let torque_squared = torques_squared[lane] as f32;
            let squares = (angles_squared[lane], velocities_squared[lane]);
            out.rewards[lane] = Pendulum::reward(squares.0, squares.1, torque_squared);
        }
        out.terminated = [false; LANES];
        let (sin, cos) = sin_cos(angle);
        for lane in 0..LANES {
            out.obs[0][lane] = cos[lane] as f32;
            out.obs[1][lane] = sin[lane] as f32;
            out.obs[2][lane] = velocity[lane] as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlrun_core::NumpyRng;

    #[test]
    fn a_block_of_angles_is_normalized_as_single_ones() {
        let mut rng = NumpyRng::new(4);
        let mut compare = |draw: &mut dyn FnMut(&mut NumpyRng) -> f64| {
            let angles: Lanes = std::array::from_fn(|_| draw(&mut rng));
            let found = all_normalized(&angles).map(f64::to_bits);
            assert_eq!(found, angles.map(|angle| normalized(angle).to_bits()), "{angles:?}");
        };
        for size in [1.0, 10.0, 100.0, 1e5, 1e9, f64::NAN] {
            (0..5000).for_each(|_| compare(&mut |rng| rng.uniform(-size, size)));
        }
        // Neighbours of odd multiples of pi, where the quotient is a whole number.
        (0..5000).for_each(|_| {
            compare(&mut |rng| {
                let near = PI * (2.0 * rng.integers(60) as f64 - 61.0);
                f64::from_bits(near.to_bits() + rng.integers(7) - 3)
            });
        });
    }
}
