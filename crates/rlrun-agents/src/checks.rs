//! Rules of settings; each names the field, its value and the rule.

use std::fmt::Display;

use crate::AgentError;
use crate::coefficient::Coefficient;
use crate::networks::NetArch;
use crate::schedule::Schedule;

/// What a rule says of the value of a field.
pub(crate) type Checked = Result<(), AgentError>;

/// The largest count that a setting may ask for: beyond it, products of counts would wrap.
const MAX_COUNT: u128 = 1 << 40;

/// The widest layer: its weights to another such layer are 64 GB.
const MAX_WIDTH: usize = 1 << 17;

/// Holds `value` of the key `field` to `rule`.
pub(crate) fn check<T>(
    value: &T,
    field: &'static str,
    rule: impl Fn(&'static str, &T) -> Checked,
) -> Checked {
    rule(field, value)
}

/// No rule but the type.
pub(crate) fn any<T>(_field: &'static str, _value: &T) -> Checked {
    Ok(())
}

/// The rule for a value that may be absent.
pub(crate) fn optional<T>(
    rule: impl Fn(&'static str, &T) -> Checked,
) -> impl Fn(&'static str, &Option<T>) -> Checked {
    move |field, value| value.as_ref().map_or(Ok(()), |value| rule(field, value))
}

/// A count of at least 1.
pub(crate) fn at_least_one<N: Copy + Display + TryInto<u128>>(
    field: &'static str,
    count: &N,
) -> Checked {
    let known = (*count).try_into().is_ok_and(|count| (1..=MAX_COUNT).contains(&count));
    AgentError::require(known, field, count, format!("must be between 1 and {MAX_COUNT}"))
}

/// As many as steps (-1), or at least 1.
pub(crate) fn gradient_steps(field: &'static str, steps: &i64) -> Checked {
    let holds = *steps == -1 || (1..=1 << 40).contains(steps);
    AgentError::require(holds, field, steps, "must be at least 1, or -1")
}

/// A number above 0.
pub(crate) fn positive(field: &'static str, value: &f64) -> Checked {
    let holds = *value > 0.0 && (*value as f32) > 0.0 && (*value as f32).is_finite();
    AgentError::require(holds, field, value, "must be above 0, and finite and not 0 as an f32")
}

/// A number of at least 0.
pub(crate) fn not_negative(field: &'static str, value: &f64) -> Checked {
    let holds = *value >= 0.0 && (*value as f32).is_finite();
    AgentError::require(holds, field, value, "must be at least 0 and finite as an f32")
}

/// A share between 0 and 1.
pub(crate) fn share(field: &'static str, value: &f64) -> Checked {
    AgentError::require((0.0..=1.0).contains(value), field, value, "must be between 0 and 1")
}

/// A share above 0.
pub(crate) fn positive_share(field: &'static str, value: &f64) -> Checked {
    positive(field, value)?;
    share(field, value)
}

/// A schedule that starts above 0.
pub(crate) fn positive_schedule(field: &'static str, schedule: &Schedule) -> Checked {
    let start = schedule.initial();
    let holds = start > 0.0 && (start as f32) > 0.0 && (start as f32).is_finite();
    AgentError::require(holds, field, schedule, "must start above 0, and finite as an f32")
}

/// Hidden layers with at least one unit each.
pub(crate) fn widths(field: &'static str, widths: &Vec<usize>) -> Checked {
    let rule = format!("must list widths between 1 and {MAX_WIDTH}");
    let holds = widths.iter().all(|width| (1..=MAX_WIDTH).contains(width));
    AgentError::require(holds, field, format!("{widths:?}"), rule)
}

/// [`widths`] of the actor and of the critic, which is called `vf` or `qf`.
pub(crate) fn net_arch(critic: &'static str) -> impl Fn(&'static str, &NetArch) -> Checked {
    move |field, arch| {
        widths(field, &arch.pi().to_vec())?;
        widths(field, &arch.critic().to_vec())?;
        let rule = format!("the critic is called `{critic}`: write {{ pi = […], {critic} = […] }}");
        let named = arch.critic_name().is_none_or(|name| name == critic);
        AgentError::require(named, field, arch, rule)
    }
}

/// log σ of a standard deviation that, with its inverse square, fits an `f32`.
pub(crate) fn log_std(field: &'static str, value: &f64) -> Checked {
    AgentError::require((-20.0..=20.0).contains(value), field, value, "must be between -20 and 20")
}

/// `"auto"`, `"auto_NUMBER"` above 0, or a number of at least 0.
pub(crate) fn ent_coef(field: &'static str, value: &Coefficient) -> Checked {
    match value {
        Coefficient::Auto { initial } => positive(field, initial),
        Coefficient::Fixed(value) => not_negative(field, value),
    }
}

/// `"auto"` or a finite number.
pub(crate) fn target_entropy(field: &'static str, value: &Coefficient) -> Checked {
    let holds = match value {
        Coefficient::Auto { initial } => *initial == 1.0,
        Coefficient::Fixed(value) => (*value as f32).is_finite(),
    };
    AgentError::require(holds, field, value, "must be \"auto\" or a finite number")
}
