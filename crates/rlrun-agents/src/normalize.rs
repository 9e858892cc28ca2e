//! Normalisation of observations and rewards by running statistics, as Stable-Baselines3's
//! `VecNormalize` does it: observations are brought to mean 0 and variance 1, and rewards are divided
//! by the standard deviation of the discounted return.
//!
//! The statistics belong to what has been learnt and are saved with the policy. An observation enters
//! them when it is acted on, once. A replay buffer keeps raw numbers, which are normalised by the
//! statistics of the moment in which they are sampled; a rollout keeps what the policy acted on.

use documented::DocumentedFields;
use rlrun_core::{State, StateError};
use rlrun_env::{Space, StepBatch};
use serde::{Deserialize, Serialize};

use crate::{AgentContext, AgentError};

/// Weight of the first guess, mean 0 and variance 1, in observations.
const INITIAL_COUNT: f64 = 1e-4;

/// The `[normalize]` table of a run file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct NormalizeConfig {
    /// Whether observations are brought to mean 0 and variance 1.
    pub obs: bool,
    /// Whether the agent learns from rewards divided by the standard deviation of the return.
    pub reward: bool,
    /// Discount factor of that return; take the algorithm's own.
    pub gamma: f64,
    /// Largest size of a normalised observation.
    pub clip_obs: f64,
    /// Largest size of a normalised reward.
    pub clip_reward: f64,
    /// Added to variances under the root.
    pub epsilon: f64,
}

impl Default for NormalizeConfig {
    fn default() -> NormalizeConfig {
        NormalizeConfig {
            obs: false,
            reward: false,
            gamma: 0.99,
            clip_obs: 10.0,
            clip_reward: 10.0,
            epsilon: 1e-8,
        }
    }
}

impl NormalizeConfig {
    /// Whether anything is normalised.
    pub fn is_on(&self) -> bool {
        self.obs || self.reward
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`AgentError::Normalize`] if one breaks its rule.
    pub fn check(&self) -> Result<(), AgentError> {
        let require = |holds: bool, field, value, rule| {
            if holds { Ok(()) } else { Err(AgentError::Normalize { field, value, rule }) }
        };
        let share = (0.0..=1.0).contains(&self.gamma);
        require(share, "gamma", self.gamma, "must be between 0 and 1")?;
        require(self.clip_obs > 0.0, "clip_obs", self.clip_obs, "must be above 0")?;
        require(self.clip_reward > 0.0, "clip_reward", self.clip_reward, "must be above 0")?;
        let epsilon = self.epsilon > 0.0 && self.epsilon.is_finite();
        require(epsilon, "epsilon", self.epsilon, "must be above 0 and finite")
    }
}

/// Running statistics of what an agent sees, and what they are used for.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalizer {
    config: NormalizeConfig,
    obs: Option<RunningMeanVar>,
    returns: Option<RunningMeanVar>,
}

impl Normalizer {
    /// What the normalisation of `context` asks for. Choices and flags are left as they are.
    ///
    /// # Errors
    /// [`AgentError::Normalize`] if a value breaks its rule.
    pub fn of(context: &AgentContext<'_>) -> Result<Normalizer, AgentError> {
        let (config, space) = (context.normalize, &context.spec.observation_space);
        config.check()?;
        let numbers = matches!(space, Space::Box(_));
        Ok(Normalizer {
            config,
            obs: (config.obs && numbers).then(|| RunningMeanVar::new(space.dim())),
            returns: config.reward.then(|| RunningMeanVar::new(1)),
        })
    }

    /// Whether observations are normalised.
    pub fn normalizes_obs(&self) -> bool {
        self.obs.is_some()
    }

    /// Takes in observations that are acted on while learning.
    pub fn observe(&mut self, rows: &[f32]) {
        if let Some(stats) = &mut self.obs {
            stats.update(rows);
        }
    }

    /// Brings observations to mean 0 and variance 1, within ±`clip_obs`.
    pub fn normalize_obs(&self, rows: &mut [f32]) {
        let Some(stats) = &self.obs else { return };
        for row in rows.chunks_exact_mut(stats.mean.len()) {
            for (k, value) in row.iter_mut().enumerate() {
                let normal =
                    (f64::from(*value) - stats.mean[k]) / stats.std(k, self.config.epsilon);
                *value = normal.clamp(-self.config.clip_obs, self.config.clip_obs) as f32;
            }
        }
    }

    /// A reward over the standard deviation of the return, within ±`clip_reward`.
    pub fn normalized_reward(&self, reward: f64) -> f64 {
        let Some(stats) = &self.returns else { return reward };
        (reward / stats.std(0, self.config.epsilon))
            .clamp(-self.config.clip_reward, self.config.clip_reward)
    }

    /// What normalised rewards are multiplied by to give the environment's own, but for the clip.
    pub fn reward_scale(&self) -> f64 {
        self.returns.as_ref().map_or(1.0, |stats| stats.std(0, self.config.epsilon))
    }

    /// The statistics.
    pub fn state(&self) -> State {
        let mut state = State::new();
        if let Some(stats) = &self.obs {
            state.insert_child("obs", stats.state());
        }
        if let Some(stats) = &self.returns {
            state.insert_child("return", stats.state());
        }
        state
    }

    /// Takes over saved statistics.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing or of another length.
    pub fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        if let Some(stats) = &mut self.obs {
            stats.load_state(&state.child("obs"))?;
        }
        if let Some(stats) = &mut self.returns {
            stats.load_state(&state.child("return"))?;
        }
        Ok(())
    }
}

/// The discounted return so far of each environment, from which a [`Normalizer`] learns the size of
/// rewards.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscountedReturns(Vec<f64>);

impl DiscountedReturns {
    /// Of `n_envs` environments whose episodes begin.
    pub fn new(n_envs: usize) -> DiscountedReturns {
        DiscountedReturns(vec![0.0; n_envs])
    }

    /// Takes in the rewards of a vector step.
    pub fn observe(&mut self, step: &StepBatch, normalizer: &mut Normalizer) {
        let Some(stats) = &mut normalizer.returns else { return };
        for (total, reward) in self.0.iter_mut().zip(&step.rewards) {
            *total = *total * normalizer.config.gamma + reward;
        }
        stats.update(&self.0);
        let ends = step.terminated.iter().zip(&step.truncated);
        for (total, (&terminated, &truncated)) in self.0.iter_mut().zip(ends) {
            if terminated || truncated {
                *total = 0.0;
            }
        }
    }

    /// The returns so far.
    pub fn state(&self) -> State {
        let mut state = State::new();
        state.insert_f64("running", self.0.as_slice());
        state
    }

    /// Takes over saved returns.
    ///
    /// # Errors
    /// [`StateError`] if they are missing or of another number.
    pub fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        copy_f64(state, "running", &mut self.0)
    }
}

/// Mean and population variance of rows that come in batches (Chan, Golub and LeVeque 1979).
#[derive(Clone, Debug, PartialEq)]
struct RunningMeanVar {
    mean: Vec<f64>,
    var: Vec<f64>,
    count: f64,
}

impl RunningMeanVar {
    fn new(dim: usize) -> RunningMeanVar {
        RunningMeanVar { mean: vec![0.0; dim], var: vec![1.0; dim], count: INITIAL_COUNT }
    }

    /// Takes in the rows of a batch, row-major `[n, dim]`.
    fn update<T: Copy + Into<f64>>(&mut self, rows: &[T]) {
        let dim = self.mean.len();
        let n = (rows.len() / dim) as f64;
        let total = self.count + n;
        for (k, (mean, var)) in self.mean.iter_mut().zip(&mut self.var).enumerate() {
            let column = || rows.iter().skip(k).step_by(dim).map(|&value| value.into());
            let batch_mean = column().sum::<f64>() / n;
            let squares = column().map(|value| (value - batch_mean).powi(2)).sum::<f64>();
            let delta = batch_mean - *mean;
            *var = (*var * self.count + squares + delta * delta * self.count * n / total) / total;
            *mean += delta * n / total;
        }
        self.count = total;
    }

    fn std(&self, k: usize, epsilon: f64) -> f64 {
        (self.var[k] + epsilon).sqrt()
    }

    fn state(&self) -> State {
        let mut state = State::new();
        state.insert_f64("mean", self.mean.as_slice());
        state.insert_f64("var", self.var.as_slice());
        state.insert_f64("count", [self.count]);
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        copy_f64(state, "mean", &mut self.mean)?;
        copy_f64(state, "var", &mut self.var)?;
        copy_f64(state, "count", std::slice::from_mut(&mut self.count))
    }
}

fn copy_f64(state: &State, path: &str, target: &mut [f64]) -> Result<(), StateError> {
    let saved = state.f64(path)?;
    if saved.len() != target.len() {
        let (expected, found) = (vec![target.len()], vec![saved.len()]);
        return Err(StateError::Shape { path: path.to_owned(), expected, found });
    }
    target.copy_from_slice(saved);
    Ok(())
}

#[cfg(test)]
mod tests {
    use rlrun_env::{BoxSpace, EnvSpec};

    use super::*;

    fn normalizer(config: NormalizeConfig) -> Result<Normalizer, AgentError> {
        let space = Space::Box(BoxSpace::symmetric(&[100.0]));
        let spec = EnvSpec::new("Line-v0", space, Space::Discrete(2));
        Normalizer::of(&AgentContext::new(&spec, 2, 10, 1).with_normalize(config))
    }

    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-3, "{found}, expected {expected}");
    }

    #[test]
    fn batches_give_the_mean_and_variance_of_all_rows() {
        let mut stats = RunningMeanVar::new(2);
        stats.update(&[1.0, 10.0, 3.0, 30.0]);
        stats.update(&[8.0, 50.0]);
        // 1, 3, 8: mean 4, squares 9 + 1 + 16; 10, 30, 50: mean 30, squares 400 + 400. The first
        // guess weighs 1e-4 of an observation: mean 12 / 3.0001, and so on.
        assert_eq!(stats.count, 3.0001);
        for (k, mean, var) in [(0, 4.0, 26.0 / 3.0), (1, 30.0, 800.0 / 3.0)] {
            assert_near(stats.mean[k] * 3.0001, 3.0 * mean);
            let guess = (1.0 + mean * mean * 3.0 / 3.0001) * 1e-4;
            assert_near(stats.var[k] * 3.0001, 3.0 * var + guess);
        }
    }

    #[test]
    fn observations_come_to_mean_0_and_variance_1_within_the_clip() {
        let config = NormalizeConfig { obs: true, clip_obs: 3.0, ..NormalizeConfig::default() };
        let mut normalizer = normalizer(config).unwrap();
        normalizer.observe(&[2.0, 6.0]);
        // Mean 4, standard deviation 2.
        let mut rows = [2.0, 6.0, 8.0, 90.0];
        normalizer.normalize_obs(&mut rows);
        for (found, expected) in rows.into_iter().zip([-1.0, 1.0, 2.0, 3.0]) {
            assert_near(found.into(), expected);
        }
        assert_eq!(normalizer.normalized_reward(-7.0), -7.0);
    }

    #[test]
    fn rewards_are_divided_by_the_deviation_of_the_return_which_ends_with_its_episode() {
        let config = NormalizeConfig { reward: true, gamma: 0.5, ..NormalizeConfig::default() };
        let mut normalizer = normalizer(config).unwrap();
        let mut returns = DiscountedReturns::new(2);
        let mut step = StepBatch::new(2, 1);
        step.rewards = vec![2.0, 6.0];
        // One episode ends at its time limit: its return begins anew all the same.
        step.truncated[1] = true;
        returns.observe(&step, &mut normalizer);
        // Returns 2 and 6: deviation 2.
        assert_near(normalizer.normalized_reward(2.0), 1.0);
        assert_near(normalizer.normalized_reward(6.0), 3.0);
        step.rewards = vec![3.0, 4.0];
        returns.observe(&step, &mut normalizer);
        // 2/2 + 3 = 4 and, after the end, 4: all four have mean 4 and variance (4 + 4) / 4 = 2.
        assert_near(normalizer.normalized_reward(3.0), 3.0 / 2_f64.sqrt());
        assert_near(normalizer.reward_scale(), 2_f64.sqrt());
    }

    #[test]
    fn saved_statistics_come_back() {
        let config = NormalizeConfig { obs: true, reward: true, ..NormalizeConfig::default() };
        let mut seen = normalizer(config).unwrap();
        seen.observe(&[2.0, 6.0]);
        let mut restored = normalizer(config).unwrap();
        assert_ne!(restored, seen);
        restored.load_state(&seen.state()).unwrap();
        assert_eq!(restored, seen);
    }

    #[test]
    fn wrong_settings_are_refused() {
        let config = NormalizeConfig { clip_obs: 0.0, ..NormalizeConfig::default() };
        let message = normalizer(config).unwrap_err().to_string();
        assert_eq!(message, "`normalize.clip_obs` is `0`: must be above 0");
    }
}
