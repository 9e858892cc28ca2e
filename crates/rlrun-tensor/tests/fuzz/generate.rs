//! Makes random programs: mostly valid ones, from what the model knows of the tensors so far.

use rand::RngExt;
use rlrun_core::{Purpose, Rng, rng_stream};
use rlrun_tensor::DType;

use super::formulas::broadcast;
use super::lockstep::{Failure, Lockstep, Went};
use super::program::{Fold, Mode, Name, Op, Step, Walk};

/// What the programs came to.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) steps: u64,
    pub(crate) walks: u64,
    pub(crate) differences: u64,
}

pub(crate) struct Generator {
    pub(crate) rng: Rng,
    pub(crate) lockstep: Lockstep,
    steps: Vec<Step>,
    next: Name,
    /// Extents of most leaves.
    extents: [usize; 3],
    /// Whether one of them is so large that the order of a sum shows.
    pub(crate) long: bool,
}

/// Why a program is not continued.
pub(crate) enum End {
    NoFurther,
    Failed(Failure),
}

pub(crate) type Continues = Result<(), End>;

/// A program: if it fails, its steps and how.
pub(crate) fn run(seed: u64, index: u64, totals: &mut Totals) -> Option<(Vec<Step>, Failure)> {
    let mut rng = rng_stream(seed, Purpose::Sampling, index);
    let long = index % 40 == 7;
    let mut extents = [0, 1, 2].map(|_| rng.random_range(1..4));
    if rng.random_range(0..8) == 0 {
        extents[rng.random_range(0..3)] = 0;
    }
    if long {
        extents = [8192, rng.random_range(1..3), 1];
    }
    let mut generator =
        Generator { rng, lockstep: Lockstep::new(), steps: Vec::new(), next: 0, extents, long };
    let ended = generator.program();
    totals.steps += generator.steps.len() as u64;
    totals.walks += generator.steps.iter().filter(|step| is_walk(step)).count() as u64;
    totals.differences += generator.lockstep.model.differences as u64;
    match ended {
        Err(End::Failed(failure)) => Some((generator.steps, failure)),
        _ => None,
    }
}

fn is_walk(step: &Step) -> bool {
    matches!(step, Step::Backward { .. } | Step::Grad { .. } | Step::SecondOrder { .. })
}

impl Generator {
    fn program(&mut self) -> Continues {
        let length = if self.long { 6 } else { self.rng.random_range(6..22) };
        for _ in 0..2 {
            self.leaf()?;
        }
        for _ in 0..length {
            match self.rng.random_range(0..100) {
                0..4 => self.leaf().map(drop)?,
                4..42 => self.operation()?,
                42..58 if !self.long => self.view()?,
                58..71 => self.write()?,
                71..78 => self.mode()?,
                78..85 => self.backward()?,
                85..91 => self.grad()?,
                91..94 if !self.long => self.second_order()?,
                _ => self.record()?,
            }
        }
        while !self.lockstep.model.outer_modes.is_empty() {
            self.push(Step::Leave)?;
        }
        self.backward()
    }

    pub(crate) fn push(&mut self, step: Step) -> Continues {
        let went = self.lockstep.step(&step);
        self.steps.push(step);
        match went {
            Ok(Went::On) => Ok(()),
            Ok(Went::NoFurther) => Err(End::NoFurther),
            Err(failure) => Err(End::Failed(failure)),
        }
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.rng.random_range(0..from.len())].clone()
    }

    /// Names for results to come.
    pub(crate) fn names(&mut self, count: usize) -> Name {
        self.next += count as Name;
        self.next - count as Name
    }

    pub(crate) fn shape(&self, name: Name) -> Vec<usize> {
        self.lockstep.model.tensor(name).shape.clone()
    }

    /// A tensor for which a condition holds; the younger the likelier.
    pub(crate) fn tensor(&mut self, fits: impl Fn(&Generator, Name) -> bool) -> Option<Name> {
        let names: Vec<Name> = self.lockstep.model.names.keys().copied().collect();
        let names: Vec<Name> = names.into_iter().filter(|&name| fits(self, name)).collect();
        let last = names.len().checked_sub(1)?;
        let back = self.rng.random_range(0..=last).min(self.rng.random_range(0..=last));
        Some(names[last - back])
    }

    pub(crate) fn is_float(&self, name: Name) -> bool {
        self.lockstep.model.tensor(name).dtype == DType::F32
    }

    pub(crate) fn requires_grad(&self, name: Name) -> bool {
        self.lockstep.model.requires_grad(self.lockstep.model.names[&name])
    }

    pub(crate) fn float(&mut self) -> Option<Name> {
        if self.chance(2) {
            return self.tensor(|_, _| true);
        }
        self.tensor(Generator::is_float)
    }

    fn numbers(&mut self) -> Vec<f32> {
        const SPECIAL: [f32; 10] = [0.0, -1.0, 1.0, 2.0, 9.0, 20.0, -20.0, 1e4, 1e8, f32::INFINITY];
        if self.long {
            let number = self.pick(&[0.1, 0.3, -0.7, 1.1]);
            return vec![number];
        }
        let kind = self.rng.random_range(0..11);
        let mut number = || match kind {
            0..5 => self.rng.random_range(-2.0..2.0),
            5..8 => self.rng.random_range(-6..7) as f32 * 0.25,
            8 => SPECIAL[self.rng.random_range(0..6)],
            // Equal large numbers, whose differences are small.
            9 => [1e4, 1e4, 1e8, 9999.0][self.rng.random_range(0..4)],
            _ => SPECIAL[self.rng.random_range(0..SPECIAL.len())],
        };
        (0..12).map(|_| number()).collect()
    }

    fn leaf(&mut self) -> Result<Name, End> {
        let [a, b, c] = self.extents;
        let shapes = [
            vec![],
            vec![b],
            vec![a, b],
            vec![a, b],
            vec![a, 1],
            vec![1, b],
            vec![b, a],
            vec![c, a, b],
        ];
        let shape = self.pick(&shapes);
        self.leaf_of(shape)
    }

    pub(crate) fn leaf_of(&mut self, shape: Vec<usize>) -> Result<Name, End> {
        let (out, numbers) = (self.names(1), self.numbers());
        let requires_grad = !self.lockstep.model.inference && self.chance(65);
        self.push(Step::Leaf { out, shape, dtype: DType::F32, numbers, requires_grad })?;
        Ok(out)
    }

    /// A mask that broadcasts with `shape`, or one of its parts.
    pub(crate) fn mask(&mut self, shape: &[usize]) -> Result<Name, End> {
        let shape = if self.chance(80) { shape } else { &shape[shape.len().min(1)..] };
        self.whole_numbers(shape.to_vec(), DType::Bool, 2)
    }

    pub(crate) fn whole_numbers(
        &mut self,
        shape: Vec<usize>,
        dtype: DType,
        below: usize,
    ) -> Result<Name, End> {
        let old = self.tensor(|of, name| {
            of.lockstep.model.tensor(name).dtype == dtype && of.shape(name) == shape
        });
        if let Some(old) = old
            && self.chance(60)
        {
            return Ok(old);
        }
        let numbers = (0..7).map(|_| self.rng.random_range(0..below.max(1)) as f32).collect();
        let out = self.names(1);
        self.push(Step::Leaf { out, shape, dtype, numbers, requires_grad: false })?;
        Ok(out)
    }

    pub(crate) fn dim(&mut self, ndim: usize) -> isize {
        let bound = ndim.max(1) as isize;
        let off = isize::from(self.chance(1));
        self.rng.random_range(-(bound as i64)..bound as i64) as isize + off
    }

    /// A float tensor whose shape broadcasts with that of `with`.
    pub(crate) fn partner(&mut self, with: Name) -> Option<Name> {
        if self.chance(3) {
            return self.float();
        }
        self.tensor(|of, name| {
            let (a, b) = (of.shape(name), of.shape(with));
            of.is_float(name) && (broadcast(&a, &b).is_ok() || broadcast(&b, &a).is_ok())
        })
    }

    fn mode(&mut self) -> Continues {
        if !self.lockstep.model.outer_modes.is_empty() && self.chance(60) {
            return self.push(Step::Leave);
        }
        let modes =
            [Mode::NoGrad, Mode::NoGrad, Mode::EnableGrad, Mode::Inference, Mode::InferenceOff];
        let mode = self.pick(&modes);
        self.push(Step::Enter(mode))
    }

    /// Where a walk starts: often a sum, else with a gradient if it needs one.
    fn walk(&mut self) -> Result<Option<Walk>, End> {
        let careful = self.chance(95);
        let found =
            self.tensor(|of, name| of.is_float(name) && (!careful || of.requires_grad(name)));
        let Some(mut of) = found else { return Ok(None) };
        let mut gradient = None;
        if self.chance(50) {
            let (out, x) = (self.names(1), of);
            let op = Op::Fold(if self.chance(70) { Fold::Sum } else { Fold::Mean }, vec![], false);
            self.push(Step::Op { out, op, inputs: vec![x] })?;
            of = out;
        } else if self.shape(of).iter().product::<usize>() != 1 && self.chance(95) {
            let shape = self.shape(of);
            let same = self.tensor(|of, name| of.is_float(name) && of.shape(name) == shape);
            gradient = same.filter(|_| self.chance(50));
            if gradient.is_none() {
                gradient = Some(self.leaf_of(shape)?);
            }
        }
        Ok(Some(Walk { of, gradient, retain: self.chance(40), create: self.chance(20) }))
    }

    fn some_that_require_grad(&mut self) -> Vec<Name> {
        let careful = self.chance(95);
        let count = self.rng.random_range(1..4);
        let found = (0..count).filter_map(|_| {
            self.tensor(|of, name| of.is_float(name) && (!careful || of.requires_grad(name)))
        });
        found.collect()
    }

    fn backward(&mut self) -> Continues {
        let Some(walk) = self.walk()? else { return Ok(()) };
        let inputs = match self.rng.random_range(0..10) {
            0 | 1 => Some(self.some_that_require_grad()),
            2 if self.chance(10) => Some(Vec::new()),
            _ => None,
        };
        self.push(Step::Backward { walk, inputs })
    }

    fn grad(&mut self) -> Continues {
        let Some(walk) = self.walk()? else { return Ok(()) };
        let wrt = self.some_that_require_grad();
        let out = self.names(3);
        self.push(Step::Grad { out, walk, wrt })
    }

    fn second_order(&mut self) -> Continues {
        let Some(walk) = self.walk()? else { return Ok(()) };
        let wrt = self.some_that_require_grad();
        let leaf = |of: &Generator, name| of.lockstep.model.tensor(name).requires_grad;
        let then = (0..2).filter_map(|_| self.tensor(leaf)).collect();
        self.push(Step::SecondOrder { walk, wrt, then })
    }

    /// What changes the record of one tensor.
    fn record(&mut self) -> Continues {
        let tracked = self.tensor(|of, name| of.requires_grad(name));
        let Some(of) = tracked.or_else(|| self.float()) else { return Ok(()) };
        let is_view = self.lockstep.model.tensor(of).view.is_some();
        let step = match self.rng.random_range(0..7) {
            0 | 1 => Step::GradOf { out: self.names(1), of },
            2 => Step::ZeroGrad(of),
            3 if !is_view => Step::RequireGrad(of, self.chance(50)),
            4 => Step::DetachInPlace(of),
            5 => Step::RetainGrad(of),
            _ => Step::Drop(of),
        };
        self.push(step)
    }
}
