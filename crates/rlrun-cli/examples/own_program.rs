//! The program for environments and an algorithm of your own:
//! `cargo run --example own_program -- list envs`.
use rlrun::env::Canvas;
use rlrun::prelude::*;

/// A corridor of some length whose right end pays 1.
#[derive(Clone)]
struct Corridor {
    spec: EnvSpec,
    length: f32,
    position: f32, // NaN before the first reset
}

impl Corridor {
    fn new(length: usize) -> Corridor {
        let places = Space::Box(BoxSpace::new([0.0], [length as f32]));
        let spec = EnvSpec::new(format!("Corridor{length}-v0"), places, Space::Discrete(2));
        let spec = spec.with_max_episode_steps(30).with_reward_threshold(0.9);
        Corridor { spec, length: length as f32, position: f32::NAN }
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
        let terminated = self.position >= self.length;
        Ok(Step::new(f64::from(u8::from(terminated)), terminated))
    }
    fn render(&self) -> Option<Canvas> {
        let mut picture = Canvas::new(400, 100);
        let x = 400.0 * f64::from(self.position / self.length);
        picture.disc([x, 50.0], 20.0, [0, 0, 0]);
        Some(picture)
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

rlrun::config! {
    /// Settings of an agent that never changes.
    struct StubbornConfig {
        /// The action to repeat for ever
        action: usize = 1,
    }
}

impl AgentConfig for StubbornConfig {
    fn build(self, _context: &AgentContext<'_>) -> Result<Box<dyn Agent>, AgentError> {
        Ok(Box::new(Stubborn(self.action)))
    }
}

struct Stubborn(usize);

impl Policy for Stubborn {
    fn act(
        &self,
        seen: &Observations<'_>,
        _memory: &mut Memory,
        _rngs: Option<&mut [Rng]>,
        actions: &mut Actions,
    ) -> Result<(), AgentError> {
        *actions = Actions::Discrete(vec![self.0; seen.len()]);
        Ok(())
    }
    fn state(&self) -> State {
        State::new()
    }
    fn load_state(&mut self, _state: &State) -> Result<(), StateError> {
        Ok(())
    }
}

impl Agent for Stubborn {
    fn act(&mut self, seen: &Observations<'_>, actions: &mut Actions) -> Result<(), AgentError> {
        Policy::act(self, seen, &mut Memory::none(), None, actions)
    }
    fn observe(&mut self, _transition: &Transition<'_>) -> Result<(), AgentError> {
        Ok(())
    }
    fn update(&mut self) -> Result<Option<Metrics>, AgentError> {
        Ok(None)
    }
    fn policy(&self) -> &dyn Policy {
        self
    }
    fn policy_mut(&mut self) -> &mut dyn Policy {
        self
    }
    fn state(&self) -> State {
        State::new()
    }
    fn load_state(&mut self, _state: &State) -> Result<(), StateError> {
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    let algorithms = [ALGORITHMS, &[Algorithm::new::<StubbornConfig>("stubborn")]].concat();
    let corridors = [4, 8].map(|length| {
        Environment::single(format!("Corridor{length}-v0"), move |_args| Ok(Corridor::new(length)))
    });
    let many = Environment::new("Corridors-v0", |n_envs, _args| {
        Ok(Box::new(SyncVecEnv::new(vec![Corridor::new(6); n_envs])?))
    });
    rlrun_cli::main_with(&algorithms, &[&corridors[..], &[many]].concat())
}
