//! Statistics of evaluation returns.

use rand::RngExt;
use rlrun_core::{Purpose, rng_stream};

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2000;

/// Arithmetic mean, summed in order; NaN of nothing.
pub(crate) fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// Population standard deviation, as numpy's `std`.
pub(crate) fn std(values: &[f64]) -> f64 {
    let center = mean(values.iter().copied());
    mean(values.iter().map(|value| (value - center).powi(2))).sqrt()
}

/// Interquartile mean: the mean without the lowest and the highest quarter, each rounded down
/// (Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice").
pub(crate) fn iqm(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = sorted.len() / 4;
    mean(sorted[cut..sorted.len() - cut].iter().copied())
}

/// 95 % percentile bootstrap interval of the mean (Efron 1979), from the stream `Bootstrap` of
/// `seed`: the same values and seed give the same interval.
pub(crate) fn bootstrap_ci95(values: &[f64], seed: u64) -> [f64; 2] {
    let mut rng = rng_stream(seed, Purpose::Bootstrap, 0);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| mean((0..values.len()).map(|_| values[rng.random_range(0..values.len())])))
        .collect();
    means.sort_by(f64::total_cmp);
    [percentile(&means, 2.5), percentile(&means, 97.5)]
}

/// Percentile of sorted numbers with linear interpolation, as numpy's default.
fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let position = percent / 100.0 * (sorted.len() - 1) as f64;
    let low = sorted[position.floor() as usize];
    let high = sorted[position.ceil() as usize];
    low + (high - low) * position.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn std_divides_by_n() {
        assert_eq!(std(&[1.0, 3.0]), 1.0);
        assert_eq!(std(&[5.0]), 0.0);
    }

    #[test]
    fn iqm_drops_a_quarter_at_each_end() {
        assert_eq!(iqm(&[100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -50.0]), 3.5);
        assert_eq!(iqm(&[1.0, 2.0, 6.0]), 3.0);
    }

    #[test]
    fn percentiles_interpolate() {
        assert_eq!(percentile(&[0.0, 1.0, 2.0, 3.0, 4.0], 50.0), 2.0);
        assert_eq!(percentile(&[0.0, 10.0], 2.5), 0.25);
    }

    #[test]
    fn the_interval_of_a_fair_coin_is_near_the_normal_one() {
        let values: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        let [low, high] = bootstrap_ci95(&values, 7);
        assert!((low - 0.402).abs() < 0.015, "{low}");
        assert!((high - 0.598).abs() < 0.015, "{high}");
        assert_eq!(bootstrap_ci95(&values, 7), [low, high]);
    }

    #[test]
    fn equal_returns_have_an_empty_interval() {
        assert_eq!(bootstrap_ci95(&[500.0; 20], 1), [500.0, 500.0]);
    }
}
