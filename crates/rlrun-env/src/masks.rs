//! Which actions are legal in each environment of a batch.

use crate::{Actions, Env, EnvError, EnvSpec, Episodes, Space};

/// Masks to act under, a row per environment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Masks {
    /// `[n_envs, width]`; empty as long as no environment has given a mask.
    rows: Vec<bool>,
    width: usize,
    /// What an environment writes into before one has given a mask.
    blank: Vec<bool>,
}

impl Masks {
    pub(crate) fn new(action_space: &Space) -> Masks {
        let width = action_space.mask_len();
        Masks { rows: Vec::new(), width, blank: vec![true; width] }
    }

    pub(crate) fn rows(&self) -> &[bool] {
        &self.rows
    }

    /// Asks every environment which actions are legal now.
    pub(crate) fn read_all<E: Env>(&mut self, envs: &[E]) {
        if self.width > 0 {
            (0..envs.len()).for_each(|lane| self.read(envs, lane));
        }
    }

    /// Asks one environment which actions are legal now.
    pub(crate) fn read<E: Env>(&mut self, envs: &[E], lane: usize) {
        let (start, end) = (lane * self.width, (lane + 1) * self.width);
        if self.rows.is_empty() {
            if !envs[lane].action_mask(&mut self.blank) {
                return;
            }
            self.rows = vec![true; envs.len() * self.width];
            self.rows[start..end].copy_from_slice(&self.blank);
        } else if !envs[lane].action_mask(&mut self.rows[start..end]) {
            self.rows[start..end].fill(true);
        }
    }

    /// Refuses masks that leave an environment without an action; `ahead` of the steps counted.
    /// Where nothing follows, everything is called legal, so that no one takes the best of nothing.
    pub(crate) fn check_rows(
        &mut self,
        spec: &EnvSpec,
        episodes: &Episodes,
        ahead: u32,
        is_over: impl Fn(usize) -> bool,
    ) -> Result<(), EnvError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        for (lane, mut row) in self.rows.chunks_exact_mut(self.width).enumerate() {
            for (component, n) in spec.action_space.choices().enumerate() {
                let (choices, rest) = row.split_at_mut(n);
                row = rest;
                if choices.contains(&true) {
                    continue;
                }
                if !is_over(lane) {
                    let (id, step) = (spec.id.clone(), episodes.elapsed(lane) + ahead);
                    return Err(EnvError::NoLegalAction { id, lane, step, component });
                }
                choices.fill(true);
            }
        }
        Ok(())
    }

    /// Refuses actions that their masks forbid; the actions are in the space.
    pub(crate) fn check_actions(&self, actions: &Actions, spec: &EnvSpec) -> Result<(), EnvError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        for (lane, row) in self.rows.chunks_exact(self.width).enumerate() {
            let action = actions.row(lane);
            if !spec.action_space.allows(row, action) {
                let (id, action) = (spec.id.clone(), action.to_string());
                return Err(EnvError::MaskedAction { id, lane, action });
            }
        }
        Ok(())
    }
}
