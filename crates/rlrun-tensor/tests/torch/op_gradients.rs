//! Recorded operations: result, gradients and errors.

use rlrun_tensor::{Backward, CellWeights, DType, Reduction, Tensor, TensorError, catch};
use serde_json::Value;

use super::compare::{close, number};
use super::operations;
use super::program;

pub(crate) fn check(row: &Value) -> Result<(), String> {
    let inputs: Vec<Tensor> = row["inputs"].as_array().expect("inputs").iter().map(input).collect();
    let op = row["op"].as_str().expect("an operation");
    // This row alone reads its input with exchanged dimensions.
    let transposed = row["id"].as_str().is_some_and(|id| id.ends_with("/of_transpose"));
    let outputs = catch(|| {
        let seen = if transposed { vec![inputs[0].transpose(0, 1)] } else { inputs.clone() };
        forward(op, &seen, &row["attrs"])
    });
    if let Some(kind) = row["error"].as_str() {
        return match outputs {
            Err(error) if error.kind() == kind => Ok(()),
            Err(error) => Err(format!("expected {kind}, got {error}")),
            Ok(_) => Err(format!("expected {kind}, got a result")),
        };
    }
    let outputs = outputs.map_err(|error| error.to_string())?;
    let recorded = row["outputs"].as_array().expect("outputs");
    if outputs.len() != recorded.len() {
        return Err(format!("{} results, recorded {}", outputs.len(), recorded.len()));
    }
    let tolerance = Tolerance::of(op);
    let exact = row["f32_differs"] != true;
    for (at, (ours, theirs)) in outputs.iter().zip(recorded).enumerate() {
        let in_f64 = &row["outputs_f64"][at];
        tolerance.check(&format!("output {at}"), ours, theirs, in_f64, exact)?;
    }
    let grads = gradients(&inputs, &outputs, row).map_err(|error| error.to_string())?;
    for (at, ours) in grads.iter().enumerate() {
        let theirs = &row["grads"][at];
        match ours {
            None if theirs.is_null() => {}
            Some(_) if theirs.is_null() => return Err(format!("gradient {at} is not recorded")),
            None => return Err(format!("no gradient {at}, recorded {theirs}")),
            Some(ours) => {
                let in_f64 = &row["grads_f64"][at];
                tolerance.check(&format!("gradient {at}"), ours, theirs, in_f64, exact)?;
            }
        }
    }
    Ok(())
}

fn input(described: &Value) -> Tensor {
    let tensor = program::tensor(described);
    if described["grad"] == true { tensor.requires_grad_(true) } else { tensor }
}

/// Gradients of the sum of output · upstream.
fn gradients(
    inputs: &[Tensor],
    outputs: &[Tensor],
    row: &Value,
) -> Result<Vec<Option<Tensor>>, TensorError> {
    let differentiable: Vec<&Tensor> = outputs.iter().filter(|y| y.requires_grad()).collect();
    let upstream = row["upstream"].as_array().into_iter().flatten();
    for (output, upstream) in differentiable.iter().zip(upstream) {
        let gradient = program::tensor(upstream);
        let options = Backward {
            gradient: Some(&gradient),
            retain_graph: differentiable.len() > 1,
            ..Backward::default()
        };
        catch(|| output.backward_with(options))?;
    }
    Ok(inputs.iter().map(Tensor::grad).collect())
}

/// How far a result may be from the recorded one.
struct Tolerance {
    absolute: f64,
    relative: f64,
}

impl Tolerance {
    fn of(op: &str) -> Tolerance {
        let rough =
            ["matmul", "linear", "conv2d", "lstm_cell", "gru_cell", "var", "std", "layer_norm"];
        if rough.contains(&op) {
            Tolerance { absolute: 1e-5, relative: 1e-4 }
        } else {
            Tolerance { absolute: 1e-6, relative: 1e-5 }
        }
    }

    /// Compares with the recording in f32; where that differs from f64 by more than rounding,
    /// each element may agree with either.
    fn check(
        &self,
        what: &str,
        ours: &Tensor,
        theirs: &Value,
        in_f64: &Value,
        exact: bool,
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
        for (at, value) in values.as_array().into_iter().flatten().enumerate() {
            let agrees =
                |other: &Value| close(number(value), number(other), self.absolute, self.relative);
            let either = !exact && agrees(&in_f64[at]);
            if !either && !agrees(&theirs["data"][at]) {
                return Err(format!("{what}: ours {values}, recorded {}", theirs["data"]));
            }
        }
        Ok(())
    }
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
        "gru_cell" => x.gru_cell(&inputs[1], cell_weights(&inputs[2..])),
        _ => return None,
    })
}
