//! Recorded operations: result, gradients and errors.
//!
//! Where PyTorch's own result is an accident, the rule is:
//!
//! | operation | accident | here |
//! |---|---|---|
//! | `matmul`, `categorical_log_prob` | a computed result may be flagged as a view, as the batch was folded or the program recorded | it is none |
//! | `pow` of tensors, `var` of one number | a second derivative behind a first one of 0 · ln 0 or NaN is NaN or absent | finite, or NaN as the first |
//! | `elu` | the gradient of NaN depends on the lane of the vector | NaN |

use rlrun_tensor::{
    Activation, Backward, CellWeights, DType, Reduction, Tensor, TensorError, catch,
};
use serde_json::Value;

use super::canary;
use super::compare::{Tolerance, close, number};
use super::operations;
use super::program;

pub(crate) fn check(row: &Value) -> Result<(), String> {
    canary::fill_free_lists();
    let run = catch(|| Run::forward(row));
    if let Some(kind) = row["error"].as_str() {
        return refused(run, kind);
    }
    let run = run.map_err(|error| error.to_string())?;
    run.check_outputs(row)?;
    let grads = catch(|| run.backward(row, false)).map_err(|error| error.to_string())?;
    check_each("gradient", &grads, row, ["grads", "grads_f64"])?;
    if row["upstream"].as_array().is_none_or(Vec::is_empty) {
        return Ok(());
    }
    let again = catch(|| Run::forward(row)).map_err(|error| error.to_string())?;
    let recorded = catch(|| again.backward(row, true)).map_err(|error| error.to_string())?;
    same_when_recorded(&grads, &recorded)?;
    if row["upstream2"].is_array() {
        let second = catch(|| again.second(row, &recorded)).map_err(|error| error.to_string())?;
        check_each("second gradient", &second, row, ["second", "second_f64"])?;
    }
    Ok(())
}

/// The row must be refused with this kind; torch's unnamed ones (`Other:`) with any.
fn refused(run: Result<Run, TensorError>, kind: &str) -> Result<(), String> {
    match run {
        Err(error) if error.kind() == kind || kind.starts_with("Other:") => Ok(()),
        Err(error) => Err(format!("expected {kind}, got {error}")),
        Ok(_) => Err(format!("expected {kind}, got a result")),
    }
}

/// First-order gradients are the same whether the walk is recorded or not.
fn same_when_recorded(plain: &[Option<Tensor>], recorded: &[Option<Tensor>]) -> Result<(), String> {
    for (at, pair) in plain.iter().zip(recorded).enumerate() {
        let (a, b) = match pair {
            (Some(a), Some(b)) => (a.to_vec(), b.to_vec()),
            (None, None) => continue,
            _ => return Err(format!("gradient {at} exists with or without create_graph only")),
        };
        let same = |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan());
        if !a.iter().zip(&b).all(same) {
            return Err(format!("gradient {at} is {a:?}, with create_graph {b:?}"));
        }
    }
    Ok(())
}

fn check_each(
    what: &str,
    found: &[Option<Tensor>],
    row: &Value,
    [key, key_f64]: [&str; 2],
) -> Result<(), String> {
    let tolerance = Tolerance::of(row["op"].as_str().expect("an operation"));
    for (at, ours) in found.iter().enumerate() {
        let theirs = &row[key][at];
        // Absent and zero are the same second gradient.
        let zero =
            |tensor: &Tensor| what != "gradient" && tensor.to_vec().iter().all(|&x| x == 0.0);
        let zeros = |recorded: &Value| {
            let data = recorded["data"].as_array().into_iter().flatten();
            what != "gradient" && data.into_iter().all(|x| number(x) == 0.0)
        };
        match ours {
            None if theirs.is_null() || zeros(theirs) => {}
            Some(ours) if theirs.is_null() && (zero(ours) || of_one_number(row, at)) => {}
            Some(_) if theirs.is_null() => return Err(format!("{what} {at} is not recorded")),
            None => return Err(format!("no {what} {at}, recorded {theirs}")),
            Some(ours) => {
                let accident = |place: usize, theirs: f64| accident(row, what, at, place, theirs);
                let what = format!("{what} {at}");
                tolerance.check(&what, ours, theirs, &row[key_f64][at], accident)?;
            }
        }
    }
    Ok(())
}

/// Whether PyTorch has no second derivative because the variance is one of a single number.
fn of_one_number(row: &Value, at: usize) -> bool {
    let first = row["grads"][at]["data"].as_array().into_iter().flatten();
    row["op"] == "var" && first.into_iter().any(|x| number(x).is_nan())
}

/// Whether a recorded element is an accident: see the table above.
fn accident(row: &Value, what: &str, at: usize, place: usize, theirs: f64) -> bool {
    let data = |input: usize| row["inputs"][input]["data"].as_array().into_iter().flatten();
    match row["op"].as_str() {
        Some("pow_tensor") => {
            what == "second gradient" && theirs.is_nan() && data(0).any(|x| number(x) == 0.0)
        }
        Some("elu") => data(at).nth(place).is_some_and(|x| number(x).is_nan()),
        _ => false,
    }
}

/// The tensors of a row and what its operation made of them.
struct Run {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

impl Run {
    fn forward(row: &Value) -> Run {
        let described = row["inputs"].as_array().expect("inputs");
        let inputs: Vec<Tensor> = described.iter().map(input).collect();
        let mut seen: Vec<Tensor> = inputs.iter().zip(described).map(seen).collect();
        // This row alone reads its input with exchanged dimensions without saying so.
        if row["id"].as_str().is_some_and(|id| id.ends_with("/of_transpose")) {
            seen[0] = seen[0].transpose(0, 1);
        }
        let op = row["op"].as_str().expect("an operation");
        let outputs = if row["attrs"]["inplace"] == true {
            let copy = seen[0].clone_contiguous();
            in_place(op, &copy, &row["attrs"]);
            vec![copy]
        } else {
            forward(op, &seen, &row["attrs"])
        };
        Run { inputs, outputs }
    }

    fn check_outputs(&self, row: &Value) -> Result<(), String> {
        let op = row["op"].as_str().expect("an operation");
        let recorded = row["outputs"].as_array().expect("outputs");
        if self.outputs.len() != recorded.len() {
            return Err(format!("{} results, recorded {}", self.outputs.len(), recorded.len()));
        }
        let tolerance = Tolerance::of(op);
        for (at, (ours, theirs)) in self.outputs.iter().zip(recorded).enumerate() {
            let in_f64 = &row["outputs_f64"][at];
            let no_accident = |_: usize, _: f64| false;
            tolerance.check(&format!("output {at}"), ours, theirs, in_f64, no_accident)?;
            let is_view = ours.base().is_some();
            let accident = ["matmul", "categorical_log_prob"].contains(&op) && !is_view;
            let known = !accident && row["is_view"].is_array();
            if known && row["is_view"][at] != is_view {
                return Err(format!("output {at} is a view: {is_view}, recorded otherwise"));
            }
        }
        Ok(())
    }

    /// Gradients of the sum of output · upstream.
    fn backward(&self, row: &Value, create_graph: bool) -> Vec<Option<Tensor>> {
        let differentiable: Vec<&Tensor> =
            self.outputs.iter().filter(|y| y.requires_grad()).collect();
        let upstream = row["upstream"].as_array().into_iter().flatten();
        for (output, upstream) in differentiable.iter().zip(upstream) {
            let gradient = program::tensor(upstream);
            output.backward_with(Backward {
                gradient: Some(&gradient),
                retain_graph: differentiable.len() > 1,
                create_graph,
                ..Backward::default()
            });
        }
        self.inputs.iter().map(Tensor::grad).collect()
    }

    /// Gradients of the sum of gradient · upstream2.
    fn second(&self, row: &Value, grads: &[Option<Tensor>]) -> Vec<Option<Tensor>> {
        let upstream = row["upstream2"].as_array().into_iter().flatten();
        let weighted = grads.iter().zip(upstream).filter_map(|(grad, upstream)| {
            let grad = grad.as_ref().filter(|grad| grad.requires_grad())?;
            (!upstream.is_null()).then(|| (grad * program::tensor(upstream)).sum())
        });
        let wanted: Vec<&Tensor> = self.inputs.iter().filter(|x| x.requires_grad()).collect();
        let Some(loss) = weighted.reduce(|a, b| a + b) else {
            return vec![None; self.inputs.len()];
        };
        let mut found = loss.grad_of(&wanted, Backward::default()).into_iter();
        let of = |x: &Tensor| if x.requires_grad() { found.next().flatten() } else { None };
        self.inputs.iter().map(of).collect()
    }
}

fn input(described: &Value) -> Tensor {
    let tensor = program::tensor(described);
    if described["grad"] == true { tensor.requires_grad_(true) } else { tensor }
}

/// What the operation sees of an input.
fn seen((input, described): (&Tensor, &Value)) -> Tensor {
    let steps = described["views"].as_array().into_iter().flatten();
    steps.fold(input.clone(), |tensor, step| {
        let at = |place: usize| number(&step[place]) as isize;
        match step[0].as_str() {
            Some("transpose") => tensor.transpose(at(1), at(2)),
            Some("narrow") => tensor.narrow(at(1), at(2), at(3) as usize),
            Some("select") => tensor.select(at(1), at(2)),
            Some("expand") => {
                let sizes = step[1].as_array().expect("sizes").iter();
                tensor.expand(&sizes.map(|x| number(x) as isize).collect::<Vec<_>>()[..])
            }
            _ => panic!("unknown view {step}"),
        }
    })
}

impl Tolerance {
    pub(crate) fn of(op: &str) -> Tolerance {
        let rough =
            ["matmul", "linear", "conv2d", "lstm_cell", "gru_cell", "var", "std", "layer_norm"];
        if rough.contains(&op) { Tolerance::ROUGH } else { Tolerance::TIGHT }
    }

    /// Compares with the recordings in f32 and in f64: each element may agree with either, or, where
    /// PyTorch's own rounding in f32 is worse than the tolerance, be as far from f64 as PyTorch is.
    fn check(
        &self,
        what: &str,
        ours: &Tensor,
        theirs: &Value,
        in_f64: &Value,
        accident: impl Fn(usize, f64) -> bool,
    ) -> Result<(), String> {
        let shape: Vec<u64> = ours.dims().iter().map(|&extent| extent as u64).collect();
        let recorded = &theirs["shape"];
        if *recorded != Value::from(shape) {
            return Err(format!("{what}: shape {:?}, recorded {recorded}", ours.dims()));
        }
        let is_i64 = theirs["dtype"] == "i64";
        if is_i64 != (ours.dtype() == DType::I64) {
            return Err(format!("{what}: dtype {:?}, recorded {}", ours.dtype(), theirs["dtype"]));
        }
        let values = operations::values(ours);
        let worst = in_f64.as_array().map_or(0.0, |exact| worst(exact, &theirs["data"]));
        for (at, value) in values.as_array().into_iter().flatten().enumerate() {
            let agrees =
                |other: &Value| close(number(value), number(other), self.absolute, self.relative);
            let theirs_in_f32 = &theirs["data"][at];
            let in_f64 = in_f64.get(at).unwrap_or(theirs_in_f32);
            let either = agrees(in_f64) || agrees(theirs_in_f32);
            let rounded = || (number(value) - number(in_f64)).abs() <= worst;
            if !either && !rounded() && !accident(at, number(theirs_in_f32)) {
                return Err(format!("{what}: ours {values}, recorded {}", theirs["data"]));
            }
        }
        Ok(())
    }
}

/// How far the finite elements of PyTorch's f32 are from its f64.
fn worst(in_f64: &[Value], in_f32: &Value) -> f64 {
    let pairs = in_f64.iter().zip(in_f32.as_array().into_iter().flatten());
    let far = pairs.map(|(a, b)| (number(a) - number(b)).abs()).filter(|far| far.is_finite());
    far.fold(0.0, f64::max)
}

/// The arguments of a row.
struct Attributes<'a>(&'a Value);

impl Attributes<'_> {
    fn number(&self, key: &str) -> f32 {
        number(&self.0[key]) as f32
    }

    fn integer(&self, key: &str) -> isize {
        number(&self.0[key]) as isize
    }

    fn integers(&self, key: &str) -> Vec<isize> {
        self.0[key].as_array().into_iter().flatten().map(|x| number(x) as isize).collect()
    }

    fn extents(&self, key: &str) -> Vec<usize> {
        self.integers(key).into_iter().map(|extent| extent as usize).collect()
    }

    fn is_set(&self, key: &str) -> bool {
        !self.0[key].is_null()
    }

    fn reduction(&self) -> Reduction {
        match self.0["reduction"].as_str() {
            Some("sum") => Reduction::Sum,
            Some("none") => Reduction::None,
            _ => Reduction::Mean,
        }
    }

    fn ignored(&self) -> Option<i64> {
        self.0["ignore_index"].as_i64()
    }
}

fn in_place(op: &str, x: &Tensor, attrs: &Value) {
    let a = Attributes(attrs);
    match op {
        "log1p" => x.log1p_(),
        "expm1" => x.expm1_(),
        "erf" => x.erf_(),
        "rsqrt" => x.rsqrt_(),
        "sign" => x.sign_(),
        "square" => x.square_(),
        "logsigmoid" => x.logsigmoid_(),
        "silu" => x.silu_(),
        "gelu" => x.gelu_(),
        "softplus" => x.softplus_(),
        "digamma" => x.digamma_(),
        "elu" => x.elu_(a.number("alpha")),
        "leaky_relu" => x.leaky_relu_(a.number("negative_slope")),
        _ => operations::in_place(&format!("{op}_"), std::slice::from_ref(x), attrs),
    }
}

#[track_caller]
fn forward(op: &str, inputs: &[Tensor], attrs: &Value) -> Vec<Tensor> {
    let attributes = Attributes(attrs);
    if let Some(parts) = several_results(op, inputs, &attributes) {
        return parts;
    }
    let result = elementwise(op, inputs, &attributes)
        .or_else(|| reduction(op, &inputs[0], &attributes))
        .or_else(|| shape(op, &inputs[0], &attributes))
        .or_else(|| loss(op, inputs, &attributes))
        .or_else(|| layer(op, inputs, &attributes));
    result.map_or_else(|| operations::functional(op, inputs, attrs), |result| vec![result])
}

fn several_results(op: &str, inputs: &[Tensor], a: &Attributes<'_>) -> Option<Vec<Tensor>> {
    let x = &inputs[0];
    let keepdim = a.0["keepdim"] == true;
    let pair = |(values, places): (Tensor, Tensor)| vec![values, places];
    Some(match op {
        "max_dim" => pair(x.max_dim(a.integer("dim"), keepdim)),
        "min_dim" => pair(x.min_dim(a.integer("dim"), keepdim)),
        "split" if a.0["sizes"].is_array() => x.split_sizes(&a.extents("sizes"), a.integer("dim")),
        "split" => x.split(a.integer("sizes") as usize, a.integer("dim")),
        "chunk" => x.chunk(a.integer("chunks") as usize, a.integer("dim")),
        "unbind" => x.unbind(a.integer("dim")),
        "lstm_cell" => {
            let weights = cell_weights(&inputs[3..]);
            pair(x.lstm_cell(&inputs[1], &inputs[2], weights))
        }
        _ => return None,
    })
}

fn cell_weights(inputs: &[Tensor]) -> CellWeights<'_> {
    let [w_ih, w_hh, b_ih, b_hh] = inputs else { panic!("expected four weights") };
    CellWeights { w_ih, w_hh, b_ih, b_hh }
}

fn elementwise(op: &str, inputs: &[Tensor], a: &Attributes<'_>) -> Option<Tensor> {
    let x = &inputs[0];
    let scalar = a.is_set("scalar").then(|| a.number("scalar"));
    Some(match (op, scalar) {
        ("add", Some(number)) => x + number,
        ("sub", Some(number)) => x - number,
        ("mul", Some(number)) => x * number,
        ("div", Some(number)) => x / number,
        ("rsub_scalar", Some(number)) => number - x,
        ("rdiv_scalar", Some(number)) => number / x,
        ("pow_scalar", _) => x.pow(a.number("exponent")),
        ("pow_tensor", _) => x.pow_tensor(&inputs[1]),
        ("square", _) => x.square(),
        ("log1p", _) => x.log1p(),
        ("expm1", _) => x.expm1(),
        ("erf", _) => x.erf(),
        ("rsqrt", _) => x.rsqrt(),
        ("sign", _) => x.sign(),
        ("logsigmoid", _) => x.logsigmoid(),
        ("elu", _) => x.elu(if a.is_set("alpha") { a.number("alpha") } else { 1.0 }),
        ("digamma", _) => x.digamma(),
        ("log_beta", _) => x.log_beta(&inputs[1]),
        ("masked_fill", _) => x.masked_fill(&inputs[1], a.number("value")),
        _ => return None,
    })
}

fn reduction(op: &str, x: &Tensor, a: &Attributes<'_>) -> Option<Tensor> {
    let keepdim = a.0["keepdim"] == true;
    let unbiased = a.0["correction"].as_i64() != Some(0);
    let dims = a.integers("dim");
    if a.0["dim"].is_null() {
        return Some(match op {
            "max" => x.max(),
            "min" => x.min(),
            "amax" => x.amax_dims(&(0..x.ndim() as isize).collect::<Vec<_>>(), keepdim),
            "amin" => x.amin_dims(&(0..x.ndim() as isize).collect::<Vec<_>>(), keepdim),
            "argmax" => x.reshape([-1]).argmax(0),
            "argmin" => x.reshape([-1]).min_dim(0, false).1,
            _ => return None,
        });
    }
    Some(match op {
        "sum" => x.sum_dims(&dims, keepdim),
        "mean" => x.mean_dims(&dims, keepdim),
        "amax" => x.amax_dims(&dims, keepdim),
        "amin" => x.amin_dims(&dims, keepdim),
        "var" => x.var_dims(&dims, unbiased, keepdim),
        "std" => x.std_dims(&dims, unbiased, keepdim),
        "logsumexp" => x.logsumexp_dims(&dims, keepdim),
        "argmax" => x.max_dim(a.integer("dim"), keepdim).1,
        "argmin" => x.min_dim(a.integer("dim"), keepdim).1,
        "cumsum" => x.cumsum(a.integer("dim")),
        _ => return None,
    })
}

fn shape(op: &str, x: &Tensor, a: &Attributes<'_>) -> Option<Tensor> {
    Some(match op {
        "permute" => x.permute(a.integers("dims")),
        "narrow" => x.narrow(a.integer("dim"), a.integer("start"), a.integer("length") as usize),
        "repeat" => x.repeat(&a.extents("sizes")),
        "squeeze" if a.is_set("dim") => x.squeeze_dim(a.integer("dim")),
        "squeeze" => x.squeeze(),
        "one_hot" => x.one_hot(a.integer("num_classes") as usize),
        _ => return None,
    })
}

fn loss(op: &str, inputs: &[Tensor], a: &Attributes<'_>) -> Option<Tensor> {
    let (x, reduction) = (&inputs[0], a.reduction());
    let target = inputs.get(1);
    Some(match op {
        "mse_loss" => x.mse_loss_with(target?, reduction),
        "l1_loss" => x.l1_loss_with(target?, reduction),
        "smooth_l1_loss" => x.smooth_l1_loss_with(target?, a.number("beta"), reduction),
        "huber_loss" => x.huber_loss_with(target?, a.number("delta"), reduction),
        "nll_loss" => x.nll_loss_ignoring(target?, a.ignored(), reduction),
        "cross_entropy" => x.cross_entropy_ignoring(target?, a.ignored(), reduction),
        "binary_cross_entropy_with_logits" => {
            x.binary_cross_entropy_with_logits(target?, reduction)
        }
        _ => return None,
    })
}

fn layer(op: &str, inputs: &[Tensor], a: &Attributes<'_>) -> Option<Tensor> {
    let x = &inputs[0];
    Some(match op {
        "scatter_add" => x.scatter_add(a.integer("dim"), &inputs[1], &inputs[2]),
        "layer_norm" => {
            let shape = a.extents("normalized_shape");
            x.layer_norm(&shape, inputs.get(1), inputs.get(2), a.number("eps"))
        }
        "conv2d" => {
            let (stride, padding) = (a.integer("stride") as usize, a.integer("padding") as usize);
            x.conv2d(&inputs[1], inputs.get(2), stride, padding)
        }
        "linear_act" => {
            let act = match a.0["act"].as_str() {
                Some("Tanh") => Activation::Tanh,
                Some("Relu") => Activation::Relu,
                Some("Sigmoid") => Activation::Sigmoid,
                _ => Activation::None,
            };
            x.linear_act(&inputs[1], inputs.get(2), act)
        }
        "categorical_log_prob" => x.categorical_log_prob(&inputs[1]),
        "categorical_entropy" => x.categorical_entropy(),
        "gru_cell" => x.gru_cell(&inputs[1], cell_weights(&inputs[2..])),
        _ => return None,
    })
}
