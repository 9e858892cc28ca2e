//! Losses, `[…], […] -> []` by default.

use crate::autograd::NodeRef;
use crate::error::{TensorError, ok, raise};
use crate::tensor::Tensor;

/// How a loss joins the losses of its elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Not at all.
    None,
}

impl Reduction {
    /// The loss, and the factor of its gradient.
    #[track_caller]
    pub(super) fn apply(self, losses: Tensor) -> Tensor {
        match self {
            Reduction::Mean => losses.mean(),
            Reduction::Sum => losses.sum(),
            Reduction::None => losses,
        }
    }

    fn scale(self, numel: usize) -> f32 {
        if self == Reduction::Mean { 1.0 / numel as f32 } else { 1.0 }
    }
}

/// The loss of a difference and its derivative.
#[derive(Clone, Copy)]
struct OfDifference {
    op: &'static str,
    /// Where the parabola ends (smooth L1 and Huber).
    bound: f32,
    value: fn(f32, f32) -> f32,
    slope: fn(f32, f32) -> f32,
    curvature: fn(f32, f32) -> f32,
}

const MSE: OfDifference = OfDifference {
    op: "mse_loss",
    bound: 0.0,
    value: |d, _| d * d,
    slope: |d, _| 2.0 * d,
    curvature: |_, _| 2.0,
};

const L1: OfDifference = OfDifference {
    op: "l1_loss",
    bound: 0.0,
    value: |d, _| d.abs(),
    slope: |d, _| sign(d),
    curvature: |_, _| 0.0,
};

/// d²/2β within β, |d| - β/2 outside.
const SMOOTH_L1: OfDifference = OfDifference {
    op: "smooth_l1_loss",
    bound: 1.0,
    value: |d, beta| if d.abs() < beta { 0.5 * d * d / beta } else { d.abs() - 0.5 * beta },
    slope: |d, beta| {
        if d.abs() < beta {
            d / beta
        } else if d.is_nan() {
            d
        } else {
            sign(d)
        }
    },
    curvature: |d, beta| if d.abs() < beta { 1.0 / beta } else { 0.0 },
};

/// d²/2 within δ, δ (|d| - δ/2) outside (Huber 1964).
const HUBER: OfDifference = OfDifference {
    op: "huber_loss",
    bound: 1.0,
    value: |d, delta| if d.abs() <= delta { 0.5 * d * d } else { delta * (d.abs() - 0.5 * delta) },
    slope: |d, delta| d.clamp(-delta, delta),
    curvature: |d, delta| if d.abs() < delta { 1.0 } else { 0.0 },
};

impl Tensor {
    /// The mean of `(self - target)²`.
    ///
    /// # Panics
    /// If the shapes differ.
    #[track_caller]
    pub fn mse_loss(&self, target: &Tensor) -> Tensor {
        self.mse_loss_with(target, Reduction::Mean)
    }

    /// [`Tensor::mse_loss`], reduced in another way.
    ///
    /// # Panics
    /// If the shapes differ.
    #[track_caller]
    pub fn mse_loss_with(&self, target: &Tensor, reduction: Reduction) -> Tensor {
        self.difference_loss(target, reduction, MSE)
    }

    /// `|self - target|`.
    ///
    /// # Panics
    /// If the shapes differ.
    #[track_caller]
    pub fn l1_loss_with(&self, target: &Tensor, reduction: Reduction) -> Tensor {
        self.difference_loss(target, reduction, L1)
    }

    /// The mean of `d²/2` where `|d| < 1` and `|d| - 1/2` elsewhere, `d = self - target`.
    ///
    /// # Panics
    /// If the shapes differ.
    #[track_caller]
    pub fn smooth_l1_loss(&self, target: &Tensor) -> Tensor {
        self.smooth_l1_loss_with(target, 1.0, Reduction::Mean)
    }

    /// `d²/2β` where `|d| < β` and `|d| - β/2` elsewhere, `d = self - target`.
    ///
    /// # Panics
    /// If the shapes differ, or [`TensorError::InvalidArgument`] if `beta < 0`.
    #[track_caller]
    pub fn smooth_l1_loss_with(&self, target: &Tensor, beta: f32, reduction: Reduction) -> Tensor {
        if beta < 0.0 || beta.is_nan() {
            let detail = format!("beta is {beta}, expected 0 or more");
            raise(TensorError::InvalidArgument { op: "smooth_l1_loss", detail });
        }
        let loss = if beta == 0.0 { L1 } else { OfDifference { bound: beta, ..SMOOTH_L1 } };
        self.difference_loss(target, reduction, loss)
    }

    /// `d²/2` where `|d| ≤ δ` and `δ (|d| - δ/2)` elsewhere, `d = self - target`.
    ///
    /// # Panics
    /// If the shapes differ, or [`TensorError::InvalidArgument`] if `delta ≤ 0`.
    #[track_caller]
    pub fn huber_loss_with(&self, target: &Tensor, delta: f32, reduction: Reduction) -> Tensor {
        if delta.is_nan() || delta <= 0.0 {
            let detail = format!("delta is {delta}, expected more than 0");
            raise(TensorError::InvalidArgument { op: "huber_loss", detail });
        }
        self.difference_loss(target, reduction, OfDifference { bound: delta, ..HUBER })
    }

    #[track_caller]
    fn difference_loss(&self, target: &Tensor, reduction: Reduction, loss: OfDifference) -> Tensor {
        let OfDifference { op, bound, value, .. } = loss;
        ok(self.expect_f32(op).and_then(|()| target.expect_f32(op)));
        if self.dims() != target.dims() {
            let detail = format!("input {:?} and target {:?} differ", self.dims(), target.dims());
            raise(TensorError::ShapeMismatch { op, detail });
        }
        let losses = of_difference(self, target, |d| value(d, bound));
        reduction.apply(losses).record(op, [self, target], |saver| {
            let (x, y) = (saver.input(self), saver.input(target));
            let scale = reduction.scale(self.numel());
            move |grad: &Tensor, node: &NodeRef| {
                let slope = slope_of(&x.get(node), &y.get(node), loss, scale) * grad;
                [node.needs(0).then(|| slope.clone()), node.needs(1).then(|| -&slope)]
            }
        })
    }
}

/// -1, 0 or 1, and 0 for NaN.
fn sign(d: f32) -> f32 {
    f32::from(u8::from(d > 0.0)) - f32::from(u8::from(d < 0.0))
}

/// The derivative of a loss of `x - y`; recorded if a second derivative is asked for.
fn slope_of(x: &Tensor, y: &Tensor, loss: OfDifference, scale: f32) -> Tensor {
    let value = of_difference(x, y, |d| (loss.slope)(d, loss.bound) * scale);
    value.record(loss.op, [x, y], |saver| {
        let (x, y) = (saver.input(x), saver.input(y));
        move |grad: &Tensor, node: &NodeRef| {
            let curve = of_difference(&x.get(node), &y.get(node), |d| {
                (loss.curvature)(d, loss.bound) * scale
            }) * grad;
            [node.needs(0).then(|| curve.clone()), node.needs(1).then(|| -&curve)]
        }
    })
}

/// `f(x - y)`, without history.
#[track_caller]
fn of_difference(x: &Tensor, y: &Tensor, f: impl Fn(f32) -> f32) -> Tensor {
    let (a, b) = (x.read(), y.read());
    Tensor::build(x.dims(), |out| {
        for ((out, &a), &b) in out.iter_mut().zip(a.iter()).zip(b.iter()) {
            *out = f(a - b);
        }
    })
}
