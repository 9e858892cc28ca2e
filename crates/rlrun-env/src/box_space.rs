//! Real vectors between bounds.

use rlrun_core::NumpyRng;

/// Real vectors between bounds, both included.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BoxSpace {
    /// Smallest value of each component.
    pub low: Vec<f32>,
    /// Largest value of each component.
    pub high: Vec<f32>,
    /// Extent of each dimension, `[channels, height, width]` for pictures; the components lie
    /// row-major.
    pub shape: Vec<usize>,
}

impl BoxSpace {
    /// Vectors between `low` and `high`, one bound for each component.
    pub fn new(low: impl Into<Vec<f32>>, high: impl Into<Vec<f32>>) -> BoxSpace {
        let low = low.into();
        BoxSpace { shape: vec![low.len()], low, high: high.into() }
    }

    /// Bounds of the same size on both sides of zero.
    pub fn symmetric(high: &[f32]) -> BoxSpace {
        BoxSpace::new(high.iter().map(|bound| -bound).collect::<Vec<f32>>(), high)
    }

    /// The same components as a picture or a tensor of `shape`.
    pub fn with_shape(self, shape: &[usize]) -> BoxSpace {
        BoxSpace { shape: shape.to_vec(), ..self }
    }

    /// Whether every number lies between its bounds; NaN does not.
    pub fn contains(&self, values: &[f32]) -> bool {
        values.len() == self.low.len()
            && values
                .iter()
                .zip(self.low.iter().zip(&self.high))
                .all(|(value, (low, high))| low <= value && value <= high)
    }

    /// Whether the box has components, and every component numbers between its bounds.
    ///
    /// # Errors
    /// What is wrong, with the component.
    pub(crate) fn check(&self) -> Result<(), String> {
        let BoxSpace { low, high, shape } = self;
        if low.len() != high.len() {
            return Err(format!("{} lower bounds and {} upper bounds", low.len(), high.len()));
        }
        if low.is_empty() {
            return Err("a box without components".to_owned());
        }
        if shape.iter().try_fold(1, |len: usize, n| len.checked_mul(*n)) != Some(low.len()) {
            return Err(format!("shape {shape:?} for {} components", low.len()));
        }
        let reason = |component: usize, what: &str| {
            let (low, high) = (low[component], high[component]);
            Err(format!("component {component} has {what}: low is {low}, high is {high}"))
        };
        for (component, (low, high)) in low.iter().zip(high).enumerate() {
            if low.is_nan() || high.is_nan() {
                return reason(component, "a bound that is not a number");
            }
            if low > high {
                return reason(component, "its bounds the wrong way round");
            }
            if *low == f32::INFINITY || *high == f32::NEG_INFINITY {
                return reason(component, "no finite number between its bounds");
            }
        }
        Ok(())
    }

    /// numpy draws the kinds of components one after another: unbounded, bounded below, bounded
    /// above, bounded.
    pub(crate) fn sample(&self, row: &mut [f32], rng: &mut NumpyRng) {
        for kind in [(false, false), (true, false), (false, true), (true, true)] {
            for (value, (&low, &high)) in row.iter_mut().zip(self.low.iter().zip(&self.high)) {
                let bounded = (low > f32::NEG_INFINITY, high < f32::INFINITY);
                if bounded != kind {
                    continue;
                }
                *value = match bounded {
                    (false, false) => rng.standard_normal() as f32,
                    (true, false) => (rng.standard_exponential() + f64::from(low)) as f32,
                    (false, true) => (-rng.standard_exponential() + f64::from(high)) as f32,
                    (true, true) => rng.uniform(low.into(), high.into()) as f32,
                };
            }
        }
    }
}
