//! Rules that settings of several algorithms share; each names the field, its value and the rule.

use crate::AgentError;
use crate::schedule::Schedule;

type Checked = Result<(), AgentError>;

/// A count of at least 1.
pub(crate) fn at_least_one(field: &'static str, count: usize) -> Checked {
    AgentError::require(count >= 1, field, count, "must be at least 1")
}

/// A number above 0.
pub(crate) fn positive(field: &'static str, value: f64) -> Checked {
    AgentError::require(value > 0.0 && value.is_finite(), field, value, "must be above 0")
}

/// A number of at least 0.
pub(crate) fn not_negative(field: &'static str, value: f64) -> Checked {
    AgentError::require(value >= 0.0 && value.is_finite(), field, value, "must be at least 0")
}

/// A share between 0 and 1.
pub(crate) fn share(field: &'static str, value: f64) -> Checked {
    AgentError::require((0.0..=1.0).contains(&value), field, value, "must be between 0 and 1")
}

/// A schedule that starts above 0.
pub(crate) fn positive_schedule(field: &'static str, schedule: Schedule) -> Checked {
    let start = schedule.initial();
    AgentError::require(start > 0.0 && start.is_finite(), field, schedule, "must start above 0")
}

/// Hidden layers with at least one unit each.
pub(crate) fn net_arch(widths: &[usize]) -> Checked {
    let rule = "must list widths of at least 1";
    AgentError::require(!widths.contains(&0), "net_arch", format!("{widths:?}"), rule)
}
