//! The five scenes of the classic-control tasks, as Gymnasium draws them.

use std::f64::consts::PI;

use rlrun_env::Action;

use super::{Canvas, Color, Scene};
use crate::classic_control::{
    Acrobot, CartPole, MountainCar, MountainCarContinuous, Pendulum, Task,
};

const BLACK: Color = [0, 0, 0];
const GRAY: Color = [128, 128, 128];
const YELLOW: Color = [204, 204, 0];
const BROWN: Color = [202, 152, 101];
const LILAC: Color = [129, 132, 203];
const TURQUOISE: Color = [0, 204, 204];
const RED: Color = [204, 77, 77];

/// The number at `index`, 0 if there is none.
fn number(state: &[f64], index: usize) -> f64 {
    state.get(index).copied().unwrap_or(0.0)
}

impl Scene for CartPole {
    fn draw(&self, state: &[f64], _action: Option<Action<'_>>) -> Canvas {
        let mut canvas = Canvas::new(600, 400);
        let scale = 600.0 / (self.args().x_threshold * 2.0);
        let (x, y) = (number(state, 0) * scale + 300.0, 100.0);
        canvas.polygon(&placed(rectangle(-25.0, 25.0, -15.0, 15.0), 0.0, [x, y]), BLACK);
        let length = scale * 2.0 * self.args().length;
        let (pole, axle) = (rectangle(-5.0, 5.0, -5.0, length - 5.0), [x, y + 7.5]);
        canvas.polygon(&placed(pole, -number(state, 2), axle), BROWN);
        canvas.disc(axle, 5.0, LILAC);
        canvas.line(&[[0.0, y + 0.5], [600.0, y + 0.5]], 1.0, BLACK);
        canvas
    }
}

/// The valley, the car at `position` and the flag at `goal`.
fn mountain(position: f64, goal: f64, [min, max]: [f64; 2]) -> Canvas {
    let mut canvas = Canvas::new(600, 400);
    let scale = 600.0 / (max - min);
    let on_ground = |x: f64| [(x - min) * scale, ((3.0 * x).sin() * 0.45 + 0.55) * scale];
    let valley: Vec<[f64; 2]> =
        (0..100).map(|i| on_ground(min + (max - min) * f64::from(i) / 99.0)).collect();
    canvas.line(&valley, 1.5, BLACK);

    let [x, y] = on_ground(position);
    let (slope, place) = ((3.0 * position).cos(), [x, y + 10.0]);
    canvas.polygon(&placed(rectangle(-20.0, 20.0, 0.0, 20.0), slope, place), BLACK);
    for wheel in placed([[10.0, 0.0], [-10.0, 0.0]], slope, place) {
        canvas.disc(wheel, 8.0, GRAY);
    }

    let [x, y] = on_ground(goal);
    canvas.line(&[[x, y], [x, y + 50.0]], 1.5, BLACK);
    canvas.polygon(&[[x, y + 50.0], [x, y + 40.0], [x + 25.0, y + 45.0]], YELLOW);
    canvas
}

impl Scene for MountainCar {
    fn draw(&self, state: &[f64], _action: Option<Action<'_>>) -> Canvas {
        let args = self.args();
        let ends = [args.min_position, args.max_position];
        mountain(number(state, 0), args.goal_position, ends)
    }
}

impl Scene for MountainCarContinuous {
    fn draw(&self, state: &[f64], _action: Option<Action<'_>>) -> Canvas {
        let args = self.args();
        let ends = [args.min_position, args.max_position];
        mountain(number(state, 0), args.goal_position, ends)
    }
}

impl Scene for Acrobot {
    fn draw(&self, state: &[f64], _action: Option<Action<'_>>) -> Canvas {
        let mut canvas = Canvas::new(500, 500);
        let lengths = [self.args().link_length_1, self.args().link_length_2];
        let scale = 250.0 / (lengths[0] + lengths[1] + 0.2);
        let height = 250.0 + lengths[0] * scale;
        canvas.line(&[[0.0, height], [500.0, height]], 1.0, BLACK);
        let mut joint = [250.0, 250.0];
        let mut angle = -PI / 2.0;
        for (length, turn) in lengths.into_iter().zip([number(state, 0), number(state, 1)]) {
            angle += turn;
            let (length, half_width) = (length * scale, 0.1 * scale);
            let link = rectangle(0.0, length, -half_width, half_width);
            canvas.polygon(&placed(link, angle, joint), TURQUOISE);
            canvas.disc(joint, half_width, YELLOW);
            [joint] = placed([[length, 0.0]], angle, joint);
        }
        canvas
    }
}

impl Scene for Pendulum {
    fn draw(&self, state: &[f64], action: Option<Action<'_>>) -> Canvas {
        let mut canvas = Canvas::new(500, 500);
        let (scale, centre) = (500.0 / 4.4, [250.0, 250.0]);
        let (length, half_width) = (scale, 0.1 * scale);
        let angle = number(state, 0) + PI / 2.0;
        let rod = rectangle(0.0, length, -half_width, half_width);
        canvas.polygon(&placed(rod, angle, centre), RED);
        canvas.disc(centre, half_width, RED);
        let [end] = placed([[length, 0.0]], angle, centre);
        canvas.disc(end, half_width, RED);
        if let Some(Action::Continuous(&[torque])) = action {
            let limit = self.args().max_torque;
            turning_arrow(
                &mut canvas,
                centre,
                scale,
                f64::from(torque).clamp(-limit, limit) / limit,
            );
        }
        canvas.disc(centre, 0.05 * scale, BLACK);
        canvas
    }
}

/// An arc with a head, counter-clockwise for a positive torque and as large as the torque.
fn turning_arrow(canvas: &mut Canvas, [x, y]: [f64; 2], scale: f64, torque: f64) {
    let (radius, way) = (scale * torque.abs() / 2.0, torque.signum());
    if radius < 1.0 {
        return;
    }
    let at = |turn: f64, radius: f64| {
        let angle = PI / 2.0 + way * turn;
        [x + radius * angle.cos(), y + radius * angle.sin()]
    };
    let arc: Vec<[f64; 2]> =
        (0..=40).map(|i| at(-0.75 * PI + 1.5 * PI * f64::from(i) / 40.0, radius)).collect();
    canvas.line(&arc, 3.0, BLACK);
    let head = 0.14 * scale * (0.5 + 0.5 * torque.abs());
    let (tip, base) = (0.75 * PI + head / radius, 0.75 * PI);
    canvas.polygon(
        &[at(tip, radius), at(base, radius + head / 2.0), at(base, radius - head / 2.0)],
        BLACK,
    );
}

/// Corners turned by `angle` around the origin (counter-clockwise), then moved to `to`.
fn placed<const N: usize>(corners: [[f64; 2]; N], angle: f64, to: [f64; 2]) -> [[f64; 2]; N] {
    let (sin, cos) = angle.sin_cos();
    corners.map(|[x, y]| [to[0] + x * cos - y * sin, to[1] + x * sin + y * cos])
}

/// The corners of a rectangle from its bounds.
fn rectangle(left: f64, right: f64, bottom: f64, top: f64) -> [[f64; 2]; 4] {
    [[left, bottom], [left, top], [right, top], [right, bottom]]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many pixels have exactly this colour.
    fn count(canvas: &Canvas, color: Color) -> usize {
        canvas.pixels.chunks_exact(3).filter(|pixel| *pixel == color).count()
    }

    #[test]
    fn the_torque_is_an_arrow_as_large_as_the_torque() {
        let scene = Pendulum::new(Default::default()).unwrap();
        let black = |torque: f32| {
            count(&scene.draw(&[0.5, 0.0], Some(Action::Continuous(&[torque]))), BLACK)
        };
        assert_eq!(black(0.0), count(&scene.draw(&[0.5, 0.0], None), BLACK));
        assert!(black(1.0) > black(0.0) + 200 && black(-2.0) > black(1.0) + 200);
    }

    #[test]
    fn the_cart_and_the_car_are_where_the_state_says() {
        let cart = CartPole::new(Default::default()).unwrap();
        let at = |canvas: &Canvas, x: usize, y: usize| {
            let start = ((canvas.height - 1 - y) * canvas.width + x) * 3;
            [canvas.pixels[start], canvas.pixels[start + 1], canvas.pixels[start + 2]]
        };
        let picture = cart.draw(&[1.2, 0.0, 0.0, 0.0, 0.0], None);
        // 1.2 m of 4.8 m are 150 of 600 pixels.
        assert_eq!((at(&picture, 430, 95), at(&picture, 300, 95)), (BLACK, [255; 3]));
        assert_eq!(at(&picture, 450, 200), BROWN);
        let car = MountainCar::new(Default::default()).unwrap().draw(&[-0.5, 0.0], None);
        assert!(at(&car, 233, 55) == BLACK && count(&car, YELLOW) > 50 && count(&car, GRAY) > 200);
    }

    #[test]
    fn hanging_links_point_down() {
        let acrobot = Acrobot::new(Default::default()).unwrap().draw(&[0.0; 4], None);
        let lowest = acrobot.pixels.chunks_exact(3).rposition(|pixel| pixel == TURQUOISE).unwrap();
        assert_eq!(lowest / 500, 250 + 2 * 113);
    }
}
