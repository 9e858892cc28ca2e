//! Saved state: a flat map from dotted paths to plain numbers.
//!
//! Everything that learns or draws can be saved and continued. A [`State`] maps one to one to a
//! safetensors file, so nothing in it is ever executed.

use std::collections::BTreeMap;

use thiserror::Error;

/// A named value of a [`State`].
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Row-major `f32` numbers with a shape.
    F32 {
        /// Extent of each dimension; the product is `data.len()`.
        shape: Vec<usize>,
        /// The numbers, row-major.
        data: Vec<f32>,
    },
    /// `f64` numbers.
    F64(Vec<f64>),
    /// Counters, indices and generator positions.
    U64(Vec<u64>),
    /// Flags and bytes.
    U8(Vec<u8>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::F32 { .. } => "f32",
            Value::F64(_) => "f64",
            Value::U64(_) => "u64",
            Value::U8(_) => "u8",
        }
    }
}

/// Why a [`State`] does not fit what loads it.
#[derive(Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// The path is not in the state.
    #[error("saved state has no entry `{path}`")]
    Missing {
        /// Dotted path that was asked for.
        path: String,
    },
    /// The entry holds another kind of number.
    #[error("saved state `{path}` holds {found}, expected {expected}")]
    Kind {
        /// Dotted path of the entry.
        path: String,
        /// Kind that the reader wants.
        expected: &'static str,
        /// Kind that is there.
        found: &'static str,
    },
    /// The entry has another shape or length.
    #[error("saved state `{path}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Dotted path of the entry.
        path: String,
        /// Shape that the reader wants.
        expected: Vec<usize>,
        /// Shape that is there.
        found: Vec<usize>,
    },
    /// The entry holds a number that cannot be right.
    #[error("saved state `{path}` is not valid: {reason}")]
    Invalid {
        /// Dotted path of the entry.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

crate::debug_is_report!(StateError);

/// Named plain numbers: `"policy.0.weight"` → values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State(pub BTreeMap<String, Value>);

impl State {
    /// An empty state.
    pub fn new() -> State {
        State::default()
    }

    /// Stores `value` under `path`, replacing what was there.
    pub fn insert(&mut self, path: impl Into<String>, value: Value) {
        self.0.insert(path.into(), value);
    }

    /// Stores row-major `f32` numbers.
    pub fn insert_f32(&mut self, path: impl Into<String>, shape: &[usize], data: &[f32]) {
        self.insert(path, Value::F32 { shape: shape.to_vec(), data: data.to_vec() });
    }

    /// Stores `f64` numbers.
    pub fn insert_f64(&mut self, path: impl Into<String>, data: impl Into<Vec<f64>>) {
        self.insert(path, Value::F64(data.into()));
    }

    /// Stores counters or positions.
    pub fn insert_u64(&mut self, path: impl Into<String>, data: impl Into<Vec<u64>>) {
        self.insert(path, Value::U64(data.into()));
    }

    /// Stores flags, one byte each.
    pub fn insert_bools(&mut self, path: impl Into<String>, data: &[bool]) {
        self.insert(path, Value::U8(data.iter().map(|&b| u8::from(b)).collect()));
    }

    /// The first entry that holds a number which is not finite.
    pub fn not_finite(&self) -> Option<&str> {
        let is_finite = |value: &Value| match value {
            Value::F32 { data, .. } => data.iter().all(|x| x.is_finite()),
            Value::F64(data) => data.iter().all(|x| x.is_finite()),
            Value::U64(_) | Value::U8(_) => true,
        };
        self.0.iter().find(|(_, value)| !is_finite(value)).map(|(path, _)| path.as_str())
    }

    /// Stores every entry of `child` under `prefix.`.
    pub fn insert_child(&mut self, prefix: &str, child: State) {
        for (path, value) in child.0 {
            self.0.insert(format!("{prefix}.{path}"), value);
        }
    }

    /// The entries below `prefix.`, with the prefix taken off; empty if there are none.
    pub fn child(&self, prefix: &str) -> State {
        let prefix = format!("{prefix}.");
        let below =
            self.0.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        State(below.map(|(path, value)| (path[prefix.len()..].to_owned(), value.clone())).collect())
    }

    fn get(&self, path: &str) -> Result<&Value, StateError> {
        self.0.get(path).ok_or_else(|| StateError::Missing { path: path.to_owned() })
    }

    /// Shape and numbers of an `f32` entry.
    ///
    /// # Errors
    /// [`StateError::Missing`] or [`StateError::Kind`].
    pub fn f32(&self, path: &str) -> Result<(&[usize], &[f32]), StateError> {
        match self.get(path)? {
            Value::F32 { shape, data } => Ok((shape, data)),
            other => Err(kind_error(path, "f32", other)),
        }
    }

    /// Numbers of an `f64` entry.
    ///
    /// # Errors
    /// [`StateError::Missing`] or [`StateError::Kind`].
    pub fn f64(&self, path: &str) -> Result<&[f64], StateError> {
        match self.get(path)? {
            Value::F64(data) => Ok(data),
            other => Err(kind_error(path, "f64", other)),
        }
    }

    /// Numbers of a `u64` entry.
    ///
    /// # Errors
    /// [`StateError::Missing`] or [`StateError::Kind`].
    pub fn u64(&self, path: &str) -> Result<&[u64], StateError> {
        match self.get(path)? {
            Value::U64(data) => Ok(data),
            other => Err(kind_error(path, "u64", other)),
        }
    }

    /// The only number of a `u64` entry.
    ///
    /// # Errors
    /// As [`State::u64`], and [`StateError::Shape`] if there is not exactly one.
    pub fn counter(&self, path: &str) -> Result<u64, StateError> {
        match self.u64(path)? {
            [one] => Ok(*one),
            many => Err(shape_error(path, &[1], &[many.len()])),
        }
    }

    /// Flags of a byte entry.
    ///
    /// # Errors
    /// [`StateError::Missing`], [`StateError::Kind`], or [`StateError::Invalid`] for a byte
    /// other than 0 and 1.
    pub fn bools(&self, path: &str) -> Result<Vec<bool>, StateError> {
        let Value::U8(bytes) = self.get(path)? else {
            return Err(kind_error(path, "u8", self.get(path)?));
        };
        if let Some(byte) = bytes.iter().find(|&&byte| byte > 1) {
            let reason = format!("a flag is `{byte}`, expected 0 or 1");
            return Err(StateError::Invalid { path: path.to_owned(), reason });
        }
        Ok(bytes.iter().map(|&byte| byte == 1).collect())
    }

    /// Copies an `f32` entry of exactly `target.len()` numbers into `target`.
    ///
    /// # Errors
    /// As [`State::f32`], and [`StateError::Shape`] if the lengths differ.
    pub fn copy_f32(&self, path: &str, target: &mut [f32]) -> Result<(), StateError> {
        let (shape, data) = self.f32(path)?;
        if data.len() != target.len() {
            return Err(shape_error(path, &[target.len()], shape));
        }
        target.copy_from_slice(data);
        Ok(())
    }
}

fn kind_error(path: &str, expected: &'static str, found: &Value) -> StateError {
    StateError::Kind { path: path.to_owned(), expected, found: found.kind() }
}

fn shape_error(path: &str, expected: &[usize], found: &[usize]) -> StateError {
    StateError::Shape { path: path.to_owned(), expected: expected.to_vec(), found: found.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_takes_exactly_the_prefix() {
        let mut state = State::new();
        state.insert_u64("net.step", [3]);
        state.insert_u64("network.step", [4]);
        let mut outer = State::new();
        outer.insert_child("agent", state);
        assert_eq!(outer.child("agent.net").counter("step"), Ok(3));
        assert_eq!(outer.child("agent.net").0.len(), 1);
        assert_eq!(outer.child("agent").child("network").counter("step"), Ok(4));
    }

    #[test]
    fn readers_name_what_is_wrong() {
        let mut state = State::new();
        state.insert_f32("w", &[2], &[1.0, 2.0]);
        let message = state.u64("w").unwrap_err().to_string();
        assert_eq!(message, "saved state `w` holds f32, expected u64");
        let message = state.copy_f32("w", &mut [0.0; 3]).unwrap_err().to_string();
        assert_eq!(message, "saved state `w` has shape [2], expected [3]");
        let message = state.counter("n").unwrap_err().to_string();
        assert_eq!(message, "saved state has no entry `n`");
        state.insert("flags", Value::U8(vec![0, 2]));
        assert!(state.bools("flags").unwrap_err().to_string().contains("a flag is `2`"));
    }
}
