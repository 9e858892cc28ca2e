//! Arithmetic in place, and into a given destination.

use crate::autograd::NodeRef;
use crate::error::ok;
use crate::kernels::{self, Binary};
use crate::tensor::Tensor;

use super::apply::{Keep, Unary, reduce, wanted, with_number};
use super::arithmetic::lerp;
use super::select::gated;

impl Tensor {
    /// `self += other`, broadcast to this shape.
    ///
    /// # Panics
    /// While history is recorded and this or the operand requires grad:
    /// [`crate::TensorError::LeafInplace`], [`crate::TensorError::ViewOfLeafInplace`] and the errors
    /// of restricted views. Always: an operand that does not broadcast to this shape, elements that
    /// share memory, an inference tensor outside inference mode.
    #[track_caller]
    pub fn add_(&self, other: &Tensor) {
        self.add_scaled_(other, 1.0);
    }

    /// `self += alpha · other`, broadcast to this shape.
    ///
    /// # Panics
    /// As [`Tensor::add_`].
    #[track_caller]
    pub fn add_scaled_(&self, other: &Tensor, alpha: f32) {
        self.add_as("add_", other, alpha);
    }

    #[track_caller]
    fn add_as(&self, op: &'static str, other: &Tensor, alpha: f32) {
        ok(self.expect_f32(op).and_then(|()| other.expect_f32(op)));
        let shape = other.layout.shape;
        let node = self.begin_write(op, [self, other], |_| {
            move |grad: &Tensor, node: &NodeRef| {
                let to_other = reduce(|| grad * alpha, node.needs(1), &shape);
                [Some(grad.clone()), to_other]
            }
        });
        self.update_with(op, other, |target, other| {
            kernels::axpy(alpha, other, target);
        });
        self.end_write(node);
    }

    /// `self -= other`, broadcast to this shape.
    ///
    /// # Panics
    /// As [`Tensor::add_`].
    #[track_caller]
    pub fn sub_(&self, other: &Tensor) {
        ok(self.expect_f32("sub_").and_then(|()| other.expect_f32("sub_")));
        let shape = other.layout.shape;
        let node = self.begin_write("sub_", [self, other], |_| {
            move |grad: &Tensor, node: &NodeRef| {
                [Some(grad.clone()), reduce(|| -grad, node.needs(1), &shape)]
            }
        });
        self.update_with("sub_", other, |target, other| {
            for (target, &other) in target.iter_mut().zip(other) {
                *target -= other;
            }
        });
        self.end_write(node);
    }

    /// `self *= other`, broadcast to this shape.
    ///
    /// # Panics
    /// As [`Tensor::add_`].
    #[track_caller]
    pub fn mul_(&self, other: &Tensor) {
        ok(self.expect_f32("mul_").and_then(|()| other.expect_f32("mul_")));
        let shape = other.layout.shape;
        let node = self.begin_write("mul_", [self, other], |saver| {
            let old = saver.needs(1).then(|| saver.input(&self.clone_contiguous()));
            let factor = saver.input_if(saver.needs(0), other);
            move |grad: &Tensor, node: &NodeRef| {
                [
                    wanted(node, 0, &factor).map(|factor| grad * factor),
                    wanted(node, 1, &old).map(|old| (grad * old).sum_to(&shape)),
                ]
            }
        });
        self.update_with("mul_", other, |target, other| {
            for (target, &other) in target.iter_mut().zip(other) {
                *target *= other;
            }
        });
        self.end_write(node);
    }

    /// `self /= other`, broadcast to this shape.
    ///
    /// # Panics
    /// As [`Tensor::add_`].
    #[track_caller]
    pub fn div_(&self, other: &Tensor) {
        ok(self.expect_f32("div_").and_then(|()| other.expect_f32("div_")));
        let shape = other.layout.shape;
        let node = self.begin_write("div_", [self, other], |saver| {
            let old = saver.needs(1).then(|| saver.input(&self.clone_contiguous()));
            let divisor = saver.input(other);
            move |grad: &Tensor, node: &NodeRef| {
                let divisor = divisor.get(node);
                let to_divisor = wanted(node, 1, &old)
                    .map(|old| (-grad * (old / &divisor / &divisor)).sum_to(&shape));
                [node.needs(0).then(|| grad / &divisor), to_divisor]
            }
        });
        self.update_with("div_", other, |target, other| {
            for (target, &other) in target.iter_mut().zip(other) {
                *target /= other;
            }
        });
        self.end_write(node);
    }

    /// `self += number`.
    ///
    /// # Panics
    /// As [`Tensor::add_`].
    #[track_caller]
    pub fn add_scalar_(&self, number: f32) {
        let forward = with_number(Binary::Add, number);
        self.unary_(Unary::new("add_", Keep::Nothing, forward, |_: &Tensor, grad: &Tensor| {
            grad.clone()
        }));
    }

    /// `self *= number`.
    ///
    /// # Panics
    /// As [`Tensor::add_`].
    #[track_caller]
    pub fn mul_scalar_(&self, number: f32) {
        ok(self.expect_f32("mul_"));
        let node = self.begin_write("mul_", [self], |saver| {
            saver.frees();
            move |grad: &Tensor, _: &NodeRef| [Some(grad * number)]
        });
        self.update_each("mul_", |target| {
            for target in target {
                *target *= number;
            }
        });
        self.end_write(node);
    }

    /// `self /= number`.
    ///
    /// # Panics
    /// As [`Tensor::add_`].
    #[track_caller]
    pub fn div_scalar_(&self, number: f32) {
        ok(self.expect_f32("div_"));
        let node = self.begin_write("div_", [self], |saver| {
            saver.frees();
            move |grad: &Tensor, _: &NodeRef| [Some(grad / number)]
        });
        self.update_each("div_", |target| {
            for target in target {
                *target /= number;
            }
        });
        self.end_write(node);
    }

    /// `self += value · a · b`, broadcast to this shape.
    ///
    /// # Panics
    /// As [`Tensor::add_`].
    #[track_caller]
    pub fn addcmul_(&self, a: &Tensor, b: &Tensor, value: f32) {
        self.add_as("addcmul_", &(a * b), value);
    }

    /// `self += weight · (end - self)`, broadcast to this shape; exactly `end` for weight 1.
    ///
    /// # Panics
    /// As [`Tensor::add_`].
    #[track_caller]
    pub fn lerp_(&self, end: &Tensor, weight: f32) {
        ok(self.expect_f32("lerp_").and_then(|()| end.expect_f32("lerp_")));
        let shape = end.layout.shape;
        let node = self.begin_write("lerp_", [self, end], |_| {
            move |grad: &Tensor, node: &NodeRef| {
                let to_end = reduce(|| grad * weight, node.needs(1), &shape);
                [node.needs(0).then(|| grad * (1.0 - weight)), to_end]
            }
        });
        self.update_with("lerp_", end, |target, end| {
            if weight.abs() < 0.5 {
                return kernels::lerp(target, end, weight);
            }
            for (target, &end) in target.iter_mut().zip(end) {
                *target = lerp(*target, end, weight);
            }
        });
        self.end_write(node);
    }

    /// Sets the elements whose flag in `mask` is set, broadcast to this shape.
    ///
    /// # Panics
    /// As [`Tensor::add_`], and if `mask` is not a mask.
    #[track_caller]
    pub fn masked_fill_(&self, mask: &Tensor, value: f32) {
        let keep = 1.0 - mask.as_mask();
        let node = self.begin_write("masked_fill_", [self, mask], |saver| {
            let mask = saver.input(mask);
            move |grad: &Tensor, node: &NodeRef| {
                [Some(gated(grad, &(1.0 - mask.get(node).as_mask()))), None]
            }
        });
        self.update_with("masked_fill_", &keep, |target, keep| {
            for (target, &keep) in target.iter_mut().zip(keep) {
                *target = if keep != 0.0 { *target } else { value };
            }
        });
        self.end_write(node);
    }

    /// Writes `self · number` into `out`.
    ///
    /// # Panics
    /// [`crate::TensorError::OutRequiresGrad`] if history would be recorded; as [`Tensor::copy_`].
    #[track_caller]
    pub fn mul_scalar_out(&self, number: f32, out: &Tensor) {
        self.write_out("mul", &[self], out, || self.mul_scalar(number));
    }

    /// Writes `self · other` into `out`.
    ///
    /// # Panics
    /// [`crate::TensorError::OutRequiresGrad`] if history would be recorded; as [`Tensor::copy_`].
    #[track_caller]
    pub fn mul_out(&self, other: &Tensor, out: &Tensor) {
        self.write_out("mul", &[self, other], out, || self.mul(other));
    }

    #[track_caller]
    fn write_out(
        &self,
        op: &'static str,
        inputs: &[&Tensor],
        out: &Tensor,
        value: impl FnOnce() -> Tensor,
    ) {
        if Tensor::any_requires_grad(inputs) || Tensor::any_requires_grad(&[out]) {
            crate::error::raise(crate::TensorError::OutRequiresGrad { op });
        }
        out.copy_(&value());
    }
}
