//! Time as an algorithm counts it: environment steps, in vector steps of several at once.

use crate::AgentContext;
use crate::saved::saved;

/// Environment steps that were observed, and what their periods make due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    step: u64,
    n_envs: u64,
    total_timesteps: u64,
}

impl Clock {
    /// At step 0 of a run of `total_timesteps` with `n_envs` environments.
    pub fn new(n_envs: usize, total_timesteps: u64) -> Clock {
        Clock { step: 0, n_envs: n_envs as u64, total_timesteps }
    }

    /// At step 0 of the run that an agent is built for.
    pub fn of(context: &AgentContext<'_>) -> Clock {
        Clock::new(context.n_envs, context.total_timesteps)
    }

    /// Counts one vector step.
    pub fn advance(&mut self) {
        self.step += self.n_envs;
    }

    /// Environment steps so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Environment steps to take in all.
    pub fn total_timesteps(&self) -> u64 {
        self.total_timesteps
    }

    /// The share of the run that lies ahead, from 1 at the start to 0 at the end.
    pub fn progress_remaining(&self) -> f64 {
        (1.0 - self.step as f64 / self.total_timesteps as f64).clamp(0.0, 1.0)
    }

    /// How many multiples of `period` the last vector step reached: a vector step of many
    /// environments may pass several. None if the period is 0.
    pub fn reached(&self, period: u64) -> u64 {
        self.reached_after(0, period)
    }

    /// [`Clock::reached`], of the multiples above `start` only.
    fn reached_after(&self, start: u64, period: u64) -> u64 {
        let before = self.step.saturating_sub(self.n_envs).max(start);
        if period == 0 || before >= self.step { 0 } else { self.step / period - before / period }
    }

    /// Minibatches that are due: `gradient_steps` for each multiple of `train_freq` above
    /// `learning_starts`, or as many as the steps since the last if it is -1.
    pub fn minibatches(&self, learning_starts: u64, train_freq: u64, gradient_steps: i64) -> u64 {
        let phases = self.reached_after(learning_starts, train_freq);
        phases * u64::try_from(gradient_steps).unwrap_or(train_freq)
    }

    saved! { pub Clock {
        ; counters: step; not: n_envs "from the run file", total_timesteps "may be extended",
    } }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that `due` of each vector step adds up to over 8 000 steps.
    fn total(n_envs: usize, due: impl Fn(&Clock) -> u64) -> u64 {
        let mut clock = Clock::new(n_envs, 8_000);
        let mut total = 0;
        while clock.step() < 8_000 {
            clock.advance();
            total += due(&clock);
        }
        total
    }

    #[test]
    fn as_much_is_due_for_any_number_of_environments() {
        for n_envs in [1, 4, 16, 40] {
            assert_eq!(total(n_envs, |clock| clock.minibatches(0, 4, 1)), 2_000, "{n_envs}");
            assert_eq!(total(n_envs, |clock| clock.minibatches(0, 4, -1)), 8_000, "{n_envs}");
            assert_eq!(total(n_envs, |clock| clock.minibatches(100, 4, 2)), 2 * 1_975, "{n_envs}");
            assert_eq!(total(n_envs, |clock| clock.reached(1_000)), 8, "{n_envs}");
        }
        assert_eq!(total(3, |clock| clock.reached(0)), 0);
    }

    #[test]
    fn a_multiple_is_reached_in_the_vector_step_that_passes_it() {
        let mut clock = Clock::new(4, 40);
        let reached: Vec<u64> = (0..6)
            .map(|_| {
                clock.advance();
                clock.reached(10)
            })
            .collect();
        // Steps 4, 8, 12, 16, 20, 24.
        assert_eq!(reached, [0, 0, 1, 0, 1, 0]);
    }

    #[test]
    fn progress_falls_from_one_to_zero() {
        let mut clock = Clock::new(250, 1_000);
        assert_eq!((clock.progress_remaining(), clock.total_timesteps()), (1.0, 1_000));
        clock.advance();
        assert_eq!(clock.progress_remaining(), 0.75);
        (0..9).for_each(|_| clock.advance());
        assert_eq!(clock.progress_remaining(), 0.0);
    }
}
