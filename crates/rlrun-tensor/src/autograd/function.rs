//! Functions with a gradient of the user's own.

use super::node::{Grads, NodeRef};
use crate::error::{TensorError, raise};
use crate::layout::Shape;
use crate::mode::{self, GradModeGuard};
use crate::tensor::Tensor;

/// An operation with its own backward, as `torch.autograd.Function`. Numbers that are not tensors are
/// fields of the type.
///
/// ```
/// use rlrun_tensor::{Function, FunctionContext, Tensor};
///
/// /// Rounds; the gradient passes as if nothing had happened (Bengio et al. 2013, arXiv 1308.3432).
/// struct StraightThrough;
///
/// impl Function for StraightThrough {
///     fn forward(&self, _: &mut FunctionContext, inputs: &[&Tensor]) -> Tensor {
///         inputs[0].round()
///     }
///     fn backward(&self, _: &FunctionContext, grad: &Tensor) -> Vec<Option<Tensor>> {
///         vec![Some(grad.clone())]
///     }
/// }
///
/// let x = Tensor::from_slice(&[0.3, 1.7], [2]).requires_grad_(true);
/// let y = StraightThrough.apply(&[&x]);
/// assert_eq!(y.to_string(), "tensor([0., 2.], grad_fn=<StraightThroughBackward>)");
/// (y * 3.0).sum().backward();
/// assert_eq!(x.grad().unwrap().to_vec(), [3.0, 3.0]);
/// ```
///
/// What backward needs is saved in forward; a write to it in between is an error, as for every
/// operation. Backward is written in tensor operations: with `create_graph` they are recorded, which
/// gives second derivatives, as far as it computes from the gradient and from saved inputs and the saved
/// result:
///
/// ```
/// # use rlrun_tensor::{Backward, Function, FunctionContext, Tensor, grad};
/// struct Cube;
///
/// impl Function for Cube {
///     fn forward(&self, ctx: &mut FunctionContext, inputs: &[&Tensor]) -> Tensor {
///         ctx.save_for_backward(inputs[0]);
///         inputs[0].pow(3.0)
///     }
///     fn backward(&self, ctx: &FunctionContext, grad: &Tensor) -> Vec<Option<Tensor>> {
///         let x = &ctx.saved_tensors()[0];
///         vec![Some(grad * x * x * 3.0)]
///     }
/// }
///
/// let x = Tensor::scalar(2.0).requires_grad_(true);
/// let recorded = Backward { create_graph: true, ..Backward::default() };
/// let first = grad(&Cube.apply(&[&x]), &[&x], recorded);
/// let second = grad(&first[0], &[&x], Backward::default());
/// assert_eq!((first[0].item(), second[0].item()), (12.0, 12.0));
/// ```
pub trait Function: Send + Sync + Sized + 'static {
    /// The result for `inputs`, a tensor of any shape. Runs without recording, and may not write to its
    /// inputs. A result that is an input, or a view of one, is copied.
    fn forward(&self, ctx: &mut FunctionContext, inputs: &[&Tensor]) -> Tensor;

    /// One gradient for each input, of its shape, from the gradient of the result; `None` for an input
    /// that gets none.
    fn backward(&self, ctx: &FunctionContext, grad: &Tensor) -> Vec<Option<Tensor>>;

    /// What errors and `grad_fn=<…>` call it: the name of the type.
    fn name(&self) -> &'static str {
        let path = std::any::type_name::<Self>();
        let path = path.split('<').next().unwrap_or(path);
        path.rsplit("::").next().unwrap_or(path)
    }

    /// Computes the result and, if history is recorded and an input requires grad, records it.
    ///
    /// # Panics
    /// [`TensorError::InvalidArgument`] if forward writes to an input, or if backward does not return
    /// one gradient for each input; [`TensorError::ShapeMismatch`] if one has another shape.
    #[track_caller]
    fn apply(self, inputs: &[&Tensor]) -> Tensor {
        let name = self.name();
        let needs = inputs.iter().map(|input| mode::recording() && input.requires_grad());
        let mut ctx = FunctionContext { saved: Vec::new(), needs: needs.collect() };
        let found = run_forward(&self, &mut ctx, inputs);
        let is_own = found.meta().is_none() && !inputs.iter().any(|x| x.shares_storage(&found));
        let is_kind = found.is_inference() == mode::mode().inference.is_some();
        let result = if is_own && is_kind { found.clone() } else { found.copy() };
        if !ctx.needs.contains(&true) {
            return result;
        }
        if let Err(error) = result.expect_f32(name) {
            raise(error);
        }
        let saved = std::mem::take(&mut ctx.saved);
        drop(ctx);
        let own = result.clone();
        result.record_many(name, inputs, |saver| {
            let mut keep = |tensor: &Tensor| {
                if inputs.iter().any(|input| input.is(tensor)) {
                    saver.input(tensor)
                } else if found.is(tensor) {
                    saver.result(&own)
                } else if tensor.shares_storage(&own) {
                    // A view of the result would hold it, and it this node, for ever.
                    saver.input(&tensor.detach())
                } else {
                    saver.input(tensor)
                }
            };
            let saved: Vec<_> = saved.iter().map(&mut keep).collect();
            let shapes: Vec<Shape> = inputs.iter().map(|input| input.layout.shape).collect();
            move |grad: &Tensor, node: &NodeRef| {
                let saved = saved.iter().map(|saved| saved.get(node)).collect();
                let needs = (0..shapes.len()).map(|index| node.needs(index)).collect();
                let ctx = FunctionContext { saved, needs };
                let _users_code = GradModeGuard::hook();
                checked(name, self.backward(&ctx, grad), &shapes)
            }
        })
    }
}

/// What a [`Function`] keeps between forward and backward.
#[derive(Debug)]
pub struct FunctionContext {
    saved: Vec<Tensor>,
    needs: Vec<bool>,
}

impl FunctionContext {
    /// Keeps a tensor for backward: an input, the result, or something computed on the way. Through the
    /// last no second derivative flows.
    pub fn save_for_backward(&mut self, tensor: &Tensor) {
        self.saved.push(tensor.clone());
    }

    /// What forward saved, in its order.
    pub fn saved_tensors(&self) -> &[Tensor] {
        &self.saved
    }

    /// Whether the gradient of an input is wanted; backward may return `None` for others.
    pub fn needs_input_grad(&self, input: usize) -> bool {
        self.needs.get(input).copied().unwrap_or(false)
    }
}

/// Runs forward outside history and sees that it leaves its inputs alone.
#[track_caller]
fn run_forward(f: &impl Function, ctx: &mut FunctionContext, inputs: &[&Tensor]) -> Tensor {
    let version = |input: &&Tensor| (!input.is_inference()).then(|| input.version());
    let before: Vec<_> = inputs.iter().map(version).collect();
    let found = {
        let _mode = GradModeGuard::no_grad();
        f.forward(ctx, inputs)
    };
    let written = inputs.iter().zip(before).position(|(input, before)| version(input) != before);
    if let Some(index) = written {
        let detail = format!("forward wrote to input {index}; write to a copy of it");
        raise(TensorError::InvalidArgument { op: f.name(), detail });
    }
    found
}

/// The gradients that a user's backward returned, if they fit the inputs.
fn checked(op: &'static str, grads: Vec<Option<Tensor>>, shapes: &[Shape]) -> Grads {
    if grads.len() != shapes.len() {
        let (found, expected) = (grads.len(), shapes.len());
        let detail = format!(
            "backward returned {found} gradients, expected one for each of {expected} inputs"
        );
        raise(TensorError::InvalidArgument { op, detail });
    }
    for (index, (grad, shape)) in grads.iter().zip(shapes).enumerate() {
        let Some(grad) = grad else { continue };
        if grad.dims() != &shape[..] {
            let (found, expected) = (grad.dims(), &shape[..]);
            let detail = format!(
                "backward returned a gradient of shape {found:?} for input {index}, expected {expected:?}"
            );
            raise(TensorError::ShapeMismatch { op, detail });
        }
        if let Err(error) = grad.expect_f32(op) {
            raise(error);
        }
    }
    // A gradient from an inference mode within backward could not be accumulated later.
    let normal = |grad: Tensor| if grad.is_inference() { grad.copy() } else { grad };
    grads.into_iter().map(|grad| grad.map(normal)).collect()
}
