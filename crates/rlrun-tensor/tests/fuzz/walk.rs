//! The reference model walks back: which recorded operations run, which gradients arrive where, and
//! whether finite differences agree.

use std::collections::{BTreeSet, HashSet};

use super::formulas::{Array, Made, Refusal};
use super::model::{Model, Source};
use super::numbers::Number;
use super::program::{Name, Walk};
use super::steps::Seen;

/// What a walk looks for.
enum Targets {
    Everything,
    /// Handed out.
    Captured(Vec<Source>),
    /// Accumulated.
    Inputs(Vec<Source>),
}

/// What a walk found: a number or nothing for every number of the model.
struct Found {
    derivatives: Vec<Option<Number>>,
    /// Results and leaves at which a gradient arrived.
    arrived: Vec<Source>,
}

impl Model {
    /// The walk's start, and the gradient there.
    fn start(&mut self, walk: &Walk) -> Made<(Source, Vec<(Number, Number)>)> {
        let of = self.names[&walk.of];
        const NO_GRAPH: Refusal = Refusal::Error("NoGraph");
        let given = walk.gradient.map(|name| self.names[&name]);
        let unusable = |model: &mut Model, given: usize| {
            model.tensors[given].inference || model.source(given).is_err()
        };
        if walk.create && given.is_some_and(|given| unusable(self, given)) {
            // Which rules of a recorded walk would save or use it is free.
            return Err(Refusal::Unclear);
        }
        let gradient = match given {
            Some(gradient) if self.tensors[gradient].shape != self.tensors[of].shape => {
                return Err(Refusal::Error("GradShapeMismatch"));
            }
            Some(gradient) => self.read(gradient, Source::Nowhere).elements,
            None if !self.requires_grad(of) => return Err(NO_GRAPH),
            None if self.tensors[of].places.len() != 1 => {
                return Err(Refusal::Error("NonScalarBackward"));
            }
            None => vec![self.numbers.exact(1.0)],
        };
        match self.source(of)? {
            Source::Nowhere => Err(NO_GRAPH),
            source => Ok((source, self.numbers_of(source).into_iter().zip(gradient).collect())),
        }
    }

    fn numbers_of(&self, source: Source) -> Vec<Number> {
        match source {
            Source::Nowhere => Vec::new(),
            Source::Leaf(leaf) => self.tensors[leaf].variables.clone(),
            Source::Node(node) => self.nodes[node].elements.clone(),
        }
    }

    fn sources(&mut self, names: &[Name]) -> Made<Vec<Source>> {
        let tensors: Vec<usize> = names.iter().map(|name| self.names[name]).collect();
        if tensors.iter().any(|&tensor| !self.requires_grad(tensor)) {
            return Err(Refusal::Error("GradWrtNotRequired"));
        }
        tensors.into_iter().map(|tensor| self.source(tensor)).collect()
    }

    /// Every recorded operation behind a source, the oldest first.
    fn behind(&self, start: Source) -> BTreeSet<usize> {
        let (mut found, mut left) = (BTreeSet::new(), vec![start]);
        while let Some(source) = left.pop() {
            if let Source::Node(node) = source
                && found.insert(node)
            {
                left.extend(&self.nodes[node].edges);
            }
        }
        found
    }

    fn walk(
        &mut self,
        walk: &Walk,
        start: Source,
        seeds: &[(Number, Number)],
        targets: &Targets,
        seen: &Seen,
    ) -> Made<Found> {
        let (asked, run_themselves): (&[Source], bool) = match targets {
            Targets::Everything => (&[], false),
            Targets::Captured(asked) => (asked, false),
            Targets::Inputs(asked) => (asked, true),
        };
        let asked: Vec<Source> =
            asked.iter().copied().filter(|&source| source != Source::Nowhere).collect();
        let everything = matches!(targets, Targets::Everything);
        let nodes = self.behind(start);
        let (mut leading, mut passing) = (HashSet::new(), HashSet::new());
        for &node in &nodes {
            let here = Source::Node(node);
            let leads = |edge: &Source| asked.contains(edge) || leading.contains(edge);
            let passes = everything || self.nodes[node].edges.iter().any(leads);
            if passes {
                passing.insert(here);
            }
            if passes || (run_themselves && asked.contains(&here)) {
                leading.insert(here);
            }
        }
        let mut arrived: Vec<Source> = vec![start];
        for &node in nodes.iter().rev() {
            let here = Source::Node(node);
            if !arrived.contains(&here) || !leading.contains(&here) {
                continue;
            }
            self.run_node(node, walk, passing.contains(&here), seen)?;
            for &edge in &self.nodes[node].edges {
                let wanted = everything || asked.contains(&edge) || leading.contains(&edge);
                if edge != Source::Nowhere && wanted && !arrived.contains(&edge) {
                    arrived.push(edge);
                }
            }
        }
        // Where a tensor has a gradient, each of its elements has one, if only 0.
        let mut seeds = seeds.to_vec();
        let zero = self.numbers.exact(0.0);
        for &source in &arrived {
            seeds.extend(self.numbers_of(source).into_iter().map(|number| (number, zero)));
        }
        let derivatives = self.numbers.derivatives(&seeds);
        Ok(Found { derivatives, arrived })
    }

    /// A second walk through what was freed, and saved tensors that were written, are refused. Of a
    /// composition that the walk only starts to pass, not all operations run.
    fn run_node(&mut self, at: usize, walk: &Walk, passed: bool, seen: &Seen) -> Made<()> {
        let node = &self.nodes[at];
        let is_seen = |kind: &str| seen.error.as_deref() == Some(kind);
        const FREED: &str = "BackwardThroughFreedGraph";
        if node.freed && (node.wholly && passed || is_seen(FREED)) {
            return Err(Refusal::Error(FREED));
        }
        for saved in &node.saved {
            if self.storages[saved.storage].version == saved.version {
                continue;
            }
            // A view that may not be used after a write says so instead.
            let kinds = ["NoGradViewInplace", "InferenceViewInplace", "MultiOutputViewInplace"];
            let restricted = kinds.into_iter().find(|kind| is_seen(kind));
            let modified = restricted.unwrap_or("SavedTensorModified");
            if saved.certain && passed || is_seen(modified) {
                return Err(Refusal::Error(modified));
            }
        }
        let node = &mut self.nodes[at];
        if node.saves && !walk.retain && !walk.create {
            node.freed = true;
            node.wholly |= passed;
        }
        Ok(())
    }

    /// The gradient that arrived at a source.
    fn gradient(&mut self, found: &Found, source: Source) -> Vec<Number> {
        let at = |number: Number| found.derivatives.get(number as usize).copied().flatten();
        let numbers = self.numbers_of(source);
        let arrived = numbers.into_iter().map(|x| match at(x) {
            // Infinities meet in the order that a rule computes in, which is free.
            Some(number) if !self.numbers.value(number).is_finite() => {
                self.numbers.constant(f64::NAN, f64::INFINITY)
            }
            Some(number) => number,
            None => self.numbers.exact(0.0),
        });
        arrived.collect()
    }

    pub(crate) fn backward(
        &mut self,
        walk: &Walk,
        inputs: Option<&[Name]>,
        seen: &Seen,
    ) -> Made<()> {
        if inputs.is_some_and(<[Name]>::is_empty) {
            return Err(Refusal::Error("NoInputs"));
        }
        let (start, seeds) = self.start(walk)?;
        let targets = match inputs {
            None => Targets::Everything,
            Some(inputs) => {
                let sources = self.sources(inputs)?;
                for name in inputs {
                    self.retain_grad(self.names[name])?;
                }
                Targets::Inputs(sources)
            }
        };
        let found = self.walk(walk, start, &seeds, &targets, seen)?;
        self.check_differences(&seeds, &found);
        self.store_retained(walk, &found)?;
        for &source in &found.arrived {
            let Source::Leaf(leaf) = source else { continue };
            let wanted = match &targets {
                Targets::Inputs(asked) => asked.contains(&source),
                _ => true,
            };
            if wanted && self.tensors[leaf].requires_grad {
                let gradient = self.gradient(&found, source);
                self.accumulate(leaf, gradient, walk, true)?;
            }
        }
        Ok(())
    }

    fn store_retained(&mut self, walk: &Walk, found: &Found) -> Made<()> {
        for tensor in 0..self.tensors.len() {
            let Some(node) = self.tensors[tensor].node else { continue };
            if self.tensors[tensor].retains && found.arrived.contains(&Source::Node(node)) {
                let gradient = self.gradient(found, Source::Node(node));
                self.accumulate(tensor, gradient, walk, false)?;
            }
        }
        Ok(())
    }

    /// Adds to `.grad`: in place for a leaf, unless the walk is recorded.
    fn accumulate(
        &mut self,
        tensor: usize,
        gradient: Vec<Number>,
        walk: &Walk,
        in_place: bool,
    ) -> Made<()> {
        let Some(before) = self.tensors[tensor].grad else {
            return self.set_grad(tensor, gradient, walk);
        };
        let old = self.read(before, Source::Nowhere).elements;
        let pairs = old.into_iter().zip(gradient);
        let sums: Vec<Number> = pairs.map(|(a, b)| self.numbers.sum(vec![a, b])).collect();
        if walk.create || !in_place {
            return self.set_grad(tensor, sums, walk);
        }
        if self.tensors[before].inference && !self.inference {
            return Err(Refusal::Error("InplaceOnInferenceTensor"));
        }
        for (at, sum) in sums.into_iter().enumerate() {
            let place = self.tensors[before].places[at];
            let slot = (self.numbers.value(sum), self.numbers.error(sum));
            self.storages[self.tensors[before].storage].slots[place] = slot;
        }
        self.storages[self.tensors[before].storage].version += 1;
        Ok(())
    }

    fn set_grad(&mut self, tensor: usize, gradient: Vec<Number>, walk: &Walk) -> Made<()> {
        let array = Array::new(self.tensors[tensor].shape.clone(), gradient);
        let recorded = walk.create
            || self.tensors[tensor].grad.is_some_and(|grad| self.tensors[grad].recorded);
        let strides = row_major(&array.shape);
        let grad = self.fresh(&array, &strides)?;
        self.tensors[grad].recorded = recorded;
        self.tensors[grad].version_known = false;
        self.tensors[tensor].grad = Some(grad);
        Ok(())
    }

    pub(crate) fn grad(&mut self, out: Name, walk: &Walk, wrt: &[Name], seen: &Seen) -> Made<()> {
        let (start, seeds) = self.start(walk)?;
        let sources = self.sources(wrt)?;
        let targets = Targets::Captured(sources.clone());
        let found = self.walk(walk, start, &seeds, &targets, seen)?;
        self.check_differences(&seeds, &found);
        self.store_retained(walk, &found)?;
        let mut strides = seen.strides.iter();
        for ((name, &source), of) in (out..).zip(&sources).zip(wrt) {
            if found.arrived.contains(&source) {
                let gradient = self.gradient(&found, source);
                let array = Array::new(self.tensor(*of).shape.clone(), gradient);
                let strides = strides.next().cloned().unwrap_or(row_major(&array.shape));
                let made = self.fresh(&array, &strides)?;
                self.tensors[made].version_known = false;
                self.names.insert(name, made);
            }
        }
        Ok(())
    }

    /// Gradients of `Σ weight · gradient`: for each tensor of `then` its numbers.
    pub(crate) fn second_order(
        &mut self,
        walk: &Walk,
        wrt: &[Name],
        then: &[Name],
        seen: &Seen,
    ) -> Made<Vec<Vec<Number>>> {
        let (start, seeds) = self.start(walk)?;
        let sources = self.sources(wrt)?;
        let then = self.sources(then)?;
        let suspect = self.behind(start).into_iter().any(|node| {
            let node = &self.nodes[node];
            let written = |version, storage: usize| self.storages[storage].version != version;
            node.freed || node.saved.iter().any(|saved| written(saved.version, saved.storage))
        });
        if suspect {
            // Which operations the second walk runs is free.
            return Err(Refusal::Unclear);
        }
        let targets = Targets::Captured(sources.clone());
        let walk = Walk { retain: true, ..walk.clone() };
        let found = self.walk(&walk, start, &seeds, &targets, seen)?;
        let mut weighted = Vec::new();
        for source in sources.into_iter().filter(|source| found.arrived.contains(source)) {
            for (at, number) in self.gradient(&found, source).into_iter().enumerate() {
                if !self.numbers.value(number).is_finite() {
                    return Err(Refusal::Unclear);
                }
                weighted.push((number, self.numbers.exact(weight(at))));
            }
        }
        let derivatives = self.numbers.derivatives(&weighted);
        let second = Found { derivatives, arrived: then.clone() };
        self.check_differences(&weighted, &second);
        Ok(then.into_iter().map(|source| self.gradient(&second, source)).collect())
    }

    /// Holds derivatives by some variables of each leaf against differences of the start.
    fn check_differences(&mut self, seeds: &[(Number, Number)], found: &Found) {
        let weighted: Vec<(Number, f64)> =
            seeds.iter().map(|&(of, seed)| (of, self.numbers.value(seed))).collect();
        let leaves = found.arrived.iter().filter_map(|&source| match source {
            Source::Leaf(leaf) => Some(leaf),
            _ => None,
        });
        for leaf in leaves.take(3) {
            let variables = &self.tensors[leaf].variables;
            let step = (variables.len() / 2).max(1);
            for &variable in variables.iter().step_by(step).take(2) {
                let Some((expected, off)) = self.numbers.difference(&weighted, variable) else {
                    continue;
                };
                let found = found.derivatives.get(variable as usize).copied().flatten();
                let value = found.map_or(0.0, |number| self.numbers.value(number));
                self.differences += 1;
                if value.is_finite() && (value - expected).abs() > off {
                    let text = format!("derivative {value}, by differences {expected} ± {off}");
                    self.contradictions.push(text);
                }
            }
        }
    }
}

/// Strides of a tensor that lies row-major.
pub(crate) fn row_major(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for dim in (1..shape.len()).rev() {
        strides[dim - 1] = strides[dim] * shape[dim].max(1) as isize;
    }
    strides
}

/// The weight of an element in a sum of gradients.
pub(crate) fn weight(at: usize) -> f64 {
    0.5 + 0.25 * (at % 5) as f64
}
