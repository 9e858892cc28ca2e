//! Optimizer steps over flat slices of parameters, gradients and moments.
//!
//! Every function panics when the slices differ in length.

use super::simd::{Kernel, LANES, Simd, dispatch};
use super::threads::{halves, threads_for};
use std::ops::Range;

/// What one Adam step needs besides the slices (Kingma & Ba 2015; PyTorch's form).
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Share of the new gradient in the first moment, 1 − β₁.
    pub gain1: f32,
    /// Decay of the second moment, β₂.
    pub beta2: f32,
    /// Share of the new square in the second moment, 1 − β₂: rounded from f64, since 1 − (β₂ as f32)
    /// is 1.3e-5 off at 0.999.
    pub gain2: f32,
    /// Added to the denominator.
    pub eps: f32,
    /// learning rate / (1 − β₁ᵗ).
    pub step_size: f32,
    /// 1 / √(1 − β₂ᵗ).
    pub inv_sqrt_bias_correction2: f32,
    /// Factor on the parameter before the step: 1 − learning rate·λ for AdamW, else 1.
    pub decay: f32,
    /// Weight decay added to the gradient, λ·p (Adam's L2 form), else 0.
    pub weight_decay: f32,
}

impl AdamStep {
    /// Step number `t` (from 1) without weight decay; bias corrections are computed in f64.
    pub fn new(learning_rate: f64, betas: (f64, f64), eps: f64, t: u64) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(t as f64);
        AdamStep {
            gain1: (1.0 - betas.0) as f32,
            beta2: betas.1 as f32,
            gain2: (1.0 - betas.1) as f32,
            eps: eps as f32,
            step_size: (learning_rate / correction(betas.0)) as f32,
            inv_sqrt_bias_correction2: correction(betas.1).sqrt().recip() as f32,
            decay: 1.0,
            weight_decay: 0.0,
        }
    }
}

/// One Adam step: m += (1 − β₁)(g − m), v = β₂v + (1 − β₂)g², p −= step·m / (√v/√(1 − β₂ᵗ) + ε).
pub fn adam(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: &AdamStep) {
    assert_eq!([g.len(), m.len(), v.len()], [p.len(); 3], "adam: lengths");
    update(*step, [p, m, v], [g]);
}

/// What one RMSprop step needs besides the slices (Hinton 2012; PyTorch's form or TensorFlow's).
#[derive(Clone, Copy, Debug)]
pub struct RmsPropStep {
    /// Learning rate.
    pub rate: f32,
    /// Decay of the mean square, α.
    pub alpha: f32,
    /// Share of the new square, 1 − α.
    pub gain: f32,
    /// Added to the denominator.
    pub eps: f32,
    /// Whether ε is added inside the root.
    pub eps_in_root: bool,
    /// Weight decay added to the gradient, λ·p, else 0.
    pub weight_decay: f32,
}

/// One RMSprop step: v = αv + (1 − α)g², p −= rate·g / (√v + ε), or / √(v + ε).
pub fn rms_prop(p: &mut [f32], g: &[f32], v: &mut [f32], step: &RmsPropStep) {
    assert_eq!([g.len(), v.len()], [p.len(); 2], "rms_prop: lengths");
    update(*step, [p, v], [g]);
}

/// x += weight·(target − x): moving averages of parameters (τ in SAC and TD3).
pub fn lerp(x: &mut [f32], target: &[f32], weight: f32) {
    assert_eq!(target.len(), x.len(), "lerp: lengths");
    update(Lerp(weight), [x], [target]);
}

/// y += a·x.
pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "axpy: lengths");
    update(Axpy(a), [y], [x]);
}

/// An update rule on vectors: `x` are the slices it changes, `y` those it only reads.
trait Rule<const W: usize, const R: usize>: Copy + Send + Sync {
    fn apply<S: Simd>(&self, s: S, x: [S::F; W], y: [S::F; R]) -> [S::F; W];
}

/// Applies a rule to slices of one length, a part of them on each thread.
fn update<const W: usize, const R: usize>(
    rule: impl Rule<W, R>,
    x: [&mut [f32]; W],
    y: [&[f32]; R],
) {
    /// Multiply-adds in the time that one element takes.
    const COST: usize = 8;
    let threads = threads_for(x[0].len() * COST);
    update_on(threads, rule, x, y);
}

fn update_on<const W: usize, const R: usize>(
    threads: usize,
    rule: impl Rule<W, R>,
    mut x: [&mut [f32]; W],
    y: [&[f32]; R],
) {
    if threads == 1 {
        return dispatch(Update { rule, x, y });
    }
    let at = (x[0].len() * (threads / 2) / threads).next_multiple_of(LANES);
    let mut rests = std::array::from_fn(|_| Default::default());
    for (x, rest) in x.iter_mut().zip(&mut rests) {
        (*x, *rest) = std::mem::take(x).split_at_mut(at);
    }
    let (y, y_rests) = (y.map(|y| &y[..at]), y.map(|y| &y[at..]));
    halves(threads, |n| update_on(n, rule, x, y), |n| update_on(n, rule, rests, y_rests));
}

/// A rule and its slices.
struct Update<'a, T, const W: usize, const R: usize> {
    rule: T,
    x: [&'a mut [f32]; W],
    y: [&'a [f32]; R],
}

impl<T: Rule<W, R>, const W: usize, const R: usize> Kernel for Update<'_, T, W, R> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let len = self.x[0].len();
        let whole = len / LANES * LANES;
        for i in (0..whole).step_by(LANES) {
            self.part(s, i..i + LANES);
        }
        if whole < len {
            self.part(s, whole..len);
        }
    }
}

impl<T: Rule<W, R>, const W: usize, const R: usize> Update<'_, T, W, R> {
    /// Updates at most 16 elements.
    #[inline(always)]
    fn part<S: Simd>(&mut self, s: S, range: Range<usize>) {
        let (mut x, mut y) = ([s.zero(); W], [s.zero(); R]);
        for (x, slice) in x.iter_mut().zip(&self.x) {
            *x = s.load_any(&slice[range.clone()]);
        }
        for (y, slice) in y.iter_mut().zip(&self.y) {
            *y = s.load_any(&slice[range.clone()]);
        }
        x = self.rule.apply(s, x, y);
        for (x, slice) in x.iter().zip(&mut self.x) {
            s.store_any(*x, &mut slice[range.clone()]);
        }
    }
}

/// Zero for a subnormal number. A moment whose gradient stays zero decays through the subnormal
/// range, where each operation costs a hundred cycles: dead units would slow a step tenfold.
#[inline(always)]
fn flush<S: Simd>(s: S, x: S::F) -> S::F {
    s.select(s.lt(s.abs(x), s.splat(f32::MIN_POSITIVE)), s.zero(), x)
}

impl Rule<3, 1> for AdamStep {
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, [p, m, v]: [S::F; 3], [g]: [S::F; 1]) -> [S::F; 3] {
        let g = s.fma(s.splat(self.weight_decay), p, g);
        let m = flush(s, s.fma(s.splat(self.gain1), s.sub(g, m), m));
        let gain = s.mul(s.splat(self.gain2), g);
        let v = flush(s, s.fma(gain, g, s.mul(s.splat(self.beta2), v)));
        let root_scale = s.splat(self.inv_sqrt_bias_correction2);
        let denominator = s.fma(s.sqrt(v), root_scale, s.splat(self.eps));
        let decayed = s.mul(s.splat(self.decay), p);
        [s.fnma(s.splat(self.step_size), s.div(m, denominator), decayed), m, v]
    }
}

impl Rule<2, 1> for RmsPropStep {
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, [p, v]: [S::F; 2], [g]: [S::F; 1]) -> [S::F; 2] {
        let (eps, rate) = (s.splat(self.eps), s.splat(self.rate));
        let g = s.fma(s.splat(self.weight_decay), p, g);
        let gain = s.mul(s.splat(self.gain), g);
        let v = flush(s, s.fma(gain, g, s.mul(s.splat(self.alpha), v)));
        let denominator =
            if self.eps_in_root { s.sqrt(s.add(v, eps)) } else { s.add(s.sqrt(v), eps) };
        [s.fnma(rate, s.div(g, denominator), p), v]
    }
}

/// x += weight·(target − x).
#[derive(Clone, Copy)]
struct Lerp(f32);

impl Rule<1, 1> for Lerp {
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, [x]: [S::F; 1], [target]: [S::F; 1]) -> [S::F; 1] {
        [s.fma(s.splat(self.0), s.sub(target, x), x)]
    }
}

/// y += a·x.
#[derive(Clone, Copy)]
struct Axpy(f32);

impl Rule<1, 1> for Axpy {
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, [y]: [S::F; 1], [x]: [S::F; 1]) -> [S::F; 1] {
        [s.fma(s.splat(self.0), x, y)]
    }
}
