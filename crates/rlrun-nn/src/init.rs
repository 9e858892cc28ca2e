//! Initial weights: orthogonal (Saxe et al. 2014, arXiv 1312.6120) and Kaiming uniform
//! (He et al. 2015, arXiv 1502.01852), with PyTorch's conventions.

use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rlrun_core::Rng;

/// How the weights of a linear or convolutional layer start.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// PyTorch's default for `Linear` and `Conv2d`: weight and bias uniform in ±1/√in, where in
    /// counts the inputs of one output.
    KaimingUniform,
    /// `gain` times a random (semi-)orthogonal weight, zero bias.
    Orthogonal {
        /// Factor on the orthogonal matrix, √2 before tanh and relu layers.
        gain: f32,
    },
}

impl Init {
    /// Weight `[outputs, inputs]`, row-major, and bias `[outputs]`.
    pub fn linear(self, inputs: usize, outputs: usize, rng: &mut Rng) -> (Vec<f32>, Vec<f32>) {
        match self {
            Init::KaimingUniform => {
                // Of no inputs there is no weight, and the bias starts at 0.
                let bound = if inputs == 0 { 0.0 } else { 1.0 / (inputs as f32).sqrt() };
                let weight = uniform(outputs * inputs, bound, rng);
                (weight, uniform(outputs, bound, rng))
            }
            Init::Orthogonal { gain } => {
                (orthogonal(outputs, inputs, gain, rng), vec![0.0; outputs])
            }
        }
    }
}

/// `len` draws from the uniform distribution on [-bound, bound).
pub fn uniform(len: usize, bound: f32, rng: &mut Rng) -> Vec<f32> {
    (0..len).map(|_| (2.0 * rng.random::<f32>() - 1.0) * bound).collect()
}

/// `len` draws from the standard normal distribution.
pub fn normal(len: usize, rng: &mut Rng) -> Vec<f32> {
    (0..len).map(|_| StandardNormal.sample(rng)).collect()
}

/// `gain` times a random matrix `[rows, columns]`, row-major, whose rows are orthonormal, or whose
/// columns are if there are more rows than columns.
///
/// As `torch.nn.init.orthogonal_`: the Q of the QR decomposition of a Gaussian matrix, with the
/// signs that make R's diagonal positive. Gram-Schmidt gives just these signs.
pub fn orthogonal(rows: usize, columns: usize, gain: f32, rng: &mut Rng) -> Vec<f32> {
    let (count, len) = (rows.min(columns), rows.max(columns));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    while basis.len() < count {
        let mut vector: Vec<f64> = (0..len).map(|_| StandardNormal.sample(rng)).collect();
        // The second pass removes what rounding left of the first.
        for _ in 0..2 {
            for unit in &basis {
                let projection = dot(&vector, unit);
                vector.iter_mut().zip(unit).for_each(|(x, u)| *x -= projection * u);
            }
        }
        let norm = dot(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|x| *x /= norm);
        basis.push(vector);
    }
    let entry = |row: usize, column: usize| {
        if rows > columns { basis[column][row] } else { basis[row][column] }
    };
    let entries = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    entries.map(|(row, column)| gain * entry(row, column) as f32).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlrun_core::{Purpose, rng_stream};

    #[test]
    fn orthogonal_rows_or_columns_have_the_length_of_the_gain() {
        let mut rng = rng_stream(3, Purpose::Weights, 0);
        for (rows, columns) in [(3, 5), (5, 3), (4, 4), (1, 6), (64, 4)] {
            let w = orthogonal(rows, columns, 2.0, &mut rng);
            let by_row = rows <= columns;
            let count = rows.min(columns);
            let vector = |k: usize| -> Vec<f64> {
                let pick = |i| if by_row { w[k * columns + i] } else { w[i * columns + k] };
                (0..rows.max(columns)).map(|i| f64::from(pick(i))).collect()
            };
            for (i, j) in (0..count).flat_map(|i| (0..count).map(move |j| (i, j))) {
                let expected = if i == j { 4.0 } else { 0.0 };
                let product = dot(&vector(i), &vector(j));
                assert!((product - expected).abs() < 1e-5, "{rows}x{columns} {i}·{j}: {product}");
            }
        }
    }

    #[test]
    fn kaiming_uniform_fills_plus_minus_one_over_root_of_inputs() {
        let mut rng = rng_stream(5, Purpose::Weights, 0);
        let (weight, bias) = Init::KaimingUniform.linear(16, 256, &mut rng);
        assert_eq!((weight.len(), bias.len()), (4096, 256));
        assert!(weight.iter().chain(&bias).all(|w| w.abs() <= 0.25));
        // A uniform distribution on ±a has variance a²/3.
        let variance = weight.iter().map(|w| f64::from(w * w)).sum::<f64>() / 4096.0;
        assert!((variance - 0.0625 / 3.0).abs() < 1e-3, "variance {variance}");
        assert!(weight.iter().any(|&w| w > 0.24) && weight.iter().any(|&w| w < -0.24));
    }
}
