//! One recorded update: the agent's state is filled from the row, its own `train` runs with the
//! row's draws, and everything that is recorded of it is compared.

use std::collections::BTreeMap;

use rlrun_agents::rehearsal::{Draw, Event, rehearse};
use rlrun_agents::{Agent, AgentError, Memory, Metrics};
use rlrun_core::{Purpose, State, Streams};
use rlrun_env::{Actions, Observations};
use rlrun_nn::Module;
use serde_json::Value;

use crate::compare::{Tolerance, close, count, floats, indices, number, numbers, shape};
use crate::rows::Row;

/// What the row calls, on the agent that it is about.
pub(crate) trait Update: Agent {
    /// The agent's `train`.
    fn train(&mut self, minibatches: u64) -> Result<Metrics, AgentError>;

    /// What it does after a vector step besides learning, one step later.
    fn on_step(&mut self, _n_envs: u64) {}
}

/// A network of the agent: where it lies in the agent's state, and what SB3 calls its parameters.
pub(crate) struct Network {
    /// Such as `policy.net`.
    pub(crate) path: &'static str,
    pub(crate) parameters: Vec<Named>,
    pub(crate) learner: Option<LearnerOf>,
}

/// Whose learner lies where.
#[derive(Clone, Copy)]
pub(crate) struct LearnerOf {
    /// Such as `agent.learner`.
    pub(crate) path: &'static str,
    /// The name of its optimizer in SB3.
    pub(crate) optimizer: &'static str,
    /// The name of its loss in SB3.
    pub(crate) loss: &'static str,
}

pub(crate) struct Named {
    own: String,
    sb3: String,
    /// Moments lie as their parameter does.
    by_columns: bool,
}

impl Network {
    /// The parameters of `module`, called in SB3 what `name` says.
    pub(crate) fn new(
        path: &'static str,
        module: &dyn Module,
        name: impl Fn(&str) -> String,
        learner: Option<LearnerOf>,
    ) -> Network {
        let mut parameters = Vec::new();
        module.visit_parameters("", &mut |own, parameter| {
            let by_columns = matches!(*parameter.strides(), [1, _]) && parameter.dims()[0] > 1;
            parameters.push(Named { own: own.to_owned(), sb3: name(own), by_columns });
        });
        Network { path, parameters, learner }
    }
}

/// A row's agent.
pub(crate) struct Subject<'a, A> {
    pub(crate) row: &'a Row,
    pub(crate) agent: A,
    pub(crate) networks: Vec<Network>,
    /// What else to put into the agent's state before each call.
    pub(crate) filled: State,
    /// Paths of the counter of updates.
    pub(crate) n_updates: &'static [&'static str],
    pub(crate) draws: Vec<Draw>,
    /// The order of the recorded rows of each event in terms of ours, if it is another one.
    pub(crate) orders: Vec<Vec<usize>>,
}

impl<A: Update> Subject<'_, A> {
    pub(crate) fn check(mut self) -> Result<(), String> {
        let row = self.row;
        self.fill()?;
        let draws = std::mem::take(&mut self.draws);
        let (updated, events, left) = rehearse(draws, || self.train());
        let metrics = updated?;
        if !left.is_empty() {
            return Err(format!("{} draws were not used", left.len()));
        }
        self.check_trace(&events)?;
        self.check_log(&metrics)?;
        self.check_state()?;
        if self.n_updates.iter().any(|path| self.state().counter(path) != Ok(updates(row))) {
            return Err(format!("n_updates is not {}", updates(row)));
        }
        self.check_predictions()
    }

    fn state(&self) -> State {
        let mut state = State::new();
        state.insert_child("policy", self.agent.policy().state());
        state.insert_child("agent", self.agent.state());
        state
    }

    fn load(&mut self, state: &State) -> Result<(), String> {
        let agent = self.agent.load_state(&state.child("agent"));
        let policy = self.agent.policy_mut().load_state(&state.child("policy"));
        agent.and(policy).map_err(|error| error.to_string())
    }

    /// Puts the parameters, moments and counters of before into the agent.
    fn fill(&mut self) -> Result<(), String> {
        let before = &self.row["before"];
        let mut state = self.state();
        let mut known: Vec<&str> = Vec::new();
        for Network { path, parameters, learner } in &self.networks {
            for (index, named) in parameters.iter().enumerate() {
                let recorded = &before["params"][&named.sb3];
                known.push(&named.sb3);
                state.insert_f32(
                    format!("{path}.{}", named.own),
                    &shape(recorded),
                    &floats(recorded),
                );
                let Some(LearnerOf { path, optimizer, .. }) = learner else { continue };
                let moments = &before["optim"][optimizer]["state"][&named.sb3];
                for (name, recorded) in moments.as_object().into_iter().flatten() {
                    let path = format!("{path}.optimizer.{index}.{name}");
                    if name == "step" {
                        state.insert_u64(path, [count(recorded)]);
                    } else {
                        let moment = in_memory(named, &shape(recorded), &floats(recorded));
                        state.insert_f32(path, &[moment.len()], &moment);
                    }
                }
            }
        }
        let recorded = before["params"].as_object().unwrap();
        if let Some(name) = recorded.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("no parameter here is SB3's `{name}`"));
        }
        for path in self.n_updates {
            state.insert_u64(*path, [count(&self.row["call"]["n_updates_before"])]);
        }
        self.load(&state)
    }

    fn train(&mut self) -> Result<Metrics, String> {
        let call = &self.row["call"];
        let mut metrics = Metrics::default();
        for _ in 0..count(&call["train_calls"]) {
            let mut state = self.state();
            for (path, value) in &self.filled.0 {
                state.insert(path.clone(), value.clone());
            }
            self.load(&state)?;
            let minibatches = call["gradient_steps"].as_u64().unwrap_or_default();
            metrics = self.agent.train(minibatches).map_err(|error| error.to_string())?;
            for _ in 0..call["on_step_calls_after_each"].as_u64().unwrap_or_default() {
                self.agent.on_step(count(&self.row["n_envs"]));
            }
        }
        Ok(metrics)
    }

    /// Each recorded event is what is known when the gradient of a loss is taken.
    fn check_trace(&self, events: &[Event]) -> Result<(), String> {
        let recorded = self.row["trace"].as_array().unwrap();
        let mut known: BTreeMap<&str, &[f32]> = BTreeMap::new();
        let (mut checked, mut seen) = (0, Vec::new());
        let row_is_sensitive = self.row["sensitive"] == true;
        let mut events = events.iter().peekable();
        while let Some(event) = events.next() {
            if event.name != "gradient" {
                known.extend(event.values.iter().map(|(name, x)| (name.as_str(), &x[..])));
                continue;
            }
            let clipped = events.by_ref().find(|event| {
                known.extend(event.values.iter().map(|(name, x)| (name.as_str(), &x[..])));
                event.name == "step"
            });
            let clipped = clipped.ok_or("a gradient without a step")?;
            let expected = recorded.get(checked).ok_or("more steps than recorded")?;
            let of = expected["of"].as_str().unwrap();
            checked += 1;
            // After the first event of a loss, f32 does not determine a sensitive row.
            if row_is_sensitive && seen.contains(&of) {
                continue;
            }
            seen.push(of);
            let at = format!("{of} {checked}");
            self.check_variables(&at, &known, expected, checked - 1)?;
            self.check_gradient(&at, "grad_before_clip", event, expected)?;
            self.check_gradient(&at, "grad_in_step", clipped, expected)?;
        }
        if checked != recorded.len() {
            return Err(format!("{checked} steps, expected {}", recorded.len()));
        }
        let last = &self.row["end"]["last"];
        if last.is_null() { Ok(()) } else { self.check_variables("last", &known, last, checked) }
    }

    fn tolerance(&self, name: &str) -> Tolerance {
        let tolerance = self.row["tol"]["trace"][name].as_f64();
        Tolerance::OfLargest(tolerance.unwrap_or(2e-6), 1.0)
    }

    fn check_variables(
        &self,
        at: &str,
        known: &BTreeMap<&str, &[f32]>,
        expected: &Value,
        index: usize,
    ) -> Result<(), String> {
        for (name, recorded) in expected.as_object().unwrap() {
            if matches!(name.as_str(), "event" | "of" | "batch") || name.starts_with("grad_") {
                continue;
            }
            let own = if name == "q_values_pi" { "q_values" } else { name };
            let found = known.get(own).ok_or_else(|| format!("{at}: no {name} in the trace"))?;
            let mut found = found.to_vec();
            if name == "q_values_pi" {
                found = transposed(&found, shape(recorded)[1]);
            }
            if let Some(order) = self.orders.get(index).filter(|order| order.len() == found.len()) {
                found = order.iter().map(|&row| found[row]).collect();
            }
            let what = format!("{at}: {name}");
            close(&what, &found, &numbers(recorded), self.tolerance(name))?;
        }
        Ok(())
    }

    fn check_gradient(
        &self,
        at: &str,
        name: &str,
        found: &Event,
        expected: &Value,
    ) -> Result<(), String> {
        let norm = &expected[format!("{name}_norm_f64sum")];
        if !norm.is_null() {
            let numbers = found.values.iter().flat_map(|(_, grad)| grad);
            let length = numbers.map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
            let tolerance = self.tolerance(&format!("{name}_norm_f64sum"));
            close(&format!("{at}: norm of {name}"), &[length], &[number(norm)], tolerance)?;
        }
        let of = |network: &&Network| {
            network.learner.is_some_and(|learner| expected["of"].as_str() == Some(learner.loss))
        };
        let network = self.networks.iter().find(of).ok_or("no learner of this loss")?;
        for (sb3, recorded) in expected[name].as_object().into_iter().flatten() {
            let named = network.parameters.iter().find(|named| named.sb3 == *sb3);
            let own = &named.ok_or_else(|| format!("{at}: a gradient of {sb3}"))?.own;
            let grad = found.values.iter().find(|(name, _)| name == own);
            let grad = &grad.ok_or_else(|| format!("{at}: no gradient of {sb3}"))?.1;
            let what = format!("{at}: {name} of {sb3}");
            close(&what, grad, &numbers(recorded), self.tolerance(name))?;
        }
        Ok(())
    }

    fn check_log(&self, metrics: &Metrics) -> Result<(), String> {
        let recorded = self.row["logger"].as_object().unwrap();
        let tolerance = Tolerance::OfLargest(number(&self.row["tol"]["logger_rel"]), 1e-3);
        for (tag, expected) in recorded {
            let found = metrics.get(tag).ok_or_else(|| format!("{tag} is not logged"))?;
            close(tag, &[found], &numbers(expected), tolerance)?;
        }
        let unknown = metrics.0.iter().find(|(tag, _)| !recorded.contains_key(&**tag));
        unknown.map_or(Ok(()), |(tag, _)| Err(format!("{tag} is logged")))
    }

    /// Parameters, moments, and which parameters did not move.
    fn check_state(&self) -> Result<(), String> {
        let (after, tol, state) = (&self.row["after"], &self.row["tol"], self.state());
        let unchanged = self.row["unchanged_params"].as_array().unwrap();
        for Network { path, parameters, learner } in &self.networks {
            for (index, named) in parameters.iter().enumerate() {
                let sb3 = &named.sb3;
                let found = state.f32(&format!("{path}.{}", named.own)).unwrap().1;
                let expected = numbers(&after["params"][sb3]);
                close(sb3, found, &expected, Tolerance::Absolute(number(&tol["params"])))?;
                let moved = found != floats(&self.row["before"]["params"][sb3]);
                if moved == unchanged.iter().any(|name| name == sb3) {
                    return Err(format!(
                        "{sb3} {} move",
                        if moved { "should not" } else { "did not" }
                    ));
                }
                let Some(LearnerOf { path, optimizer, .. }) = learner else { continue };
                let recorded = &after["optim"][optimizer]["state"][sb3];
                let path = format!("{path}.optimizer.{index}");
                self.check_moments(named, &state.child(&path), recorded)?;
            }
        }
        Ok(())
    }

    fn check_moments(&self, named: &Named, state: &State, expected: &Value) -> Result<(), String> {
        let tolerance = Tolerance::OfLargest(number(&self.row["tol"]["moments"]), 1e-30);
        let steps = expected.get("step").map_or(0, count);
        if state.counter("step") != Ok(steps) {
            return Err(format!("{}: steps are {:?}", named.sb3, state.counter("step")));
        }
        for (name, recorded) in expected.as_object().into_iter().flatten() {
            if name != "step" {
                let found = state.f32(name).map_err(|error| error.to_string())?.1;
                let expected = in_memory(named, &shape(recorded), &numbers(recorded));
                close(&format!("{name} of {}", named.sb3), found, &expected, tolerance)?;
            }
        }
        Ok(())
    }

    fn check_predictions(&self) -> Result<(), String> {
        let predict = &self.row["predict"];
        let rows = floats(&predict["obs"]);
        let starts = vec![true; shape(&predict["obs"])[0]];
        let seen = Observations { rows: &rows, starts: &starts, masks: &[] };
        let mut streams = Streams::new(0, Purpose::Exploration, starts.len());
        for kind in ["deterministic", "stochastic"] {
            if predict[kind].is_null() {
                continue;
            }
            let mut actions = Actions::Discrete(Vec::new());
            let (mut draws, mut rngs) = (Vec::new(), None);
            if kind == "stochastic" {
                let noise = floats(&predict["stochastic_draws"]);
                draws = noise.into_iter().map(|number| Draw::Normals(vec![number])).collect();
                rngs = Some(streams.lanes());
            }
            let act = || self.agent.policy().act(&seen, &mut Memory::none(), rngs, &mut actions);
            let (acted, _, left) = rehearse(draws, act);
            acted.map_err(|error| error.to_string())?;
            if !left.is_empty() {
                return Err(format!("predict: {} draws were not used", left.len()));
            }
            let tolerance = Tolerance::Absolute(10.0 * number(&self.row["tol"]["params"]));
            close(kind, &acted_numbers(&actions), &numbers(&predict[kind]), tolerance)?;
        }
        Ok(())
    }
}

/// Updates that SB3 counted at the end.
fn updates(row: &Row) -> u64 {
    count(&row["after"]["n_updates"])
}

fn acted_numbers(actions: &Actions) -> Vec<f64> {
    match actions {
        Actions::Discrete(choices) => choices.iter().map(|&choice| choice as f64).collect(),
        Actions::MultiDiscrete { values, .. } => values.iter().map(|&x| x as f64).collect(),
        Actions::Continuous { values, .. } => values.iter().copied().map(f64::from).collect(),
        other => panic!("no actions like {other:?}"),
    }
}

/// Row-major numbers in the order in which a parameter lies.
fn in_memory<T: Copy>(named: &Named, shape: &[usize], numbers: &[T]) -> Vec<T> {
    if named.by_columns { transposed(numbers, shape[0]) } else { numbers.to_vec() }
}

/// The transpose of a row-major matrix of `rows` rows.
fn transposed<T: Copy>(numbers: &[T], rows: usize) -> Vec<T> {
    let columns = numbers.len() / rows;
    (0..numbers.len()).map(|at| numbers[at % rows * columns + at / rows]).collect()
}

/// The recorded draws in terms of ours. SB3 counts a rollout environment by environment, and draws
/// slots and environments of a replay buffer apart.
pub(crate) fn draws(row: &Row, n_envs: usize) -> Vec<Draw> {
    let recorded = row["draws"].as_array().unwrap();
    let mut draws = Vec::new();
    let mut slots = None;
    for draw in recorded {
        let value = &draw["value"];
        match draw["fn"].as_str().unwrap() {
            "numpy.permutation" => {
                let steps = shape(&row["rollout"]["rewards"])[0];
                let place = |index: usize| index % steps * n_envs + index / steps;
                draws.push(Draw::Permutation(indices(value).into_iter().map(place).collect()));
            }
            "numpy.randint" => match slots.take() {
                None => slots = Some(indices(value)),
                Some(slots) => draws.push(Draw::Rows(replay_rows(row, n_envs, &slots, value))),
            },
            "torch.normal_" => draws.push(Draw::Normals(floats(value))),
            other => panic!("no draw `{other}`"),
        }
    }
    draws
}

fn replay_rows(row: &Row, n_envs: usize, slots: &[usize], envs: &Value) -> Vec<usize> {
    let replay = &row["replay"];
    let ring = replay["full"] == true && replay["next_observations"].is_null();
    let [pos, size] = ["pos", "size"].map(|name| count(&replay[name]) as usize);
    let slot = |slot: usize| if ring { (slot + pos) % size } else { slot };
    slots.iter().zip(indices(envs)).map(|(&at, env)| slot(at) * n_envs + env).collect()
}
