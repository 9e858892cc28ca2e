//! Tensors from a rule instead of from numbers: ranges, the identity, random draws.
//!
//! Random ones draw their elements from the generator that they are given, row-major: the same stream
//! gives the same numbers.

use rand::distr::{Distribution, StandardUniform};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use crate::error::{TensorError, ok, raise};
use crate::layout::{Layout, checked_numel};
use crate::pool;
use crate::tensor::Tensor;

impl Tensor {
    /// Draws from the standard normal distribution.
    ///
    /// ```
    /// use rlrun_core::{Purpose, rng_stream};
    /// use rlrun_tensor::Tensor;
    /// let noise = Tensor::randn([2, 3], &mut rng_stream(1, Purpose::Exploration, 0));
    /// assert_eq!(noise.dims(), [2, 3]);
    /// ```
    #[track_caller]
    pub fn randn(shape: impl AsRef<[usize]>, rng: &mut impl Rng) -> Tensor {
        Tensor::drawn(shape.as_ref(), rng, StandardNormal)
    }

    /// Draws from the uniform distribution on [0, 1).
    #[track_caller]
    pub fn rand(shape: impl AsRef<[usize]>, rng: &mut impl Rng) -> Tensor {
        Tensor::drawn(shape.as_ref(), rng, StandardUniform)
    }

    /// Integers from `low` up to, not including, `high`, each as likely (`i64`).
    ///
    /// # Panics
    /// If there is no integer from `low` on below `high`.
    #[track_caller]
    pub fn randint(low: i64, high: i64, shape: impl AsRef<[usize]>, rng: &mut impl Rng) -> Tensor {
        if low >= high {
            let detail = format!("no integer lies from {low} on below {high}");
            raise(TensorError::InvalidArgument { op: "randint", detail });
        }
        let numel = ok(checked_numel("randint", shape.as_ref()));
        let draws = (0..numel).map(|_| rng.random_range(low..high));
        let draws: Vec<i64> = pool::collected(numel, draws);
        Tensor::from_i64(&draws, shape)
    }

    /// The indices `0..n` in random order (`i64`), `[n]`: Fisher and Yates.
    #[track_caller]
    pub fn randperm(n: usize, rng: &mut impl Rng) -> Tensor {
        let mut order: Vec<i64> = pool::collected(n, 0..n as i64);
        for last in (1..n).rev() {
            order.swap(last, rng.random_range(0..=last));
        }
        Tensor::from_i64(&order, [n])
    }

    /// Draws from the standard normal distribution, of this tensor's shape.
    #[track_caller]
    pub fn randn_like(&self, rng: &mut impl Rng) -> Tensor {
        Tensor::randn(self.dims(), rng)
    }

    /// Draws from the uniform distribution on [0, 1), of this tensor's shape.
    #[track_caller]
    pub fn rand_like(&self, rng: &mut impl Rng) -> Tensor {
        Tensor::rand(self.dims(), rng)
    }

    /// `start`, `start + step`, … up to, not including, `end`: `[⌈(end - start) / step⌉]`.
    ///
    /// # Panics
    /// If `step` is 0 or leads away from `end`, or a number is not finite.
    #[track_caller]
    pub fn arange(start: f64, end: f64, step: f64) -> Tensor {
        let steps = (end - start) / step;
        if !(steps >= 0.0 && steps.is_finite()) {
            let detail = format!("no steps of {step} lead from {start} to {end}");
            raise(TensorError::InvalidArgument { op: "arange", detail });
        }
        let at = |i: usize| (start + i as f64 * step) as f32;
        Tensor::by_index("arange", steps.ceil() as usize, at)
    }

    /// The same of integers (`i64`).
    ///
    /// # Panics
    /// If `step` is 0 or leads away from `end`.
    #[track_caller]
    pub fn arange_i64(start: i64, end: i64, step: i64) -> Tensor {
        let distance = i128::from(end) - i128::from(start);
        let step = i128::from(step);
        if step == 0 || distance.signum() == -step.signum() {
            let detail = format!("no steps of {step} lead from {start} to {end}");
            raise(TensorError::InvalidArgument { op: "arange_i64", detail });
        }
        let count = usize::try_from((distance.abs() + step.abs() - 1) / step.abs());
        let count = ok(checked_numel("arange_i64", &[count.unwrap_or(usize::MAX)]));
        let at = |i: usize| (i128::from(start) + i as i128 * step) as i64;
        Tensor::from_i64(&pool::collected(count, (0..count).map(at)), [count])
    }

    /// `count` numbers at equal distances from `start` to `end`, both included; of one, `start`.
    #[track_caller]
    pub fn linspace(start: f32, end: f32, count: usize) -> Tensor {
        let step = (end - start) / count.saturating_sub(1).max(1) as f32;
        // From both ends, so that the last number is `end` itself.
        let at = |i: usize| match i < count / 2 || count == 1 {
            true => start + step * i as f32,
            false => end - step * (count - i - 1) as f32,
        };
        Tensor::by_index("linspace", count, at)
    }

    /// Ones on the diagonal of `[n, n]`, zeros elsewhere.
    #[track_caller]
    pub fn eye(n: usize) -> Tensor {
        Tensor::build(&[n, n], |out| {
            out.fill(0.0);
            out.iter_mut().step_by(n + 1).for_each(|diagonal| *diagonal = 1.0);
        })
    }

    /// All elements `value`, of this tensor's shape; dense memory order is kept.
    #[track_caller]
    pub fn full_like(&self, value: f32) -> Tensor {
        let dense = self.layout.is_dense();
        let layout = if dense { self.layout } else { Layout::contiguous(self.dims()) };
        Tensor::build_as(layout, |out| out.fill(value))
    }

    /// Ones of this tensor's shape; dense memory order is kept.
    #[track_caller]
    pub fn ones_like(&self) -> Tensor {
        self.full_like(1.0)
    }

    #[track_caller]
    fn drawn(shape: &[usize], rng: &mut impl Rng, from: impl Distribution<f32>) -> Tensor {
        Tensor::build(shape, |out| out.fill_with(|| from.sample(rng)))
    }

    #[track_caller]
    fn by_index(op: &'static str, count: usize, at: impl Fn(usize) -> f32) -> Tensor {
        ok(checked_numel(op, &[count]));
        Tensor::build(&[count], |out| out.iter_mut().enumerate().for_each(|(i, out)| *out = at(i)))
    }
}
