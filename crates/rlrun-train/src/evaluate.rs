//! Evaluation of a policy over whole episodes, always in inference mode.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use rlrun_agents::Policy;
use rlrun_core::{Purpose, Streams};
use rlrun_env::{Actions, VecEnv};
use rlrun_tensor::phase;

use crate::TrainError;
use crate::statistics::{bootstrap_ci95, iqm, mean, std};

/// Steps after which an evaluation gives up on an episode: ten times what the longest tasks take.
const MAX_EPISODE_STEPS: u32 = 1_000_000;

/// Returns of whole episodes and what they say about the policy.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// Undiscounted return of each episode: first every environment's first episode in order of
    /// the environments, then their second episodes, and so on.
    pub returns: Vec<f64>,
    /// Steps of each episode.
    pub lengths: Vec<u32>,
    /// Mean return.
    pub mean_reward: f64,
    /// Population standard deviation of the returns.
    pub std_reward: f64,
    /// Interquartile mean of the returns.
    pub iqm: f64,
    /// 95 % percentile bootstrap interval of the mean return.
    pub ci95: [f64; 2],
    /// Mean number of steps.
    pub mean_length: f64,
}

/// An evaluation during training, and whether it is the best so far.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ScoredEvaluation {
    /// The evaluation.
    pub evaluation: Evaluation,
    /// Mean return on fresh seeds, if the evaluation beat the best so far: picking the highest of
    /// many noisy scores would favour lucky ones.
    pub rescored: Option<f64>,
    /// Whether the fresh score beats the best so far too.
    pub is_best: bool,
}

impl fmt::Display for ScoredEvaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Evaluation { mean_reward, std_reward, .. } = self.evaluation;
        let best = if self.is_best { ", the best so far" } else { "" };
        write!(f, "mean return {mean_reward:.2} ± {std_reward:.2}{best}")
    }
}

/// Plays `episodes` whole episodes with the policy's best actions.
///
/// `envs` is reset with `seed` first. How many episodes each environment contributes is fixed
/// beforehand (environment `i` of `n` plays `episodes / n`, rounded up for the first ones): taking
/// the first `episodes` to finish anywhere would favour short ones.
///
/// # Errors
/// [`TrainError::Env`] if the policy acts outside the action space, [`TrainError::Agent`] if what it
/// computes is not finite.
///
/// # Panics
/// If `episodes` is 0.
pub fn evaluate(
    policy: &dyn Policy,
    envs: &mut dyn VecEnv,
    episodes: usize,
    seed: u64,
) -> Result<Evaluation, TrainError> {
    evaluate_unless(&AtomicBool::new(false), policy, envs, episodes, seed)
        .map(|evaluation| evaluation.expect("nobody stops it"))
}

/// As [`evaluate`]; `None` as soon as `stop` is set.
pub(crate) fn evaluate_unless(
    stop: &AtomicBool,
    policy: &dyn Policy,
    envs: &mut dyn VecEnv,
    episodes: usize,
    seed: u64,
) -> Result<Option<Evaluation>, TrainError> {
    play(policy, envs, Episodes { count: episodes, seed, stop }, None)
}

/// As [`evaluate`], with actions drawn from the policy by the stream `EvalActions` of `seed`.
///
/// # Errors
/// As [`evaluate`].
///
/// # Panics
/// As [`evaluate`].
pub fn evaluate_stochastic(
    policy: &dyn Policy,
    envs: &mut dyn VecEnv,
    episodes: usize,
    seed: u64,
) -> Result<Evaluation, TrainError> {
    let streams = Streams::new(seed, Purpose::EvalActions, envs.num_envs());
    let never = AtomicBool::new(false);
    let episodes = Episodes { count: episodes, seed, stop: &never };
    play(policy, envs, episodes, Some(streams))
        .map(|evaluation| evaluation.expect("nobody stops it"))
}

/// What is to be played, and what ends it early.
#[derive(Clone, Copy)]
struct Episodes<'a> {
    count: usize,
    seed: u64,
    stop: &'a AtomicBool,
}

fn play(
    policy: &dyn Policy,
    envs: &mut dyn VecEnv,
    Episodes { count: episodes, seed, stop }: Episodes<'_>,
    mut streams: Option<Streams>,
) -> Result<Option<Evaluation>, TrainError> {
    assert!(episodes > 0, "an evaluation needs at least one episode");
    let mut actions = Actions::zeros(&envs.spec().action_space, envs.num_envs());
    let mut memory = policy.memory(envs.num_envs());
    let mut tally = Tally::new(episodes, envs.num_envs());
    let mut lengths = vec![0; envs.num_envs()];
    envs.reset(seed)?;
    phase("evaluation", || {
        while tally.missing > 0 && !stop.load(Ordering::Relaxed) {
            let rngs = streams.as_mut().map(Streams::lanes);
            let seen = envs.observations();
            memory.begin(seen.starts);
            policy.act(&seen, &mut memory, rngs, &mut actions)?;
            lengths.iter_mut().for_each(|length| *length += 1);
            for episode in &envs.step(&actions)?.finished {
                tally.add(episode.env, episode.reward, episode.length);
                lengths[episode.env] = 0;
            }
            if let Some(lane) = lengths.iter().position(|&length| length >= MAX_EPISODE_STEPS) {
                let (id, steps) = (envs.spec().id.clone(), MAX_EPISODE_STEPS);
                return Err(TrainError::EndlessEpisode { id, lane, steps });
            }
        }
        Ok::<(), TrainError>(())
    })?;
    Ok((tally.missing == 0).then(|| summarize(tally, seed)))
}

/// The episodes that count, by environment: the first `quota` of each.
struct Tally {
    by_env: Vec<Vec<(f64, u32)>>,
    quotas: Vec<usize>,
    missing: usize,
}

impl Tally {
    fn new(episodes: usize, num_envs: usize) -> Tally {
        let quota = |env| episodes / num_envs + usize::from(env < episodes % num_envs);
        let quotas = (0..num_envs).map(quota).collect();
        Tally { by_env: vec![Vec::new(); num_envs], quotas, missing: episodes }
    }

    fn add(&mut self, env: usize, reward: f64, length: u32) {
        if self.by_env[env].len() < self.quotas[env] {
            self.by_env[env].push((reward, length));
            self.missing -= 1;
        }
    }

    /// First episodes of all environments, then second ones, and so on.
    fn in_order(&self) -> Vec<(f64, u32)> {
        let rounds = self.quotas.iter().copied().max().unwrap_or(0);
        let round = |k: usize| self.by_env.iter().filter_map(move |episodes| episodes.get(k));
        (0..rounds).flat_map(round).copied().collect()
    }
}

fn summarize(tally: Tally, seed: u64) -> Evaluation {
    let (returns, lengths): (Vec<f64>, Vec<u32>) = tally.in_order().into_iter().unzip();
    Evaluation {
        mean_reward: mean(returns.iter().copied()),
        std_reward: std(&returns),
        iqm: iqm(&returns),
        ci95: bootstrap_ci95(&returns, seed),
        mean_length: mean(lengths.iter().map(|&length| f64::from(length))),
        returns,
        lengths,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_with_short_episodes_gets_no_more_than_its_share() {
        let mut tally = Tally::new(3, 2);
        for _ in 0..10 {
            tally.add(1, 1.0, 1);
        }
        assert_eq!(tally.missing, 2);
        tally.add(0, 100.0, 50);
        tally.add(0, 200.0, 60);
        tally.add(0, 300.0, 70);
        assert_eq!(tally.missing, 0);
        assert_eq!(tally.in_order(), [(100.0, 50), (1.0, 1), (200.0, 60)]);
    }

    #[test]
    fn more_environments_than_episodes_play_one_each() {
        let mut tally = Tally::new(2, 4);
        tally.add(3, 9.0, 9);
        tally.add(1, 2.0, 2);
        tally.add(0, 1.0, 1);
        assert_eq!(tally.in_order(), [(1.0, 1), (2.0, 2)]);
    }
}
