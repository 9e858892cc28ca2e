//! A number that is given, or learnt: `"auto"`, `"auto_0.1"` or `0.2` in a run file.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A coefficient as Stable-Baselines3 writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Coefficient {
    /// `"auto"` or `"auto_INITIAL"`: the algorithm finds it, from `initial` (1) on.
    Auto {
        /// Value at the start.
        initial: f64,
    },
    /// This number.
    Fixed(f64),
}

impl Coefficient {
    /// The number, if it is given.
    pub fn fixed(self) -> Option<f64> {
        match self {
            Coefficient::Auto { .. } => None,
            Coefficient::Fixed(value) => Some(value),
        }
    }
}

impl fmt::Display for Coefficient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Coefficient::Auto { initial: 1.0 } => write!(f, "auto"),
            Coefficient::Auto { initial } => write!(f, "auto_{initial}"),
            Coefficient::Fixed(value) => write!(f, "{value}"),
        }
    }
}

impl Serialize for Coefficient {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Coefficient::Fixed(value) => serializer.serialize_f64(*value),
            Coefficient::Auto { .. } => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Coefficient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Coefficient, D::Error> {
        deserializer.deserialize_any(CoefficientVisitor)
    }
}

struct CoefficientVisitor;

impl Visitor<'_> for CoefficientVisitor {
    type Value = Coefficient;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, \"auto\" or \"auto_NUMBER\"")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Coefficient, E> {
        Ok(Coefficient::Fixed(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Coefficient, E> {
        Ok(Coefficient::Fixed(value as f64))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Coefficient, E> {
        Ok(Coefficient::Fixed(value as f64))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Coefficient, E> {
        let initial = match text.strip_prefix("auto") {
            Some("") => Some(1.0),
            Some(rest) => rest.strip_prefix('_').and_then(|number| number.parse().ok()),
            None => None,
        };
        let wrong = || de::Error::invalid_value(de::Unexpected::Str(text), &self);
        initial.map(|initial| Coefficient::Auto { initial }).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};

    fn parse(text: &str) -> Result<Coefficient, Error> {
        let deserializer: StrDeserializer<'_, Error> = text.into_deserializer();
        Coefficient::deserialize(deserializer)
    }

    #[test]
    fn a_coefficient_is_written_as_it_is_read() {
        for (text, initial) in [("auto", 1.0), ("auto_0.1", 0.1)] {
            assert_eq!(parse(text), Ok(Coefficient::Auto { initial }));
            assert_eq!(Coefficient::Auto { initial }.to_string(), text);
        }
        let message = parse("automatic").unwrap_err().to_string();
        assert!(message.contains("\"auto\" or \"auto_NUMBER\""), "{message}");
    }
}
