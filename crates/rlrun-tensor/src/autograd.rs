//! Recorded history and the walk back through it.
//!
//! A [`Node`] is one recorded operation: edges to where its inputs came from, and the rule that
//! turns the gradient of its result into gradients of its inputs. Rules are written in tensor
//! operations beside their forward: run without recording they cost what the kernels cost, run in
//! grad mode (`create_graph`) they give second-order gradients.

mod arrived;
mod backward;
mod function;
mod node;
mod walk;

pub use backward::{Backward, grad};
pub use function::{Function, FunctionContext};
pub(crate) use node::{Edge, Grads, Node, NodeRef, Saved, Saver, edges, new_node};
