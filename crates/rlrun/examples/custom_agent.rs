//! An algorithm of your own, hill climbing on a linear policy, with run files, checkpoints, resume.
#![allow(clippy::print_stdout)]
use rlrun::prelude::*;

rlrun::config! {
    struct HillClimbingConfig {
        /// Largest change of a weight per episode
        noise: f32 = 0.1,
    }
}
impl AgentConfig for HillClimbingConfig {
    fn build(self, context: &AgentContext<'_>) -> Result<Box<dyn Agent>, AgentError> {
        let start = Linear([0.0; 4]); // CartPole's four numbers; check `context.spec` in earnest
        let rng = rng_stream(context.seed, Purpose::Exploration, 0);
        Ok(Box::new(HillClimbing { config: self, best: (start, 0.0), trial: start, rng }))
    }
}
#[derive(Clone, Copy)]
struct Linear([f32; 4]);
impl Policy for Linear {
    fn act(
        &self,
        seen: &Observations<'_>,
        _memory: &mut Memory,
        _rngs: Option<&mut [Rng]>,
        actions: &mut Actions,
    ) -> Result<(), AgentError> {
        let score = |row: &[f32]| row.iter().zip(&self.0).map(|(x, w)| x * w).sum::<f32>();
        let choices = seen.rows.chunks(4).map(|row| usize::from(score(row) > 0.0));
        *actions = Actions::Discrete(choices.collect());
        Ok(())
    }
    fn state(&self) -> State {
        let mut state = State::new();
        state.insert_f32("weights", &[4], &self.0);
        state
    }
    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        state.copy_f32("weights", &mut self.0)
    }
}
struct HillClimbing {
    config: HillClimbingConfig,
    best: (Linear, f64),
    trial: Linear,
    rng: Rng,
}
impl Agent for HillClimbing {
    fn act(&mut self, seen: &Observations<'_>, actions: &mut Actions) -> Result<(), AgentError> {
        self.trial.act(seen, &mut Memory::none(), None, actions)
    }
    fn observe(&mut self, transition: &Transition<'_>) -> Result<(), AgentError> {
        let Some(episode) = transition.step.finished.first() else { return Ok(()) };
        if episode.reward >= self.best.1 {
            self.best = (self.trial, episode.reward)
        }
        let noise = self.config.noise;
        self.trial = Linear(self.best.0.0.map(|w| w + noise * self.rng.random_range(-1.0..1.0)));
        Ok(())
    }
    fn update(&mut self) -> Result<Option<Metrics>, AgentError> {
        Ok(None)
    }
    fn policy(&self) -> &dyn Policy {
        &self.best.0
    }
    fn policy_mut(&mut self) -> &mut dyn Policy {
        &mut self.best.0
    }
    fn state(&self) -> State {
        let mut state = self.rng.state();
        state.insert_f32("trial", &[4], &self.trial.0);
        state.insert_f64("score", [self.best.1]);
        state
    }
    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        state.copy_f32("trial", &mut self.trial.0)?;
        self.best.1 = state.f64("score")?[0];
        self.rng.load_state(state)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let algorithms = [ALGORITHMS, &[Algorithm::new::<HillClimbingConfig>("climb")]].concat();
    let run_file = "algorithm = 'climb'\nenv.id = 'CartPole-v1'\nagent.noise = 0.5\n\
                    train = { total_timesteps = 20_000, save_freq = 5_000 }";
    let dir = std::env::args().nth(1).unwrap_or("runs/climb".to_owned());
    let mut trainer = Run::load(run_file, &algorithms, &[])?.create(dir.as_ref())?;
    while trainer.timesteps() < 12_000 {
        trainer.step()?;
    }
    drop(trainer); // the power fails: the steps since 10000 are lost
    Run::resume(dir.as_ref(), &[], &algorithms, &[])?.run()?;
    let mut trained = Trained::load(dir.as_ref(), 100, &algorithms, &[])?;
    println!("mean return {:.1}", trained.evaluate(100, 1)?.mean_reward);
    Ok(())
}
