//! A table of vectors, one per index.

use rlrun_core::Rng;
use rlrun_tensor::{CallGuard, LayerPath, Parameter, Tensor};

use crate::{Layer, Module, init};

/// Row `index` of a table for each index of the input, as `torch.nn.Embedding`.
///
/// # Shapes
/// input `[…]` of type `i64`, `weight` `[n, dim]`, output `[…, dim]`.
#[derive(Debug, Module)]
pub struct Embedding {
    /// The table, `[n, dim]`.
    pub weight: Parameter,
    path: LayerPath,
}

impl Embedding {
    /// A table of `n` rows of `dim` numbers, drawn from `rng` by the standard normal distribution.
    pub fn new(n: usize, dim: usize, rng: &mut Rng) -> Embedding {
        let table = Tensor::from_vec(init::normal(n * dim, rng), [n, dim]);
        Embedding { weight: Parameter::new(table), path: LayerPath::unknown() }
    }
}

impl Layer for Embedding {
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Tensor {
        let _call = CallGuard::of("Embedding", &self.path);
        let rows = self.weight.index_select(0, &input.reshape([input.numel()]));
        rows.reshape(&[input.dims(), &self.weight.dims()[1..]].concat()[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlrun_core::{Purpose, State, rng_stream};

    #[test]
    fn indices_of_any_shape_become_their_rows_and_collect_their_gradients() {
        let table = Embedding::new(3, 2, &mut rng_stream(1, Purpose::Weights, 0));
        let mut state = State::new();
        state.insert_f32("weight", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        table.load_state(&state).unwrap();
        let output = table.forward(&Tensor::from_i64(&[2, 0, 2, 2], [2, 1, 2]));
        assert_eq!(output.dims(), [2, 1, 2, 2]);
        assert_eq!(output.to_vec(), [5.0, 6.0, 1.0, 2.0, 5.0, 6.0, 5.0, 6.0]);
        output.sum().backward();
        assert_eq!(table.weight.grad().unwrap().to_vec(), [1.0, 1.0, 0.0, 0.0, 3.0, 3.0]);
    }

    #[test]
    fn rows_start_with_mean_zero_and_variance_one() {
        let table = Embedding::new(100, 100, &mut rng_stream(1, Purpose::Weights, 0));
        let numbers: Vec<f64> = table.weight.to_vec().into_iter().map(f64::from).collect();
        let mean = numbers.iter().sum::<f64>() / 1e4;
        let square = numbers.iter().map(|x| x * x).sum::<f64>() / 1e4;
        // Standard errors of 0.01 and 0.014, times four.
        assert!(mean.abs() < 0.04 && (square - 1.0).abs() < 0.057, "mean {mean}, square {square}");
    }
}
