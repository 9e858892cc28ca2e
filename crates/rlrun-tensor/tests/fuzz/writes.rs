//! The reference model writes: what is refused, and the new numbers of the root.

use rlrun_tensor::DType;

use super::formulas::{Array, Made, Refusal, binary, broadcast, unary};
use super::model::{Model, Source};
use super::numbers::Number;
use super::program::{Binary, Write};
use super::steps::{Kept, Seen, kept_by_unary};

impl Model {
    /// What may not be written, in the order in which it is refused.
    fn check_write(&mut self, to: usize, inputs: &[usize], recorded: bool) -> Made<()> {
        if recorded {
            self.restriction(to)?;
        }
        if recorded && self.requires_grad(to) {
            let root = self.tensors[to].view.as_ref().map(|view| view.root);
            if let Some(root) = root
                && !matches!(self.source(root)?, Source::Node(_))
            {
                return Err(Refusal::Error("ViewOfLeafInplace"));
            }
            if !matches!(self.source(to)?, Source::Node(_)) {
                return Err(Refusal::Error("LeafInplace"));
            }
        }
        let target = &self.tensors[to];
        let mut places = target.places.clone();
        places.sort_unstable();
        if places.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Refusal::Error("OverlappingInplace"));
        }
        for &input in inputs {
            broadcast(&self.tensors[input].shape, &target.shape)?;
        }
        if target.inference && !self.inference {
            return Err(Refusal::Error("InplaceOnInferenceTensor"));
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, to: usize, write: Write, inputs: &[usize]) -> Made<()> {
        self.check_types(to, write, inputs)?;
        let all = [&[to], inputs].concat();
        let recorded = self.records(&all);
        self.check_write(to, inputs, recorded)?;
        let root = self.tensors[to].view.as_ref().map_or(to, |view| view.root);
        let is_view = root != to;
        let (sources, arrays) = self.operands(&all, recorded);
        let mut sources = sources?;
        sources[0] = if recorded { self.source(root)? } else { Source::Nowhere };
        let whole = self.read(root, sources[0]).elements;
        let path: Vec<usize> = match &self.tensors[to].view {
            Some(view) => view.path.clone(),
            None => (0..whole.len()).collect(),
        };
        let kept = if recorded { kept_by_write(write, &sources) } else { Vec::new() };
        self.check_inference(&kept, &all, &Seen::default())?;
        let saved = self.saved(&kept, &all, &[to]);
        let old: Vec<Number> = path.iter().map(|&at| whole[at]).collect();
        let new = self.written(write, &old, &arrays, &arrays[0].shape)?;

        let mut elements = whole;
        for ((&at, &place), &number) in path.iter().zip(&self.tensors[to].places).zip(&new) {
            elements[at] = number;
            let slot = (self.numbers.value(number), self.numbers.error(number));
            self.storages[self.tensors[to].storage].slots[place] = slot;
        }
        self.storages[self.tensors[to].storage].version += 1;
        if recorded {
            let node = self.add_node(sources, elements, saved);
            self.nodes[node].saves |= is_view || !kept.is_empty();
            let after = self.version(to);
            if kept.iter().any(|kept| matches!(kept, Kept::Result(_))) {
                self.nodes[node].saved.iter_mut().for_each(|saved| saved.version = after);
            }
            self.tensors[root].node = Some(node);
        }
        Ok(())
    }

    fn check_types(&self, to: usize, write: Write, inputs: &[usize]) -> Made<()> {
        let target = self.tensors[to].dtype;
        let fits = |&input: &usize| match write {
            Write::MaskedFill(_) => self.tensors[input].dtype == DType::Bool,
            _ => self.tensors[input].dtype == target,
        };
        let any = matches!(write, Write::Copy | Write::Fill(_));
        if inputs.iter().all(fits) && (any || target == DType::F32) {
            return Ok(());
        }
        Err(Refusal::Error("DtypeMismatch"))
    }

    /// The new numbers of the target.
    fn written(
        &mut self,
        write: Write,
        old: &[Number],
        arrays: &[Array],
        shape: &[usize],
    ) -> Made<Vec<Number>> {
        let n = &mut self.numbers;
        let other = match arrays.get(1) {
            Some(array) => array.spread(shape)?,
            None => old.to_vec(),
        };
        let dtype = arrays[0].dtype;
        let mut each = |(&old, &other): (&Number, &Number)| match write {
            Write::Unary(f) => unary(n, f, old),
            Write::Add => binary(n, Binary::Add, old, other),
            Write::Sub => binary(n, Binary::Sub, old, other),
            Write::Mul => binary(n, Binary::Mul, old, other),
            Write::Div => binary(n, Binary::Div, old, other),
            Write::Copy => Ok(other),
            Write::Fill(value) => Ok(n.exact(match dtype {
                DType::F32 => f64::from(value),
                DType::I64 => f64::from(value).trunc(),
                DType::Bool => f64::from(u8::from(value.trunc() != 0.0)),
            })),
            Write::MaskedFill(value) => {
                Ok(if n.value(other) != 0.0 { n.exact(f64::from(value)) } else { old })
            }
        };
        old.iter().zip(&other).map(&mut each).collect()
    }
}

/// Old values of the target are kept as private copies.
fn kept_by_write(write: Write, sources: &[Source]) -> Vec<Kept> {
    let needs = |at: usize| sources[at] != Source::Nowhere;
    match write {
        Write::Unary(f) => match kept_by_unary(f).pop() {
            Some(Kept::Input(..)) => vec![Kept::Frees],
            Some(kept) => vec![kept],
            None => Vec::new(),
        },
        Write::Mul if needs(0) => vec![Kept::Frees, Kept::Input(1, true)],
        Write::Mul => vec![Kept::Frees],
        Write::Div | Write::MaskedFill(_) => vec![Kept::Input(1, true)],
        Write::Add | Write::Sub | Write::Copy | Write::Fill(_) => Vec::new(),
    }
}
