//! The operations of the recorded programs, by name.

use rlrun_tensor::{DType, Reduction, Tensor};
use serde_json::{Value, json};

use super::compare::number;

/// The elements as the recordings write them.
pub(crate) fn values(tensor: &Tensor) -> Value {
    match tensor.dtype() {
        DType::F32 => tensor.to_vec().into_iter().map(|x| written(f64::from(x))).collect(),
        DType::I64 => json!(tensor.to_vec_i64()),
        DType::Bool => tensor.to_vec_bool().into_iter().map(u8::from).collect(),
    }
}

fn written(x: f64) -> Value {
    match x {
        _ if x.is_nan() => json!("nan"),
        f64::INFINITY => json!("inf"),
        f64::NEG_INFINITY => json!("-inf"),
        _ => json!(x),
    }
}

/// The arguments of a step.
struct Arguments<'a>(&'a Value);

impl Arguments<'_> {
    fn scalar(&self, at: usize) -> Option<f32> {
        let value = &self.0["scalars"][at];
        (!value.is_null() && !value.is_array()).then(|| number(value) as f32)
    }

    fn named(&self, key: &str) -> Option<f32> {
        let value = &self.0[key];
        (!value.is_null()).then(|| number(value) as f32)
    }

    /// A number by name, or else by position.
    fn value(&self, key: &str, at: usize) -> Option<f32> {
        self.named(key).or_else(|| self.scalar(at))
    }

    fn integer(&self, key: &str, at: usize) -> Option<isize> {
        let value = if self.0[key].is_null() { &self.0["scalars"][at] } else { &self.0[key] };
        (!value.is_null() && !value.is_array()).then(|| number(value) as isize)
    }

    fn integers(&self, key: &str) -> Vec<isize> {
        let list = if self.0[key].is_null() { &self.0["scalars"] } else { &self.0[key] };
        let list = if list[0].is_array() { &list[0] } else { list };
        list.as_array().into_iter().flatten().map(|x| number(x) as isize).collect()
    }
}

/// A functional or view operation.
#[track_caller]
pub(crate) fn functional(op: &str, inputs: &[Tensor], attr: &Value) -> Vec<Tensor> {
    let arguments = Arguments(attr);
    if let Some(made) = view(op, inputs, &arguments) {
        return made;
    }
    let made = of_pair(op, inputs, &arguments)
        .or_else(|| of_one(op, inputs, &arguments))
        .or_else(|| of_several(op, inputs, &arguments));
    vec![made.unwrap_or_else(|| panic!("unknown operation `{op}`"))]
}

fn view(op: &str, inputs: &[Tensor], arguments: &Arguments<'_>) -> Option<Vec<Tensor>> {
    let x = &inputs[0];
    let at = |key: &str, place: usize| arguments.integer(key, place);
    let dim = |place: usize| at("dim", place).unwrap_or(0);
    Some(match op {
        "view" => vec![x.view(&arguments.integers("shape")[..])],
        "reshape" => vec![x.reshape(&arguments.integers("shape")[..])],
        "expand" => vec![x.expand(&arguments.integers("sizes")[..])],
        "transpose" => vec![x.transpose(at("dim0", 0)?, at("dim1", 1)?)],
        "narrow" => vec![x.narrow(dim(0), at("start", 1)?, at("length", 2)? as usize)],
        "select" => vec![x.select(dim(0), at("index", 1)?)],
        "unsqueeze" => vec![x.unsqueeze(dim(0))],
        "split" => x.split(at("size", 0)? as usize, dim(1)),
        "chunk" => x.chunk(at("chunks", 0)? as usize, dim(1)),
        "unbind" => x.unbind(dim(0)),
        "detach" => vec![x.detach()],
        "data" => vec![x.data()],
        "contiguous" => vec![x.contiguous()],
        _ => return None,
    })
}

/// The four operators, with a tensor or a number on the right.
fn of_pair(op: &str, inputs: &[Tensor], arguments: &Arguments<'_>) -> Option<Tensor> {
    let x = &inputs[0];
    if let Some(y) = inputs.get(1) {
        return Some(match op {
            "add" => match arguments.named("alpha") {
                Some(alpha) => x + y * alpha,
                None => x + y,
            },
            "sub" => x - y,
            "mul" => x * y,
            "div" => x / y,
            "maximum" => x.maximum(y),
            "minimum" => x.minimum(y),
            "matmul" => x.matmul(y),
            "pow" => x.pow_tensor(y),
            "mse_loss" => x.mse_loss(y),
            "smooth_l1_loss" => x.smooth_l1_loss(y),
            "huber_loss" => {
                x.huber_loss_with(y, arguments.named("delta").unwrap_or(1.0), Reduction::Mean)
            }
            "nll_loss" => x.nll_loss(y, Reduction::Mean),
            "cross_entropy" => x.cross_entropy(y, Reduction::Mean),
            "lerp" => x.lerp(y, arguments.value("weight", 0)?),
            _ => return None,
        });
    }
    let number = arguments.scalar(0)?;
    Some(match op {
        "add" => x + number,
        "sub" => x - number,
        "mul" => x * number,
        "div" => x / number,
        "pow" => x.pow(number),
        _ => return None,
    })
}

fn of_one(op: &str, inputs: &[Tensor], arguments: &Arguments<'_>) -> Option<Tensor> {
    let x = &inputs[0];
    let dim = arguments.integer("dim", 0);
    let keepdim = arguments.0["keepdim"] == true;
    Some(match op {
        "neg" => -x,
        "exp" => x.exp(),
        "log" => x.log(),
        "tanh" => x.tanh(),
        "sigmoid" => x.sigmoid(),
        "relu" => x.relu(),
        "leaky_relu" => x.leaky_relu(arguments.value("negative_slope", 0).unwrap_or(0.01)),
        "gelu" => x.gelu(),
        "silu" => x.silu(),
        "softplus" => x.softplus(),
        "sqrt" => x.sqrt(),
        "abs" => x.abs(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "reciprocal" => x.reciprocal(),
        "clamp" => clamp(x, arguments),
        "softmax" => x.softmax(dim?),
        "log_softmax" => x.log_softmax(dim?),
        "logsumexp" => x.logsumexp(dim?, keepdim),
        "sum" => dim.map_or_else(|| x.sum(), |dim| x.sum_dim(dim, keepdim)),
        "mean" => dim.map_or_else(|| x.mean(), |dim| x.mean_dim(dim, keepdim)),
        "var" => dim.map_or_else(|| x.var(), |dim| x.var_dim(dim, true, keepdim)),
        "std" => dim.map_or_else(|| x.std(), |dim| x.std_dim(dim, true, keepdim)),
        "amax" => x.amax(dim?, keepdim),
        "amin" => x.amin(dim?, keepdim),
        "clone" => x.clone_contiguous(),
        "flip" => x.flip(&arguments.integers("dims")),
        "zeros_like" => x.zeros_like(),
        _ => return None,
    })
}

fn of_several(op: &str, inputs: &[Tensor], arguments: &Arguments<'_>) -> Option<Tensor> {
    let all: Vec<&Tensor> = inputs.iter().collect();
    let dim = || arguments.integer("dim", 0).unwrap_or(0);
    Some(match op {
        "where" => Tensor::where_(all[0], all[1], all[2]),
        "linear" => all[0].linear(all[1], inputs.get(2)),
        "gather" => all[0].gather(dim(), all[1]),
        "index_select" => all[0].index_select(dim(), all[1]),
        "cat" => Tensor::cat(&all, dim()),
        "stack" => Tensor::stack(&all, dim()),
        "layer_norm" => {
            let shape = arguments.integers("normalized_shape");
            let shape: Vec<usize> = shape.into_iter().map(|extent| extent as usize).collect();
            all[0].layer_norm(&shape, inputs.get(1), inputs.get(2), 1e-5)
        }
        _ => return None,
    })
}

fn clamp(x: &Tensor, arguments: &Arguments<'_>) -> Tensor {
    match (arguments.value("min", 0), arguments.value("max", 1)) {
        (Some(min), Some(max)) => x.clamp(min, max),
        (Some(min), None) => x.clamp_min(min),
        (None, Some(max)) => x.clamp_max(max),
        (None, None) => panic!("clamp without a bound"),
    }
}

/// The form of an operation that writes into an existing tensor.
#[track_caller]
pub(crate) fn into_out(op: &str, inputs: &[Tensor], attr: &Value, out: &Tensor) {
    match (op, inputs.get(1), Arguments(attr).scalar(0)) {
        ("mul", Some(y), _) => inputs[0].mul_out(y, out),
        ("mul", None, Some(number)) => inputs[0].mul_scalar_out(number, out),
        _ => panic!("no form of `{op}` with a destination"),
    }
}

/// An operation that changes its first input.
#[track_caller]
pub(crate) fn in_place(op: &str, inputs: &[Tensor], attr: &Value) {
    let (x, arguments) = (&inputs[0], Arguments(attr));
    let number = arguments.scalar(0);
    match (op, inputs.get(1), number) {
        ("add_", Some(y), _) => x.add_scaled_(y, arguments.named("alpha").unwrap_or(1.0)),
        ("sub_", Some(y), _) => x.add_scaled_(y, -arguments.named("alpha").unwrap_or(1.0)),
        ("mul_", Some(y), _) => x.mul_(y),
        ("div_", Some(y), _) => x.div_(y),
        ("copy_", Some(y), _) => x.copy_(y),
        ("lerp_", Some(y), _) => x.lerp_(y, arguments.value("weight", 0).expect("a weight")),
        ("masked_fill_", Some(mask), _) => {
            x.masked_fill_(mask, arguments.value("value", 0).expect("a value"));
        }
        ("addcmul_", Some(a), _) => {
            x.addcmul_(a, &inputs[2], arguments.named("value").unwrap_or(1.0));
        }
        ("add_", None, Some(number)) => x.add_scalar_(number),
        ("sub_", None, Some(number)) => x.add_scalar_(-number),
        ("mul_", None, Some(number)) => x.mul_scalar_(number),
        ("div_", None, Some(number)) => x.div_scalar_(number),
        ("pow_", None, Some(number)) => x.pow_(number),
        ("fill_", None, Some(number)) => x.fill_(number),
        _ => in_place_of_one(op, x, &arguments),
    }
}

fn in_place_of_one(op: &str, x: &Tensor, arguments: &Arguments<'_>) {
    match op {
        "neg_" => x.neg_(),
        "exp_" => x.exp_(),
        "log_" => x.log_(),
        "tanh_" => x.tanh_(),
        "sigmoid_" => x.sigmoid_(),
        "sqrt_" => x.sqrt_(),
        "relu_" => x.relu_(),
        "sin_" => x.sin_(),
        "cos_" => x.cos_(),
        "abs_" => x.abs_(),
        "reciprocal_" => x.reciprocal_(),
        "zero_" => x.zero_(),
        "clamp_" => match (arguments.value("min", 0), arguments.value("max", 1)) {
            (Some(min), Some(max)) => x.clamp_(min, max),
            (Some(min), None) => x.clamp_min_(min),
            (None, Some(max)) => x.clamp_max_(max),
            (None, None) => panic!("clamp_ without a bound"),
        },
        "detach_" => x.detach_(),
        "requires_grad_" => x.set_requires_grad(arguments.0["scalars"][0] != false),
        _ => panic!("unknown operation `{op}`"),
    }
}
