//! Numbers that change over a run, and periods counted in environment steps.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A setting that is constant or falls linearly to zero over the run: `0.001` or `"lin_0.001"` in
/// a run file, as in rl-zoo3.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Schedule {
    /// The same value throughout.
    Constant(f64),
    /// This value at the start, zero at the end.
    Linear(f64),
}

impl Schedule {
    /// The value at the start of the run.
    pub fn initial(self) -> f64 {
        match self {
            Schedule::Constant(value) | Schedule::Linear(value) => value,
        }
    }

    /// The value when the share `progress_remaining` of the run, from 1 down to 0, lies ahead.
    pub fn value(self, progress_remaining: f64) -> f64 {
        match self {
            Schedule::Constant(value) => value,
            Schedule::Linear(initial) => initial * progress_remaining,
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Constant(value) => write!(f, "{value}"),
            Schedule::Linear(value) => write!(f, "lin_{value}"),
        }
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Schedule::Constant(value) => serializer.serialize_f64(*value),
            Schedule::Linear(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Schedule, D::Error> {
        deserializer.deserialize_any(ScheduleVisitor)
    }
}

struct ScheduleVisitor;

impl Visitor<'_> for ScheduleVisitor {
    type Value = Schedule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or \"lin_NUMBER\", which falls linearly to 0 over the run")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Schedule, E> {
        Ok(Schedule::Constant(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Schedule, E> {
        Ok(Schedule::Constant(value as f64))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Schedule, E> {
        Ok(Schedule::Constant(value as f64))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Schedule, E> {
        let number = text.strip_prefix("lin_").and_then(|number| number.parse().ok());
        let wrong = || de::Error::invalid_value(de::Unexpected::Str(text), &self);
        number.map(Schedule::Linear).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, F64Deserializer, I64Deserializer, StrDeserializer};

    fn parse(text: &str) -> Result<Schedule, Error> {
        let deserializer: StrDeserializer<'_, Error> = text.into_deserializer();
        Schedule::deserialize(deserializer)
    }

    #[test]
    fn a_schedule_is_a_number_or_a_linear_fall() {
        let number: F64Deserializer<Error> = 0.25.into_deserializer();
        assert_eq!(Schedule::deserialize(number), Ok(Schedule::Constant(0.25)));
        let whole: I64Deserializer<Error> = 1_i64.into_deserializer();
        assert_eq!(Schedule::deserialize(whole), Ok(Schedule::Constant(1.0)));
        assert_eq!(parse("lin_0.001"), Ok(Schedule::Linear(0.001)));
        assert_eq!(parse("lin_1e-3"), Ok(Schedule::Linear(0.001)));
        assert_eq!(Schedule::Linear(0.001).to_string(), "lin_0.001");
        let message = parse("linear").unwrap_err().to_string();
        assert!(message.contains("expected a number or \"lin_NUMBER\""), "{message}");
    }

    #[test]
    fn a_linear_schedule_falls_to_zero_over_the_run() {
        let schedule = Schedule::Linear(0.2);
        assert_eq!(
            [1.0, 0.75, 0.0].map(|left| schedule.value(left)),
            [0.2, 0.15000000000000002, 0.0]
        );
        assert_eq!(Schedule::Constant(0.2).value(0.1), 0.2);
    }
}
