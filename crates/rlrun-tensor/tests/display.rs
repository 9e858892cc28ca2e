//! Tensors print as PyTorch prints them: recorded texts, and what is ours.

use std::io::Read as _;

use flate2::read::GzDecoder;
use rlrun_tensor::{Parameter, Tensor, inference_mode, no_grad};
use serde_json::Value;

/// Recorded with PyTorch 2.15: numbers (`f32` as bits), how the printed tensor was made of them, and
/// its text.
fn recorded() -> Vec<Value> {
    let mut text = String::new();
    let packed = &include_bytes!("fixtures/display.jsonl.gz")[..];
    GzDecoder::new(packed).read_to_string(&mut text).expect("a packed text");
    text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

fn tensor(row: &Value) -> Tensor {
    let list = |key: &str| row[key].as_array().expect("a list").iter();
    let shape: Vec<usize> =
        list("shape").map(|x| x.as_u64().expect("an extent") as usize).collect();
    match row["dtype"].as_str() {
        Some("f32") => {
            let number = |x: &Value| f32::from_bits(x.as_u64().expect("bits") as u32);
            Tensor::from_vec(list("data").map(number).collect(), shape)
        }
        Some("i64") => {
            let numbers = list("data").map(|x| x.as_i64().expect("an index"));
            Tensor::from_i64(&numbers.collect::<Vec<_>>(), shape)
        }
        _ => {
            let flags = list("data").map(|x| x.as_bool().expect("a flag"));
            Tensor::from_bool(&flags.collect::<Vec<_>>(), shape)
        }
    }
}

#[test]
fn tensors_print_as_recorded() {
    let rows = recorded();
    assert!(rows.len() > 200, "only {} rows", rows.len());
    for row in rows {
        let x = tensor(&row);
        let precision = row["precision"].as_u64().expect("a precision") as usize;
        let found = match row["kind"].as_str().expect("a kind") {
            "plain" => format!("{x:.precision$}"),
            "leaf" => x.requires_grad_(true).to_string(),
            "mul" => (x.requires_grad_(true) * 1.0).to_string(),
            "transposed" => x.transpose(0, 1).to_string(),
            "expanded" => {
                let shape: Vec<usize> = [4].iter().chain(x.dims()).copied().collect();
                x.expand(&shape[..]).to_string()
            }
            "parameter" => Parameter::new(x).to_string(),
            other => panic!("an unknown kind: {other}"),
        };
        let expected = row["text"].as_str().expect("a text");
        assert!(found == expected, "{}:\n{found}\nin PyTorch:\n{expected}", row["shape"]);
    }
}

#[test]
fn the_operation_behind_a_result_is_named() {
    let w = Tensor::from_slice(&[1.0, -2.0], [2]).requires_grad_(true);
    assert_eq!((&w + 0.5).to_string(), "tensor([ 1.5000, -1.5000], grad_fn=<AddBackward0>)");
    assert_eq!(w.log_softmax(0).sum().to_string(), "tensor(-3.0972, grad_fn=<SumBackward0>)");
    let y = &w * 1.0;
    y.add_scalar_(1.0);
    assert_eq!(y.to_string(), "tensor([ 2., -1.], grad_fn=<AddBackward0>)");
    // A constant, and what has no history.
    assert_eq!(w.detach().to_string(), "tensor([ 1., -2.])");
    assert_eq!(inference_mode(|| &w * 1.0).to_string(), "tensor([ 1., -2.])");
}

#[test]
fn a_restricted_view_that_was_written_prints() {
    let w = Tensor::from_slice(&[1.0, -2.0], [2]).requires_grad_(true);
    let view = no_grad(|| w.view([2, 1]));
    assert_eq!(view.to_string(), "tensor([[ 1.],\n        [-2.]], requires_grad=True)");
    no_grad(|| w.mul_scalar_(2.0));
    assert_eq!(view.to_string(), "tensor([[ 2.],\n        [-4.]], grad_fn=<Invalid>)");
}
