//! A gridworld with walls: which moves are legal depends on where one stands.

use rlrun::core::NumpyRng;
use rlrun::env::Canvas;
use rlrun::prelude::*;

/// `#` is a wall, `G` the goal.
const MAP: [&str; 5] = [
    "...#.", //
    ".#.#.", ".#...", ".###.", "....G",
];

const WIDTH: usize = 5;

/// Moves in the order of the actions: up, right, down, left.
const MOVES: [(isize, isize); 4] = [(-1, 0), (0, 1), (1, 0), (0, -1)];

/// Steps after which the environment itself gives up.
const PATIENCE: u64 = 40;

/// Walks from a random place to the goal; each step costs 1, the one into the goal nothing.
#[derive(Clone, Debug)]
pub struct GridWorld {
    spec: EnvSpec,
    rng: NumpyRng,
    /// Row times [`WIDTH`] plus column; `None` before the first reset.
    place: Option<usize>,
    steps: u64,
}

impl Default for GridWorld {
    fn default() -> GridWorld {
        let places = Space::Discrete(MAP.len() * WIDTH);
        let spec = EnvSpec::new("GridWorld-v0", places, Space::Discrete(MOVES.len()));
        // From the farthest place, 11 steps: 10 of them cost 1.
        let spec = spec.with_reward_threshold(-10.0);
        GridWorld { spec, rng: NumpyRng::new(0), place: None, steps: 0 }
    }
}

fn cell(place: usize) -> u8 {
    MAP[place / WIDTH].as_bytes()[place % WIDTH]
}

/// The neighbour in the direction of `action`, unless a wall or the border is there.
fn neighbour(place: usize, action: usize) -> Option<usize> {
    let (down, right) = MOVES[action];
    let row = (place / WIDTH).checked_add_signed(down).filter(|&row| row < MAP.len())?;
    let column = (place % WIDTH).checked_add_signed(right).filter(|&column| column < WIDTH)?;
    Some(row * WIDTH + column).filter(|&next| cell(next) != b'#')
}

impl Env for GridWorld {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>, obs: &mut [f32]) -> Result<(), EnvError> {
        if let Some(seed) = seed {
            self.rng = NumpyRng::new(seed);
        }
        let free: Vec<usize> =
            (0..MAP.len() * WIDTH).filter(|&place| cell(place) == b'.').collect();
        let place = free[self.rng.integers(free.len() as u64) as usize];
        (self.place, self.steps) = (Some(place), 0);
        obs[0] = place as f32;
        Ok(())
    }

    fn step(&mut self, action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError> {
        self.spec.check_action(action)?;
        let id = || self.spec.id.clone();
        let place = self.place.ok_or_else(|| EnvError::StepBeforeReset { id: id() })?;
        let Action::Discrete(choice) = action else { unreachable!("checked above") };
        let next = neighbour(place, choice).ok_or_else(|| EnvError::External {
            id: id(),
            reason: format!("move {choice} from place {place} runs into a wall"),
        })?;
        self.place = Some(next);
        self.steps += 1;
        obs[0] = next as f32;
        let terminated = cell(next) == b'G';
        let reward = if terminated { 0.0 } else { -1.0 };
        Ok(Step::new(reward, terminated).with_truncated(self.steps == PATIENCE))
    }

    fn action_mask(&self, mask: &mut [bool]) -> bool {
        let place = self.place.unwrap_or(0);
        for (action, legal) in mask.iter_mut().enumerate() {
            *legal = neighbour(place, action).is_some();
        }
        true
    }

    fn render(&self) -> Option<Canvas> {
        const CELL: f64 = 60.0;
        let mut canvas = Canvas::new(WIDTH * 60, MAP.len() * 60);
        let corner = |place: usize| {
            [(place % WIDTH) as f64 * CELL, (MAP.len() - 1 - place / WIDTH) as f64 * CELL]
        };
        for place in 0..MAP.len() * WIDTH {
            let [x, y] = corner(place);
            let color = match cell(place) {
                b'#' => [60, 60, 70],
                b'G' => [80, 170, 90],
                _ => [240, 240, 240],
            };
            let (right, top) = (x + CELL - 2.0, y + CELL - 2.0);
            canvas.polygon(&[[x, y], [right, y], [right, top], [x, top]], color);
        }
        let [x, y] = corner(self.place?);
        canvas.disc([x + CELL / 2.0, y + CELL / 2.0], CELL / 4.0, [50, 90, 200]);
        Some(canvas)
    }

    fn state(&self) -> Result<State, EnvError> {
        let mut state = self.rng.state();
        state.insert_u64(
            "place",
            self.place.map(|place| place as u64).into_iter().collect::<Vec<_>>(),
        );
        state.insert_u64("steps", [self.steps]);
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let places = MAP.len() * WIDTH;
        let place = state.u64("place")?.first().map(|&place| place as usize);
        if place.is_some_and(|place| place >= places) {
            let (path, reason) = ("place".to_owned(), format!("{place:?} is not below {places}"));
            return Err(StateError::Invalid { path, reason });
        }
        (self.place, self.steps) = (place, state.counter("steps")?);
        self.rng.load_state(state)
    }
}

/// The row of this environment for run files.
pub fn environment() -> Environment {
    Environment::single("GridWorld-v0", |_args| Ok(GridWorld::default()))
}
