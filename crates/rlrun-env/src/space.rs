//! Spaces: what observations and actions may be.

/// A set of observations or actions.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Space {
    /// One of `n` choices, `0..n`.
    Discrete(usize),
    /// Real vectors between bounds.
    Box(BoxSpace),
}

/// Real vectors between bounds, both included.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxSpace {
    /// Smallest value of each component.
    pub low: Vec<f32>,
    /// Largest value of each component.
    pub high: Vec<f32>,
}

impl Space {
    /// Length of the row of `f32` that an element takes: 1 for [`Space::Discrete`].
    pub fn dim(&self) -> usize {
        match self {
            Space::Discrete(_) => 1,
            Space::Box(space) => space.low.len(),
        }
    }
}
