//! How agents try what they do not think best.

use rand::RngExt;
use rlrun_core::{Purpose, Rng, Streams};
use rlrun_env::Actions;

use crate::AgentContext;
use crate::clock::Clock;
use crate::saved::saved;

/// How often actions are random while learning, and who draws them.
pub struct EpsilonGreedy {
    n_actions: usize,
    learning_starts: u64,
    fraction: f64,
    eps: [f64; 2],
    streams: Streams,
}

impl EpsilonGreedy {
    /// Among `n_actions`: always before the step `learning_starts`, then with a probability that
    /// falls from `initial` to `last` over the first `fraction` of the run.
    pub fn new(
        context: &AgentContext<'_>,
        n_actions: usize,
        learning_starts: u64,
        [fraction, initial, last]: [f64; 3],
    ) -> EpsilonGreedy {
        let streams = Streams::new(context.seed, Purpose::Exploration, context.n_envs);
        EpsilonGreedy { n_actions, learning_starts, fraction, eps: [initial, last], streams }
    }

    /// ε of this moment, as scheduled.
    pub fn rate(&self, clock: &Clock) -> f64 {
        linear(clock.progress_remaining(), self.fraction, self.eps[0], self.eps[1])
    }

    /// Replaces some of `actions` by random ones that `masks` allows.
    pub fn explore(&mut self, clock: &Clock, masks: &[bool], actions: &mut Actions) {
        let eps = if clock.step() < self.learning_starts { 1.0 } else { self.rate(clock) };
        epsilon_greedy(actions, masks, self.n_actions, eps, &mut self.streams);
    }

    saved! { pub EpsilonGreedy {
        streams;
        counters: ;
        not: n_actions "from the action space", learning_starts "from the run file",
            fraction "the same", eps "the same",
    } }
}

/// Replaces each choice, with probability `eps`, by one of the `n_actions` at random, or of those
/// that its row of `masks` allows (`[n_envs, n_actions]`; empty: all).
///
/// Sutton & Barto 2018, §2.2. Each environment draws from its own stream.
pub fn epsilon_greedy(
    actions: &mut Actions,
    masks: &[bool],
    n_actions: usize,
    eps: f64,
    streams: &mut Streams,
) {
    let Actions::Discrete(choices) = actions else { return };
    for (lane, (choice, rng)) in choices.iter_mut().zip(streams.lanes()).enumerate() {
        if rng.random::<f64>() < eps {
            let mask = masks.get(lane * n_actions..(lane + 1) * n_actions);
            *choice = match mask {
                Some(mask) => legal(mask, rng),
                None => below(n_actions, rng),
            };
        }
    }
}

fn below(n: usize, rng: &mut Rng) -> usize {
    rng.random_range(0..n as u64) as usize
}

/// A choice that `mask` allows.
fn legal(mask: &[bool], rng: &mut Rng) -> usize {
    let nth = below(mask.iter().filter(|&&legal| legal).count(), rng);
    let mut choices = (0..mask.len()).filter(|&choice| mask[choice]);
    choices.nth(nth).unwrap_or_default()
}

/// Fills `actions` with vectors that are uniform in ±1, each environment's from its own stream.
pub fn uniform(actions: &mut Actions, streams: &mut Streams) {
    let Actions::Continuous { values, dim } = actions else { return };
    for (row, rng) in values.chunks_exact_mut(*dim).zip(streams.lanes()) {
        row.iter_mut().for_each(|x| *x = rng.random_range(-1.0..=1.0));
    }
}

/// A straight line from `initial` to `last` over the first `share` of the run: ε of DQN (Mnih et
/// al. 2015, table 1).
pub fn linear(progress_remaining: f64, share: f64, initial: f64, last: f64) -> f64 {
    let progress = 1.0 - progress_remaining;
    if progress >= share { last } else { initial + progress * (last - initial) / share }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_choice_comes_as_often_as_epsilon_says_and_keeps_to_the_mask() {
        let mut streams = Streams::new(1, Purpose::Exploration, 4000);
        let mut draw = |masks: &[bool], eps| {
            let mut actions = Actions::Discrete(vec![0; 4000]);
            epsilon_greedy(&mut actions, masks, 4, eps, &mut streams);
            let Actions::Discrete(choices) = actions else { unreachable!() };
            [0, 1, 2, 3].map(|choice| choices.iter().filter(|&&c| c == choice).count())
        };
        assert_eq!(draw(&[], 0.0), [4000, 0, 0, 0]);
        let counts = draw(&[], 1.0);
        assert!(counts.iter().all(|&count| (900..1100).contains(&count)), "{counts:?}");
        let half = draw(&[], 0.5);
        assert!((2400..2600).contains(&half[0]), "{half:?}");
        let masked = draw(&[false, true, false, true].repeat(4000), 1.0);
        assert!(
            masked[0] == 0 && masked[2] == 0 && (1850..2150).contains(&masked[1]),
            "{masked:?}"
        );
    }

    #[test]
    fn a_lane_draws_the_same_alone_and_among_others() {
        let draw = |lanes| {
            let mut streams = Streams::new(3, Purpose::Exploration, lanes);
            let mut actions = Actions::Discrete(vec![0; lanes]);
            epsilon_greedy(&mut actions, &[], 1000, 1.0, &mut streams);
            actions
        };
        let (Actions::Discrete(one), Actions::Discrete(eight)) = (draw(1), draw(8)) else {
            unreachable!()
        };
        assert_eq!(one[0], eight[0]);
        assert_ne!(eight[0], eight[1]);
    }

    #[test]
    fn epsilon_falls_on_a_line_and_stays() {
        let eps = |progress: f64| linear(1.0 - progress, 0.5, 1.0, 0.1);
        assert_eq!([eps(0.0), eps(0.25), eps(0.5), eps(1.0)], [1.0, 0.55, 0.1, 0.1]);
        assert_eq!(linear(1.0, 0.0, 1.0, 0.1), 0.1);
    }
}
