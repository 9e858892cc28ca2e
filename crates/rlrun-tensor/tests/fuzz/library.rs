//! Runs steps with the library itself.

use std::collections::BTreeMap;

use rlrun_tensor::{
    Activation, Backward, DType, GradModeGuard, Tensor, catch, inference_mode,
    is_inference_mode_enabled,
};

use super::formulas::count;
use super::program::{Binary, Fold, Mode, Name, Op, Step, Unary, View, Walk, Write};
use super::steps::Seen;
use super::walk::weight;

const CANARY: f32 = 777.0;

/// Fills the free lists of this thread with a number that no program contains, so that an element
/// which nobody wrote shows.
fn fill_free_lists() {
    let sizes = || (4..9).map(|class| 1usize << class);
    let many = |size: usize| (0..4).map(move |_| Tensor::full([size], CANARY));
    let normal: Vec<Tensor> = sizes().flat_map(many).collect();
    let inference: Vec<Tensor> = inference_mode(|| sizes().flat_map(many).collect());
    drop((normal, inference));
}

#[derive(Default)]
pub(crate) struct Library {
    pub(crate) names: BTreeMap<Name, Tensor>,
    modes: Vec<GradModeGuard>,
    /// What is wrong by itself, whatever the model says.
    pub(crate) complaints: Vec<String>,
    /// What a step of second order gave.
    pub(crate) second: Vec<Option<Vec<f32>>>,
}

impl Drop for Library {
    fn drop(&mut self) {
        while self.modes.pop().is_some() {}
    }
}

impl Library {
    pub(crate) fn new() -> Library {
        fill_free_lists();
        Library::default()
    }

    fn all(&self, names: &[Name]) -> Vec<Tensor> {
        names.iter().map(|name| self.names[name].clone()).collect()
    }

    pub(crate) fn run(&mut self, step: &Step) -> Seen {
        let made = catch(|| self.execute(step));
        match made {
            Ok(made) => Seen {
                error: None,
                strides: made.iter().map(|tensor| tensor.strides().to_vec()).collect(),
            },
            Err(error) => Seen { error: Some(error.kind()), strides: Vec::new() },
        }
    }

    fn define(&mut self, out: Name, made: &[Tensor]) {
        self.names.extend((out..).zip(made.iter().cloned()));
    }

    fn execute(&mut self, step: &Step) -> Vec<Tensor> {
        match step {
            Step::Leaf { out, shape, dtype, numbers, requires_grad } => {
                let made = leaf(shape, *dtype, numbers);
                self.define(*out, std::slice::from_ref(&made));
                if *requires_grad {
                    made.set_requires_grad(true);
                }
                return vec![made];
            }
            Step::Op { out, op, inputs } => {
                let made = operation(op, &self.all(inputs));
                made.iter().for_each(|made| self.check_range(op, made));
                self.define(*out, &made);
                return made;
            }
            Step::View { out, view, of } => {
                let made = view_of(view, &self.names[of]);
                self.define(*out, &made);
                return made;
            }
            Step::Write { to, write, inputs } => {
                write_to(&self.names[to], *write, &self.all(inputs));
            }
            Step::Enter(mode) => self.modes.push(match mode {
                Mode::NoGrad => GradModeGuard::no_grad(),
                Mode::EnableGrad => GradModeGuard::enable_grad(),
                Mode::Inference => GradModeGuard::inference_mode(true),
                Mode::InferenceOff => GradModeGuard::inference_mode(false),
            }),
            Step::Leave => drop(self.modes.pop()),
            Step::Backward { walk, inputs } => {
                let inputs = inputs.as_ref().map(|inputs| self.all(inputs));
                let inputs: Option<Vec<&Tensor>> = inputs.as_ref().map(|all| all.iter().collect());
                self.with_options(walk, |of, options| {
                    of.backward_with(Backward { inputs: inputs.as_deref(), ..options });
                });
            }
            Step::Grad { out, walk, wrt } => return self.grad(*out, walk, wrt),
            Step::SecondOrder { walk, wrt, then } => {
                let _recorded = GradModeGuard::enable_grad();
                self.second = self.second_order(walk, wrt, then);
            }
            Step::GradOf { out, of } => {
                let grad = self.names[of].grad();
                self.names.extend(grad.map(|grad| (*out, grad)));
            }
            Step::ZeroGrad(of) => self.names[of].set_grad(None),
            Step::RequireGrad(of, on) => self.names[of].set_requires_grad(*on),
            Step::DetachInPlace(of) => self.names[of].detach_(),
            Step::RetainGrad(of) => self.names[of].retain_grad(),
            Step::Drop(of) => drop(self.names.remove(of)),
        }
        Vec::new()
    }

    fn with_options<R>(&self, walk: &Walk, f: impl FnOnce(&Tensor, Backward<'_>) -> R) -> R {
        let gradient = walk.gradient.map(|name| self.names[&name].clone());
        let options = Backward {
            gradient: gradient.as_ref(),
            retain_graph: walk.retain,
            create_graph: walk.create,
            inputs: None,
        };
        f(&self.names[&walk.of], options)
    }

    fn grad_of(&self, walk: &Walk, wrt: &[Tensor]) -> Vec<Option<Tensor>> {
        let wrt: Vec<&Tensor> = wrt.iter().collect();
        self.with_options(walk, |of, options| of.grad_of(&wrt, options))
    }

    fn grad(&mut self, out: Name, walk: &Walk, wrt: &[Name]) -> Vec<Tensor> {
        let found = self.grad_of(walk, &self.all(wrt));
        let given = walk.gradient.map(|name| self.names[&name].clone());
        let mut made = Vec::new();
        for (name, grad) in (out..).zip(found) {
            let Some(grad) = grad else { continue };
            if given.as_ref().is_none_or(|given| !grad.shares_storage(given)) {
                let kind = grad.is_inference() != is_inference_mode_enabled();
                let plain = grad.base().is_none() && !grad.requires_grad();
                if kind || !(plain || walk.create) {
                    self.complaints.push("a gradient is not a result of its own".to_owned());
                }
            }
            // Gradients may share memory with one another: whoever writes to them copies first.
            let copy = grad.copy();
            self.names.insert(name, copy.clone());
            made.push(copy);
        }
        made
    }

    fn second_order(&self, walk: &Walk, wrt: &[Name], then: &[Name]) -> Vec<Option<Vec<f32>>> {
        let walk = Walk { retain: true, create: true, ..walk.clone() };
        let first = self.grad_of(&walk, &self.all(wrt));
        let then = self.all(then);
        let then: Vec<&Tensor> = then.iter().collect();
        let mut sums: Vec<Option<Vec<f32>>> = vec![None; then.len()];
        for grad in first.iter().flatten().filter(|grad| grad.requires_grad()) {
            let weights: Vec<f32> = (0..grad.numel()).map(|at| weight(at) as f32).collect();
            let weights = Tensor::from_vec(weights, grad.dims());
            let options =
                Backward { gradient: Some(&weights), retain_graph: true, ..Backward::default() };
            for (sum, found) in sums.iter_mut().zip(grad.grad_of(&then, options)) {
                let Some(found) = found else { continue };
                let old = sum.take().unwrap_or_else(|| vec![0.0; found.numel()]);
                *sum = Some(old.iter().zip(found.to_vec()).map(|(a, b)| a + b).collect());
            }
        }
        sums
    }

    /// First-order gradients have the same bits with and without `create_graph`.
    pub(crate) fn compare_recorded(&mut self, walk: &Walk) {
        let leaves: Vec<Tensor> =
            self.names.values().filter(|x| x.requires_grad()).cloned().collect();
        let bits = |create| {
            let walk = Walk { retain: true, create, ..walk.clone() };
            catch(|| self.grad_of(&walk, &leaves)).map(|grads| {
                // The sign of a zero is not compared.
                let bits = |x: f32| if x.is_nan() { u32::MAX } else { (x + 0.0).to_bits() };
                let of = |grad: Tensor| grad.to_vec().into_iter().map(bits).collect::<Vec<_>>();
                grads.into_iter().map(|grad| grad.map(of)).collect::<Vec<_>>()
            })
        };
        let (plain, recorded) = (bits(false), bits(true));
        if let Ok(plain) = plain
            && recorded.as_ref() != Ok(&plain)
        {
            self.complaints.push("`create_graph` changes the gradient".to_owned());
        }
    }

    /// Functions with bounds keep within them.
    fn check_range(&mut self, op: &Op, made: &Tensor) {
        let (least, most) = match op {
            Op::Unary(Unary::Tanh | Unary::Sin) | Op::Linear { tanh: true } => (-1.0, 1.0),
            Op::Unary(Unary::Sigmoid) | Op::Softmax(_) => (0.0, 1.0),
            Op::LogSoftmax(_) => (f32::NEG_INFINITY, 0.0),
            Op::Unary(Unary::Exp | Unary::Relu | Unary::Abs)
            | Op::Fold(Fold::Var | Fold::Std, ..) => (0.0, f32::INFINITY),
            _ => return,
        };
        if made.dtype() == DType::F32 && made.to_vec().iter().any(|&x| x < least || x > most) {
            self.complaints.push(format!("a result of {op:?} is not within [{least}, {most}]"));
        }
    }
}

fn leaf(shape: &[usize], dtype: DType, numbers: &[f32]) -> Tensor {
    let numbers: Vec<f32> = numbers.iter().copied().cycle().take(count(shape)).collect();
    match dtype {
        DType::F32 => Tensor::from_vec(numbers, shape),
        DType::I64 => {
            Tensor::from_i64(&numbers.iter().map(|&x| x as i64).collect::<Vec<_>>(), shape)
        }
        DType::Bool => {
            Tensor::from_bool(&numbers.iter().map(|&x| x != 0.0).collect::<Vec<_>>(), shape)
        }
    }
}

fn operation(op: &Op, inputs: &[Tensor]) -> Vec<Tensor> {
    let x = &inputs[0];
    let all: Vec<&Tensor> = inputs.iter().collect();
    vec![match op {
        Op::Unary(f) => unary(*f, x),
        Op::Binary(f) => match f {
            Binary::Add => x + &inputs[1],
            Binary::Sub => x - &inputs[1],
            Binary::Mul => x * &inputs[1],
            Binary::Div => x / &inputs[1],
            Binary::Maximum => x.maximum(&inputs[1]),
            Binary::Minimum => x.minimum(&inputs[1]),
        },
        Op::Matmul => x.matmul(&inputs[1]),
        Op::Linear { tanh } => {
            let act = if *tanh { Activation::Tanh } else { Activation::None };
            x.linear_act(&inputs[1], inputs.get(2), act)
        }
        Op::Conv2d { padding } => x.conv2d(&inputs[1], None, 1, *padding),
        Op::Fold(f, dims, keepdim) => fold(x, *f, dims, *keepdim),
        Op::Softmax(dim) => x.softmax(*dim),
        Op::LogSoftmax(dim) => x.log_softmax(*dim),
        Op::Cumsum(dim) => x.cumsum(*dim),
        Op::MaxDim(dim) => return <[Tensor; 2]>::from(x.max_dim(*dim, false)).into(),
        Op::MinDim(dim) => return <[Tensor; 2]>::from(x.min_dim(*dim, false)).into(),
        Op::Where => Tensor::where_(x, &inputs[1], &inputs[2]),
        Op::MaskedFill(value) => x.masked_fill(&inputs[1], *value),
        Op::IndexSelect(dim) => x.index_select(*dim, &inputs[1]),
        Op::Gather(dim) => x.gather(*dim, &inputs[1]),
        Op::Cat(dim) => Tensor::cat(&all, *dim),
        Op::Flip(dim) => x.flip(&[*dim]),
        Op::Repeat(times) => x.repeat(times),
        Op::Clone => x.clone_contiguous(),
    }]
}

fn unary(f: Unary, x: &Tensor) -> Tensor {
    match f {
        Unary::Neg => -x,
        Unary::Exp => x.exp(),
        Unary::Log => x.log(),
        Unary::Sqrt => x.sqrt(),
        Unary::Tanh => x.tanh(),
        Unary::Sigmoid => x.sigmoid(),
        Unary::Relu => x.relu(),
        Unary::Abs => x.abs(),
        Unary::Sin => x.sin(),
        Unary::Reciprocal => x.reciprocal(),
        Unary::Square => x.square(),
        Unary::Clamp(min, max) => x.clamp(min, max),
        Unary::ClampMin(min) => x.clamp_min(min),
        Unary::ClampMax(max) => x.clamp_max(max),
        Unary::Pow(exponent) => x.pow(exponent),
        Unary::Plus(number) => x + number,
        Unary::Times(number) => x * number,
    }
}

fn fold(x: &Tensor, f: Fold, dims: &[isize], keepdim: bool) -> Tensor {
    match (f, dims) {
        (Fold::Sum, []) if !keepdim => x.sum(),
        (Fold::Mean, []) if !keepdim => x.mean(),
        (Fold::Amax, []) if !keepdim => x.max(),
        (Fold::Amin, []) if !keepdim => x.min(),
        (Fold::Sum, [dim]) => x.sum_dim(*dim, keepdim),
        (Fold::Mean, [dim]) => x.mean_dim(*dim, keepdim),
        (Fold::Var, [dim]) => x.var_dim(*dim, true, keepdim),
        (Fold::Amax, [dim]) => x.amax(*dim, keepdim),
        (Fold::LogSumExp, [dim]) => x.logsumexp(*dim, keepdim),
        (Fold::Sum, _) => x.sum_dims(dims, keepdim),
        (Fold::Mean, _) => x.mean_dims(dims, keepdim),
        (Fold::Var, _) => x.var_dims(dims, true, keepdim),
        (Fold::Std, _) => x.std_dims(dims, true, keepdim),
        (Fold::Amax, _) => x.amax_dims(dims, keepdim),
        (Fold::Amin, _) => x.amin_dims(dims, keepdim),
        (Fold::LogSumExp, _) => x.logsumexp_dims(dims, keepdim),
    }
}

fn view_of(view: &View, x: &Tensor) -> Vec<Tensor> {
    vec![match view {
        View::Narrow(dim, start, len) => x.narrow(*dim, *start, *len),
        View::Select(dim, at) => x.select(*dim, *at),
        View::Transpose(a, b) => x.transpose(*a, *b),
        View::Permute(order) => x.permute(order),
        View::Expand(shape) => x.expand(&shape[..]),
        View::Shaped(shape) => x.view(&shape[..]),
        View::Reshape(shape) => x.reshape(&shape[..]),
        View::Unsqueeze(dim) => x.unsqueeze(*dim),
        View::Squeeze(dim) => x.squeeze_dim(*dim),
        View::Unbind(dim) => return x.unbind(*dim),
        View::Split(size, dim) => return x.split(*size, *dim),
        View::Detach => x.detach(),
        View::Contiguous => x.contiguous(),
    }]
}

fn write_to(x: &Tensor, write: Write, inputs: &[Tensor]) {
    match write {
        Write::Add => x.add_(&inputs[0]),
        Write::Sub => x.sub_(&inputs[0]),
        Write::Mul => x.mul_(&inputs[0]),
        Write::Div => x.div_(&inputs[0]),
        Write::Copy => x.copy_(&inputs[0]),
        Write::Fill(value) => x.fill_(value),
        Write::MaskedFill(value) => x.masked_fill_(&inputs[0], value),
        Write::Unary(f) => match f {
            Unary::Neg => x.neg_(),
            Unary::Exp => x.exp_(),
            Unary::Log => x.log_(),
            Unary::Sqrt => x.sqrt_(),
            Unary::Tanh => x.tanh_(),
            Unary::Sigmoid => x.sigmoid_(),
            Unary::Relu => x.relu_(),
            Unary::Abs => x.abs_(),
            Unary::Sin => x.sin_(),
            Unary::Reciprocal => x.reciprocal_(),
            Unary::Square => x.square_(),
            Unary::Clamp(min, max) => x.clamp_(min, max),
            Unary::ClampMin(min) => x.clamp_min_(min),
            Unary::ClampMax(max) => x.clamp_max_(max),
            Unary::Pow(exponent) => x.pow_(exponent),
            Unary::Plus(number) => x.add_scalar_(number),
            Unary::Times(number) => x.mul_scalar_(number),
        },
    }
}
