//! From rows of numbers, as environments give them, to the features that a network is fed.

use rlrun_env::{Observations, Space};
use rlrun_tensor::Tensor;

use crate::AgentError;

/// How the elements of a space are laid before a network.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoder {
    /// The numbers as they are: boxes (flattened) and flags.
    Identity(usize),
    /// A one for each choice among zeros: `n` numbers for a choice of `0..n`.
    OneHot(Vec<usize>),
}

impl Encoder {
    /// The encoder of the elements of `space`.
    ///
    /// # Errors
    /// [`AgentError::ObservationSpace`] if there is none.
    pub fn of(space: &Space) -> Result<Encoder, AgentError> {
        match space {
            Space::Box(_) | Space::MultiBinary(_) => Ok(Encoder::Identity(space.dim())),
            Space::Discrete(n) => Ok(Encoder::OneHot(vec![*n])),
            Space::MultiDiscrete(n) => Ok(Encoder::OneHot(n.clone())),
            other => Err(AgentError::ObservationSpace { found: other.to_string() }),
        }
    }

    /// How many numbers a row becomes.
    pub fn width(&self) -> usize {
        match self {
            Encoder::Identity(width) => *width,
            Encoder::OneHot(choices) => choices.iter().sum(),
        }
    }

    /// Refuses what is no row of the space for each flag of `seen.starts`.
    ///
    /// # Errors
    /// [`AgentError::Observation`] with what was given and what was expected.
    pub fn check(&self, seen: &Observations<'_>) -> Result<(), AgentError> {
        let dim = match self {
            Encoder::Identity(width) => *width,
            Encoder::OneHot(choices) => choices.len(),
        };
        if seen.rows.len() != seen.len() * dim || seen.is_empty() {
            let found = format!("{} numbers for {} rows", seen.rows.len(), seen.len());
            return Err(AgentError::Observation { found, expected: format!("rows of {dim}") });
        }
        let Encoder::OneHot(choices) = self else { return Ok(()) };
        let pairs = seen.rows.iter().zip(choices.iter().cycle());
        let known = |value: f32, n: usize| value >= 0.0 && value < n as f32 && value.fract() == 0.0;
        match pairs.into_iter().find(|&(&value, &n)| !known(value, n)) {
            None => Ok(()),
            Some((value, n)) => {
                let expected = format!("a whole number below {n}");
                Err(AgentError::Observation { found: value.to_string(), expected })
            }
        }
    }

    /// Rows of the space, as a network is fed them, `[rows, width]`.
    pub fn tensor(&self, rows: &[f32]) -> Tensor {
        match self {
            Encoder::Identity(width) => Tensor::from_slice(rows, [rows.len() / width, *width]),
            Encoder::OneHot(choices) => {
                let width = self.width();
                let rows = rows.chunks_exact(choices.len());
                let mut ones = vec![0.0; rows.len() * width];
                for (row, ones) in rows.zip(ones.chunks_exact_mut(width)) {
                    let mut first = 0;
                    for (&choice, n) in row.iter().zip(choices) {
                        ones[first + choice as usize] = 1.0;
                        first += n;
                    }
                }
                let count = ones.len() / width;
                Tensor::from_vec(ones, [count, width])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_become_ones_among_zeros() {
        let one = Encoder::of(&Space::Discrete(3)).unwrap();
        assert_eq!(one.tensor(&[2.0, 0.0]).to_vec(), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        let two = Encoder::of(&Space::MultiDiscrete(vec![2, 3])).unwrap();
        assert_eq!(two.width(), 5);
        assert_eq!(two.tensor(&[1.0, 2.0]).to_vec(), [0.0, 1.0, 0.0, 0.0, 1.0]);
        let seen = |rows, starts| Observations { rows, starts, masks: &[] };
        assert!(two.check(&seen(&[1.0, 2.0], &[true])).is_ok());
        for (rows, starts, message) in [
            (&[1.0, 2.0][..], &[true; 2][..], "2 numbers for 2 rows, expected rows of 2"),
            (&[1.0, 3.0], &[true], "3, expected a whole number below 3"),
            (&[0.5, 0.0], &[true], "0.5, expected a whole number below 2"),
            (&[f32::NAN, 0.0], &[true], "NaN, expected a whole number below 2"),
            (&[], &[], "0 numbers for 0 rows, expected rows of 2"),
        ] {
            let found = two.check(&seen(rows, starts)).unwrap_err().to_string();
            assert_eq!(found, format!("a policy was shown {message}"));
        }
        let flags = Encoder::of(&Space::MultiBinary(2)).unwrap();
        assert_eq!(flags.tensor(&[1.0, 0.0]).to_vec(), [1.0, 0.0]);
    }
}
