//! Normalisation of observations and rewards by running statistics, around any agent.
//!
//! The statistics belong to what has been learnt: they are saved with the agent, and
//! [`Agent::policy`] applies them without changing them. As in Stable-Baselines3's `VecNormalize`,
//! observations are brought to mean 0 and variance 1, and rewards are divided by the standard
//! deviation of the discounted return. An observation enters the statistics when it is acted on,
//! once; what an agent keeps in its buffers is what was normalised at that time.

use documented::DocumentedFields;
use rlrun_core::{Rng, State, StateError};
use rlrun_env::{Actions, StepBatch};
use rlrun_tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Agent, AgentContext, AgentError, Metrics, Policy, Transition};

/// Added to variances under a root.
const EPSILON: f64 = 1e-8;

/// Weight of the first guess, mean 0 and variance 1, in observations.
const INITIAL_COUNT: f64 = 1e-4;

/// The `[normalize]` table of a run file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, DocumentedFields)]
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
}

impl Default for NormalizeConfig {
    fn default() -> NormalizeConfig {
        NormalizeConfig {
            obs: false,
            reward: false,
            gamma: 0.99,
            clip_obs: 10.0,
            clip_reward: 10.0,
        }
    }
}

impl NormalizeConfig {
    /// The agent with what is switched on around it; the agent itself if nothing is.
    ///
    /// # Errors
    /// [`AgentError::Normalize`] if a value breaks its rule.
    pub fn wrap(
        self,
        agent: Box<dyn Agent>,
        context: &AgentContext<'_>,
    ) -> Result<Box<dyn Agent>, AgentError> {
        let require = |holds: bool, field, value, rule| {
            if holds { Ok(()) } else { Err(AgentError::Normalize { field, value, rule }) }
        };
        let share = (0.0..=1.0).contains(&self.gamma);
        require(share, "gamma", self.gamma, "must be between 0 and 1")?;
        require(self.clip_obs > 0.0, "clip_obs", self.clip_obs, "must be above 0")?;
        require(self.clip_reward > 0.0, "clip_reward", self.clip_reward, "must be above 0")?;
        if !self.obs && !self.reward {
            return Ok(agent);
        }
        let dim = context.spec.observation_space.dim();
        Ok(Box::new(NormalizedAgent {
            obs: self.obs.then(|| RunningMeanVar::new(dim)),
            returns: self.reward.then(|| Returns::new(context.n_envs)),
            seen: vec![0.0; context.n_envs * dim],
            step: StepBatch::new(context.n_envs, dim),
            config: self,
            agent,
        }))
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

    fn std(&self, k: usize) -> f64 {
        (self.var[k] + EPSILON).sqrt()
    }

    /// Brings rows to mean 0 and variance 1, within ±`clip`.
    fn normalize(&self, rows: &mut [f32], clip: f64) {
        for row in rows.chunks_exact_mut(self.mean.len()) {
            for (k, value) in row.iter_mut().enumerate() {
                let normal = (f64::from(*value) - self.mean[k]) / self.std(k);
                *value = normal.clamp(-clip, clip) as f32;
            }
        }
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

/// The discounted return so far of each environment, and its statistics.
struct Returns {
    running: Vec<f64>,
    stats: RunningMeanVar,
}

impl Returns {
    fn new(n_envs: usize) -> Returns {
        Returns { running: vec![0.0; n_envs], stats: RunningMeanVar::new(1) }
    }

    /// Takes in the rewards of a vector step and normalises them.
    fn normalize(&mut self, step: &mut StepBatch, config: &NormalizeConfig) {
        for (total, reward) in self.running.iter_mut().zip(&step.rewards) {
            *total = *total * config.gamma + reward;
        }
        self.stats.update(&self.running);
        let (std, clip) = (self.stats.std(0), config.clip_reward);
        step.rewards.iter_mut().for_each(|reward| *reward = (*reward / std).clamp(-clip, clip));
        let ends = step.terminated.iter().zip(&step.truncated);
        for (total, (&terminated, &truncated)) in self.running.iter_mut().zip(ends) {
            if terminated || truncated {
                *total = 0.0;
            }
        }
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

/// An agent that sees normalised numbers only.
struct NormalizedAgent {
    agent: Box<dyn Agent>,
    config: NormalizeConfig,
    obs: Option<RunningMeanVar>,
    returns: Option<Returns>,
    /// What was acted on last, normalised, `[n_envs, obs_dim]`.
    seen: Vec<f32>,
    /// The latest step, normalised.
    step: StepBatch,
}

impl NormalizedAgent {
    /// Observations as the policy wants them, with the statistics of this moment.
    fn normalized(&self, obs: &Tensor) -> Tensor {
        let mut rows = obs.to_vec();
        if let Some(stats) = &self.obs {
            stats.normalize(&mut rows, self.config.clip_obs);
        }
        Tensor::from_slice(&rows, obs.dims())
    }
}

impl Agent for NormalizedAgent {
    fn act(&mut self, obs: &Tensor, actions: &mut Actions) {
        obs.copy_to_slice(&mut self.seen);
        if let Some(stats) = &mut self.obs {
            stats.update(&self.seen);
            stats.normalize(&mut self.seen, self.config.clip_obs);
        }
        self.agent.act(&Tensor::from_slice(&self.seen, obs.dims()), actions);
    }

    fn observe(&mut self, transition: &Transition<'_>) {
        self.step.copy_from(transition.step);
        if let Some(stats) = &self.obs {
            stats.normalize(&mut self.step.next_obs, self.config.clip_obs);
        }
        if let Some(returns) = &mut self.returns {
            returns.normalize(&mut self.step, &self.config);
        }
        let (obs, actions, step) = (&self.seen, transition.actions, &self.step);
        self.agent.observe(&Transition { obs, actions, step });
    }

    fn update(&mut self) -> Result<Option<Metrics>, AgentError> {
        self.agent.update()
    }

    fn policy(&self) -> &dyn Policy {
        self
    }

    fn state(&self) -> State {
        let mut state = State::new();
        state.insert_child("agent", self.agent.state());
        if let Some(stats) = &self.obs {
            state.insert_child("normalize.obs", stats.state());
        }
        if let Some(returns) = &self.returns {
            state.insert_child("normalize.return", returns.stats.state());
            state.insert_f64("normalize.running_returns", returns.running.as_slice());
        }
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.agent.load_state(&state.child("agent"))?;
        if let Some(stats) = &mut self.obs {
            stats.load_state(&state.child("normalize.obs"))?;
        }
        if let Some(returns) = &mut self.returns {
            returns.stats.load_state(&state.child("normalize.return"))?;
            copy_f64(state, "normalize.running_returns", &mut returns.running)?;
        }
        Ok(())
    }
}

impl Policy for NormalizedAgent {
    fn act(&self, obs: &Tensor, rng: Option<&mut Rng>, actions: &mut Actions) {
        self.agent.policy().act(&self.normalized(obs), rng, actions);
    }

    /// In the environment's own rewards: normalised values times the standard deviation that
    /// rewards are divided by.
    fn values(&self, obs: &Tensor) -> Option<Vec<f32>> {
        let mut values = self.agent.policy().values(&self.normalized(obs))?;
        if let Some(returns) = &self.returns {
            let std = returns.stats.std(0);
            values.iter_mut().for_each(|value| *value = (f64::from(*value) * std) as f32);
        }
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use rlrun_env::{BoxSpace, EnvSpec, Space};

    use super::*;

    /// What the agent inside was shown: observations, next observations, rewards.
    type Log = Arc<Mutex<Vec<(Vec<f32>, Vec<f32>, Vec<f64>)>>>;

    /// Remembers what it sees; the value of an observation is its first number.
    struct Witness(Log);

    impl Agent for Witness {
        fn act(&mut self, _obs: &Tensor, _actions: &mut Actions) {}

        fn observe(&mut self, transition: &Transition<'_>) {
            let Transition { obs, step, .. } = transition;
            let seen = (obs.to_vec(), step.next_obs.clone(), step.rewards.clone());
            self.0.lock().unwrap().push(seen);
        }

        fn update(&mut self) -> Result<Option<Metrics>, AgentError> {
            Ok(None)
        }

        fn policy(&self) -> &dyn Policy {
            self
        }

        fn state(&self) -> State {
            State::new()
        }

        fn load_state(&mut self, _state: &State) -> Result<(), StateError> {
            Ok(())
        }
    }

    impl Policy for Witness {
        fn act(&self, _obs: &Tensor, _rng: Option<&mut Rng>, _actions: &mut Actions) {}

        fn values(&self, obs: &Tensor) -> Option<Vec<f32>> {
            Some(obs.to_vec())
        }
    }

    fn spec() -> EnvSpec {
        let observations = Space::Box(BoxSpace::symmetric(&[100.0]));
        EnvSpec::new("Line-v0", observations, Space::Discrete(2))
    }

    fn wrapped(config: NormalizeConfig) -> Result<(Box<dyn Agent>, Log), AgentError> {
        let (spec, log) = (spec(), Log::default());
        let context = AgentContext { spec: &spec, n_envs: 2, total_timesteps: 10, seed: 1 };
        Ok((config.wrap(Box::new(Witness(log.clone())), &context)?, log))
    }

    /// Acts on `obs` and observes a step to `next_obs`.
    fn take(agent: &mut dyn Agent, obs: [f32; 2], next_obs: [f32; 2], rewards: [f64; 2]) {
        let mut actions = Actions::Discrete(vec![0; 2]);
        agent.act(&Tensor::from_slice(&obs, [2, 1]), &mut actions);
        let mut step = StepBatch::new(2, 1);
        step.next_obs = next_obs.to_vec();
        step.rewards = rewards.to_vec();
        step.terminated[1] = true;
        agent.observe(&Transition { obs: &obs, actions: &actions, step: &step });
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
    fn the_agent_inside_sees_observations_of_mean_0_and_variance_1_within_the_clip() {
        let config = NormalizeConfig { obs: true, clip_obs: 3.0, ..NormalizeConfig::default() };
        let (mut agent, log) = wrapped(config).unwrap();
        take(&mut *agent, [2.0, 6.0], [8.0, 90.0], [1.0, -7.0]);
        // Mean 4, standard deviation 2.
        let (obs, next_obs, rewards) = log.lock().unwrap()[0].clone();
        assert_near(obs[0].into(), -1.0);
        assert_near(obs[1].into(), 1.0);
        assert_near(next_obs[0].into(), 2.0);
        assert_eq!(next_obs[1], 3.0);
        assert_eq!(rewards, [1.0, -7.0]);
    }

    #[test]
    fn rewards_are_divided_by_the_deviation_of_the_discounted_return() {
        let config = NormalizeConfig { reward: true, gamma: 0.5, ..NormalizeConfig::default() };
        let (mut agent, log) = wrapped(config).unwrap();
        take(&mut *agent, [0.0; 2], [0.0; 2], [2.0, 6.0]);
        take(&mut *agent, [0.0; 2], [0.0; 2], [3.0, 4.0]);
        // Returns 2 and 6: deviation 2. Then 2/2 + 3 = 4 and, after an end, 4: all four have mean
        // 4 and variance (4 + 4) / 4 = 2.
        let log = log.lock().unwrap();
        assert_near(log[0].2[0], 1.0);
        assert_near(log[0].2[1], 3.0);
        assert_near(log[1].2[0], 3.0 / 2_f64.sqrt());
        assert_near(log[1].2[1], 4.0 / 2_f64.sqrt());
        // The value of observation 5, in the environment's own rewards.
        let values = agent.policy().values(&Tensor::from_slice(&[5.0], [1, 1])).unwrap();
        assert_near(values[0].into(), 5.0 * 2_f64.sqrt());
    }

    #[test]
    fn the_policy_normalises_with_saved_statistics_and_leaves_them_alone() {
        let config = NormalizeConfig { obs: true, reward: true, ..NormalizeConfig::default() };
        let (mut agent, _) = wrapped(config.clone()).unwrap();
        take(&mut *agent, [2.0, 6.0], [8.0, 9.0], [1.0, 2.0]);
        let saved = agent.state();
        let obs = Tensor::from_slice(&[8.0, 80.0], [2, 1]);
        let values = agent.policy().values(&obs);
        assert_eq!(agent.state(), saved);
        let (mut restored, _) = wrapped(config).unwrap();
        assert_ne!(restored.policy().values(&obs), values);
        restored.load_state(&saved).unwrap();
        assert_eq!(restored.policy().values(&obs), values);
        assert_eq!(restored.state(), saved);
    }

    #[test]
    fn wrong_settings_are_refused_and_nothing_is_wrapped_unless_switched_on() {
        let config = NormalizeConfig { clip_obs: 0.0, ..NormalizeConfig::default() };
        let message = wrapped(config).map(|_| ()).unwrap_err().to_string();
        assert_eq!(message, "`normalize.clip_obs` is `0`: must be above 0");
        let (agent, _) = wrapped(NormalizeConfig::default()).unwrap();
        assert_eq!(agent.state(), State::new());
    }
}
