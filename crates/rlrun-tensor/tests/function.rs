//! Functions with a backward of the user's own: what is recorded, saved, refused.

use rlrun_tensor::{
    Backward, Function, FunctionContext, Parameter, Tensor, TensorError, catch, enable_grad, grad,
    graph_stats, inference_mode, is_grad_enabled, no_grad,
};

const RECORDED: Backward<'_> =
    Backward { gradient: None, retain_graph: false, create_graph: true, inputs: None };

/// Passes its input on and turns the gradient round (Ganin & Lempitsky 2015, arXiv 1409.7495).
struct Reversal {
    strength: f32,
}

impl Function for Reversal {
    fn forward(&self, _: &mut FunctionContext, inputs: &[&Tensor]) -> Tensor {
        inputs[0].clone()
    }
    fn backward(&self, _: &FunctionContext, grad: &Tensor) -> Vec<Option<Tensor>> {
        vec![Some(grad * -self.strength)]
    }
}

/// x · e^y, which saves an input and its result.
struct ScaledExp;

impl Function for ScaledExp {
    fn forward(&self, ctx: &mut FunctionContext, inputs: &[&Tensor]) -> Tensor {
        assert!(!is_grad_enabled());
        let result = inputs[0] * inputs[1].exp();
        ctx.save_for_backward(inputs[1]);
        ctx.save_for_backward(&result);
        result
    }
    fn backward(&self, ctx: &FunctionContext, grad: &Tensor) -> Vec<Option<Tensor>> {
        let [y, result] = ctx.saved_tensors() else { panic!("two tensors were saved") };
        vec![
            ctx.needs_input_grad(0).then(|| grad * y.exp()),
            ctx.needs_input_grad(1).then(|| grad * result),
        ]
    }
}

fn leaf(numbers: &[f32]) -> Tensor {
    Tensor::from_slice(numbers, [numbers.len()]).requires_grad_(true)
}

#[test]
fn a_result_that_is_its_input_is_a_tensor_of_its_own() {
    let x = leaf(&[1.0, -2.0]);
    let y = Reversal { strength: 0.5 }.apply(&[&x]);
    assert!(!y.is(&x) && !y.shares_storage(&x) && y.has_grad_fn());
    assert_eq!(y.to_vec(), [1.0, -2.0]);
    y.mul_scalar_(4.0);
    assert_eq!(x.to_vec(), [1.0, -2.0]);
    y.sum().backward();
    assert_eq!(x.grad().unwrap().to_vec(), [-2.0, -2.0]);
}

#[test]
fn first_and_second_derivatives_are_those_of_the_operations() {
    let numbers = ([0.7, -1.2], [0.3, 0.9]);
    let run = |f: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
        let (x, y) = (leaf(&numbers.0), leaf(&numbers.1));
        let first = grad(&f(&x, &y).square().sum(), &[&x, &y], RECORDED);
        let total = (&first[0] * 0.3 + &first[1] * 0.7).sum();
        let second = grad(&total, &[&x, &y], Backward::default());
        first.into_iter().chain(second).map(|g| g.to_vec()).collect::<Vec<_>>()
    };
    let own = run(&|x, y| ScaledExp.apply(&[x, y]));
    let composed = run(&|x, y| x * y.exp());
    for (a, b) in own.concat().into_iter().zip(composed.concat()) {
        assert!((a - b).abs() < 1e-5 * (1.0 + b.abs()), "{own:?}, composed {composed:?}");
    }
    // Without `create_graph`, the same bits.
    let (x, y) = (leaf(&numbers.0), leaf(&numbers.1));
    let plain = grad(&ScaledExp.apply(&[&x, &y]).square().sum(), &[&x, &y], Backward::default());
    assert_eq!(plain.iter().map(Tensor::to_vec).collect::<Vec<_>>(), own[..2]);
    assert!(!plain[0].requires_grad());
}

#[test]
fn nothing_is_recorded_where_nothing_requires_grad_or_records() {
    let (x, c) = (leaf(&[1.0]), Tensor::ones([1]));
    assert!(!ScaledExp.apply(&[&c, &c]).requires_grad());
    assert!(!no_grad(|| ScaledExp.apply(&[&x, &x])).requires_grad());
    let inside = inference_mode(|| ScaledExp.apply(&[&x, &x]));
    assert!(inside.is_inference() && !inside.requires_grad());
    let before = graph_stats().nodes;
    drop(ScaledExp.apply(&[&x, &c]));
    assert_eq!(graph_stats().nodes, before);
}

#[test]
fn a_write_to_a_saved_input_or_result_is_an_error_that_names_the_function() {
    let writes: [fn(&Tensor, &Tensor); 2] = [|y, _| y.add_scalar_(1.0), |_, z| z.add_scalar_(1.0)];
    for write in writes {
        let (x, y) = (leaf(&[1.0]), leaf(&[2.0]));
        let z = ScaledExp.apply(&[&x, &y]);
        no_grad(|| write(&y, &z));
        let Err(TensorError::SavedTensorModified { op, saved_at, .. }) =
            catch(|| z.sum().backward())
        else {
            panic!("the write went unseen")
        };
        assert_eq!((op, saved_at.file()), ("ScaledExp", file!()));
    }
}

#[test]
fn an_inference_tensor_cannot_be_saved() {
    let x = leaf(&[1.0]);
    let y = inference_mode(|| Tensor::ones([1]));
    let error = catch(|| ScaledExp.apply(&[&x, &y])).unwrap_err();
    assert!(matches!(error, TensorError::SaveInferenceForBackward { op: "ScaledExp", .. }));
}

/// Returns what it was told to.
struct Returns(fn(&Tensor) -> Vec<Option<Tensor>>);

impl Function for Returns {
    fn forward(&self, _: &mut FunctionContext, inputs: &[&Tensor]) -> Tensor {
        inputs[0] + inputs[1]
    }
    fn backward(&self, _: &FunctionContext, grad: &Tensor) -> Vec<Option<Tensor>> {
        self.0(grad)
    }
}

#[test]
fn gradients_that_do_not_fit_are_refused_by_name() {
    let (x, y) = (leaf(&[1.0, 2.0]), leaf(&[3.0, 4.0]));
    let fails = |f: fn(&Tensor) -> Vec<Option<Tensor>>| {
        let result = Returns(f).apply(&[&x, &y]);
        catch(|| result.sum().backward()).unwrap_err().to_string()
    };
    assert_eq!(
        fails(|grad| vec![Some(grad.clone())]),
        "E-SHAPE-07: `Returns`: backward returned 1 gradients, expected one for each of 2 inputs"
    );
    assert_eq!(
        fails(|grad| vec![None, Some(grad.sum())]),
        "E-SHAPE-01: `Returns`: backward returned a gradient of shape [] for input 1, expected [2]"
    );
    let flags = fails(|_| vec![Some(Tensor::from_bool(&[true, false], [2])), None]);
    assert_eq!(flags, "E-SHAPE-04: `Returns` needs f32, got bool");
    // None for an input is no gradient; one for a constant is left alone.
    let constant = Tensor::ones([2]);
    Returns(|grad| vec![None, Some(grad.clone())]).apply(&[&x, &constant]).sum().backward();
    assert!(x.grad().is_none() && constant.grad().is_none());
}

/// Writes to its input.
struct Writes;

impl Function for Writes {
    fn forward(&self, _: &mut FunctionContext, inputs: &[&Tensor]) -> Tensor {
        inputs[0].add_scalar_(1.0);
        inputs[0].clone()
    }
    fn backward(&self, _: &FunctionContext, grad: &Tensor) -> Vec<Option<Tensor>> {
        vec![Some(grad.clone())]
    }
}

#[test]
fn a_write_to_an_input_in_forward_is_refused() {
    let error = catch(|| Writes.apply(&[&leaf(&[1.0])])).unwrap_err().to_string();
    let expected = "E-SHAPE-07: `Writes`: forward wrote to input 0; write to a copy of it";
    assert_eq!(error, expected);
}

/// Saves a view of its result, and computes backward with views, an inner gradient and inference mode.
struct Thorough;

impl Function for Thorough {
    fn forward(&self, ctx: &mut FunctionContext, inputs: &[&Tensor]) -> Tensor {
        let result = inputs[0] * 2.0;
        ctx.save_for_backward(&result.view([-1]));
        result
    }
    fn backward(&self, ctx: &FunctionContext, gradient: &Tensor) -> Vec<Option<Tensor>> {
        let x = (&ctx.saved_tensors()[0] * 0.5).detach().requires_grad_(true);
        let inner = enable_grad(|| grad(&(&x * 2.0).sum(), &[&x], Backward::default()));
        vec![Some(inference_mode(|| gradient * &inner[0].view(gradient.dims())))]
    }
}

#[test]
fn backward_may_differentiate_and_leaves_no_cycle() {
    let before = graph_stats().nodes;
    let w = Parameter::new(Tensor::from_slice(&[1.0, 3.0], [2]));
    drop(Thorough.apply(&[&w]));
    assert_eq!(graph_stats().nodes, before, "the view of the result keeps the node");
    for times in [1.0, 2.0] {
        Thorough.apply(&[&w]).sum().backward();
        let found = w.grad().unwrap();
        assert!(!found.is_inference());
        assert_eq!(found.to_vec(), [2.0 * times; 2]);
    }
}
