//! A gradient while contributions to it arrive.
//!
//! The gradient of a `narrow` or `select` fills a part of its input's and is zero elsewhere. Such
//! parts are added in place, so that thousands of rows of one tensor cost what their elements cost. The
//! bits are those of adding full tensors: 0 is added to whatever some contribution did not reach, which
//! makes a difference to −0 alone and may therefore be done last.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::node::{Grads, NodeRef};
use crate::layout::Shape;
use crate::mode::{self, GradModeGuard};
use crate::tensor::Tensor;
use crate::view::ViewStep;

/// Which part of a tensor a gradient is of.
pub(crate) struct Part {
    /// A `Narrow` or a `Select`.
    pub(crate) step: ViewStep,
    /// The tensor's.
    pub(crate) shape: Shape,
}

/// The sum of what has arrived so far.
pub(super) enum Arrived {
    Whole(Tensor),
    /// One gradient of a part.
    Part(Arc<Part>, Tensor),
    Parts(Box<Sum>),
    /// Contributions to a gradient that is recorded.
    Recorded(Box<Recorded>),
}

impl Arrived {
    pub(super) fn first(part: Option<Arc<Part>>, grad: Tensor) -> Arrived {
        match part {
            None => Arrived::Whole(grad),
            Some(part) => Arrived::Part(part, grad),
        }
    }

    /// Adds one contribution more.
    pub(super) fn add(&mut self, part: Option<Arc<Part>>, grad: Tensor) {
        match (&mut *self, part) {
            (Arrived::Whole(whole), None) => *whole = sum_of(whole, grad),
            (Arrived::Parts(sum), None) => sum.whole = sum_of(&sum.whole, grad),
            (Arrived::Parts(sum), Some(part)) => sum.add(&part.step, &grad),
            (Arrived::Recorded(recorded), Some(part)) => recorded.push(part, grad),
            (_, None) => *self = Arrived::Whole(sum_of(&self.take(), grad)),
            (_, Some(part)) if mode::recording() => {
                let mut recorded = Recorded { whole: Some(self.take()), ..Recorded::default() };
                recorded.push(part, grad);
                *self = Arrived::Recorded(Box::new(recorded));
            }
            (Arrived::Part(first, before), Some(part)) => {
                let mut sum = Sum::nothing(&part.shape);
                sum.add(&first.step, before);
                sum.add(&part.step, &grad);
                *self = Arrived::Parts(Box::new(sum));
            }
            (Arrived::Whole(_), Some(part)) => {
                let mut sum = Sum::of(self.take());
                sum.add(&part.step, &grad);
                *self = Arrived::Parts(Box::new(sum));
            }
        }
    }

    fn take(&mut self) -> Tensor {
        std::mem::replace(self, Arrived::Recorded(Box::default())).complete()
    }

    /// The gradient, when nothing more arrives.
    pub(super) fn complete(self) -> Tensor {
        match self {
            Arrived::Whole(grad) => grad,
            Arrived::Part(part, grad) if mode::recording() => join(None, vec![(part, grad)]),
            Arrived::Part(part, grad) => {
                let whole = Tensor::zeros(&part.shape[..]);
                whole.step(part.step, false).copy_(&grad);
                whole
            }
            Arrived::Parts(sum) => sum.complete(),
            Arrived::Recorded(recorded) => recorded.complete(),
        }
    }
}

/// The sum of two whole contributions, into the memory of the second if nobody else can see it.
fn sum_of(first: &Tensor, second: Tensor) -> Tensor {
    let same_order = second.layout == first.layout && second.layout.is_dense();
    if same_order && second.is_unshared() && !second.is_inference() && !mode::recording() {
        second.add_(first);
        return second;
    }
    first.add(&second)
}

/// A sum in memory of its own.
pub(super) struct Sum {
    whole: Tensor,
    /// What every contribution reached; may be larger where no sum is −0.
    reached: Region,
}

impl Sum {
    /// Of nothing: −0, to which any number is added without a change.
    fn nothing(shape: &Shape) -> Sum {
        Sum { whole: Tensor::full(&shape[..], -0.0), reached: Region::all(shape) }
    }

    fn of(grad: Tensor) -> Sum {
        let own = grad.is_contiguous() && grad.is_unshared() && !grad.is_inference();
        let reached = Region::all(&grad.layout.shape);
        Sum { whole: if own { grad } else { grad.clone_contiguous() }, reached }
    }

    fn add(&mut self, step: &ViewStep, grad: &Tensor) {
        self.whole.step(*step, false).add_(grad);
        self.reached.meet(step);
    }

    fn complete(self) -> Tensor {
        let Sum { whole, reached } = self;
        if reached.is_empty() {
            whole.add_scalar_(0.0);
        } else {
            let part = reached.of(&whole);
            let kept = part.copy();
            whole.add_scalar_(0.0);
            part.copy_(&kept);
        }
        whole
    }
}

/// A range of each dimension.
struct Region(SmallVec<[Range<usize>; 4]>);

impl Region {
    fn all(shape: &Shape) -> Region {
        Region(shape.iter().map(|&extent| 0..extent).collect())
    }

    fn meet(&mut self, step: &ViewStep) {
        let (dim, other) = match *step {
            ViewStep::Narrow { dim, start, len } => (dim, start..start + len),
            ViewStep::Select { dim, index } => (dim, index..index + 1),
            _ => return,
        };
        let range = &mut self.0[dim];
        *range = range.start.max(other.start)..range.end.min(other.end);
    }

    fn is_empty(&self) -> bool {
        self.0.iter().any(Range::is_empty)
    }

    fn of(&self, whole: &Tensor) -> Tensor {
        self.0.iter().enumerate().fold(whole.clone(), |part, (dim, range)| {
            part.step(ViewStep::Narrow { dim, start: range.start, len: range.len() }, false)
        })
    }
}

/// Contributions that are joined by one recorded operation as soon as the parts hold as many numbers as
/// the whole.
#[derive(Default)]
pub(super) struct Recorded {
    whole: Option<Tensor>,
    parts: Vec<(Arc<Part>, Tensor)>,
    waiting: usize,
}

impl Recorded {
    fn push(&mut self, part: Arc<Part>, grad: Tensor) {
        let numel: usize = part.shape.iter().product();
        self.waiting += grad.numel().max(1);
        self.parts.push((part, grad));
        if self.waiting > numel {
            self.waiting = 0;
            self.whole = Some(join(self.whole.take(), std::mem::take(&mut self.parts)));
        }
    }

    fn complete(self) -> Tensor {
        match self.whole {
            Some(whole) if self.parts.is_empty() => whole,
            whole => join(whole, self.parts),
        }
    }
}

/// The sum of a whole gradient and gradients of parts, as one operation.
fn join(whole: Option<Tensor>, parts: Vec<(Arc<Part>, Tensor)>) -> Tensor {
    let walk = GradModeGuard::walk();
    let mut arrived = whole.as_ref().map(|whole| Arrived::first(None, whole.clone()));
    for (part, grad) in &parts {
        let (part, grad) = (Some(part.clone()), grad.clone());
        arrived = Some(match arrived {
            Some(mut before) => {
                before.add(part, grad);
                before
            }
            None => Arrived::first(part, grad),
        });
    }
    let Some(arrived) = arrived else { unreachable!("something arrived") };
    let sum = arrived.complete();
    drop(walk);
    let (parts, grads): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let inputs: Vec<&Tensor> = whole.iter().chain(&grads).collect();
    let has_whole = whole.is_some();
    sum.record_many("join_parts", &inputs, |_| {
        move |grad: &Tensor, _: &NodeRef| {
            let whole = has_whole.then(|| Some(grad.clone()));
            let parts = parts.iter().map(|part| Some(grad.step(part.step, false)));
            whole.into_iter().chain(parts).collect::<Grads>()
        }
    })
}
