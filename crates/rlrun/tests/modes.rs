//! Seen from outside: acting and evaluating make inference tensors and no graph node; updates make
//! nodes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod small_runs;

use std::sync::{Arc, Mutex};

use rlrun::prelude::*;
use rlrun::tensor::{ModeCounts, mode_counts};
use small_runs::short_run;

/// What was made in each phase.
#[derive(Default)]
struct Made {
    acting: ModeCounts,
    updating: ModeCounts,
}

/// An agent that counts what another one makes.
struct Counting {
    agent: Box<dyn Agent>,
    made: Arc<Mutex<Made>>,
}

fn add(total: &mut ModeCounts, before: ModeCounts) {
    *total += mode_counts() - before;
}

fn assert_only_inference(made: ModeCounts, name: &str) {
    let ModeCounts { inference_tensors, .. } = made;
    assert!(inference_tensors > 0, "{name}");
    assert_eq!(made, ModeCounts { inference_tensors, ..ModeCounts::default() }, "{name}");
}

impl Agent for Counting {
    fn act(&mut self, seen: &Observations<'_>, actions: &mut Actions) -> Result<(), AgentError> {
        let before = mode_counts();
        let acted = self.agent.act(seen, actions);
        add(&mut self.made.lock().unwrap().acting, before);
        acted
    }

    fn observe(&mut self, transition: &Transition<'_>) -> Result<(), AgentError> {
        let before = mode_counts();
        let observed = self.agent.observe(transition);
        add(&mut self.made.lock().unwrap().acting, before);
        observed
    }

    fn update(&mut self) -> Result<Option<Metrics>, AgentError> {
        let before = mode_counts();
        let metrics = self.agent.update();
        add(&mut self.made.lock().unwrap().updating, before);
        metrics
    }

    fn policy(&self) -> &dyn Policy {
        self.agent.policy()
    }

    fn policy_mut(&mut self) -> &mut dyn Policy {
        self.agent.policy_mut()
    }

    fn state(&self) -> State {
        self.agent.state()
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.agent.load_state(state)
    }
}

#[test]
fn acting_and_observing_record_nothing_and_updates_do_for_every_algorithm() {
    for algorithm in ALGORITHMS {
        let envs = short_run(algorithm, 1).make_envs(1).unwrap();
        let mut trainer = short_run(algorithm, 1).into_trainer().unwrap();
        let made = Arc::new(Mutex::new(Made::default()));
        let idle = short_run(algorithm, 1).into_agent(envs.spec()).unwrap();
        let agent = std::mem::replace(&mut trainer.agent, idle);
        trainer.agent = Box::new(Counting { agent, made: Arc::clone(&made) });
        trainer.run().unwrap();
        let made = made.lock().unwrap();
        assert_only_inference(made.acting, algorithm.name);
        assert!(made.updating.nodes > 0, "{}", algorithm.name);
    }
}

#[test]
fn evaluating_records_nothing_for_every_algorithm() {
    for algorithm in ALGORITHMS {
        let mut trainer = short_run(algorithm, 1).into_trainer().unwrap();
        let before = mode_counts();
        trainer.evaluate().unwrap();
        let made = mode_counts() - before;
        assert_only_inference(made, algorithm.name);
    }
}
