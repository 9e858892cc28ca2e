//! Named numbers that an update reports, under Stable-Baselines3's tags.

use std::borrow::Cow;

/// Tag and value, in the order of the console table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(pub Vec<(Cow<'static, str>, f64)>);

impl Metrics {
    /// The value of `tag`.
    pub fn get(&self, tag: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| name == tag).map(|&(_, value)| value)
    }

    /// Adds a value at the end.
    pub fn push(&mut self, tag: impl Into<Cow<'static, str>>, value: f64) {
        self.0.push((tag.into(), value));
    }
}

impl<const N: usize> From<[(&'static str, f64); N]> for Metrics {
    fn from(metrics: [(&'static str, f64); N]) -> Metrics {
        Metrics(metrics.into_iter().map(|(tag, value)| (tag.into(), value)).collect())
    }
}

/// The mean of numbers that come one by one; NaN before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    /// Takes one more number in.
    pub fn add(&mut self, number: f64) {
        self.sum += number;
        self.count += 1;
    }

    /// The mean so far.
    pub fn value(self) -> f64 {
        self.sum / self.count as f64
    }
}

/// Means of named numbers over the minibatches of an update.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Means(Vec<(&'static str, Mean)>);

impl Means {
    /// Takes one more number of each name in.
    pub fn add(&mut self, numbers: &[(&'static str, f64)]) {
        for &(tag, number) in numbers {
            let place = self.0.iter().position(|(known, _)| *known == tag);
            let place = place.unwrap_or_else(|| {
                self.0.push((tag, Mean::default()));
                self.0.len() - 1
            });
            self.0[place].1.add(number);
        }
    }

    /// The means, in the order in which their names came, and what else there is to report.
    pub fn and<const N: usize>(self, others: [(&'static str, f64); N]) -> Metrics {
        let means = self.0.into_iter().map(|(tag, mean)| (tag, mean.value()));
        Metrics(means.chain(others).map(|(tag, value)| (tag.into(), value)).collect())
    }
}

/// The share of the variance of `returns` that `values` predict: 1 - Var(returns - values) /
/// Var(returns). 1 is perfect, 0 is no better than a constant, below 0 is worse; NaN if the
/// returns do not vary.
pub fn explained_variance(values: &[f32], returns: &[f32]) -> f64 {
    let residual = returns.iter().zip(values).map(|(r, v)| f64::from(r - v));
    let total = variance(returns.iter().map(|&r| f64::from(r)));
    if total == 0.0 { f64::NAN } else { 1.0 - variance(residual) / total }
}

fn variance(numbers: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let count = numbers.len() as f64;
    let mean = numbers.clone().sum::<f64>() / count;
    numbers.map(|x| (x - mean).powi(2)).sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explained_variance_is_one_for_a_perfect_guess_and_zero_for_a_constant_one() {
        let returns = [1.0, 2.0, 3.0, 6.0];
        assert_eq!(explained_variance(&returns, &returns), 1.0);
        assert_eq!(explained_variance(&[7.0; 4], &returns), 0.0);
        // Residuals 0, 0, 0, 2 vary by 0.75, the returns by 3.5.
        let value = explained_variance(&[1.0, 2.0, 3.0, 4.0], &returns);
        assert!((value - (1.0 - 0.75 / 3.5)).abs() < 1e-12);
        assert!(explained_variance(&[1.0, 2.0], &[3.0, 3.0]).is_nan());
    }

    #[test]
    fn a_mean_is_the_sum_over_the_count() {
        let mut mean = Mean::default();
        assert!(mean.value().is_nan());
        [1.0, 2.0, 6.0].into_iter().for_each(|x| mean.add(x));
        assert_eq!(mean.value(), 3.0);
    }
}
