//! An environment of your own in a run file: a corridor whose right end pays 1.
#![allow(clippy::print_stdout)]
use rlrun::prelude::*;

#[derive(Clone)]
struct Corridor {
    spec: EnvSpec,
    position: f32, // NaN before the first reset
}
impl Corridor {
    const END: f32 = 8.0;

    fn new() -> Corridor {
        let places = Space::Box(BoxSpace::new([0.0], [Self::END]));
        let spec = EnvSpec::new("Corridor-v0", places, Space::Discrete(2));
        let spec = spec.with_max_episode_steps(30).with_reward_threshold(0.9);
        Corridor { spec, position: f32::NAN }
    }
}
impl Env for Corridor {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }
    fn reset(&mut self, _seed: Option<u64>, obs: &mut [f32]) -> Result<(), EnvError> {
        (self.position, obs[0]) = (0.0, 0.0);
        Ok(())
    }
    fn step(&mut self, action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError> {
        self.spec.check_action(action)?;
        if self.position.is_nan() {
            return Err(EnvError::StepBeforeReset { id: self.spec.id.clone() });
        }
        let change = if action == Action::Discrete(1) { 1.0 } else { -1.0 };
        self.position = (self.position + change).max(0.0);
        obs[0] = self.position;
        let terminated = self.position >= Self::END;
        Ok(Step::new(f64::from(u8::from(terminated)), terminated))
    }
    fn state(&self) -> Result<State, EnvError> {
        let mut state = State::new();
        state.insert_f32("position", &[1], &[self.position]);
        Ok(state)
    }
    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        state.copy_f32("position", std::slice::from_mut(&mut self.position))
    }
}

const RUN_FILE: &str = "algorithm = 'ppo'\nenv = { id = 'Corridor-v0', n_envs = 8 }
agent = { n_steps = 64, ent_coef = 0.01 }\ntrain.total_timesteps = 20_480";

fn main() -> Result<(), ConfigError> {
    println!("{}", check_env(Corridor::new));
    let corridor = Environment::single("Corridor-v0", |_args| Ok(Corridor::new()));
    let mut trainer = Run::load(RUN_FILE, ALGORITHMS, &[corridor])?.into_trainer()?;
    trainer.run()?;
    println!("mean return {:.2}", trainer.evaluate()?.mean_reward);
    Ok(())
}
