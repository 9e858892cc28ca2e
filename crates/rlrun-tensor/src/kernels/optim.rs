//! Optimizer steps over flat slices of parameters, gradients and moments.
//!
//! Every function panics when the slices differ in length.

use super::simd::{Kernel, LANES, Simd, dispatch};

/// What one Adam step needs besides the slices (Kingma & Ba 2015; PyTorch's form).
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Decay of the first moment, β₁.
    pub beta1: f32,
    /// Decay of the second moment, β₂.
    pub beta2: f32,
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
            beta1: betas.0 as f32,
            beta2: betas.1 as f32,
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
    dispatch(Adam { p, g, m, v, step });
}

/// What one step of stochastic gradient descent with momentum needs.
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    /// Learning rate.
    pub learning_rate: f32,
    /// Momentum μ; 0 leaves the buffer out of the step.
    pub momentum: f32,
    /// Factor on the gradient when it enters the buffer: 1 − dampening, or 1 on the first step.
    pub gain: f32,
    /// Whether to step along g + μ·b instead of b.
    pub nesterov: bool,
    /// Weight decay λ added to the gradient, λ·p.
    pub weight_decay: f32,
}

/// One step of SGD with momentum buffer `b` (start it at zero): b = μb + gain·g, p −= lr·b.
pub fn sgd(p: &mut [f32], g: &[f32], b: &mut [f32], step: &SgdStep) {
    assert_eq!([g.len(), b.len()], [p.len(); 2], "sgd: lengths");
    dispatch(Sgd { p, g, b, step });
}

/// What one RMSprop step needs (PyTorch's form: ε outside the root, not centred).
#[derive(Clone, Copy, Debug)]
pub struct RmspropStep {
    /// Learning rate.
    pub learning_rate: f32,
    /// Decay α of the mean square.
    pub alpha: f32,
    /// Added to the denominator.
    pub eps: f32,
    /// Momentum; 0 for none, then the buffer holds the last step.
    pub momentum: f32,
    /// Weight decay λ added to the gradient, λ·p.
    pub weight_decay: f32,
}

/// One RMSprop step: v = αv + (1 − α)g², b = μb + g / (√v + ε), p −= lr·b.
pub fn rmsprop(p: &mut [f32], g: &[f32], v: &mut [f32], b: &mut [f32], step: &RmspropStep) {
    assert_eq!([g.len(), v.len(), b.len()], [p.len(); 3], "rmsprop: lengths");
    dispatch(Rmsprop { p, g, v, b, step });
}

/// x += weight·(target − x): moving averages of parameters (τ in SAC and TD3).
pub fn lerp(x: &mut [f32], target: &[f32], weight: f32) {
    assert_eq!(target.len(), x.len(), "lerp: lengths");
    dispatch(Lerp { x, target, weight });
}

/// y += a·x.
pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "axpy: lengths");
    dispatch(Axpy { a, x, y });
}

/// Passes vectors of `W` mutable and `R` shared slices of one length through `f`, which returns the
/// new values of the mutable ones.
#[inline(always)]
fn update<S: Simd, const W: usize, const R: usize>(
    s: S,
    mut mutable: [&mut [f32]; W],
    shared: [&[f32]; R],
    f: impl Fn([S::F; W], [S::F; R]) -> [S::F; W],
) {
    let len = mutable[0].len();
    let whole = len / LANES * LANES;
    let mut x = [s.zero(); W];
    let mut y = [s.zero(); R];
    for i in (0..len).step_by(LANES) {
        let range = i..if i < whole { i + LANES } else { len };
        for (x, slice) in x.iter_mut().zip(&mutable) {
            *x = s.load_any(&slice[range.clone()]);
        }
        for (y, slice) in y.iter_mut().zip(&shared) {
            *y = s.load_any(&slice[range.clone()]);
        }
        for (x, slice) in f(x, y).into_iter().zip(&mut mutable) {
            s.store_any(x, &mut slice[range.clone()]);
        }
    }
}

struct Adam<'a> {
    p: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    step: &'a AdamStep,
}

impl Kernel for Adam<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let step = *self.step;
        let gain1 = s.splat(1.0 - step.beta1);
        let (beta2, gain2) = (s.splat(step.beta2), s.splat(1.0 - step.beta2));
        let (size, eps) = (s.splat(step.step_size), s.splat(step.eps));
        let root_scale = s.splat(step.inv_sqrt_bias_correction2);
        let (decay, weight_decay) = (s.splat(step.decay), s.splat(step.weight_decay));
        update(s, [self.p, self.m, self.v], [self.g], |[p, m, v], [g]| {
            let g = s.fma(weight_decay, p, g);
            let m = s.fma(gain1, s.sub(g, m), m);
            let v = s.fma(s.mul(gain2, g), g, s.mul(beta2, v));
            let denominator = s.fma(s.sqrt(v), root_scale, eps);
            [s.fnma(size, s.div(m, denominator), s.mul(decay, p)), m, v]
        });
    }
}

struct Sgd<'a> {
    p: &'a mut [f32],
    g: &'a [f32],
    b: &'a mut [f32],
    step: &'a SgdStep,
}

impl Kernel for Sgd<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let step = *self.step;
        let [rate, momentum, gain, weight_decay] =
            [step.learning_rate, step.momentum, step.gain, step.weight_decay].map(|x| s.splat(x));
        update(s, [self.p, self.b], [self.g], |[p, b], [g]| {
            let g = s.fma(weight_decay, p, g);
            let b = s.fma(momentum, b, s.mul(gain, g));
            let direction = if step.nesterov { s.fma(momentum, b, g) } else { b };
            [s.fnma(rate, direction, p), b]
        });
    }
}

struct Rmsprop<'a> {
    p: &'a mut [f32],
    g: &'a [f32],
    v: &'a mut [f32],
    b: &'a mut [f32],
    step: &'a RmspropStep,
}

impl Kernel for Rmsprop<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let step = *self.step;
        let (alpha, gain) = (s.splat(step.alpha), s.splat(1.0 - step.alpha));
        let [rate, eps, momentum, weight_decay] =
            [step.learning_rate, step.eps, step.momentum, step.weight_decay].map(|x| s.splat(x));
        update(s, [self.p, self.v, self.b], [self.g], |[p, v, b], [g]| {
            let g = s.fma(weight_decay, p, g);
            let v = s.fma(s.mul(gain, g), g, s.mul(alpha, v));
            let b = s.fma(momentum, b, s.div(g, s.add(s.sqrt(v), eps)));
            [s.fnma(rate, b, p), v, b]
        });
    }
}

struct Lerp<'a> {
    x: &'a mut [f32],
    target: &'a [f32],
    weight: f32,
}

impl Kernel for Lerp<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let weight = s.splat(self.weight);
        update(s, [self.x], [self.target], |[x], [target]| [s.fma(weight, s.sub(target, x), x)]);
    }
}

struct Axpy<'a> {
    a: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Axpy<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let a = s.splat(self.a);
        update(s, [self.y], [self.x], |[y], [x]| [s.fma(a, x, y)]);
    }
}
