//! The training loop with a scripted agent and scripted environments: what is due when, and what
//! counts as the best.

#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};

use rlrun_agents::{Agent, AgentError, Memory, Metrics, Policy, Transition};
use rlrun_core::{Rng, State, StateError};
use rlrun_env::{
    Actions, BoxSpace, EnvError, EnvSpec, EpisodeStats, Observations, Space, StepBatch, VecEnv,
};
use rlrun_train::{Record, Sink, TrainConfig, Trainer};

const N_ENVS: usize = 2;

/// Environments whose every episode has one step and pays what the script says for this reset.
struct Scripted {
    spec: EnvSpec,
    rewards: Vec<f64>,
    resets: usize,
    seeds: Arc<Mutex<Vec<u64>>>,
    batch: StepBatch,
}

impl Scripted {
    fn new(rewards: &[f64]) -> Scripted {
        let observations = Space::Box(BoxSpace::symmetric(&[0.0]));
        let spec = EnvSpec::new("Scripted-v0", observations, Space::Discrete(1));
        let (rewards, seeds) = (rewards.to_vec(), Arc::default());
        Scripted { spec, rewards, resets: 0, seeds, batch: StepBatch::new(N_ENVS, 1) }
    }
}

impl VecEnv for Scripted {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }
    fn num_envs(&self) -> usize {
        N_ENVS
    }
    fn reset(&mut self, seed: u64) -> Result<(), EnvError> {
        self.resets += 1;
        self.seeds.lock().unwrap().push(seed);
        Ok(())
    }
    fn obs(&self) -> &[f32] {
        &[0.0; N_ENVS]
    }
    fn starts(&self) -> &[bool] {
        &[true; N_ENVS]
    }
    fn step(&mut self, _actions: &Actions) -> Result<&StepBatch, EnvError> {
        let reward = self.rewards[self.resets - 1];
        self.batch.finished =
            (0..N_ENVS).map(|env| EpisodeStats { env, reward, length: 1 }).collect();
        Ok(&self.batch)
    }
    fn state(&self) -> Result<State, EnvError> {
        Ok(State::new())
    }
    fn load_state(&mut self, _state: &State) -> Result<(), StateError> {
        Ok(())
    }
}

/// Learns nothing, in every third vector step.
#[derive(Default)]
struct Idle {
    steps: u64,
}

impl Policy for Idle {
    fn act(
        &self,
        _seen: &Observations<'_>,
        _memory: &mut Memory,
        _rngs: Option<&mut [Rng]>,
        _actions: &mut Actions,
    ) -> Result<(), AgentError> {
        Ok(())
    }

    fn state(&self) -> State {
        State::new()
    }

    fn load_state(&mut self, _state: &State) -> Result<(), StateError> {
        Ok(())
    }
}

impl Agent for Idle {
    fn act(&mut self, _seen: &Observations<'_>, _actions: &mut Actions) -> Result<(), AgentError> {
        Ok(())
    }
    fn observe(&mut self, transition: &Transition<'_>) -> Result<(), AgentError> {
        assert_eq!(transition.seen.rows.len(), N_ENVS);
        self.steps += 1;
        Ok(())
    }
    fn update(&mut self) -> Result<Option<Metrics>, AgentError> {
        let due = self.steps.is_multiple_of(3);
        Ok(due.then(|| Metrics::from([("train/loss", self.steps as f64)])))
    }
    fn policy(&self) -> &dyn Policy {
        self
    }
    fn policy_mut(&mut self) -> &mut dyn Policy {
        self
    }
    fn state(&self) -> State {
        State::new()
    }
    fn load_state(&mut self, _state: &State) -> Result<(), StateError> {
        Ok(())
    }
}

/// Step and tags of a row of metrics.
type Row = (u64, Vec<String>);

/// Remembers every row.
#[derive(Clone, Default)]
struct Rows(Arc<Mutex<Vec<Row>>>);

impl Sink for Rows {
    fn name(&self) -> &str {
        "rows"
    }
    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        if let Record::Metrics { step, row } = record {
            let tags = row.keys().map(|tag| tag.clone().into_owned()).collect();
            self.0.lock().unwrap().push((*step, tags));
        }
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn position(&self) -> State {
        State::new()
    }
}

fn trainer(eval_rewards: &[f64], config: TrainConfig) -> Trainer {
    let (envs, eval_envs) = (Scripted::new(&[1.0]), Scripted::new(eval_rewards));
    Trainer::new(Box::new(Idle::default()), Box::new(envs), Box::new(eval_envs), 1, config).unwrap()
}

fn config() -> TrainConfig {
    TrainConfig {
        total_timesteps: 40,
        eval_freq: 10,
        n_eval_episodes: 2,
        n_rescore_episodes: 4,
        log_freq: 0,
        ..TrainConfig::default()
    }
}

#[test]
fn a_lucky_evaluation_that_fails_on_fresh_seeds_is_not_the_best() {
    // At 10: 5, confirmed with 4. At 20: 6, but fresh episodes give 3. At 30: 4, which does not
    // beat 4. At 40: 4.5, confirmed with 4.5.
    let mut trainer = trainer(&[5.0, 4.0, 6.0, 3.0, 4.0, 4.5, 4.5], config());
    let mut evaluations = Vec::new();
    while !trainer.is_done() {
        if let Some(scored) = trainer.step().unwrap().evaluation {
            let mean = scored.evaluation.mean_reward;
            evaluations.push((trainer.timesteps(), mean, scored.rescored, scored.is_best));
        }
    }
    let expected = [
        (10, 5.0, Some(4.0), true),
        (20, 6.0, Some(3.0), false),
        (30, 4.0, None, false),
        (40, 4.5, Some(4.5), true),
    ];
    assert_eq!(evaluations, expected);
}

#[test]
fn a_score_that_is_no_number_never_wins_and_never_blocks() {
    // At 10: NaN. At 20: 5, but fresh episodes give NaN. At 30: 4, confirmed with 3. At 40: NaN.
    let mut trainer = trainer(&[f64::NAN, 5.0, f64::NAN, 4.0, 3.0, f64::NAN], config());
    let mut best = Vec::new();
    while !trainer.is_done() {
        if let Some(scored) = trainer.step().unwrap().evaluation {
            best.push(scored.is_best);
        }
    }
    assert_eq!(best, [false, false, true, false]);
}

#[test]
fn every_evaluation_has_fresh_seeds() {
    let eval_envs = Scripted::new(&[1.0; 8]);
    let seeds = Arc::clone(&eval_envs.seeds);
    let envs = Scripted::new(&[1.0]);
    let training_seeds = Arc::clone(&envs.seeds);
    let (agent, config) = (Box::new(Idle::default()), config());
    let mut trainer = Trainer::new(agent, Box::new(envs), Box::new(eval_envs), 1, config).unwrap();
    trainer.run().unwrap();
    let mut seeds = seeds.lock().unwrap().clone();
    assert_eq!(seeds.len(), 5, "four evaluations and one confirmation");
    seeds.extend(&*training_seeds.lock().unwrap());
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 6);
}

#[test]
fn the_budget_is_used_up_exactly_and_rows_come_when_due() {
    let rows = Rows::default();
    let mut trainer = trainer(&[1.0; 8], TrainConfig { eval_freq: 0, log_freq: 7, ..config() });
    trainer.logger.add(Box::new(rows.clone()));
    trainer.run().unwrap();
    assert_eq!(trainer.timesteps(), 40);
    let rows = rows.0.lock().unwrap();
    let steps: Vec<u64> = rows.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [8, 14, 22, 28, 36, 40]);
    let has = |row: usize, tag: &str| rows[row].1.iter().any(|found| found == tag);
    assert!(has(0, "train/loss") && has(0, "rollout/ep_rew_mean") && has(0, "time/fps"));
    assert!(!has(4, "eval/mean_reward") && has(5, "eval/mean_reward"));
}

#[test]
fn the_report_says_what_happened_in_the_step() {
    let mut trainer = trainer(&[1.0; 8], config());
    let reports: Vec<_> = (0..3).map(|_| trainer.step().unwrap()).collect();
    assert_eq!(reports[0].finished.len(), 2);
    assert_eq!(reports[1].update, None);
    assert_eq!(reports[2].update, Some(Metrics::from([("train/loss", 3.0)])));
    assert_eq!(reports[2].checkpoint, None, "a trainer without a run folder writes nothing");
}
