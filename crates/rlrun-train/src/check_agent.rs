//! `check_agent`: does the saved state of an agent hold all that it goes on from?

use std::fmt;

use rlrun_agents::{Agent, Metrics, Transition};
use rlrun_core::{State, Value};
use rlrun_env::{Actions, VecEnv};

use crate::TrainError;

/// Seed of the environments of both runs.
const SEED: u64 = 123;

/// What a forgotten field shows itself by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentCheck {
    /// A new agent does not take a saved state.
    Loading,
    /// What is saved right after loading is what was loaded.
    RoundTrip,
    /// The continued agent acts as the other.
    Actions,
    /// The continued agent's updates report what the other's do.
    Metrics,
    /// The continued agent's state is the other's.
    State,
}

/// A difference between an agent that was interrupted and one that was not.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AgentViolation {
    /// Where it was seen.
    pub check: AgentCheck,
    /// Vector steps taken before it was seen.
    pub step: usize,
    /// What the uninterrupted agent has.
    pub expected: String,
    /// What the interrupted one has.
    pub found: String,
}

/// What `check_agent` found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AgentReport {
    /// Environment.
    pub env: String,
    /// Vector steps taken.
    pub steps: usize,
    /// How often the agent was interrupted.
    pub interruptions: usize,
    /// Updates that both made.
    pub updates: usize,
    /// Differences, at most one of each kind; empty if all is well.
    pub violations: Vec<AgentViolation>,
}

impl AgentReport {
    /// Whether nothing was forgotten.
    pub fn is_ok(&self) -> bool {
        self.violations.is_empty()
    }

    fn add(&mut self, check: AgentCheck, step: usize, expected: String, found: String) {
        if self.violations.iter().all(|violation| violation.check != check) {
            self.violations.push(AgentViolation { check, step, expected, found });
        }
    }

    /// The first entry in which two states differ is a violation.
    fn compare(&mut self, check: AgentCheck, step: usize, expected: &State, found: &State) {
        let paths = expected.0.keys().chain(found.0.keys());
        let differs = |path: &&String| !same(expected.0.get(*path), found.0.get(*path));
        if let Some(path) = paths.into_iter().find(differs) {
            let show = |state: &State| format!("`{path}` {}", excerpt(state.0.get(path)));
            self.add(check, step, show(expected), show(found));
        }
    }
}

impl fmt::Display for AgentCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AgentCheck::Loading => "loading",
            AgentCheck::RoundTrip => "state after loading",
            AgentCheck::Actions => "actions",
            AgentCheck::Metrics => "metrics",
            AgentCheck::State => "state",
        })
    }
}

impl fmt::Display for AgentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AgentReport { env, steps, interruptions, updates, violations } = self;
        if self.is_ok() {
            return write!(
                f,
                "the agent on `{env}` forgets nothing ({steps} steps, {updates} updates, \
                 {interruptions} interruptions)"
            );
        }
        write!(
            f,
            "the agent on `{env}` forgets something: put every field that acting or learning \
             depends on into `state` and `load_state`"
        )?;
        violations.iter().try_for_each(|AgentViolation { check, step, expected, found }| {
            write!(f, "\n  {check} (step {step}): expected {expected}, found {found}")
        })
    }
}

/// Trains the agent that `make` makes in two copies of its environments for `steps` vector steps:
/// once straight, once saved and loaded into a new agent again and again, and compares actions,
/// metrics and states, bit for bit. Every call of `make` must make an equal agent and equal
/// environments; small settings let the agent learn within the steps.
///
/// # Errors
/// [`TrainError`] if agent or environments fail.
pub fn check_agent(
    mut make: impl FnMut() -> Result<(Box<dyn Agent>, Box<dyn VecEnv>), TrainError>,
    steps: usize,
) -> Result<AgentReport, TrainError> {
    let (mut straight, mut interrupted) = (Lane::new(make()?)?, Lane::new(make()?)?);
    let env = straight.envs.spec().id.clone();
    let (violations, interruptions, updates) = (Vec::new(), 0, 0);
    let mut report = AgentReport { env, steps, interruptions, updates, violations };
    for step in 0..steps {
        if is_interrupted(step) {
            report.interruptions += 1;
            let agent = std::mem::replace(&mut interrupted.agent, make()?.0);
            if !interrupted.load(&*agent, step, &mut report) {
                return Ok(report);
            }
        }
        let (expected, found) = (straight.step()?, interrupted.step()?);
        report.updates += usize::from(expected.is_some());
        compare_steps(&straight, &interrupted, (&expected, &found), step, &mut report);
        if !report.is_ok() {
            return Ok(report);
        }
    }
    let (expected, found) = (saved(&*straight.agent), saved(&*interrupted.agent));
    report.compare(AgentCheck::State, steps, &expected, &found);
    Ok(report)
}

/// Often at first, then now and again, at steps that share no period with anything.
fn is_interrupted(step: usize) -> bool {
    step < 8 || (step < 1000 && step % 13 == 5) || step % 211 == 17
}

/// State of the agent and of its policy.
fn saved(agent: &dyn Agent) -> State {
    let mut state = agent.state();
    state.insert_child("policy", agent.policy().state());
    state
}

fn compare_steps(
    straight: &Lane,
    interrupted: &Lane,
    (expected, found): (&Option<Metrics>, &Option<Metrics>),
    step: usize,
    report: &mut AgentReport,
) {
    let (actions, others) = (straight.actions.state(), interrupted.actions.state());
    report.compare(AgentCheck::Actions, step, &actions, &others);
    let metrics = |metrics: &Option<Metrics>| {
        let mut state = State::new();
        for (tag, value) in metrics.iter().flat_map(|metrics| &metrics.0) {
            state.insert_f64(tag.clone().into_owned(), [*value]);
        }
        state
    };
    report.compare(AgentCheck::Metrics, step, &metrics(expected), &metrics(found));
}

/// An agent and what it learns on.
struct Lane {
    agent: Box<dyn Agent>,
    envs: Box<dyn VecEnv>,
    actions: Actions,
}

impl Lane {
    fn new((agent, mut envs): (Box<dyn Agent>, Box<dyn VecEnv>)) -> Result<Lane, TrainError> {
        envs.reset(SEED)?;
        let actions = Actions::zeros(&envs.spec().action_space, envs.num_envs());
        Ok(Lane { agent, envs, actions })
    }

    /// Goes on from the state of another agent; `false` if that is not possible.
    fn load(&mut self, from: &dyn Agent, step: usize, report: &mut AgentReport) -> bool {
        let state = saved(from);
        let policy = self.agent.policy_mut().load_state(&state.child("policy"));
        if let Err(error) = policy.and_then(|()| self.agent.load_state(&from.state())) {
            let expected = "the state of an equal agent to load".to_owned();
            report.add(AgentCheck::Loading, step, expected, format!("\"{error}\""));
            return false;
        }
        report.compare(AgentCheck::RoundTrip, step, &state, &saved(&*self.agent));
        true
    }

    fn step(&mut self) -> Result<Option<Metrics>, TrainError> {
        let mut before = rlrun_env::Seen::default();
        before.keep(&self.envs.observations());
        let seen = before.observations();
        self.agent.act(&seen, &mut self.actions)?;
        let step = self.envs.step(&self.actions)?;
        self.agent.observe(&Transition { seen, actions: &self.actions, step })?;
        Ok(self.agent.update()?)
    }
}

/// Equal bit for bit, NaN included.
fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(Value::F32 { shape, data }), Some(Value::F32 { shape: other, data: numbers })) => {
            shape == other
                && data.iter().map(|x| x.to_bits()).eq(numbers.iter().map(|x| x.to_bits()))
        }
        (Some(Value::F64(a)), Some(Value::F64(b))) => {
            a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()))
        }
        (a, b) => a == b,
    }
}

/// A value, shortened for a message.
fn excerpt(value: Option<&Value>) -> String {
    const SHOWN: usize = 4;
    let show = |numbers: Vec<String>, count: usize| {
        let more = if count > SHOWN { ", …" } else { "" };
        format!("[{}{more}]", numbers.join(", "))
    };
    fn first<T: ToString>(numbers: &[T]) -> Vec<String> {
        numbers.iter().take(SHOWN).map(T::to_string).collect()
    }
    match value {
        None => "missing".to_owned(),
        Some(Value::F32 { data, .. }) => show(first(data), data.len()),
        Some(Value::F64(data)) => show(first(data), data.len()),
        Some(Value::U64(data)) => show(first(data), data.len()),
        Some(Value::U8(data)) => show(first(data), data.len()),
    }
}
