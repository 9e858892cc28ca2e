//! The widths of hidden layers, for actor and critic alike or apart.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `net_arch` of a run file: `[64, 64]`, `{ pi = [64], vf = [64] }` or `{ pi = [64], qf = [64] }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected widths such as [64, 64], or a table of two such lists, \
                               `pi` and the critic's: `vf` for ppo and a2c, `qf` for sac"
)]
pub enum NetArch {
    /// The same widths for both.
    Same(Vec<usize>),
    /// Policy and value function apart.
    PiVf {
        /// The actor's.
        pi: Vec<usize>,
        /// The critic's.
        vf: Vec<usize>,
    },
    /// Policy and action values apart.
    PiQf {
        /// The actor's.
        pi: Vec<usize>,
        /// The critics'.
        qf: Vec<usize>,
    },
}

impl fmt::Display for NetArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetArch::Same(widths) => write!(f, "{widths:?}"),
            NetArch::PiVf { pi, vf } => write!(f, "{{ pi = {pi:?}, vf = {vf:?} }}"),
            NetArch::PiQf { pi, qf } => write!(f, "{{ pi = {pi:?}, qf = {qf:?} }}"),
        }
    }
}

impl NetArch {
    /// Widths of the actor.
    pub fn pi(&self) -> &[usize] {
        match self {
            NetArch::Same(pi) | NetArch::PiVf { pi, .. } | NetArch::PiQf { pi, .. } => pi,
        }
    }

    /// Widths of the critic.
    pub fn critic(&self) -> &[usize] {
        match self {
            NetArch::Same(widths) | NetArch::PiVf { vf: widths, .. } => widths,
            NetArch::PiQf { qf, .. } => qf,
        }
    }

    /// What the critic is called, if it is.
    pub(crate) fn critic_name(&self) -> Option<&'static str> {
        match self {
            NetArch::Same(_) => None,
            NetArch::PiVf { .. } => Some("vf"),
            NetArch::PiQf { .. } => Some("qf"),
        }
    }
}
