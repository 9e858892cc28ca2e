//! `+ - * /` for tensors, references and numbers in every combination, unary `-`, and `+= -= *= /=`,
//! which write in place.

use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use crate::tensor::Tensor;

macro_rules! operator {
    ($trait:ident, $method:ident, $tensor:ident, $number:ident, $of_number:ident) => {
        operator!(@pair $trait, $method, $tensor, Tensor, Tensor);
        operator!(@pair $trait, $method, $tensor, Tensor, &Tensor);
        operator!(@pair $trait, $method, $tensor, &Tensor, Tensor);
        operator!(@pair $trait, $method, $tensor, &Tensor, &Tensor);
        operator!(@number $trait, $method, $number, $of_number, Tensor);
        operator!(@number $trait, $method, $number, $of_number, &Tensor);
    };
    (@pair $trait:ident, $method:ident, $tensor:ident, $left:ty, $right:ty) => {
        impl $trait<$right> for $left {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, right: $right) -> Tensor {
                Tensor::$tensor(&self, &right)
            }
        }
    };
    (@number $trait:ident, $method:ident, $number:ident, $of_number:ident, $tensor:ty) => {
        impl $trait<f32> for $tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, right: f32) -> Tensor {
                Tensor::$number(&self, right)
            }
        }
        impl $trait<$tensor> for f32 {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, right: $tensor) -> Tensor {
                Tensor::$of_number(&right, self)
            }
        }
    };
}

operator!(Add, add, add, add_scalar, add_scalar);
operator!(Sub, sub, sub, sub_scalar, rsub_scalar);
operator!(Mul, mul, mul, mul_scalar, mul_scalar);
operator!(Div, div, div, div_scalar, rdiv_scalar);

impl Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::neg(&self)
    }
}

impl Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::neg(self)
    }
}

/// In place, as in PyTorch: every handle on the tensor and every view of it sees the write.
macro_rules! assignment {
    ($trait:ident, $method:ident, $in_place:ident, $number:ident, $of_number:ident $(, $sign:tt)?) => {
        impl $trait<&Tensor> for Tensor {
            #[track_caller]
            fn $method(&mut self, right: &Tensor) {
                self.$in_place(right);
            }
        }
        impl $trait<Tensor> for Tensor {
            #[track_caller]
            fn $method(&mut self, right: Tensor) {
                self.$in_place(&right);
            }
        }
        impl $trait<f32> for Tensor {
            #[track_caller]
            fn $method(&mut self, $number: f32) {
                self.$of_number($($sign)? $number);
            }
        }
    };
}

assignment!(AddAssign, add_assign, add_, number, add_scalar_);
assignment!(SubAssign, sub_assign, sub_, number, add_scalar_, -);
assignment!(MulAssign, mul_assign, mul_, number, mul_scalar_);
assignment!(DivAssign, div_assign, div_, number, div_scalar_);
