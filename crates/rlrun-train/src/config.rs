//! The `[train]` table of a run file.

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::TrainError;

/// Budget, evaluation, logging and checkpoints of a run. Every period counts environment steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Environment steps, used up exactly; a multiple of `env.n_envs`.
    pub total_timesteps: u64,
    /// Steps between two rows of metrics; 0: only with evaluations and at the end.
    pub log_freq: u64,
    /// Steps between two evaluations; 0: only at the end.
    pub eval_freq: u64,
    /// Episodes of one evaluation; 0: never evaluate.
    pub n_eval_episodes: usize,
    /// Fresh episodes that confirm an evaluation before `best` is moved to it.
    pub n_rescore_episodes: usize,
    /// Steps between two checkpoints; 0: only at the end and for `best`.
    pub save_freq: u64,
    /// Newest checkpoints to keep beside `best`; 0: all.
    pub keep_checkpoints: usize,
    /// Finished episodes that `rollout/ep_rew_mean` is taken over.
    pub stats_window_size: usize,
}

impl Default for TrainConfig {
    fn default() -> TrainConfig {
        TrainConfig {
            total_timesteps: 100_000,
            log_freq: 5_000,
            eval_freq: 10_000,
            n_eval_episodes: 20,
            n_rescore_episodes: 100,
            save_freq: 10_000,
            keep_checkpoints: 2,
            stats_window_size: 100,
        }
    }
}

impl TrainConfig {
    /// Checks the values, alone and against the number of environments that step together.
    ///
    /// # Errors
    /// [`TrainError::Config`] naming key, value and the rule it breaks.
    pub fn check(&self, n_envs: usize) -> Result<(), TrainError> {
        let n_envs = n_envs as u64;
        let total = self.total_timesteps;
        if total == 0 || !total.is_multiple_of(n_envs) {
            let near = total.next_multiple_of(n_envs).max(n_envs);
            let rule =
                format!("use a positive multiple of `env.n_envs` = {n_envs}, such as {near}");
            return Err(invalid("train.total_timesteps", total, rule));
        }
        if self.stats_window_size == 0 {
            return Err(invalid("train.stats_window_size", 0, "use at least 1".to_owned()));
        }
        if self.n_eval_episodes > 0 && self.n_rescore_episodes == 0 {
            let rule = "use at least 1, or turn evaluation off with `train.n_eval_episodes = 0`";
            return Err(invalid("train.n_rescore_episodes", 0, rule.to_owned()));
        }
        if self.keep_checkpoints == 1 {
            let rule =
                "use at least 2, so that a damaged checkpoint has a predecessor, or 0 for all";
            return Err(invalid("train.keep_checkpoints", 1, rule.to_owned()));
        }
        Ok(())
    }

    /// Warns of values that are allowed and rarely meant.
    pub(crate) fn warn(&self) {
        let (fresh, episodes) = (self.n_rescore_episodes, self.n_eval_episodes);
        if fresh < episodes {
            warn!(
                "`train.n_rescore_episodes` is `{fresh}`, fewer than `train.n_eval_episodes` = \
                 {episodes}: one lucky score may then keep `best` for the rest of the run"
            );
        }
    }
}

fn invalid(key: &'static str, value: u64, rule: String) -> TrainError {
    TrainError::Config { key, value: value.to_string(), rule }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_does_not_divide_names_key_value_and_a_neighbour() {
        let config = TrainConfig { total_timesteps: 1001, ..TrainConfig::default() };
        let message = config.check(8).unwrap_err().to_string();
        assert_eq!(
            message,
            "`train.total_timesteps` is `1001`: use a positive multiple of `env.n_envs` = 8, such as 1008"
        );
        assert!(TrainConfig::default().check(8).is_ok());
    }
}
