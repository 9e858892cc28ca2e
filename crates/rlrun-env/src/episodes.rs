//! What runs in a batch of environments: time limit, starts, statistics, and the refusal of numbers
//! that are not finite. The one place that truncates.

use rlrun_core::{State, StateError};

use crate::{EnvError, EnvSpec, EpisodeStats, StepBatch};

/// Steps and rewards of the running episodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Episodes {
    id: String,
    /// Length of an observation.
    dim: usize,
    limit: u32,
    elapsed: Vec<u32>,
    returns: Vec<f64>,
    starts: Vec<bool>,
    started: bool,
}

impl Episodes {
    /// Counters for `n_envs` environments, none of which has been reset yet.
    pub fn new(spec: &EnvSpec, n_envs: usize) -> Episodes {
        Episodes {
            id: spec.id.clone(),
            dim: spec.observation_space.dim(),
            limit: spec.max_episode_steps.unwrap_or(u32::MAX),
            elapsed: vec![0; n_envs],
            returns: vec![0.0; n_envs],
            starts: vec![true; n_envs],
            started: false,
        }
    }

    /// Truncates after `limit` steps from now on, and says so in `spec`.
    ///
    /// # Errors
    /// [`EnvError::Args`] if `limit` is 0.
    pub fn set_limit(&mut self, limit: u32, spec: &mut EnvSpec) -> Result<(), EnvError> {
        if limit == 0 {
            let reason = "`max_episode_steps = 0` leaves no step to take".to_owned();
            return Err(EnvError::Args { id: self.id.clone(), reason });
        }
        (self.limit, spec.max_episode_steps) = (limit, Some(limit));
        Ok(())
    }

    /// All environments have been reset and show `obs`.
    ///
    /// # Errors
    /// [`EnvError::NonFinite`] for the first number of `obs` that is not finite.
    pub fn start(&mut self, obs: &[f32]) -> Result<(), EnvError> {
        self.elapsed.fill(0);
        self.returns.fill(0.0);
        self.starts.fill(true);
        self.started = true;
        self.check_obs(0, obs, 0)
    }

    /// Environment `lane` has been reset after its episode and shows `obs`.
    ///
    /// # Errors
    /// [`EnvError::NonFinite`] for the first number of `obs` that is not finite.
    pub fn begin(&mut self, lane: usize, obs: &[f32]) -> Result<(), EnvError> {
        self.check_obs(lane, obs, 0)
    }

    /// Refuses to step what was never reset.
    ///
    /// # Errors
    /// [`EnvError::StepBeforeReset`].
    pub fn check_started(&self) -> Result<(), EnvError> {
        if self.started {
            return Ok(());
        }
        Err(EnvError::StepBeforeReset { id: self.id.clone() })
    }

    /// Whether each environment is at the start of an episode.
    pub fn starts(&self) -> &[bool] {
        &self.starts
    }

    /// Steps of the running episode of `lane`.
    pub(crate) fn elapsed(&self, lane: usize) -> u32 {
        self.elapsed[lane]
    }

    /// Counts one step of every environment: reads `rewards`, `terminated` and `truncated`, adds
    /// the time limit to `truncated`, and writes `finished`. Gymnasium's `TimeLimit` does not look
    /// at `terminated`; both may be set.
    ///
    /// # Errors
    /// [`EnvError::NonFinite`] for the first observation or reward that is not finite; nothing is
    /// counted then.
    pub fn record(&mut self, batch: &mut StepBatch) -> Result<(), EnvError> {
        self.check_obs(0, &batch.next_obs, 1)?;
        check_rewards(&self.id, &batch.rewards, |lane| self.elapsed[lane].saturating_add(1))?;
        batch.finished.clear();
        let counters = self.elapsed.iter_mut().zip(&mut self.returns).zip(&mut self.starts);
        let ends = batch.terminated.iter().zip(&mut batch.truncated);
        let numbers = batch.rewards.iter().zip(&mut batch.lengths);
        for (env, (counters, (ends, numbers))) in counters.zip(ends.zip(numbers)).enumerate() {
            let ((elapsed, total), start) = counters;
            let ((&terminated, truncated), (&reward, length)) = (ends, numbers);
            *elapsed += 1;
            *total += reward;
            *length = *elapsed;
            *truncated |= *elapsed >= self.limit;
            *start = terminated || *truncated;
            if *start {
                batch.finished.push(EpisodeStats { env, reward: *total, length: *elapsed });
                (*elapsed, *total) = (0, 0.0);
            }
        }
        Ok(())
    }

    /// An environment's own error with the lane and the step that it came from; `ahead` of the
    /// steps counted.
    pub(crate) fn name_error(&self, error: EnvError, lane: usize, ahead: u32) -> EnvError {
        let (id, step) = (self.id.clone(), self.elapsed[lane].saturating_add(ahead));
        match error {
            EnvError::Other(source) => EnvError::Failed { id, lane, step, source },
            other => other,
        }
    }

    /// Refuses observations that are not finite. The first row is that of `lane`; the environments
    /// are `ahead` of the steps counted.
    fn check_obs(&self, lane: usize, obs: &[f32], ahead: u32) -> Result<(), EnvError> {
        if obs.iter().fold(true, |finite, value| finite & value.is_finite()) {
            return Ok(());
        }
        let index = obs.iter().position(|value| !value.is_finite()).unwrap_or_default();
        let (lane, value) = (lane + index / self.dim, f64::from(obs[index]));
        let step = self.elapsed[lane].saturating_add(ahead);
        let what = format!("observation component {}", index % self.dim);
        Err(EnvError::NonFinite { id: self.id.clone(), lane, step, what, value })
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
        self.starts = self.elapsed.iter().map(|&steps| steps == 0).collect();
        self.started = state.bools("started")? == [true];
        Ok(())
    }
}

/// Refuses rewards that are not finite, as `f64` or as the `f32` that is learnt from; `step` counts
/// the steps of a lane's episode.
pub(crate) fn check_rewards(
    id: &str,
    rewards: &[f64],
    step: impl Fn(usize) -> u32,
) -> Result<(), EnvError> {
    let fits = |reward: f64| (reward as f32).is_finite();
    if rewards.iter().fold(true, |finite, &reward| finite & fits(reward)) {
        return Ok(());
    }
    let lane = rewards.iter().position(|&reward| !fits(reward)).unwrap_or_default();
    let (id, what, value) = (id.to_owned(), "reward".to_owned(), rewards[lane]);
    Err(EnvError::NonFinite { id, lane, step: step(lane), what, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Space;

    fn episodes(limit: u32) -> Episodes {
        let spec = EnvSpec::new("Mine-v0", Space::Discrete(9), Space::Discrete(2));
        let mut episodes = Episodes::new(&spec.with_max_episode_steps(limit), 2);
        episodes.start(&[0.0; 2]).unwrap();
        episodes
    }

    #[test]
    fn the_limit_truncates_in_the_step_that_reaches_it_even_if_the_task_ended() {
        let mut episodes = episodes(2);
        let mut batch = StepBatch::new(2, 1);
        batch.rewards = vec![1.0, 0.5];
        episodes.record(&mut batch).unwrap();
        assert_eq!(
            (batch.truncated.as_slice(), episodes.starts()),
            (&[false; 2][..], &[false; 2][..])
        );
        batch.terminated = vec![true, false];
        episodes.record(&mut batch).unwrap();
        assert_eq!(batch.truncated, [true, true]);
        let [first, second] =
            [(0, 2.0), (1, 1.0)].map(|(env, reward)| EpisodeStats { env, reward, length: 2 });
        assert_eq!(batch.finished, [first, second]);
        batch.terminated = vec![true, false];
        batch.truncated = vec![false, false];
        episodes.record(&mut batch).unwrap();
        assert_eq!(batch.finished, [EpisodeStats { env: 0, reward: 1.0, length: 1 }]);
        assert_eq!(episodes.starts(), [true, false]);
    }

    #[test]
    fn an_own_truncation_is_joined_with_the_limit() {
        let (mut episodes, mut batch) = (episodes(2), StepBatch::new(2, 1));
        batch.truncated = vec![true, false];
        episodes.record(&mut batch).unwrap();
        assert_eq!((batch.finished.len(), batch.truncated.as_slice()), (1, &[true, false][..]));
        batch.truncated = vec![false, false];
        episodes.record(&mut batch).unwrap();
        assert_eq!(batch.truncated, [false, true]);
    }
}
