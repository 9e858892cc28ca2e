//! Spaces: what observations and actions may be, and how Gymnasium samples them.

use std::fmt;

use rlrun_core::NumpyRng;

use crate::{Action, Actions, BoxSpace};

/// Most choices of a component: an `f32`, as which they are shown, counts no further.
const MAX_CHOICES: usize = 1 << 24;

/// A set of observations or actions.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Space {
    /// One of `n` choices, `0..n`.
    Discrete(usize),
    /// Real vectors between bounds.
    Box(BoxSpace),
    /// Several choices at once: component `i` is one of `0..n[i]`.
    MultiDiscrete(Vec<usize>),
    /// `n` flags, each 0 or 1.
    MultiBinary(usize),
}

impl Space {
    /// Length of the row of `f32` that an element takes: 1 for [`Space::Discrete`].
    pub fn dim(&self) -> usize {
        match self {
            Space::Discrete(_) => 1,
            Space::Box(space) => space.low.len(),
            Space::MultiDiscrete(n) => n.len(),
            Space::MultiBinary(n) => *n,
        }
    }

    /// How many choices there are in all, the length of a mask: `n`; the sum of all `n` for
    /// [`Space::MultiDiscrete`]; off and on of each flag for [`Space::MultiBinary`]; 0 for a box.
    pub fn mask_len(&self) -> usize {
        self.choices().sum()
    }

    /// How many choices each component has; none for a box.
    pub(crate) fn choices(&self) -> impl Iterator<Item = usize> {
        let (flags, several) = match self {
            Space::Discrete(n) => (0, std::slice::from_ref(n)),
            Space::Box(_) => (0, &[][..]),
            Space::MultiDiscrete(n) => (0, n.as_slice()),
            Space::MultiBinary(n) => (*n, &[][..]),
        };
        several.iter().copied().chain(std::iter::repeat_n(2, flags))
    }

    /// Whether `mask` (of [`Space::mask_len`]) allows `action`, an element of the space.
    pub fn allows(&self, mask: &[bool], action: Action<'_>) -> bool {
        let choices = match action {
            Action::Discrete(choice) => return mask[choice],
            Action::Continuous(_) => return true,
            Action::MultiDiscrete(choices) => choices,
        };
        let mut first = 0;
        self.choices().zip(choices).all(|(n, choice)| {
            first += n;
            mask[first - n + choice]
        })
    }

    /// Whether the space has elements, all of which fit into a row of `f32`.
    ///
    /// # Errors
    /// What is wrong, with the component.
    pub fn check(&self) -> Result<(), String> {
        if let Space::Box(space) = self {
            return space.check();
        }
        if self.dim() == 0 {
            return Err(format!("`{self}` has no components"));
        }
        match self.choices().enumerate().find(|(_, n)| !(1..=MAX_CHOICES).contains(n)) {
            None => Ok(()),
            Some((component, n)) => {
                let most = MAX_CHOICES;
                Err(format!("component {component} has {n} choices, expected 1 to {most}"))
            }
        }
    }

    /// Whether `action` is of this kind, of this length and within the bounds.
    pub fn contains(&self, action: Action<'_>) -> bool {
        match (self, action) {
            (Space::Discrete(n), Action::Discrete(choice)) => choice < *n,
            (Space::Box(space), Action::Continuous(values)) => space.contains(values),
            (Space::MultiDiscrete(n), Action::MultiDiscrete(choices)) => {
                choices.len() == n.len() && choices.iter().zip(n).all(|(choice, n)| choice < n)
            }
            (Space::MultiBinary(n), Action::MultiDiscrete(flags)) => {
                flags.len() == *n && flags.iter().all(|&flag| flag < 2)
            }
            _ => false,
        }
    }

    /// Whether a row that `reset` or `step` wrote is an element: right length, within the bounds,
    /// and whole numbers where the space is not a box.
    pub fn contains_row(&self, row: &[f32]) -> bool {
        row.len() == self.dim() && self.misfit(row).is_none()
    }

    /// The first component of a row that is no element of its own kind: what was expected and what
    /// is there.
    pub(crate) fn misfit(&self, row: &[f32]) -> Option<(String, String)> {
        if let Space::Box(space) = self {
            return space.misfit(row);
        }
        let mut components = row.iter().zip(self.choices()).enumerate();
        components.find_map(|(component, (&value, n))| {
            let fits = value >= 0.0 && f64::from(value) < n as f64 && value.fract() == 0.0;
            let expected = || format!("component {component} one of 0 to {}", n - 1);
            (!fits).then(|| (expected(), value.to_string()))
        })
    }

    /// Draws an element that `mask` (of [`Space::mask_len`]) allows: in each component one of the
    /// legal choices, as Gymnasium's `sample(mask)` draws it for [`Space::Discrete`]. An empty mask
    /// allows everything.
    pub fn sample_legal(&self, mask: &[bool], rng: &mut NumpyRng) -> Actions {
        if mask.is_empty() {
            return self.sample(1, rng);
        }
        let mut rest = mask;
        let mut draw = |n: usize| {
            let (choices, others) = rest.split_at(n);
            rest = others;
            let legal = choices.iter().filter(|legal| **legal).count();
            let drawn = rng.integers(legal as u64) as usize;
            let mut indices = (0..n).filter(|&choice| choices[choice]);
            indices.nth(drawn).unwrap_or_default()
        };
        let values: Vec<usize> = self.choices().map(&mut draw).collect();
        match self {
            Space::Discrete(_) => Actions::Discrete(values),
            _ => Actions::MultiDiscrete { dim: values.len(), values },
        }
    }

    /// Draws `rows` elements, one after another, each as Gymnasium's `sample()` draws it from a
    /// generator seeded by `space.seed(...)`: boxes are uniform where both bounds are finite,
    /// shifted exponential where one is, and normal where none is.
    pub fn sample(&self, rows: usize, rng: &mut NumpyRng) -> Actions {
        match self {
            Space::Discrete(n) => {
                Actions::Discrete((0..rows).map(|_| rng.integers(*n as u64) as usize).collect())
            }
            Space::Box(space) => {
                let mut values = vec![0.0; rows * self.dim()];
                values.chunks_exact_mut(self.dim().max(1)).for_each(|row| space.sample(row, rng));
                Actions::Continuous { values, dim: self.dim() }
            }
            Space::MultiDiscrete(n) => {
                let draw = |&n: &usize, rng: &mut NumpyRng| (rng.random() * n as f64) as usize;
                let row = |_| n.iter().map(|n| draw(n, rng)).collect::<Vec<_>>();
                let values = (0..rows).flat_map(row).collect();
                Actions::MultiDiscrete { values, dim: self.dim() }
            }
            Space::MultiBinary(n) => {
                let values = (0..rows).flat_map(|_| flags(*n, rng)).collect();
                Actions::MultiDiscrete { values, dim: self.dim() }
            }
        }
    }
}

/// `integers(0, 2, size=n, dtype=int8)`: the upper bit of each byte of 32-bit draws.
fn flags(n: usize, rng: &mut NumpyRng) -> Vec<usize> {
    let words = (0..n.div_ceil(4)).flat_map(|_| rng.next_u32().to_le_bytes());
    words.take(n).map(|byte| usize::from(byte >> 7)).collect()
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Space::Discrete(n) => write!(f, "Discrete({n})"),
            Space::Box(space) => {
                let BoxSpace { low, high, .. } = space;
                match (low.as_slice(), high.as_slice()) {
                    ([low], [high]) => write!(f, "Box({low}, {high})"),
                    _ => write!(f, "Box({low:?}, {high:?})"),
                }
            }
            Space::MultiDiscrete(n) => write!(f, "MultiDiscrete({n:?})"),
            Space::MultiBinary(n) => write!(f, "MultiBinary({n})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_part_of_a_box_and_nan_is_not() {
        let space = Space::Box(BoxSpace::new([-1.0, 0.0], [1.0, f32::INFINITY]));
        for (values, inside) in [
            (&[-1.0, 0.0][..], true),
            (&[1.0, 1e30], true),
            (&[1.0001, 0.0], false),
            (&[f32::NAN, 0.0], false),
            (&[0.0], false),
        ] {
            assert_eq!(space.contains(Action::Continuous(values)), inside, "{values:?}");
            assert_eq!(space.contains_row(values), inside, "{values:?}");
        }
        assert!(!space.contains(Action::Discrete(0)));
    }

    #[test]
    fn choices_are_below_their_number() {
        let several = Space::MultiDiscrete(vec![2, 3]);
        assert!(several.contains(Action::MultiDiscrete(&[1, 2])));
        assert!(!several.contains(Action::MultiDiscrete(&[2, 2])));
        assert!(!several.contains(Action::MultiDiscrete(&[1])));
        assert!(several.contains_row(&[1.0, 2.0]) && !several.contains_row(&[0.5, 2.0]));
        assert!(Space::MultiBinary(2).contains(Action::MultiDiscrete(&[1, 0])));
        assert!(!Space::MultiBinary(2).contains(Action::MultiDiscrete(&[1, 2])));
        assert!(
            Space::Discrete(2).contains_row(&[1.0]) && !Space::Discrete(2).contains_row(&[2.0])
        );
    }

    // numpy: (default_rng(0).random(2) * [2, 10]).astype(int) is [1, 2].
    #[test]
    fn multi_discrete_scales_one_uniform_draw_per_component() {
        let mut rng = NumpyRng::new(0);
        let expected = Actions::MultiDiscrete { values: vec![1, 2], dim: 2 };
        assert_eq!(Space::MultiDiscrete(vec![2, 10]).sample(1, &mut rng), expected);
    }

    #[test]
    fn every_sample_is_an_element() {
        let mixed = BoxSpace::new(
            [-1.0, f32::NEG_INFINITY, 2.0, f32::NEG_INFINITY],
            [1.0, 3.0, f32::INFINITY, f32::INFINITY],
        );
        for space in [
            Space::Discrete(5),
            Space::Box(mixed),
            Space::MultiDiscrete(vec![1, 4, 9]),
            Space::MultiBinary(6),
        ] {
            let mut rng = NumpyRng::new(1);
            let rows = space.sample(200, &mut rng);
            assert!((0..200).all(|row| space.contains(rows.row(row))), "{space}");
            assert_eq!(rows, space.sample(200, &mut NumpyRng::new(1)));
        }
    }
}
