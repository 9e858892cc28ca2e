//! The latest finished episodes, which the `rollout/` metrics are taken over.

use std::collections::VecDeque;

use rlrun_core::{State, StateError};
use rlrun_env::EpisodeStats;

use crate::statistics::mean;

/// Returns and lengths of the latest `capacity` finished episodes.
#[derive(Debug)]
pub(crate) struct EpisodeWindow {
    capacity: usize,
    latest: VecDeque<(f64, u32)>,
    finished: u64,
}

impl EpisodeWindow {
    pub(crate) fn new(capacity: usize) -> EpisodeWindow {
        EpisodeWindow { capacity, latest: VecDeque::with_capacity(capacity), finished: 0 }
    }

    pub(crate) fn push(&mut self, episode: &EpisodeStats) {
        if self.latest.len() == self.capacity {
            self.latest.pop_front();
        }
        self.latest.push_back((episode.reward, episode.length));
        self.finished += 1;
    }

    /// Episodes finished since the run began.
    pub(crate) fn finished(&self) -> u64 {
        self.finished
    }

    /// Mean return and mean length; `None` before the first episode has finished.
    pub(crate) fn means(&self) -> Option<(f64, f64)> {
        if self.latest.is_empty() {
            return None;
        }
        let rewards = mean(self.latest.iter().map(|&(reward, _)| reward));
        Some((rewards, mean(self.latest.iter().map(|&(_, length)| f64::from(length)))))
    }

    pub(crate) fn state(&self) -> State {
        let mut state = State::new();
        state.insert_f64("rewards", self.latest.iter().map(|e| e.0).collect::<Vec<_>>());
        state.insert_u64("lengths", self.latest.iter().map(|e| u64::from(e.1)).collect::<Vec<_>>());
        state.insert_u64("finished", [self.finished]);
        state
    }

    /// Continues a saved window; one that is longer than `capacity` loses its oldest episodes.
    pub(crate) fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let (rewards, lengths) = (state.f64("rewards")?, state.u64("lengths")?);
        if rewards.len() != lengths.len() {
            let (expected, found) = (vec![rewards.len()], vec![lengths.len()]);
            return Err(StateError::Shape { path: "lengths".to_owned(), expected, found });
        }
        let surplus = rewards.len().saturating_sub(self.capacity);
        self.latest.clear();
        for (&reward, &length) in rewards.iter().zip(lengths).skip(surplus) {
            let reason = format!("an episode of {length} steps is too long");
            let invalid = |_| StateError::Invalid { path: "lengths".to_owned(), reason };
            self.latest.push_back((reward, u32::try_from(length).map_err(invalid)?));
        }
        self.finished = state.counter("finished")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_episode_leaves_a_full_window() {
        let mut window = EpisodeWindow::new(2);
        assert_eq!(window.means(), None);
        for (reward, length) in [(10.0, 1), (20.0, 2), (40.0, 4)] {
            window.push(&EpisodeStats { env: 0, reward, length });
        }
        assert_eq!(window.means(), Some((30.0, 3.0)));
        assert_eq!(window.finished(), 3);
        let mut restored = EpisodeWindow::new(2);
        restored.load_state(&window.state()).unwrap();
        assert_eq!(restored.means(), window.means());
        assert_eq!(restored.finished(), 3);
    }
}
