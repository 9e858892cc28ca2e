//! The reference model: memory, tensors, views and recorded operations, each kept for ever and
//! found by its place in a list. A view is the list of places that it sees; a write gives the root
//! a new list of numbers.

use std::collections::BTreeMap;

use rlrun_tensor::{DType, ViewMadeIn};

use super::formulas::{Array, Made, Refusal};
use super::numbers::{Number, Numbers};
use super::program::{Mode, Name};

/// Memory: value and error of every place, and how often it was written.
pub(crate) struct Storage {
    pub(crate) slots: Vec<(f64, f64)>,
    pub(crate) version: u32,
}

/// Where a gradient goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Nowhere,
    Leaf(usize),
    Node(usize),
}

/// What a recorded operation needs unchanged. Of some compositions it is not promised whether they
/// need the operand or a copy.
#[derive(Clone)]
pub(crate) struct Saved {
    pub(crate) storage: usize,
    pub(crate) version: u32,
    pub(crate) certain: bool,
}

/// A recorded operation: one number per element of its result.
pub(crate) struct Node {
    pub(crate) edges: Vec<Source>,
    pub(crate) elements: Vec<Number>,
    pub(crate) saved: Vec<Saved>,
    /// Whether a walk that does not retain the graph frees it.
    pub(crate) saves: bool,
    pub(crate) freed: bool,
    /// Whether all of it was freed, if it is a composition.
    pub(crate) wholly: bool,
}

pub(crate) struct ViewOf {
    pub(crate) root: usize,
    /// For each element, that of the root.
    pub(crate) path: Vec<usize>,
    pub(crate) made_in: ViewMadeIn,
    /// Version for which the recorded history holds.
    pub(crate) version: u32,
}

pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: DType,
    pub(crate) storage: usize,
    /// For each element, row-major, its place in the memory.
    pub(crate) places: Vec<usize>,
    pub(crate) inference: bool,
    pub(crate) view: Option<ViewOf>,
    pub(crate) requires_grad: bool,
    /// The variables of a leaf that requires grad or did.
    pub(crate) variables: Vec<Number>,
    pub(crate) node: Option<usize>,
    pub(crate) grad: Option<usize>,
    pub(crate) retains: bool,
    /// Whether it is a gradient that a recorded walk made: its history is not modelled.
    pub(crate) recorded: bool,
    /// Whether the version it starts with is promised.
    pub(crate) version_known: bool,
}

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) numbers: Numbers,
    pub(crate) storages: Vec<Storage>,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) names: BTreeMap<Name, usize>,
    /// Grad flag and inference flag outside the innermost mode, and so on outwards.
    pub(crate) outer_modes: Vec<(bool, bool)>,
    pub(crate) no_grad: bool,
    pub(crate) inference: bool,
    /// Where the model contradicts finite differences.
    pub(crate) contradictions: Vec<String>,
    pub(crate) differences: usize,
}

impl Model {
    pub(crate) fn enter(&mut self, mode: Mode) {
        self.outer_modes.push((self.no_grad, self.inference));
        (self.no_grad, self.inference) = match mode {
            Mode::NoGrad => (true, self.inference),
            Mode::EnableGrad => (false, self.inference),
            Mode::Inference => (true, true),
            Mode::InferenceOff => (false, false),
        };
    }

    pub(crate) fn leave(&mut self) {
        if let Some(outer) = self.outer_modes.pop() {
            (self.no_grad, self.inference) = outer;
        }
    }

    pub(crate) fn tensor(&self, name: Name) -> &Tensor {
        &self.tensors[self.names[&name]]
    }

    /// A tensor on memory of its own, whose elements lie in the order that `strides` say.
    pub(crate) fn fresh(&mut self, array: &Array, strides: &[isize]) -> Made<usize> {
        let index = super::formulas::indices(&array.shape);
        let place = |index: &Vec<usize>| -> isize {
            index.iter().zip(strides).map(|(&i, &stride)| i as isize * stride).sum()
        };
        let places: Vec<usize> = index.iter().map(|index| place(index) as usize).collect();
        let mut slots = vec![(f64::NAN, f64::NAN); places.len()];
        for (&place, &element) in places.iter().zip(&array.elements) {
            let Some(slot) = slots.get_mut(place) else { return Err(Refusal::Error("gaps")) };
            *slot = (self.numbers.value(element), self.numbers.error(element));
        }
        self.storages.push(Storage { slots, version: 0 });
        self.tensors.push(Tensor {
            shape: array.shape.clone(),
            dtype: array.dtype,
            storage: self.storages.len() - 1,
            places,
            inference: self.inference,
            view: None,
            requires_grad: false,
            variables: Vec::new(),
            node: None,
            grad: None,
            retains: false,
            recorded: false,
            version_known: true,
        });
        Ok(self.tensors.len() - 1)
    }

    /// Another tensor on the same memory, without history.
    pub(crate) fn alias(&mut self, of: usize, shape: Vec<usize>, map: &[usize]) -> usize {
        let of = &self.tensors[of];
        let alias = Tensor {
            shape,
            places: map.iter().map(|&at| of.places[at]).collect(),
            view: None,
            variables: Vec::new(),
            ..*of
        };
        self.tensors.push(Tensor {
            requires_grad: false,
            node: None,
            grad: None,
            retains: false,
            ..alias
        });
        self.tensors.len() - 1
    }

    pub(crate) fn version(&self, tensor: usize) -> u32 {
        self.storages[self.tensors[tensor].storage].version
    }

    pub(crate) fn slot(&self, tensor: usize, at: usize) -> (f64, f64) {
        let tensor = &self.tensors[tensor];
        self.storages[tensor.storage].slots[tensor.places[at]]
    }

    pub(crate) fn requires_grad(&self, tensor: usize) -> bool {
        let of = &self.tensors[tensor];
        let root_does = || of.view.as_ref().is_some_and(|view| self.requires_grad(view.root));
        of.requires_grad || of.node.is_some() || root_does()
    }

    /// Whether an operation on these is recorded now.
    pub(crate) fn records(&self, inputs: &[usize]) -> bool {
        !self.no_grad && !self.inference && inputs.iter().any(|&input| self.requires_grad(input))
    }

    pub(crate) fn restriction(&self, tensor: usize) -> Made<()> {
        match self.tensors[tensor].view.as_ref().map(|view| view.made_in) {
            None | Some(ViewMadeIn::Default) => Ok(()),
            Some(ViewMadeIn::NoGradMode) => Err(Refusal::Error("NoGradViewInplace")),
            Some(ViewMadeIn::InferenceMode) => Err(Refusal::Error("InferenceViewInplace")),
            Some(ViewMadeIn::MultiOutputNode) => Err(Refusal::Error("MultiOutputViewInplace")),
        }
    }

    /// Where a gradient for this tensor goes. A view whose memory was written since it was recorded
    /// is seen anew from its root.
    pub(crate) fn source(&mut self, tensor: usize) -> Made<Source> {
        self.refresh(tensor)?;
        let of = &self.tensors[tensor];
        Ok(match of.node {
            Some(node) => Source::Node(node),
            None if of.requires_grad => Source::Leaf(tensor),
            None => Source::Nowhere,
        })
    }

    fn refresh(&mut self, tensor: usize) -> Made<()> {
        let version = self.version(tensor);
        let recorded = self.tensors[tensor].node.is_some();
        let Some(view) = &self.tensors[tensor].view else { return Ok(()) };
        let (root, written) = (view.root, view.version != version);
        let never_recorded = !recorded && view.made_in == ViewMadeIn::Default;
        if !(recorded || self.requires_grad(root)) || !(written || never_recorded) {
            return Ok(());
        }
        if written {
            self.restriction(tensor)?;
        }
        let path = view.path.clone();
        let source = self.source(root)?;
        let node = (source != Source::Nowhere).then(|| {
            let whole = self.read(root, source).elements;
            self.add_node(vec![source], path.iter().map(|&at| whole[at]).collect(), Vec::new())
        });
        let of = &mut self.tensors[tensor];
        of.node = node;
        of.view.iter_mut().for_each(|view| view.version = version);
        Ok(())
    }

    /// The numbers of a tensor now, with the history that its source gives them.
    pub(crate) fn read(&mut self, tensor: usize, source: Source) -> Array {
        let of = &self.tensors[tensor];
        let (shape, dtype) = (of.shape.clone(), of.dtype);
        let history = match source {
            Source::Nowhere => Vec::new(),
            Source::Leaf(leaf) => self.tensors[leaf].variables.clone(),
            Source::Node(node) => self.nodes[node].elements.clone(),
        };
        let mut elements = Vec::with_capacity(of.places.len());
        for at in 0..of.places.len() {
            let (value, error) = self.slot(tensor, at);
            elements.push(match history.get(at) {
                None => self.numbers.constant(value, error),
                Some(&known) if self.numbers.value(known).to_bits() == value.to_bits() => known,
                Some(&known) => self.numbers.same(known, value, error),
            });
        }
        Array { shape, dtype, elements }
    }

    /// A node whose elements are numbers of its own.
    pub(crate) fn add_node(
        &mut self,
        edges: Vec<Source>,
        elements: Vec<Number>,
        saved: Vec<Saved>,
    ) -> usize {
        let own = elements.into_iter().map(|element| {
            let (value, error) = (self.numbers.value(element), self.numbers.error(element));
            self.numbers.same(element, value, error)
        });
        let elements = own.collect();
        let saves = !saved.is_empty();
        self.nodes.push(Node { edges, elements, saved, saves, freed: false, wholly: false });
        self.nodes.len() - 1
    }
}
