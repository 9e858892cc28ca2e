//! Functions of two tensors, element by element with broadcasting, and of a tensor and a number.

use crate::autograd::NodeRef;
use crate::error::ok;
use crate::kernels::Binary;
use crate::tensor::Tensor;

use super::apply::{Keep, Unary, each, reduce, wanted, with_number, zip, zip_each};
use super::select::gated;

impl Tensor {
    /// `self + other`, broadcast.
    ///
    /// # Panics
    /// If the shapes do not broadcast or a tensor is not `f32`.
    #[track_caller]
    pub fn add(&self, other: &Tensor) -> Tensor {
        zip(Binary::Add, self, other).record("add", [self, other], |_| {
            let (a, b) = (self.layout.shape, other.layout.shape);
            move |grad: &Tensor, node: &NodeRef| {
                [
                    reduce(|| grad.clone(), node.needs(0), &a),
                    reduce(|| grad.clone(), node.needs(1), &b),
                ]
            }
        })
    }

    /// `self - other`, broadcast.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn sub(&self, other: &Tensor) -> Tensor {
        zip(Binary::Sub, self, other).record("sub", [self, other], |_| {
            let (a, b) = (self.layout.shape, other.layout.shape);
            move |grad: &Tensor, node: &NodeRef| {
                [reduce(|| grad.clone(), node.needs(0), &a), reduce(|| -grad, node.needs(1), &b)]
            }
        })
    }

    /// `self · other`, element by element, broadcast.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn mul(&self, other: &Tensor) -> Tensor {
        zip(Binary::Mul, self, other).record("mul", [self, other], |saver| {
            let (a, b) = (self.layout.shape, other.layout.shape);
            let x = saver.input_if(saver.needs(1), self);
            let y = saver.input_if(saver.needs(0), other);
            move |grad: &Tensor, node: &NodeRef| {
                [
                    wanted(node, 0, &y).map(|y| (grad * y).sum_to(&a)),
                    wanted(node, 1, &x).map(|x| (grad * x).sum_to(&b)),
                ]
            }
        })
    }

    /// `self / other`, element by element, broadcast.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn div(&self, other: &Tensor) -> Tensor {
        zip(Binary::Div, self, other).record("div", [self, other], |saver| {
            let (a, b) = (self.layout.shape, other.layout.shape);
            let x = saver.input_if(saver.needs(1), self);
            let y = saver.input(other);
            move |grad: &Tensor, node: &NodeRef| {
                let y = y.get(node);
                let to_y = wanted(node, 1, &x).map(|x| (-grad * (x / &y / &y)).sum_to(&b));
                [reduce(|| grad / &y, node.needs(0), &a), to_y]
            }
        })
    }

    /// The larger of two numbers, broadcast; at a tie each gets half the gradient; NaN wins.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn maximum(&self, other: &Tensor) -> Tensor {
        self.choose("maximum", other, Binary::Max, |x, y| x > y)
    }

    /// The smaller of two numbers, broadcast; at a tie each gets half the gradient; NaN wins.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn minimum(&self, other: &Tensor) -> Tensor {
        self.choose("minimum", other, Binary::Min, |x, y| x < y)
    }

    #[track_caller]
    fn choose(
        &self,
        op: &'static str,
        other: &Tensor,
        value: Binary,
        wins: fn(f32, f32) -> bool,
    ) -> Tensor {
        zip(value, self, other).record(op, [self, other], |saver| {
            let (a, b) = (self.layout.shape, other.layout.shape);
            let (x, y) = (saver.input(self), saver.input(other));
            move |grad: &Tensor, node: &NodeRef| {
                let (x, y) = (x.get(node), y.get(node));
                // Of a NaN and a number, neither loses: both get the whole gradient.
                let share = |x: f32, y: f32| match x == y {
                    true => 0.5,
                    false => f32::from(u8::from(!wins(y, x))),
                };
                [
                    reduce(|| gated(grad, &zip_each(op, &x, &y, share)), node.needs(0), &a),
                    reduce(|| gated(grad, &zip_each(op, &y, &x, share)), node.needs(1), &b),
                ]
            }
        })
    }

    /// `self ^ exponent`, element by element, broadcast.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn pow_tensor(&self, exponent: &Tensor) -> Tensor {
        let (a, b) = (self.layout.shape, exponent.layout.shape);
        let value = zip_each("pow", self, exponent, f32::powf);
        let result = value.clone();
        value.record("pow", [self, exponent], |saver| {
            let (x, e) = (saver.input(self), saver.input(exponent));
            let y = saver.needs(1).then(|| saver.result(&result));
            move |grad: &Tensor, node: &NodeRef| {
                let (x, e) = (x.get(node), e.get(node));
                let to_x = || {
                    let gate = zip_each("pow", &e, &e, |e, _| f32::from(u8::from(e != 0.0)));
                    gated(&(grad * (&e * x.pow_tensor(&(&e - 1.0)))), &gate)
                };
                let to_e = wanted(node, 1, &y).map(|y| {
                    // ln 1 = 0 in the place of ln 0, whose factor 0^e is 0.
                    let lift = |x: f32, e: f32| f32::from(u8::from(x == 0.0 && e >= 0.0));
                    let log = (&x + zip_each("pow", &x, &e, lift)).log();
                    (grad * (y * log)).sum_to(&b)
                });
                [reduce(to_x, node.needs(0), &a), to_e]
            }
        })
    }

    /// `self + number`.
    #[track_caller]
    pub fn add_scalar(&self, number: f32) -> Tensor {
        let forward = with_number(Binary::Add, number);
        self.unary(Unary::new("add", Keep::Nothing, forward, |_: &Tensor, grad: &Tensor| {
            grad.clone()
        }))
    }

    /// `self - number`.
    #[track_caller]
    pub fn sub_scalar(&self, number: f32) -> Tensor {
        let forward = with_number(Binary::Sub, number);
        self.unary(Unary::new("sub", Keep::Nothing, forward, |_: &Tensor, grad: &Tensor| {
            grad.clone()
        }))
    }

    /// `number - self`.
    #[track_caller]
    pub fn rsub_scalar(&self, number: f32) -> Tensor {
        let forward = each(move |x| number - x);
        self.unary(Unary::new("rsub", Keep::Nothing, forward, |_: &Tensor, grad: &Tensor| -grad))
    }

    /// `self · number`.
    #[track_caller]
    pub fn mul_scalar(&self, number: f32) -> Tensor {
        self.scaled("mul", with_number(Binary::Mul, number), move |grad| grad * number)
    }

    /// `self / number`.
    #[track_caller]
    pub fn div_scalar(&self, number: f32) -> Tensor {
        self.scaled("div", with_number(Binary::Div, number), move |grad| grad / number)
    }

    /// Scaling by a constant: a second backward is refused, as if something had been saved.
    #[track_caller]
    fn scaled(
        &self,
        op: &'static str,
        forward: impl Fn(&[f32], &mut [f32]),
        backward: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static,
    ) -> Tensor {
        ok(self.expect_f32(op));
        self.map(forward).record(op, [self], |saver| {
            saver.frees();
            move |grad: &Tensor, _: &NodeRef| [Some(backward(grad))]
        })
    }

    /// `number / self`.
    #[track_caller]
    pub fn rdiv_scalar(&self, number: f32) -> Tensor {
        self.reciprocal().mul_scalar(number)
    }

    /// `self + weight · (end - self)`, exactly `end` for weight 1.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn lerp(&self, end: &Tensor, weight: f32) -> Tensor {
        let (a, b) = (self.layout.shape, end.layout.shape);
        zip_each("lerp", self, end, |start, end| lerp(start, end, weight)).record(
            "lerp",
            [self, end],
            |_| {
                move |grad: &Tensor, node: &NodeRef| {
                    [
                        reduce(|| grad * (1.0 - weight), node.needs(0), &a),
                        reduce(|| grad * weight, node.needs(1), &b),
                    ]
                }
            },
        )
    }
}

/// From the nearer end, so that both are exact.
pub(super) fn lerp(start: f32, end: f32, weight: f32) -> f32 {
    let way = end - start;
    if weight.abs() < 0.5 { start + weight * way } else { end - way * (1.0 - weight) }
}
