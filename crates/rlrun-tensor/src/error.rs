//! The one error type of the library, and how formulas raise it.
//!
//! Formulas panic with the error's text at the caller's line; [`catch`] turns the panic back into
//! the typed error, so that nobody has to parse a message.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};

use thiserror::Error;

use crate::call::InCall;

/// A place in the source code.
pub type Site = &'static Location<'static>;

/// Where a tensor comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where it was made.
    pub made_at: Site,
    /// Where the inference mode was opened in which it was made, if it was.
    pub mode_at: Option<Site>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor {:?} made at `{}`", self.shape, self.made_at)?;
        match self.mode_at {
            Some(site) => write!(f, " in the inference mode opened at `{site}`"),
            None => Ok(()),
        }
    }
}

/// Everything that the library refuses. Names follow PyTorch's rules; codes are stable.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant explains its fields")]
pub enum TensorError {
    /// A recorded operation needs an inference tensor for backward.
    #[error(
        "E-MODE-01: `{op}` records history and must save an inference tensor for backward \
         ({tensor}); make the tensor outside inference mode, `clone_contiguous()` it there, or read plain \
         numbers from a buffer"
    )]
    SaveInferenceForBackward { op: &'static str, tensor: Origin },
    /// A write to an inference tensor outside inference mode.
    #[error(
        "E-MODE-02: `{op}` would change an inference tensor outside inference mode ({tensor}); \
         make the tensor before the mode is entered, or end the mode later"
    )]
    InplaceOnInferenceTensor { op: &'static str, tensor: Origin },
    /// A trainable tensor made in inference mode.
    #[error(
        "E-MODE-03: an inference tensor cannot require grad ({tensor}); build parameters outside \
         inference mode"
    )]
    SetRequiresGradOnInference { tensor: Origin },
    /// Backward from a tensor without history.
    #[error(
        "E-MODE-04: backward has no graph to walk: {tensor} requires no grad; it was computed \
         from constants, after `detach()`, or inside `no_grad` or `inference_mode`"
    )]
    NoGraph { tensor: Origin },
    /// The version of an inference tensor.
    #[error("E-MODE-05: inference tensors have no version counter ({tensor})")]
    VersionOfInference { tensor: Origin },
    /// `data` of a tensor and an inference tensor exchanged.
    #[error(
        "E-MODE-06: `set_data` cannot mix an inference tensor and a normal one ({tensor}); copy \
         the values with `copy_`"
    )]
    SetDataAcrossModes { tensor: Origin },
    /// A saved tensor was written before backward read it.
    #[error(
        "E-VER-01: a tensor saved by `{op}` at `{saved_at}` was changed before backward: it was \
         saved at version {saved} and is at version {found}{}; save a `clone_contiguous()`, or write after \
         backward", written(*.write)
    )]
    SavedTensorModified {
        op: &'static str,
        saved_at: Site,
        saved: u32,
        found: u32,
        write: Option<(&'static str, Site)>,
    },
    /// A recorded write to a leaf that requires grad.
    #[error(
        "E-INPLACE-01: `{op}` would change a leaf that requires grad ({tensor}) while history is \
         recorded; write it inside `no_grad`"
    )]
    LeafInplace { op: &'static str, tensor: Origin },
    /// A recorded write to a view of such a leaf.
    #[error(
        "E-INPLACE-02: `{op}` would change a view of a leaf that requires grad ({tensor}) while \
         history is recorded; write it inside `no_grad`"
    )]
    ViewOfLeafInplace { op: &'static str, tensor: Origin },
    /// A view made in `no_grad` is written, or used after a write, while history is recorded.
    #[error(
        "E-INPLACE-03: `{op}`: {tensor} is a view made in no_grad and cannot take part in \
         recorded history after a write; make the view in grad mode, or write inside `no_grad`"
    )]
    NoGradViewInplace { op: &'static str, tensor: Origin },
    /// The same for a view made in inference mode.
    #[error(
        "E-INPLACE-04: `{op}`: {tensor} is a view made in inference mode and cannot take part in \
         recorded history after a write; make the view in grad mode, or write inside `no_grad`"
    )]
    InferenceViewInplace { op: &'static str, tensor: Origin },
    /// The same for one of several views made by `split`, `chunk` or `unbind`.
    #[error(
        "E-INPLACE-05: `{op}`: {tensor} is one of several views made at once (split, chunk, \
         unbind) and cannot be written while history is recorded; use `narrow` or `select`"
    )]
    MultiOutputViewInplace { op: &'static str, tensor: Origin },
    /// The elements of the target share memory.
    #[error(
        "E-INPLACE-06: `{op}`: elements of {tensor} share memory; `clone_contiguous()` it first"
    )]
    OverlappingInplace { op: &'static str, tensor: Origin },
    /// A destination given to a recorded operation.
    #[error("E-INPLACE-07: `{op}` with a destination cannot record history; call it in `no_grad`")]
    OutRequiresGrad { op: &'static str },
    /// `detach_` of a view.
    #[error("E-INPLACE-08: `detach_` cannot cut a view off its base ({tensor}); use `detach()`")]
    DetachViewInplace { tensor: Origin },
    /// `requires_grad` of a result cleared.
    #[error("E-GRAD-01: only a leaf can stop requiring grad ({tensor}); use `detach()`")]
    NonLeafRequiresGradChange { tensor: Origin },
    /// `requires_grad` of whole numbers.
    #[error("E-GRAD-02: only f32 tensors can require grad, not {dtype}")]
    NonFloatRequiresGrad { dtype: &'static str },
    /// Second walk through a freed part of the graph.
    #[error(
        "E-GRAD-03: backward runs a second time through `{op}` recorded at `{at}`, whose saved \
         tensors were freed; keep them with `retain_graph`"
    )]
    BackwardThroughFreedGraph { op: &'static str, at: Site },
    /// Backward from several elements.
    #[error(
        "E-GRAD-04: backward starts from one element, not from {tensor}; reduce it, or give a gradient"
    )]
    NonScalarBackward { tensor: Origin },
    /// A gradient was asked of a tensor that played no part.
    #[error("E-GRAD-05: a tensor whose gradient is asked for was not used in the graph ({tensor})")]
    UnusedInGraph { tensor: Origin },
    /// A gradient was asked of a constant.
    #[error("E-GRAD-06: a tensor whose gradient is asked for does not require grad ({tensor})")]
    GradWrtNotRequired { tensor: Origin },
    /// The given gradient has another shape.
    #[error("E-GRAD-07: the gradient has shape {found:?}, expected {expected:?}")]
    GradShapeMismatch { expected: Vec<usize>, found: Vec<usize> },
    /// The assigned gradient has another shape.
    #[error("E-GRAD-08: cannot assign a gradient of shape {found:?} to a tensor {expected:?}")]
    AssignGradShapeMismatch { expected: Vec<usize>, found: Vec<usize> },
    /// A hook on a constant.
    #[error("E-GRAD-09: a hook needs a tensor that requires grad ({tensor})")]
    HookOnNoGrad { tensor: Origin },
    /// A post-accumulate hook on a result.
    #[error("E-GRAD-10: a post-accumulate hook needs a leaf ({tensor})")]
    PostAccHookOnNonLeaf { tensor: Origin },
    /// `retain_grad` on a constant.
    #[error("E-GRAD-11: `retain_grad` needs a tensor that requires grad ({tensor})")]
    RetainGradOnNoGrad { tensor: Origin },
    /// Backward into nothing.
    #[error("E-GRAD-12: `inputs` names no tensor; leave it out to reach every leaf")]
    NoInputs,
    /// Shapes that do not fit together.
    #[error("E-SHAPE-01: `{op}`: {detail}")]
    ShapeMismatch { op: &'static str, detail: String },
    /// A view that needs a copy.
    #[error(
        "E-SHAPE-02: `view` of {shape:?} with strides {strides:?} as {target:?} needs a copy; use \
         `reshape`"
    )]
    ViewSizeIncompatible { shape: Vec<usize>, strides: Vec<isize>, target: Vec<isize> },
    /// A dimension, index, range or class outside.
    #[error("E-SHAPE-03: `{op}`: {what} {index} is out of range for {bound}")]
    IndexOutOfRange { op: &'static str, what: &'static str, index: i64, bound: String },
    /// Another element type is needed.
    #[error("E-SHAPE-04: `{op}` needs {expected}, got {found}")]
    DtypeMismatch { op: &'static str, expected: &'static str, found: &'static str },
    /// A number that the operation has no meaning for.
    #[error("E-SHAPE-07: `{op}`: {detail}")]
    InvalidArgument { op: &'static str, detail: String },
    /// A reduction without elements that has no neutral value.
    #[error("E-SHAPE-05: `{op}` of no elements has no value (shape {shape:?})")]
    EmptyReduction { op: &'static str, shape: Vec<usize> },
    /// An inferred extent that could be anything.
    #[error("E-SHAPE-06: cannot infer the extent marked -1 in {target:?} for {numel} elements")]
    AmbiguousReshape { target: Vec<isize>, numel: usize },
}

fn written(write: Option<(&'static str, Site)>) -> String {
    write.map_or_else(String::new, |(op, at)| format!(", last written by `{op}` at `{at}`"))
}

impl TensorError {
    /// The stable code that `docs/reference/errors.md` explains, `"E-MODE-01"`.
    pub fn code(&self) -> String {
        let text = self.to_string();
        text.split(':').next().unwrap_or_default().to_owned()
    }

    /// The name of the variant, `"SaveInferenceForBackward"`.
    pub fn kind(&self) -> String {
        let text = format!("{self:?}");
        text.split([' ', '{']).next().unwrap_or_default().to_owned()
    }
}

thread_local! {
    static CATCHING: Cell<u32> = const { Cell::new(0) };
}

/// Ends a formula with an error: a panic with its text, or the typed error inside [`catch`].
#[cold]
#[track_caller]
pub(crate) fn raise(error: TensorError) -> ! {
    if CATCHING.get() > 0 {
        resume_unwind(Box::new(error));
    }
    panic!("{error}{InCall}")
}

/// The value of a fallible step of a formula, or the end of the formula.
#[track_caller]
pub(crate) fn ok<T>(result: Result<T, TensorError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => raise(error),
    }
}

/// Runs formulas and returns the error that they raise instead of panicking.
///
/// # Errors
/// The [`TensorError`] that an operation inside `f` was refused with. Other panics pass through.
///
/// ```
/// use rlrun_tensor::{Tensor, TensorError, catch};
/// let error = catch(|| Tensor::zeros([2, 3]).matmul(&Tensor::zeros([2, 3]))).unwrap_err();
/// assert!(matches!(error, TensorError::ShapeMismatch { .. }));
/// ```
pub fn catch<R>(f: impl FnOnce() -> R) -> Result<R, TensorError> {
    CATCHING.set(CATCHING.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(f));
    CATCHING.set(CATCHING.get() - 1);
    result.map_err(|payload| match payload.downcast::<TensorError>() {
        Ok(error) => *error,
        Err(other) => resume_unwind(other),
    })
}
