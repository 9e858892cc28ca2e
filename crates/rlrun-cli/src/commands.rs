//! One file per command.

pub(crate) mod bench;
pub(crate) mod check_agent;
pub(crate) mod check_env;
pub(crate) mod config;
pub(crate) mod eval;
pub(crate) mod fsck;
pub(crate) mod list;
pub(crate) mod train;
pub(crate) mod verify_resume;
pub(crate) mod watch;
