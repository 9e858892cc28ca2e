//! Messages name the caller's lines: where a tensor was made, where the mode was opened, what saved
//! a tensor and what wrote it.

use rlrun_tensor::{Backward, Parameter, Tensor, TensorError, catch, inference_mode, no_grad};

#[test]
fn a_changed_saved_tensor_names_the_operation_and_the_write() {
    type Write = fn(&Tensor);
    let writes: [(&str, u32, Write); 7] = [
        ("add_", line!(), |x| x.add_scalar_(1.0)),
        ("mul_", line!(), |x| x.mul_scalar_(2.0)),
        ("copy_", line!(), |x| x.copy_(&Tensor::ones([2]))),
        ("zero_", line!(), |x| x.zero_()),
        ("exp_", line!(), |x| x.exp_()),
        ("lerp_", line!(), |x| x.lerp_(&Tensor::ones([2]), 0.5)),
        ("fill_", line!(), |x| x.select(0, 1).fill_(3.0)),
    ];
    for (name, line, write) in writes {
        let w = Tensor::ones([2]).requires_grad_(true);
        let x = Tensor::ones([2]);
        let (saved_line, y) = (line!(), &w * &x);
        no_grad(|| write(&x));
        let Err(TensorError::SavedTensorModified { op, saved_at, saved, found, write }) =
            catch(|| y.sum().backward())
        else {
            panic!("the write by `{name}` went unseen")
        };
        assert_eq!((op, saved_at.file(), saved_at.line()), ("mul", file!(), saved_line));
        assert_eq!((saved, found), (0, 1));
        let (by, at) = write.expect("a write");
        assert_eq!((by, at.file(), at.line()), (name, file!(), line));
    }
}

#[test]
fn every_operation_that_saves_carries_the_line_of_its_caller() {
    let x = || Tensor::from_slice(&[0.5, 1.5, 0.7, 0.2], [2, 2]).requires_grad_(true) * 1.0;
    let weight = Tensor::ones([2, 2]).requires_grad_(true);
    type Apply<'a> = &'a dyn Fn(&Tensor) -> Tensor;
    let operations: [(u32, Apply<'_>); 13] = [
        (line!(), &|x| x / &weight),
        (line!(), &|x| x.matmul(&weight)),
        (line!(), &|x| x.linear(&weight, None)),
        (line!(), &|x| x.log()),
        (line!(), &|x| x.pow(3.0)),
        (line!(), &|x| x.clamp(0.1, 0.9)),
        (line!(), &|x| x.maximum(&weight)),
        (line!(), &|x| x.var()),
        (line!(), &|x| x.logsumexp(1, false)),
        (line!(), &|x| x.amax(0, false)),
        (line!(), &|x| x.mse_loss(&weight)),
        (line!(), &|x| x.layer_norm(&[2], None, None, 1e-5)),
        (line!(), &|x| x.gelu()),
    ];
    for (line, apply) in operations {
        let x = x();
        let y = apply(&x).sum();
        no_grad(|| x.fill_(0.3));
        let error = catch(|| y.backward_with(Backward::default())).expect_err("a changed input");
        let TensorError::SavedTensorModified { op, saved_at, .. } = error else {
            panic!("{error}")
        };
        assert_eq!((saved_at.file(), saved_at.line()), (file!(), line), "{op}");
    }
}

#[test]
fn a_step_of_an_optimizer_is_named_as_the_write() {
    let w = Parameter::new(Tensor::ones([2]));
    w.set_grad(Some(&Tensor::ones([2])));
    let loss = (&*w * &*w).sum();
    let line = line!() + 1;
    w.update(|values, grads| values[0] -= grads[0]);
    let error = catch(|| loss.backward()).expect_err("a stale graph");
    let TensorError::SavedTensorModified { write: Some((op, at)), .. } = error else {
        panic!("{error}")
    };
    assert_eq!((op, at.file(), at.line()), ("optimizer step", file!(), line));
}

#[test]
fn an_inference_tensor_in_recorded_history_names_its_origin_and_its_mode() {
    let w = Tensor::ones([2]).requires_grad_(true);
    let line = line!() + 1;
    let values = inference_mode(|| Tensor::ones([2]));
    let error = catch(|| &w * &values).expect_err("an inference tensor cannot be saved");
    let TensorError::SaveInferenceForBackward { op, tensor } = &error else { panic!("{error}") };
    let mode_at = tensor.mode_at.expect("a mode");
    assert_eq!((*op, tensor.made_at.line(), mode_at.line()), ("mul", line, line));
    assert_eq!((tensor.made_at.file(), mode_at.file()), (file!(), file!()));
    let text = error.to_string();
    for part in ["E-MODE-01", "`mul`", file!(), "opened at", "make the tensor outside"] {
        assert!(text.contains(part), "`{part}` is missing: {text}");
    }
}

#[test]
fn an_uncaught_refusal_panics_with_its_text() {
    let result = std::panic::catch_unwind(|| Tensor::ones([2]).view([3]));
    let payload = result.expect_err("the shapes do not fit");
    let text = payload.downcast_ref::<String>().expect("a text");
    assert!(text.starts_with("E-SHAPE-01"), "{text}");
}
