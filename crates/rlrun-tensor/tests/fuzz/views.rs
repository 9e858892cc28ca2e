//! The reference model makes views: which places they see, and what restricts them.

use rlrun_tensor::ViewMadeIn;

use super::formulas::{
    Array, Made, RANGE, Refusal, SHAPE, broadcast, count, dimension, indices, ravel,
};
use super::model::{Model, ViewOf};
use super::program::{Name, View};
use super::steps::Seen;

/// Elements of a view: its shape, and for each the element of the viewed tensor.
type Mapped = (Vec<usize>, Vec<usize>);

impl Model {
    pub(crate) fn view(&mut self, out: Name, view: &View, of: usize, seen: &Seen) -> Made<()> {
        let (shape, places) = (self.tensors[of].shape.clone(), &self.tensors[of].places);
        let all: Vec<usize> = (0..places.len()).collect();
        let copy = match view {
            View::Contiguous if places.windows(2).all(|pair| pair[1] == pair[0] + 1) => {
                self.names.insert(out, of);
                return Ok(());
            }
            View::Contiguous => Some(shape.clone()),
            View::Reshape(to) if count(to) != all.len() => return Err(SHAPE),
            View::Reshape(to) if !is_strided(places, to) => Some(to.clone()),
            _ => None,
        };
        if *view == View::Detach {
            let alias = self.alias(of, shape, &all);
            self.names.insert(out, alias);
            return Ok(());
        }
        if let Some(to) = copy {
            return self.copy(out, of, to, seen);
        }
        let many = matches!(view, View::Unbind(_) | View::Split(..));
        for (name, (shape, map)) in (out..).zip(mapped(view, &shape, places)?) {
            let made = self.tracked_view(of, shape, &map, many)?;
            self.names.insert(name, made);
        }
        Ok(())
    }

    /// A copy with another shape and history.
    fn copy(&mut self, out: Name, of: usize, shape: Vec<usize>, seen: &Seen) -> Made<()> {
        let recorded = self.records(&[of]);
        let (sources, mut arrays) = self.operands(&[of], recorded);
        let sources = sources?;
        let array = Array { shape, ..arrays.remove(0) };
        let made = self.fresh(&array, seen.strides.first().map_or(&[], |strides| strides))?;
        self.tensors[made].version_known = !self.tensors[of].inference;
        if recorded {
            self.tensors[made].node = Some(self.add_node(sources, array.elements, Vec::new()));
        }
        self.names.insert(out, made);
        Ok(())
    }

    fn tracked_view(
        &mut self,
        of: usize,
        shape: Vec<usize>,
        map: &[usize],
        many: bool,
    ) -> Made<usize> {
        if self.tensors[of].inference {
            return Ok(self.alias(of, shape, map));
        }
        let node = if self.records(&[of]) {
            let source = self.source(of)?;
            let whole = self.read(of, source).elements;
            let elements = map.iter().map(|&at| whole[at]).collect();
            Some(self.add_node(vec![source], elements, Vec::new()))
        } else {
            None
        };
        let now = match (self.inference, self.no_grad, many) {
            (true, ..) => ViewMadeIn::InferenceMode,
            (_, true, _) => ViewMadeIn::NoGradMode,
            (.., true) => ViewMadeIn::MultiOutputNode,
            _ => ViewMadeIn::Default,
        };
        let (root, path, made_in) = match &self.tensors[of].view {
            None => (of, map.to_vec(), now),
            Some(view) => {
                let kept = now == ViewMadeIn::Default || view.made_in == ViewMadeIn::InferenceMode;
                let path = map.iter().map(|&at| view.path[at]).collect();
                (view.root, path, if kept { view.made_in } else { now })
            }
        };
        let version = self.version(of);
        let made = self.alias(of, shape, map);
        self.tensors[made].view = Some(ViewOf { root, path, made_in, version });
        self.tensors[made].node = node;
        Ok(made)
    }
}

/// Whether places, row-major in `shape`, are reached with one step per dimension.
fn is_strided(places: &[usize], shape: &[usize]) -> bool {
    let Some(&start) = places.first() else { return true };
    let at = |dim: usize| {
        let mut index = vec![0; shape.len()];
        index[dim] = 1;
        if shape[dim] > 1 { places[ravel(&index, shape)] as isize - start as isize } else { 0 }
    };
    let strides: Vec<isize> = (0..shape.len()).map(at).collect();
    let reached = |index: &Vec<usize>| {
        let steps = index.iter().zip(&strides).map(|(&i, &stride)| i as isize * stride);
        (start as isize + steps.sum::<isize>()) as usize
    };
    indices(shape).iter().zip(places).all(|(index, &place)| reached(index) == place)
}

/// The views that an operation makes.
fn mapped(view: &View, shape: &[usize], places: &[usize]) -> Made<Vec<Mapped>> {
    let existing = |dim| if shape.is_empty() { Err(RANGE) } else { dimension(dim, shape.len()) };
    // Elements of a shape, each from the index that `back` makes of its own.
    let map = |to: Vec<usize>, back: &dyn Fn(&mut Vec<usize>)| {
        let from = indices(&to).into_iter().map(|mut index| {
            back(&mut index);
            ravel(&index, shape)
        });
        let from = from.collect();
        (to, from)
    };
    let narrow = |dim: usize, start: usize, len: usize| {
        let mut to = shape.to_vec();
        to[dim] = len;
        map(to, &|index| index[dim] += start)
    };
    let select = |dim: usize, at: usize| {
        let mut to = shape.to_vec();
        to.remove(dim);
        map(to, &|index| index.insert(dim, at))
    };
    let permute = |order: &[usize]| {
        let to = order.iter().map(|&from| shape[from]).collect();
        map(to, &|index| {
            let mut back = index.clone();
            order.iter().zip(index.iter()).for_each(|(&from, &i)| back[from] = i);
            *index = back;
        })
    };
    let flat = |to: Vec<usize>| (to, (0..places.len()).collect());
    Ok(match view {
        View::Narrow(dim, start, len) => {
            let dim = existing(*dim)?;
            let extent = shape[dim] as isize;
            let start = if *start < 0 { start + extent } else { *start };
            if start < 0 || start + *len as isize > extent {
                return Err(RANGE);
            }
            vec![narrow(dim, start as usize, *len)]
        }
        View::Select(dim, at) => {
            let dim = existing(*dim)?;
            let extent = shape[dim] as isize;
            if *at < -extent || *at >= extent {
                return Err(RANGE);
            }
            vec![select(dim, at.rem_euclid(extent) as usize)]
        }
        View::Transpose(a, b) => {
            let (a, b) = (dimension(*a, shape.len())?, dimension(*b, shape.len())?);
            let mut order: Vec<usize> = (0..shape.len()).collect();
            if !order.is_empty() {
                order.swap(a, b);
            }
            vec![permute(&order)]
        }
        View::Permute(order) => {
            let dims: Made<Vec<usize>> = order.iter().map(|&d| dimension(d, shape.len())).collect();
            let dims = dims?;
            let mut sorted = dims.clone();
            sorted.sort_unstable();
            if sorted != (0..shape.len()).collect::<Vec<_>>() {
                return Err(SHAPE);
            }
            vec![permute(&dims)]
        }
        View::Expand(to) => vec![(to.clone(), broadcast(shape, to)?)],
        View::Shaped(to) | View::Reshape(to) => {
            if count(to) != places.len() {
                return Err(SHAPE);
            }
            if !is_strided(places, to) {
                return Err(Refusal::Error("ViewSizeIncompatible"));
            }
            vec![flat(to.clone())]
        }
        View::Unsqueeze(dim) => {
            let mut to = shape.to_vec();
            to.insert(dimension(*dim, shape.len() + 1)?, 1);
            vec![flat(to)]
        }
        View::Squeeze(dim) => {
            let (dim, mut to) = (dimension(*dim, shape.len())?, shape.to_vec());
            if to.get(dim) == Some(&1) {
                to.remove(dim);
            }
            vec![flat(to)]
        }
        View::Unbind(dim) => {
            let dim = existing(*dim)?;
            (0..shape[dim]).map(|at| select(dim, at)).collect()
        }
        View::Split(size, dim) => {
            let dim = existing(*dim)?;
            if *size == 0 {
                return Err(SHAPE);
            }
            let starts = (0..shape[dim].max(1)).step_by(*size);
            starts.map(|start| narrow(dim, start, (*size).min(shape[dim] - start))).collect()
        }
        View::Detach | View::Contiguous => vec![flat(shape.to_vec())],
    })
}
