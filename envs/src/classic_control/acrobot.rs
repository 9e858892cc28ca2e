//! Acrobot: swing up a chain of two links by a torque at the joint between them (Sutton 1996).
//!
//! The upper end of the chain is fixed. Angle 1 is that of the upper link, 0 hangs down; angle 2
//! is that of the lower link against the upper one.
//!
//! | observation | bounds | unit |
//! |---|---|---|
//! | 0, 1 cosine and sine of angle 1 | ±1 | |
//! | 2, 3 cosine and sine of angle 2 | ±1 | |
//! | 4 velocity of angle 1 | ±4π | rad/s |
//! | 5 velocity of angle 2 | ±9π | rad/s |
//!
//! Actions: torque -1, 0 or 1 N m. Reward: -1 for a step, 0 for the one that ends the episode.
//! Start: all four state variables uniform in ±0.1. The episode ends when the free end is more
//! than one link above the fixed one, and is truncated after 500 steps. Version 1, Gymnasium 1.4.

use std::f64::consts::PI;

use rlrun_core::NumpyRng;
use rlrun_env::{Action, BoxSpace, Space, Step};
use serde::{Deserialize, Serialize};

use super::lanes::{LANES, Lanes, cos, each, sin_cos, squares};
use super::libm::square;
use super::{BlockStep, ResetBounds, Task, check_positive, choice};

/// Which equations of motion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BookOrNips {
    /// Those of Sutton and Barto's book.
    #[default]
    Book,
    /// Those printed in the NIPS paper, which miss a term.
    Nips,
}

/// Arguments of Acrobot.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcrobotArgs {
    /// Time between two states, s.
    pub dt: f64,
    /// Gravitational acceleration, m/s².
    pub gravity: f64,
    /// Length of the upper link, m.
    pub link_length_1: f64,
    /// Length of the lower link, m; seen in pictures only.
    pub link_length_2: f64,
    /// Mass of the upper link, kg.
    pub link_mass_1: f64,
    /// Mass of the lower link, kg.
    pub link_mass_2: f64,
    /// Distance from the upper end to the centre of mass of the upper link, m.
    pub link_com_pos_1: f64,
    /// Distance from the upper end to the centre of mass of the lower link, m.
    pub link_com_pos_2: f64,
    /// Moment of inertia of each link, kg m².
    pub link_moi: f64,
    /// Largest velocity of angle 1, rad/s.
    pub max_vel_1: f64,
    /// Largest velocity of angle 2, rad/s.
    pub max_vel_2: f64,
    /// Which equations of motion: `"book"` or `"nips"`.
    pub book_or_nips: BookOrNips,
    /// Bounds of all four numbers of the first state.
    pub reset: ResetBounds,
}

impl Default for AcrobotArgs {
    fn default() -> AcrobotArgs {
        AcrobotArgs {
            dt: 0.2,
            gravity: 9.8,
            link_length_1: 1.0,
            link_length_2: 1.0,
            link_mass_1: 1.0,
            link_mass_2: 1.0,
            link_com_pos_1: 0.5,
            link_com_pos_2: 0.5,
            link_moi: 1.0,
            max_vel_1: 4.0 * PI,
            max_vel_2: 9.0 * PI,
            book_or_nips: BookOrNips::Book,
            reset: ResetBounds::default(),
        }
    }
}

/// The equations of Acrobot.
#[derive(Clone, Debug)]
pub struct Acrobot {
    args: AcrobotArgs,
    reset: (f64, f64),
    com_1_squared: f64,
    com_2_squared: f64,
    length_1_squared: f64,
}

/// The transcendental functions of a state that the derivative needs.
struct Functions {
    sin_2: f64,
    cos_2: f64,
    cos_1_down: f64,
    cos_12_down: f64,
    velocity_1_squared: f64,
    velocity_2_squared: f64,
    d2_squared: f64,
}

impl Functions {
    fn of(task: &Acrobot, [angle_1, angle_2, velocity_1, velocity_2]: [f64; 4]) -> Functions {
        let cos_2 = angle_2.cos();
        Functions {
            d2_squared: square(task.inertias(cos_2).1),
            sin_2: angle_2.sin(),
            cos_2,
            cos_1_down: (angle_1 - PI / 2.0).cos(),
            cos_12_down: (angle_1 + angle_2 - PI / 2.0).cos(),
            velocity_1_squared: square(velocity_1),
            velocity_2_squared: square(velocity_2),
        }
    }
}

impl Acrobot {
    /// The inertias d1 and d2 of Sutton and Barto's equations, from the cosine of angle 2.
    #[inline(always)]
    fn inertias(&self, cos_2: f64) -> (f64, f64) {
        let AcrobotArgs { link_length_1: l1, link_mass_1: m1, link_mass_2: m2, .. } = self.args;
        let (lc2, moi) = (self.args.link_com_pos_2, self.args.link_moi);
        let reach = self.length_1_squared + self.com_2_squared + 2.0 * l1 * lc2 * cos_2;
        let d1 = m1 * self.com_1_squared + m2 * reach + moi + moi;
        let d2 = m2 * (self.com_2_squared + l1 * lc2 * cos_2) + moi;
        (d1, d2)
    }

    /// Time derivative of the state.
    #[inline(always)]
    fn derivative(&self, state: [f64; 4], torque: f64, f: &Functions) -> [f64; 4] {
        let ([_, _, velocity_1, velocity_2], (d1, d2)) = (state, self.inertias(f.cos_2));
        let AcrobotArgs { gravity: g, link_length_1: l1, link_mass_1: m1, .. } = self.args;
        let AcrobotArgs { link_mass_2: m2, link_com_pos_1: lc1, link_com_pos_2: lc2, .. } =
            self.args;
        let phi_2 = m2 * lc2 * g * f.cos_12_down;
        let phi_1 = -m2 * l1 * lc2 * f.velocity_2_squared * f.sin_2
            - 2.0 * m2 * l1 * lc2 * velocity_2 * velocity_1 * f.sin_2
            + (m1 * lc1 + m2 * l1) * g * f.cos_1_down
            + phi_2;
        let torques = match self.args.book_or_nips {
            BookOrNips::Book => {
                torque + d2 / d1 * phi_1 - m2 * l1 * lc2 * f.velocity_1_squared * f.sin_2 - phi_2
            }
            BookOrNips::Nips => torque + d2 / d1 * phi_1 - phi_2,
        };
        let inertia = m2 * self.com_2_squared + self.args.link_moi - f.d2_squared / d1;
        let acceleration_2 = torques / inertia;
        let acceleration_1 = -(d2 * acceleration_2 + phi_1) / d1;
        [velocity_1, velocity_2, acceleration_1, acceleration_2]
    }

    /// One step of the classical Runge-Kutta method, wrapped and bounded afterwards.
    fn advance(&self, state: [f64; 4], torque: f64) -> [f64; 4] {
        let slope = |state: [f64; 4]| self.derivative(state, torque, &Functions::of(self, state));
        let dt = self.args.dt;
        let k1 = slope(state);
        let k2 = slope(along(state, dt / 2.0, k1));
        let k3 = slope(along(state, dt / 2.0, k2));
        let k4 = slope(along(state, dt, k3));
        self.bounded(runge_kutta(state, dt, [k1, k2, k3, k4]))
    }

    /// The state with its angles wrapped and its velocities bounded.
    #[inline(always)]
    fn bounded(&self, next: [f64; 4]) -> [f64; 4] {
        let (limit_1, limit_2) = (self.args.max_vel_1, self.args.max_vel_2);
        [
            wrap(next[0]),
            wrap(next[1]),
            next[2].max(-limit_1).min(limit_1),
            next[3].max(-limit_2).min(limit_2),
        ]
    }
}

impl Acrobot {
    /// Time derivatives of the states of a block.
    #[inline(always)]
    fn slopes(&self, block: &[Lanes; 4], actions: &Lanes) -> [Lanes; 4] {
        let [angle_1, angle_2, velocity_1, velocity_2] = block;
        let (sin_2, cos_2) = sin_cos(angle_2);
        let cos_1_down = cos(&each(|lane| angle_1[lane] - PI / 2.0));
        let cos_12_down = cos(&each(|lane| angle_1[lane] + angle_2[lane] - PI / 2.0));
        let velocity_1_squared = squares(velocity_1);
        let velocity_2_squared = squares(velocity_2);
        let d2_squared = squares(&each(|lane| self.inertias(cos_2[lane]).1));
        let mut slopes = [[0.0; LANES]; 4];
        for lane in 0..LANES {
            let functions = Functions {
                sin_2: sin_2[lane],
                cos_2: cos_2[lane],
                cos_1_down: cos_1_down[lane],
                cos_12_down: cos_12_down[lane],
                velocity_1_squared: velocity_1_squared[lane],
                velocity_2_squared: velocity_2_squared[lane],
                d2_squared: d2_squared[lane],
            };
            let slope = self.derivative(row(block, lane), actions[lane] - 1.0, &functions);
            slopes.iter_mut().zip(slope).for_each(|(column, value)| column[lane] = value);
        }
        slopes
    }
}

/// The numbers of one environment of a block.
#[inline(always)]
fn row(block: &[Lanes; 4], lane: usize) -> [f64; 4] {
    std::array::from_fn(|column| block[column][lane])
}

/// [`along`] for each environment of a block.
#[inline(always)]
fn all_along(block: &[Lanes; 4], time: f64, slopes: &[Lanes; 4]) -> [Lanes; 4] {
    std::array::from_fn(|i| each(|lane| block[i][lane] + time * slopes[i][lane]))
}

/// `state + time * slope`.
#[inline(always)]
fn along(state: [f64; 4], time: f64, slope: [f64; 4]) -> [f64; 4] {
    std::array::from_fn(|i| state[i] + time * slope[i])
}

/// `state + dt/6 (k1 + 2 k2 + 2 k3 + k4)`.
#[inline(always)]
fn runge_kutta(state: [f64; 4], dt: f64, [k1, k2, k3, k4]: [[f64; 4]; 4]) -> [f64; 4] {
    std::array::from_fn(|i| state[i] + dt / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]))
}

/// Brings an angle into ±π by whole turns, one after another as Gymnasium does; so many turns that
/// this would not end, which takes extreme constants, are taken off at once.
fn wrap(mut angle: f64) -> f64 {
    if angle.abs() >= 1e6 {
        angle = angle.rem_euclid(2.0 * PI);
    }
    while angle > PI {
        angle -= 2.0 * PI;
    }
    while angle < -PI {
        angle += 2.0 * PI;
    }
    angle
}

impl Task for Acrobot {
    const PAGE: &'static str = include_str!("../../pages/acrobot.md");

    type Args = AcrobotArgs;
    /// Angle 1, angle 2 and their velocities.
    type State = [f64; 4];
    type Block = [Lanes; 4];

    fn new(args: AcrobotArgs) -> Result<Acrobot, String> {
        check_positive(&[
            ("dt", args.dt),
            ("gravity", args.gravity),
            ("link_length_1", args.link_length_1),
            ("link_length_2", args.link_length_2),
            ("link_mass_1", args.link_mass_1),
            ("link_mass_2", args.link_mass_2),
            ("link_com_pos_1", args.link_com_pos_1),
            ("link_com_pos_2", args.link_com_pos_2),
            ("link_moi", args.link_moi),
            ("max_vel_1", args.max_vel_1),
            ("max_vel_2", args.max_vel_2),
        ])?;
        Ok(Acrobot {
            reset: args.reset.resolve(-0.1, 0.1)?,
            com_1_squared: square(args.link_com_pos_1),
            com_2_squared: square(args.link_com_pos_2),
            length_1_squared: square(args.link_length_1),
            args,
        })
    }

    fn args(&self) -> &AcrobotArgs {
        &self.args
    }

    fn spaces(&self) -> (Space, Space) {
        let (limit_1, limit_2) = (self.args.max_vel_1 as f32, self.args.max_vel_2 as f32);
        let bounds = [1.0, 1.0, 1.0, 1.0, limit_1, limit_2];
        (Space::Box(BoxSpace::symmetric(&bounds)), Space::Discrete(3))
    }

    fn reset(&self, rng: &mut NumpyRng) -> [f64; 4] {
        [(); 4].map(|()| f64::from(rng.uniform(self.reset.0, self.reset.1) as f32))
    }

    fn step(&self, state: &mut [f64; 4], action: Action<'_>) -> Step {
        *state = self.advance(*state, choice(action) as f64 - 1.0);
        let terminated = -state[0].cos() - (state[1] + state[0]).cos() > 1.0;
        Step::new(if terminated { 0.0 } else { -1.0 }, terminated)
    }

    fn observe(&self, state: &[f64; 4], obs: &mut [f32]) {
        let [angle_1, angle_2, velocity_1, velocity_2] = *state;
        let row = [angle_1.cos(), angle_1.sin(), angle_2.cos(), angle_2.sin()];
        obs[..4].copy_from_slice(&row.map(|value| value as f32));
        obs[4..].copy_from_slice(&[velocity_1 as f32, velocity_2 as f32]);
    }

    #[inline(always)]
    fn step_block(&self, block: &mut [Lanes; 4], actions: &Lanes, out: &mut BlockStep) {
        let dt = self.args.dt;
        let k1 = self.slopes(block, actions);
        let k2 = self.slopes(&all_along(block, dt / 2.0, &k1), actions);
        let k3 = self.slopes(&all_along(block, dt / 2.0, &k2), actions);
        let k4 = self.slopes(&all_along(block, dt, &k3), actions);
        for lane in 0..LANES {
            let slopes = [&k1, &k2, &k3, &k4].map(|slope| row(slope, lane));
            let next = self.bounded(runge_kutta(row(block, lane), dt, slopes));
            block.iter_mut().zip(next).for_each(|(column, value)| column[lane] = value);
        }
        let [angle_1, angle_2, velocity_1, velocity_2] = &*block;
        let (sin_1, cos_1) = sin_cos(angle_1);
        let (sin_2, cos_2) = sin_cos(angle_2);
        let cos_12 = cos(&each(|lane| angle_2[lane] + angle_1[lane]));
        for lane in 0..LANES {
            let terminated = -cos_1[lane] - cos_12[lane] > 1.0;
            out.terminated[lane] = terminated;
            out.rewards[lane] = if terminated { 0.0 } else { -1.0 };
        }
        for (obs, column) in
            out.obs.iter_mut().zip([&cos_1, &sin_1, &cos_2, &sin_2, velocity_1, velocity_2])
        {
            obs.iter_mut().zip(column).for_each(|(obs, &value)| *obs = value as f32);
        }
    }
}
