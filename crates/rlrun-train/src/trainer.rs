//! The training loop: act, step, observe, update; and what is due in between.

mod saved;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rlrun_agents::{Agent, Clock, Metrics, Transition};
use rlrun_core::State;
use rlrun_env::{Actions, EpisodeStats, Seen, VecEnv};
use rlrun_tensor::{GraphWatch, phase, phase_counts};
use tracing::{info, warn};

use crate::episodes::EpisodeWindow;
use crate::evaluate::evaluate_unless;
use crate::logger::{self, Logger, Record};
use crate::mode_trace::check_phases;
use crate::seeds::{evaluation_seed, training_seed};
use crate::stopwatch::Stopwatch;
use crate::{
    Checkpoint, Evaluation, RunDir, SavedPolicy, ScoredEvaluation, TrainConfig, TrainError,
    evaluate,
};

/// Trains an agent. [`Trainer::run`] is nothing but [`Trainer::step`] in a loop: what other
/// libraries do in callbacks is ordinary code in a loop of your own.
///
/// ```no_run
/// # fn example(mut trainer: rlrun_train::Trainer) -> Result<(), rlrun_train::TrainError> {
/// while !trainer.is_done() {
///     let report = trainer.step()?;
///     if report.evaluation.is_some_and(|scored| scored.evaluation.mean_reward >= 475.0) {
///         break;
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Trainer {
    /// What learns.
    pub agent: Box<dyn Agent>,
    /// What it learns on.
    pub envs: Box<dyn VecEnv>,
    /// What it is evaluated on.
    pub eval_envs: Box<dyn VecEnv>,
    /// Where the numbers go.
    pub logger: Logger,
    /// Name of the algorithm, for the policy's file.
    pub algorithm: String,
    /// Whether a step fails when a phase records history that should record none: see
    /// [`check_phases`].
    pub trace_modes: bool,
    /// Set it, in another thread or from a signal, to end an evaluation early and [`Trainer::run`]
    /// after its step. The run that goes on makes the evaluation again.
    pub stop: Arc<AtomicBool>,
    config: TrainConfig,
    seed: u64,
    run_dir: Option<RunDir>,
    clock: Clock,
    updates: u64,
    best: Option<Best>,
    episodes: EpisodeWindow,
    seen: Seen,
    actions: Actions,
    graph: GraphWatch,
    stopwatch: Stopwatch,
    unfinished: bool,
    settings: toml::Table,
}

/// The checkpoint that `best` points to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Best {
    step: u64,
    score: f64,
}

/// What one vector step brought.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// Training episodes that finished.
    pub finished: Vec<EpisodeStats>,
    /// Metrics of the update, if the agent learnt.
    pub update: Option<Metrics>,
    /// The evaluation, if one was due.
    pub evaluation: Option<ScoredEvaluation>,
    /// The checkpoint's folder, if one was written.
    pub checkpoint: Option<PathBuf>,
}

impl Trainer {
    /// A trainer at step 0, without a run folder. The environments are reset: those of training
    /// with [`training_seed`]`(seed)`.
    ///
    /// # Errors
    /// [`TrainError::Config`] if a setting breaks a rule, [`TrainError::Env`] if the environments
    /// cannot begin.
    pub fn new(
        agent: Box<dyn Agent>,
        mut envs: Box<dyn VecEnv>,
        eval_envs: Box<dyn VecEnv>,
        seed: u64,
        config: TrainConfig,
    ) -> Result<Trainer, TrainError> {
        config.check(envs.num_envs())?;
        config.warn();
        envs.reset(training_seed(seed))?;
        Ok(Trainer {
            seen: Seen::default(),
            actions: Actions::zeros(&envs.spec().action_space, envs.num_envs()),
            episodes: EpisodeWindow::new(config.stats_window_size),
            logger: Logger::default(),
            trace_modes: false,
            graph: GraphWatch::new(),
            algorithm: String::new(),
            clock: Clock::new(envs.num_envs(), config.total_timesteps),
            run_dir: None,
            updates: 0,
            best: None,
            stopwatch: Stopwatch::start(0, 0.0),
            unfinished: false,
            stop: Arc::default(),
            settings: toml::Table::new(),
            agent,
            envs,
            eval_envs,
            config,
            seed,
        })
    }

    /// Writes logs and checkpoints to `run_dir` from now on. If it holds a checkpoint, training
    /// goes on from the newest valid one, and the logs are cut back to it. The folder is locked until
    /// the trainer is dropped.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if the checkpoints are damaged or belong to another run, the run file was
    /// edited, or another process trains the run;
    /// [`TrainError::Config`] if the budget lies below the checkpoint's step; [`TrainError::Env`] if
    /// the environments cannot be saved, before anything is learnt that could not be resumed.
    pub fn attach(&mut self, run_dir: RunDir) -> Result<(), TrainError> {
        self.envs.state()?;
        let run_dir = run_dir.locked()?;
        let env = self.envs.spec().id.clone();
        let recovery = run_dir.recover()?;
        let mut logs = State::new();
        if let Some(checkpoint) = &recovery.checkpoint {
            self.load(&run_dir, checkpoint)?;
            logs = checkpoint.trainer.child("logger.logs");
        }
        let (best, keep) = (self.best.map(|best| best.step), self.config.keep_checkpoints);
        run_dir.rewind(&recovery, best, keep)?;
        self.logger.open(run_dir.path(), &env, &logs)?;
        let seconds_before = logger::time_elapsed(run_dir.path())?;
        self.stopwatch = Stopwatch::start(self.timesteps(), seconds_before);
        self.settings = run_dir.settings()?;
        self.run_dir = Some(run_dir);
        Ok(())
    }

    /// Environment steps taken.
    pub fn timesteps(&self) -> u64 {
        self.clock.step()
    }

    /// Environment steps to take in all.
    pub fn total_timesteps(&self) -> u64 {
        self.clock.total_timesteps()
    }

    /// Whether the budget is used up, and everything done that was due.
    pub fn is_done(&self) -> bool {
        self.is_at_end() && !self.unfinished
    }

    fn is_at_end(&self) -> bool {
        self.timesteps() >= self.total_timesteps()
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Trains until the budget is used up; or saves and returns before, if [`Trainer::stop`] is set.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn run(&mut self) -> Result<(), TrainError> {
        while !self.is_done() && !self.is_stopped() {
            self.step()?;
        }
        if !self.is_done() {
            self.save()?;
        }
        Ok(())
    }

    /// Takes one step in every environment, lets the agent learn, and logs, evaluates and saves
    /// what is due.
    ///
    /// # Errors
    /// [`TrainError`] if the agent diverges, an action is refused, or a file cannot be written;
    /// with [`Trainer::trace_modes`] also [`TrainError::RecordedHistory`].
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        let mut report = StepReport::default();
        // What an evaluation that was stopped was due after has been done already.
        if !std::mem::take(&mut self.unfinished) {
            report.finished = phase("rollout", || self.interact())?;
            report.update = phase("update", || self.agent.update())?;
            if let Some(warning) = self.graph.after_step(report.update.is_some()) {
                warn!("{warning}");
            }
            self.updates += u64::from(report.update.is_some());
            phase("logging", || self.log_step(&report.finished, report.update.as_ref()))?;
        }
        report.evaluation = self.evaluation_if_due()?;
        if !self.unfinished {
            let evaluation = report.evaluation.as_ref();
            report.checkpoint = phase("logging", || self.log_and_save_if_due(evaluation))?;
        }
        if self.trace_modes {
            check_phases(&phase_counts())?;
        }
        Ok(report)
    }

    /// Evaluates the policy of this moment on `train.n_eval_episodes` episodes.
    ///
    /// # Errors
    /// [`TrainError::Env`] if the policy acts outside the action space.
    pub fn evaluate(&mut self) -> Result<Evaluation, TrainError> {
        let (episodes, seed) = (self.config.n_eval_episodes, self.evaluation_seed(0));
        evaluate(self.agent.policy(), self.eval_envs.as_mut(), episodes, seed)
    }

    /// Everything that a run needs to go on from here.
    ///
    /// # Errors
    /// [`TrainError::Env`] if the environments cannot be saved.
    pub fn checkpoint(&self) -> Result<Checkpoint, TrainError> {
        Ok(Checkpoint {
            step: self.timesteps(),
            policy: SavedPolicy::new(
                &self.algorithm,
                self.envs.spec(),
                self.agent.policy().state(),
            ),
            agent: self.agent.state(),
            envs: self.envs.state()?,
            trainer: self.state(),
            settings: self.settings.clone(),
        })
    }

    fn interact(&mut self) -> Result<Vec<EpisodeStats>, TrainError> {
        self.seen.keep(&self.envs.observations());
        let seen = self.seen.observations();
        self.agent.act(&seen, &mut self.actions)?;
        let step = self.envs.step(&self.actions)?;
        self.agent.observe(&Transition { seen, actions: &self.actions, step })?;
        self.clock.advance();
        step.finished.iter().for_each(|episode| self.episodes.push(episode));
        Ok(step.finished.clone())
    }

    fn log_step(
        &mut self,
        finished: &[EpisodeStats],
        update: Option<&Metrics>,
    ) -> Result<(), TrainError> {
        if let Some(metrics) = update {
            self.logger.record_all(metrics);
        }
        for episode in finished {
            self.logger.write(&Record::Episode(episode))?;
        }
        Ok(())
    }

    fn log_and_save_if_due(
        &mut self,
        evaluation: Option<&ScoredEvaluation>,
    ) -> Result<Option<PathBuf>, TrainError> {
        if evaluation.is_some() || self.is_due(self.config.log_freq) {
            self.log()?;
        }
        let is_best = evaluation.is_some_and(|scored| scored.is_best);
        let save = is_best || self.is_due(self.config.save_freq);
        if save { self.save() } else { Ok(None) }
    }

    /// Whether a period ended in the last vector step, or the whole run. 0: never before the end.
    fn is_due(&self, period: u64) -> bool {
        self.is_at_end() || self.clock.reached(period) > 0
    }

    fn evaluation_if_due(&mut self) -> Result<Option<ScoredEvaluation>, TrainError> {
        if self.config.n_eval_episodes == 0 || !self.is_due(self.config.eval_freq) {
            return Ok(None);
        }
        let (episodes, seed) = (self.config.n_eval_episodes, self.evaluation_seed(0));
        let Some(evaluation) = self.evaluate_unless_stopped(episodes, seed)? else {
            return Ok(None);
        };
        // A score that is no number neither wins nor stands in the way of one that is.
        let beats = |score: f64, best: Option<Best>| {
            !score.is_nan() && best.is_none_or(|best| best.score.is_nan() || score > best.score)
        };
        let mut rescored = None;
        if beats(evaluation.mean_reward, self.best) {
            let (episodes, seed) = (self.config.n_rescore_episodes, self.evaluation_seed(1));
            let Some(fresh) = self.evaluate_unless_stopped(episodes, seed)? else {
                return Ok(None);
            };
            rescored = Some(fresh.mean_reward);
        }
        let is_best = rescored.is_some_and(|score| beats(score, self.best));
        if let Some(score) = rescored.filter(|_| is_best) {
            self.best = Some(Best { step: self.timesteps(), score });
        }
        self.logger.record("eval/mean_reward", evaluation.mean_reward);
        self.logger.record("eval/mean_ep_length", evaluation.mean_length);
        let scored = ScoredEvaluation { evaluation, rescored, is_best };
        info!("evaluation at step {}: {scored}", self.timesteps());
        self.logger.write(&Record::Evaluation { step: self.timesteps(), evaluation: &scored })?;
        Ok(Some(scored))
    }

    /// Seed of the evaluation of this step, or (1) of its confirmation.
    fn evaluation_seed(&self, confirmation: u64) -> u64 {
        evaluation_seed(self.seed, 2 * self.timesteps() + confirmation)
    }

    /// `None`, and unfinished, if the run is to stop.
    fn evaluate_unless_stopped(
        &mut self,
        episodes: usize,
        seed: u64,
    ) -> Result<Option<Evaluation>, TrainError> {
        let (policy, envs) = (self.agent.policy(), self.eval_envs.as_mut());
        let evaluation = evaluate_unless(&self.stop, policy, envs, episodes, seed)?;
        self.unfinished = evaluation.is_none();
        Ok(evaluation)
    }

    fn log(&mut self) -> Result<(), TrainError> {
        self.logger.record_all(&self.agent.metrics());
        if let Some((reward, length)) = self.episodes.means() {
            self.logger.record("rollout/ep_rew_mean", reward);
            self.logger.record("rollout/ep_len_mean", length);
        }
        self.logger.record("time/episodes", self.episodes.finished() as f64);
        self.logger.record("time/fps", self.stopwatch.fps(self.timesteps()));
        self.logger.record("time/iterations", self.updates as f64);
        self.logger.record(logger::TIME_ELAPSED, self.stopwatch.seconds());
        self.logger.record("time/total_timesteps", self.timesteps() as f64);
        self.logger.dump(self.timesteps())
    }

    /// Saves a checkpoint now and returns its folder; `None` without a run folder. What is due by
    /// `train.save_freq` is saved without it.
    ///
    /// # Errors
    /// [`TrainError`] if a file cannot be written.
    pub fn save(&mut self) -> Result<Option<PathBuf>, TrainError> {
        // On the disk before the checkpoint that counts on them.
        self.logger.sync()?;
        let Some(run_dir) = &self.run_dir else { return Ok(None) };
        let best = self.best.map(|best| best.step);
        let folder = run_dir.save(&self.checkpoint()?, best, self.config.keep_checkpoints)?;
        Ok(Some(folder))
    }
}
