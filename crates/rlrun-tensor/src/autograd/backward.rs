//! Gradients asked for: of all leaves, of some, or as values.

use super::node::Edge;
use super::walk::{Targets, Walk};
use crate::call::CallGuard;
use crate::error::{TensorError, ok, raise};
use crate::tensor::Tensor;

/// Options of a walk through the graph.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backward<'a> {
    /// Gradient of the tensor that the walk starts from; not needed for one element.
    pub gradient: Option<&'a Tensor>,
    /// Keeps the graph for another walk.
    pub retain_graph: bool,
    /// Records the walk itself, for second-order gradients; keeps the graph. What `backward` then
    /// accumulates in `.grad` holds the graph, which holds the leaf: neither is freed before the
    /// gradient is cleared (`set_grad(None)`), and the first such call of a process logs a warning.
    /// [`grad`] and [`Tensor::grad_of`] hand gradients out and hold nothing.
    pub create_graph: bool,
    /// Accumulates into these tensors only. One that is not a leaf retains its gradient from now
    /// on.
    pub inputs: Option<&'a [&'a Tensor]>,
}

impl Tensor {
    /// Accumulates the gradient of this one element into `.grad` of every leaf it came from.
    ///
    /// # Panics
    /// [`TensorError::NoGraph`], [`TensorError::NonScalarBackward`],
    /// [`TensorError::SavedTensorModified`], [`TensorError::BackwardThroughFreedGraph`].
    ///
    /// ```
    /// use rlrun_tensor::Tensor;
    /// let w = Tensor::from_slice(&[3.0], [1]).requires_grad_(true);
    /// (&w * &w).sum().backward();
    /// assert_eq!(w.grad().unwrap().to_vec(), [6.0]);
    /// ```
    #[track_caller]
    pub fn backward(&self) {
        self.backward_with(Backward::default());
    }

    /// [`Tensor::backward`] with options.
    ///
    /// # Panics
    /// As [`Tensor::backward`], [`TensorError::GradShapeMismatch`], and
    /// [`TensorError::NoInputs`] or [`TensorError::GradWrtNotRequired`] for such `inputs`.
    #[track_caller]
    pub fn backward_with(&self, options: Backward<'_>) {
        let _call = CallGuard::named("backward");
        if options.inputs.is_some_and(<[_]>::is_empty) {
            raise(TensorError::NoInputs);
        }
        let (edge, gradient) = self.start(options.gradient);
        let targets = options.inputs.map(|inputs| {
            let edges = edges_of(inputs);
            inputs.iter().for_each(|input| input.retain_grad());
            Targets::accumulated(&edge, &edges)
        });
        if options.create_graph {
            warn_of_cycle();
        }
        Walk::new(options, targets).run(&edge, gradient);
    }

    /// Gradients of this tensor with respect to `wrt`, accumulating nothing; `None` where a tensor
    /// was not used.
    ///
    /// # Panics
    /// As [`Tensor::backward_with`], and [`TensorError::GradWrtNotRequired`].
    #[track_caller]
    pub fn grad_of(&self, wrt: &[&Tensor], options: Backward<'_>) -> Vec<Option<Tensor>> {
        let _call = CallGuard::named("grad");
        let (edge, gradient) = self.start(options.gradient);
        let targets = Targets::captured(&edge, &edges_of(wrt));
        Walk::new(options, Some(targets)).run(&edge, gradient)
    }

    /// The edge and gradient that a walk starts with.
    #[track_caller]
    fn start(&self, gradient: Option<&Tensor>) -> (Edge, Tensor) {
        let no_graph = || TensorError::NoGraph { tensor: self.origin() };
        let gradient = match gradient {
            Some(gradient) if gradient.dims() != self.dims() => {
                let (expected, found) = (self.dims().to_vec(), gradient.dims().to_vec());
                raise(TensorError::GradShapeMismatch { expected, found })
            }
            Some(gradient) => gradient.clone(),
            None if !self.requires_grad() => raise(no_graph()),
            None if self.numel() != 1 => {
                raise(TensorError::NonScalarBackward { tensor: self.origin() })
            }
            None => Tensor::ones(self.dims()),
        };
        // A view made in no_grad requires grad through its root, yet nothing leads there.
        let edge = ok(self.edge("backward").and_then(|edge| edge.ok_or_else(no_graph)));
        (edge, gradient)
    }
}

/// Gradients of `of` with respect to `wrt`, accumulating nothing.
///
/// # Panics
/// As [`Tensor::grad_of`], and [`TensorError::UnusedInGraph`] if one was not used.
///
/// ```
/// use rlrun_tensor::{Backward, Tensor, grad};
/// let x = Tensor::from_slice(&[2.0], [1]).requires_grad_(true);
/// let y = (&x * &x * &x).sum();
/// let first = grad(&y, &[&x], Backward { create_graph: true, ..Backward::default() });
/// let second = grad(&first[0].sum(), &[&x], Backward::default());
/// assert_eq!(second[0].to_vec(), [12.0]);
/// ```
#[track_caller]
pub fn grad(of: &Tensor, wrt: &[&Tensor], options: Backward<'_>) -> Vec<Tensor> {
    let found = of.grad_of(wrt, options);
    if let Some(unused) = found.iter().position(Option::is_none) {
        raise(TensorError::UnusedInGraph { tensor: wrt[unused].origin() });
    }
    found.into_iter().flatten().collect()
}

/// Where gradients of these tensors arrive; nowhere for a view that was cut off from its root.
#[track_caller]
fn edges_of(tensors: &[&Tensor]) -> Vec<Option<Edge>> {
    if let Some(constant) = tensors.iter().find(|tensor| !tensor.requires_grad()) {
        raise(TensorError::GradWrtNotRequired { tensor: constant.origin() });
    }
    let mut edges = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        edges.push(ok(tensor.edge("backward")));
    }
    edges
}

/// Says once that a recorded gradient and its leaf hold each other.
fn warn_of_cycle() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        tracing::warn!(
            "backward with `create_graph` keeps the graph in `.grad`, which the graph holds in turn: \
             memory grows until the gradient is cleared; `grad` hands gradients out instead"
        );
    });
}
