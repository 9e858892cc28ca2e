//! What `check_env` looks at, and what it found.

use std::fmt;

/// A promise of [`Env`](crate::Env).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// The spaces are not empty and their bounds are in order.
    Spaces,
    /// `reset` begins an episode.
    Reset,
    /// `reset` with a seed gives the same observation every time.
    ResetDeterminism,
    /// The same seed and actions give the same observations, rewards and ends.
    StepDeterminism,
    /// Observations fill their row and are in the observation space.
    Observation,
    /// Rewards are finite numbers.
    Reward,
    /// A mask leaves a legal choice in every component, and is given always or never.
    ActionMask,
    /// Episodes end by themselves or have a limit.
    EndOfEpisode,
    /// A state saved mid-episode continues identically in another copy.
    StateRoundTrip,
    /// A lane of a vector environment is the single environment of its seed.
    SingleEqualsVector,
    /// A step before the first reset is an error.
    StepBeforeReset,
    /// An action that is not in the action space is an error.
    InvalidAction,
    /// An action that is in the action space is not an error.
    ValidAction,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Which promise.
    pub check: Check,
    /// Steps taken before it was seen, if it depends on them.
    pub step: Option<u32>,
    /// What should have been.
    pub expected: String,
    /// What was.
    pub found: String,
}

/// What `check_env` found.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckReport {
    /// Environment.
    pub id: String,
    /// Steps taken.
    pub steps: u32,
    /// Broken promises, at most one of each kind; empty if all is well.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Check::Spaces => "spaces",
            Check::Reset => "reset",
            Check::ResetDeterminism => "reset determinism",
            Check::StepDeterminism => "step determinism",
            Check::Observation => "observation",
            Check::Reward => "reward",
            Check::ActionMask => "action mask",
            Check::EndOfEpisode => "end of episode",
            Check::StateRoundTrip => "state round trip",
            Check::SingleEqualsVector => "single equals vector",
            Check::StepBeforeReset => "step before reset",
            Check::InvalidAction => "invalid action",
            Check::ValidAction => "valid action",
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.check)?;
        if let Some(step) = self.step {
            write!(f, " (step {step})")?;
        }
        write!(f, ": expected {}, found {}", self.expected, self.found)
    }
}

impl CheckReport {
    /// Whether every promise is kept.
    pub fn is_ok(&self) -> bool {
        self.violations.is_empty()
    }

    pub(super) fn add(&mut self, check: Check, step: Option<u32>, expected: String, found: String) {
        if self.violations.iter().all(|violation| violation.check != check) {
            self.violations.push(Violation { check, step, expected, found });
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ok() {
            return write!(f, "`{}` keeps every promise ({} steps)", self.id, self.steps);
        }
        let promises = if self.violations.len() == 1 { "promise" } else { "promises" };
        write!(f, "`{}` breaks {} {promises}", self.id, self.violations.len())?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}
