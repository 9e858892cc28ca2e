//! `check_agent` finds what an agent forgets in its saved state.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rlrun::prelude::*;
use rlrun::train::AgentCheck;

rlrun::config! {
    struct CountingConfig {
        /// Which field is not saved: none, count, seen or policy
        forgets: String = "none".to_owned(),
    }
}

impl AgentConfig for CountingConfig {
    fn build(self, context: &AgentContext<'_>) -> Result<Box<dyn Agent>, AgentError> {
        let rng = rng_stream(context.seed, Purpose::Exploration, 0);
        Ok(Box::new(Counting { forgets: self.forgets, count: 0, seen: 0.0, rng, bias: Bias(0.0) }))
    }
}

/// Acts by a counter, learns a running mean and reports it.
struct Counting {
    forgets: String,
    count: u64,
    seen: f64,
    rng: Rng,
    bias: Bias,
}

struct Bias(f32);

impl Policy for Bias {
    fn act(
        &self,
        seen: &Observations<'_>,
        _memory: &mut Memory,
        _rngs: Option<&mut [Rng]>,
        actions: &mut Actions,
    ) -> Result<(), AgentError> {
        *actions = Actions::Discrete(vec![usize::from(self.0 > 0.0); seen.len()]);
        Ok(())
    }
    fn state(&self) -> State {
        let mut state = State::new();
        state.insert_f32("bias", &[1], &[self.0]);
        state
    }
    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        state.copy_f32("bias", std::slice::from_mut(&mut self.0))
    }
}

impl Agent for Counting {
    fn act(&mut self, seen: &Observations<'_>, actions: &mut Actions) -> Result<(), AgentError> {
        let choice =
            if self.rng.random_bool(0.2) { 1 } else { usize::from(self.count.is_multiple_of(3)) };
        *actions = Actions::Discrete(vec![choice; seen.len()]);
        Ok(())
    }
    fn observe(&mut self, transition: &Transition<'_>) -> Result<(), AgentError> {
        self.count += 1;
        self.seen += f64::from(transition.step.next_obs[0]);
        Ok(())
    }
    fn update(&mut self) -> Result<Option<Metrics>, AgentError> {
        self.bias.0 = self.seen as f32;
        let metrics = Metrics::from([("train/seen", self.seen)]);
        Ok(self.count.is_multiple_of(5).then_some(metrics))
    }
    fn policy(&self) -> &dyn Policy {
        &self.bias
    }
    fn policy_mut(&mut self) -> &mut dyn Policy {
        &mut self.bias
    }
    fn state(&self) -> State {
        let mut state = State::new();
        state.insert_child("rng", self.rng.state());
        if self.forgets != "count" {
            state.insert_u64("count", [self.count]);
        }
        if self.forgets != "seen" {
            state.insert_f64("seen", [self.seen]);
        }
        state
    }
    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        if self.forgets != "count" {
            self.count = state.counter("count")?;
        }
        if self.forgets != "seen" {
            self.seen = state.f64("seen")?[0];
        }
        // The generator is saved, and in this case not loaded.
        if self.forgets == "rng" { Ok(()) } else { self.rng.load_state(&state.child("rng")) }
    }
}

fn check(forgets: &str) -> rlrun::train::AgentReport {
    let algorithms = [ALGORITHMS, &[Algorithm::new::<CountingConfig>("counting")]].concat();
    let run_file = format!(
        "algorithm = 'counting'\nenv.id = 'CartPole-v1'\nagent.forgets = '{forgets}'\n\
         train.total_timesteps = 500"
    );
    check_agent(&run_file, &algorithms, &[]).unwrap()
}

#[test]
fn an_agent_that_saves_everything_passes() {
    let report = check("none");
    assert!(report.is_ok(), "{report}");
    assert!(report.updates == 100 && report.interruptions > 20, "{report:?}");
}

#[test]
fn a_forgotten_field_is_found_and_named_by_what_it_changes() {
    for (forgets, check_that_fails) in [
        ("count", AgentCheck::Actions),
        ("seen", AgentCheck::Metrics),
        ("rng", AgentCheck::RoundTrip),
    ] {
        let report = check(forgets);
        let found: Vec<AgentCheck> = report.violations.iter().map(|v| v.check).collect();
        assert!(found.contains(&check_that_fails), "{forgets}: {report}");
        assert!(report.to_string().contains("forgets something"), "{report}");
    }
}

#[test]
fn the_librarys_algorithms_forget_nothing() {
    for algorithm in ALGORITHMS {
        let discrete = algorithm.name != "sac";
        let env = if discrete { "CartPole-v1" } else { "Pendulum-v1" };
        let small = match algorithm.name {
            "ppo" => "n_steps = 16, batch_size = 16, n_epochs = 2",
            "a2c" => "n_steps = 4",
            _ => "buffer_size = 100, learning_starts = 20, batch_size = 8",
        };
        let run_file = format!(
            "algorithm = '{}'\nenv = {{ id = '{env}', n_envs = 2 }}\n\
             agent = {{ net_arch = [8], {small} }}\ntrain.total_timesteps = 600",
            algorithm.name
        );
        let report = check_agent(&run_file, ALGORITHMS, &[]).unwrap();
        assert!(report.is_ok() && report.updates > 0, "{}: {report}", algorithm.name);
    }
}
