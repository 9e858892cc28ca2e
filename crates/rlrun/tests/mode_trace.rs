//! A trainer that traces modes stops an agent that records history where none should be.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;

use rlrun::prelude::*;
use rlrun::tensor::{Parameter, phase_counts};

const RUN_FILE: &str = "
algorithm = \"ppo\"
env = { id = \"CartPole-v1\", n_envs = 2 }
agent = { n_steps = 16, batch_size = 32, net_arch = [8] }
train = { total_timesteps = 64, eval_freq = 32, n_eval_episodes = 1, n_rescore_episodes = 1 }
";

/// An agent that leaves inference mode while it acts.
struct Leaving {
    agent: Box<dyn Agent>,
    scale: Parameter,
}

impl Agent for Leaving {
    fn act(&mut self, seen: &Observations<'_>, actions: &mut Actions) -> Result<(), AgentError> {
        let obs = Tensor::from_slice(seen.rows, [seen.len(), 4]);
        let _recorded = obs * &*self.scale;
        self.agent.act(seen, actions)
    }

    fn observe(&mut self, transition: &Transition<'_>) -> Result<(), AgentError> {
        self.agent.observe(transition)
    }

    fn update(&mut self) -> Result<Option<Metrics>, AgentError> {
        self.agent.update()
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

fn trainer() -> Trainer {
    let mut trainer = Run::load(RUN_FILE, ALGORITHMS, &[]).unwrap().into_trainer().unwrap();
    trainer.trace_modes = true;
    trainer
}

/// Phases belong to a thread.
fn on_a_new_thread(test: impl FnOnce() + Send + 'static) {
    thread::spawn(test).join().unwrap();
}

#[test]
fn an_agent_that_records_while_acting_is_stopped_with_the_place_of_the_operation() {
    on_a_new_thread(|| {
        let mut trainer = trainer();
        let run = Run::load(RUN_FILE, ALGORITHMS, &[]).unwrap();
        let agent = run.into_agent(trainer.envs.spec()).unwrap();
        trainer.agent = Box::new(Leaving { agent, scale: Parameter::new(Tensor::zeros([4])) });
        let error = trainer.run().unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("the phase `rollout` recorded"), "{text}");
        let TrainError::RecordedHistory { at, .. } = error else { panic!("{text}") };
        assert!(at.file().ends_with(".rs"));
        assert_eq!(trainer.timesteps(), 2);
        trainer.trace_modes = false;
        trainer.run().unwrap();
    });
}

#[test]
fn only_the_loss_of_a_shipped_agent_records_history() {
    on_a_new_thread(|| {
        trainer().run().unwrap();
        let phases = phase_counts();
        let recording = phases.iter().filter(|phase| phase.made.nodes > 0);
        assert_eq!(recording.map(|phase| phase.name).collect::<Vec<_>>(), ["loss"]);
        assert!(phases.iter().any(|phase| phase.name == "rollout"));
    });
}
