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

    /// Whether all bounds are finite.
    pub fn is_bounded(&self) -> bool {
        self.low.iter().chain(&self.high).all(|bound| bound.is_finite())
    }

    /// Brings rows in ±1 to the bounds (SB3's `unscale_action`): ±1 become exactly the bounds, what
    /// lies beyond ±1 too. The bounds must be finite.
    ///
    /// # Panics
    /// If `rows` are not whole rows.
    pub fn unscale(&self, rows: &mut [f32]) {
        self.map(rows, |x, low, high| {
            let share = (x.clamp(-1.0, 1.0) + 1.0) / 2.0;
            // Exact at both ends, and in f64 without overflow; `low + (high - low) * share` is neither.
            (low * (1.0 - share) + high * share).clamp(low, high)
        });
    }

    /// Brings rows between the bounds to ±1 (SB3's `scale_action`); a component whose bounds are
    /// equal becomes 0. The bounds must be finite.
    ///
    /// # Panics
    /// If `rows` are not whole rows.
    pub fn scale(&self, rows: &mut [f32]) {
        self.map(
            rows,
            |x, low, high| {
                if low == high { 0.0 } else { 2.0 * ((x - low) / (high - low)) - 1.0 }
            },
        );
    }

    /// Replaces each number by `f(number, low, high)`.
    fn map(&self, rows: &mut [f32], f: impl Fn(f64, f64, f64) -> f64) {
        assert!(rows.len().is_multiple_of(self.low.len()), "{} numbers in rows", rows.len());
        for row in rows.chunks_exact_mut(self.low.len()) {
            for (value, (&low, &high)) in row.iter_mut().zip(self.low.iter().zip(&self.high)) {
                *value = f((*value).into(), low.into(), high.into()) as f32;
            }
        }
    }

    /// The first component that does not lie between its bounds: what was expected and what is there.
    pub(crate) fn misfit(&self, row: &[f32]) -> Option<(String, String)> {
        let bounds = self.low.iter().zip(&self.high);
        row.iter().zip(bounds).enumerate().find_map(|(component, (value, (low, high)))| {
            let outside = !(low <= value && value <= high);
            let expected = || format!("component {component} between {low} and {high}");
            outside.then(|| (expected(), value.to_string()))
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Bounds of any sign and size, often close together.
    fn random_bounds(rng: &mut NumpyRng) -> (f32, f32) {
        let mut bound = || {
            let exponent = rng.uniform(-40.0, 38.4);
            ((rng.random() - 0.5) * 2.0 * 10_f64.powf(exponent)) as f32
        };
        let (a, b) = (bound(), bound());
        if rng.random() < 0.3 {
            let close = a + a.abs() * rng.random() as f32 * 1e-5;
            return (a, close.clamp(a, f32::MAX));
        }
        (a.min(b), a.max(b))
    }

    #[test]
    fn plus_and_minus_one_become_the_bounds_of_20_000_random_boxes_and_nothing_lies_beyond() {
        let mut rng = NumpyRng::new(3);
        for _ in 0..20_000 {
            let (low, high) = random_bounds(&mut rng);
            let space = BoxSpace::new([low; 4], [high; 4]);
            let mut row = [-1.0, 1.0, rng.uniform(-1.0, 1.0) as f32, 1.0 - f32::EPSILON];
            space.unscale(&mut row);
            assert_eq!((row[0], row[1]), (low, high));
            assert!(space.contains(&row), "{row:?} in {low:?} to {high:?}");
            space.scale(&mut row);
            let ends = if low == high { (0.0, 0.0) } else { (-1.0, 1.0) };
            assert_eq!((row[0], row[1]), ends, "{low:?} to {high:?}");
        }
    }

    #[test]
    fn the_largest_box_does_not_overflow() {
        let space = BoxSpace::symmetric(&[3e38]);
        for (action, expected) in [(1.0, 3e38), (-1.0, -3e38), (0.5, 1.5e38), (1.5, 3e38)] {
            let mut row = [action];
            space.unscale(&mut row);
            assert_eq!(row, [expected], "{action}");
        }
        let mut row = [f32::NEG_INFINITY];
        space.unscale(&mut row);
        assert_eq!(row, [-3e38]);
    }

    #[test]
    fn scaling_goes_back_and_equal_bounds_become_zero() {
        let space = BoxSpace::new([-2.0, 0.0, 5.0], [2.0, 10.0, 5.0]);
        let mut rows = [1.0, 7.5, 5.0, -2.0, 10.0, 5.0];
        space.scale(&mut rows);
        assert_eq!(rows, [0.5, 0.5, 0.0, -1.0, 1.0, 0.0]);
        space.unscale(&mut rows);
        assert_eq!(rows, [1.0, 7.5, 5.0, -2.0, 10.0, 5.0]);
    }
}
