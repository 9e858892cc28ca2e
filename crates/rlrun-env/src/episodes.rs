//! Time limit and episode statistics of a batch of environments: the one place that truncates.

use rlrun_core::{State, StateError};

use crate::{EnvError, EnvSpec, EpisodeStats, StepBatch};

/// Steps and rewards of the running episodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Episodes {
    limit: u32,
    elapsed: Vec<u32>,
    returns: Vec<f64>,
    started: bool,
}

impl Episodes {
    /// Counters for `n_envs` environments, none of which has been reset yet.
    pub fn new(n_envs: usize, max_episode_steps: Option<u32>) -> Episodes {
        Episodes {
            limit: max_episode_steps.unwrap_or(u32::MAX),
            elapsed: vec![0; n_envs],
            returns: vec![0.0; n_envs],
            started: false,
        }
    }

    /// All environments have been reset.
    pub fn start(&mut self) {
        self.elapsed.fill(0);
        self.returns.fill(0.0);
        self.started = true;
    }

    /// Refuses to step what was never reset.
    ///
    /// # Errors
    /// [`EnvError::StepBeforeReset`].
    pub fn check_started(&self, spec: &EnvSpec) -> Result<(), EnvError> {
        if self.started {
            return Ok(());
        }
        Err(EnvError::StepBeforeReset { id: spec.id.clone() })
    }

    /// Counts one step of every environment: reads `rewards` and `terminated`, writes `truncated`
    /// and `finished`. Gymnasium's `TimeLimit` does not look at `terminated`; both may be set.
    pub fn record(&mut self, batch: &mut StepBatch) {
        batch.finished.clear();
        let counters = self.elapsed.iter_mut().zip(&mut self.returns);
        let ends = batch.terminated.iter().zip(&mut batch.truncated);
        let rows = counters.zip(ends.zip(&batch.rewards)).enumerate();
        for (env, ((elapsed, total), ((&terminated, truncated), &reward))) in rows {
            *elapsed += 1;
            *total += reward;
            *truncated = *elapsed >= self.limit;
            if terminated || *truncated {
                batch.finished.push(EpisodeStats { env, reward: *total, length: *elapsed });
                (*elapsed, *total) = (0, 0.0);
            }
        }
    }

    /// The counters.
    pub fn state(&self) -> State {
        let mut state = State::new();
        state.insert_u64("elapsed", self.elapsed.iter().map(|&n| n.into()).collect::<Vec<_>>());
        state.insert_f64("returns", self.returns.as_slice());
        state.insert_bools("started", &[self.started]);
        state
    }

    /// Goes on from saved counters.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing or is for another number of environments.
    pub fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let n_envs = self.elapsed.len();
        let (elapsed, returns) = (state.u64("elapsed")?, state.f64("returns")?);
        for (path, found) in [("elapsed", elapsed.len()), ("returns", returns.len())] {
            if found != n_envs {
                let (path, expected) = (path.to_owned(), vec![n_envs]);
                return Err(StateError::Shape { path, expected, found: vec![found] });
            }
        }
        self.elapsed = elapsed.iter().map(|&n| u32::try_from(n).unwrap_or(u32::MAX)).collect();
        self.returns = returns.to_vec();
        self.started = state.bools("started")? == [true];
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_truncates_in_the_step_that_reaches_it_even_if_the_task_ended() {
        let mut episodes = Episodes::new(2, Some(2));
        episodes.start();
        let mut batch = StepBatch::new(2, 1);
        batch.rewards = vec![1.0, 0.5];
        episodes.record(&mut batch);
        assert_eq!(batch.truncated, [false, false]);
        batch.terminated = vec![true, false];
        episodes.record(&mut batch);
        assert_eq!(batch.truncated, [true, true]);
        let [first, second] =
            [(0, 2.0), (1, 1.0)].map(|(env, reward)| EpisodeStats { env, reward, length: 2 });
        assert_eq!(batch.finished, [first, second]);
        batch.terminated = vec![true, false];
        episodes.record(&mut batch);
        assert_eq!(batch.finished, [EpisodeStats { env: 0, reward: 1.0, length: 1 }]);
    }
}
