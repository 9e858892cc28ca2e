//! One file per command.

pub(crate) mod bench;
pub(crate) mod config;
pub(crate) mod eval;
pub(crate) mod list;
pub(crate) mod train;
