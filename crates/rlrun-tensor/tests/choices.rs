//! Comparisons, order, products, lengths, rounding, pooling and writes by operator, with PyTorch's
//! values.

#![allow(clippy::unwrap_used)]

use rlrun_tensor::{Backward, DType, Tensor, TensorError, catch, grad, no_grad};

fn vector(numbers: &[f32]) -> Tensor {
    Tensor::from_slice(numbers, [numbers.len()])
}

#[test]
fn comparisons_broadcast_and_know_nan() {
    let x = Tensor::from_slice(&[1.0, 2.0, f32::NAN, 4.0], [2, 2]);
    let row = vector(&[1.0, 4.0]);
    assert_eq!(x.lt(&row).to_vec_bool(), [false, true, false, false]);
    assert_eq!(x.ge(&row).to_vec_bool(), [true, false, false, true]);
    assert_eq!(x.ne(&x).to_vec_bool(), [false, false, true, false]);
    assert_eq!(x.gt_scalar(1.5).to_vec_bool(), [false, true, false, true]);
    let indices = Tensor::from_i64(&[3, 4, 5], [3]);
    assert_eq!(indices.eq_scalar(4.0).to_vec_bool(), [false, true, false]);
    assert_eq!(indices.le(&vector(&[3.5])).to_vec_bool(), [true, false, false]);
    let refused = catch(|| x.eq(&vector(&[1.0, 2.0, 3.0])));
    assert!(matches!(refused, Err(TensorError::ShapeMismatch { .. })));
}

#[test]
fn masks_are_combined_and_asked() {
    let a = Tensor::from_bool(&[true, true, false, false], [2, 2]);
    let b = Tensor::from_bool(&[true, false], [2]);
    assert_eq!(a.logical_and(&b).to_vec_bool(), [true, false, false, false]);
    assert_eq!(a.logical_or(&b).to_vec_bool(), [true, true, true, false]);
    assert_eq!(a.logical_not().to_vec_bool(), [false, false, true, true]);
    assert!(a.any() && !a.all() && !a.logical_and(&a.logical_not()).any());
    assert_eq!(a.any_dim(1, false).to_vec_bool(), [true, false]);
    assert_eq!(a.all_dim(0, true).dims(), [1, 2]);
    assert!(vector(&[]).all() && !vector(&[]).any());
    assert!(catch(|| a.logical_and(&vector(&[1.0]))).is_err());
}

#[test]
fn types_change_as_in_pytorch() {
    let x = vector(&[-1.7, 0.0, 2.9]);
    assert_eq!(x.to_dtype(DType::I64).to_vec_i64(), [-1, 0, 2]);
    assert_eq!(x.to_dtype(DType::Bool).to_vec_bool(), [true, false, true]);
    assert_eq!(x.to_dtype(DType::Bool).to_dtype(DType::F32).to_vec(), [1.0, 0.0, 1.0]);
    assert!(catch(|| vector(&[f32::NAN]).to_dtype(DType::I64)).is_err());
    assert!(x.to_dtype(DType::F32).is(&x));
}

#[test]
fn elements_come_in_order_with_their_places() {
    let x = Tensor::from_slice(&[3.0, 1.0, f32::NAN, 1.0, -2.0, 5.0], [2, 3]);
    let (values, places) = x.sort(1, false);
    assert_eq!(values.to_vec()[..2], [1.0, 3.0]);
    assert!(values.to_vec()[2].is_nan());
    assert_eq!(values.to_vec()[3..], [-2.0, 1.0, 5.0]);
    assert_eq!(places.to_vec_i64(), [1, 0, 2, 1, 0, 2]);
    let ties = vector(&[1.0, 2.0, 1.0, 2.0]);
    assert_eq!(ties.argsort(0, true).to_vec_i64(), [1, 3, 0, 2]);
    let (values, places) = ties.topk(3, -1);
    assert_eq!((values.to_vec(), places.to_vec_i64()), (vec![2.0, 2.0, 1.0], vec![1, 3, 0]));
    assert!(catch(|| ties.topk(5, 0)).is_err());
    assert_eq!(x.argmin(1).to_vec_i64(), [2, 1]);
}

#[test]
fn a_product_with_a_zero_has_the_gradient_of_the_others() {
    let x = vector(&[2.0, 0.0, 3.0, -1.0, 4.0]).requires_grad_(true);
    assert_eq!(x.prod().item(), 0.0);
    assert_eq!(
        grad(&x.prod(), &[&x], Backward::default())[0].to_vec(),
        [0.0, -24.0, 0.0, 0.0, 0.0]
    );
    assert_eq!(Tensor::zeros([2, 0]).prod_dim(1, true).to_vec(), [1.0, 1.0]);
    assert_eq!(Tensor::scalar(3.0).prod().item(), 3.0);
}

#[test]
fn a_length_neither_overflows_nor_has_a_slope_at_0() {
    assert_eq!(vector(&[3e20, 4e20]).norm().item(), f64::from(5e20_f32));
    let x = Tensor::from_slice(&[3.0, 4.0, 0.0, 0.0], [2, 2]).requires_grad_(true);
    let lengths = x.norm_dim(1, false);
    assert_eq!(lengths.to_vec(), [5.0, 0.0]);
    lengths.sum().backward();
    assert_eq!(x.grad().unwrap().to_vec(), [0.6, 0.8, 0.0, 0.0]);
}

#[test]
fn rounding_takes_the_even_one_of_two() {
    let x = vector(&[-1.5, -0.5, 0.5, 1.5, 2.5, 2.6]);
    assert_eq!(x.round().to_vec(), [-2.0, -0.0, 0.0, 2.0, 2.0, 3.0]);
    assert_eq!(x.floor().to_vec(), [-2.0, -1.0, 0.0, 1.0, 2.0, 2.0]);
    assert_eq!(x.ceil().to_vec(), [-1.0, -0.0, 1.0, 2.0, 3.0, 3.0]);
}

#[test]
fn windows_are_pooled_with_their_padding() {
    let x = Tensor::from_vec((1..=16_u8).map(f32::from).collect(), [1, 1, 4, 4]);
    assert_eq!(x.max_pool2d(2, 2, 0).to_vec(), [6.0, 8.0, 14.0, 16.0]);
    assert_eq!((-&x).max_pool2d(3, 2, 1).to_vec(), [-1.0, -2.0, -5.0, -6.0]);
    assert_eq!(x.avg_pool2d(2, 2, 0).to_vec(), [3.5, 5.5, 11.5, 13.5]);
    assert_eq!(x.avg_pool2d(2, 2, 1).to_vec()[..2], [0.25, 1.25]);
    assert_eq!(x.max_pool2d(2, 1, 1).dims(), [1, 1, 5, 5]);
    assert!(catch(|| x.max_pool2d(2, 2, 2)).is_err());
    assert!(catch(|| x.max_pool2d(5, 1, 0)).is_err());
    assert!(catch(|| x.avg_pool2d(2, 0, 0)).is_err());
}

#[test]
fn operators_that_assign_write_in_place() {
    let mut x = vector(&[1.0, 2.0]);
    let handle = x.clone();
    x += &vector(&[1.0, 1.0]);
    x *= 2.0;
    x -= 1.0;
    x /= vector(&[3.0, 5.0]);
    assert_eq!(handle.to_vec(), [1.0, 1.0]);
    assert_eq!(x.version(), 4);
    let mut leaf = vector(&[1.0]).requires_grad_(true);
    assert!(catch(|| leaf += 1.0).is_err());
    no_grad(|| leaf += 1.0);
    assert_eq!(leaf.to_vec(), [2.0]);
}
