//! The gamma family: the logarithm of the beta function and the polygamma functions.

use crate::autograd::NodeRef;
use crate::tensor::Tensor;

use super::apply::{reduce, zip_each};

impl Tensor {
    /// `ln B(self, other) = ln Γ(self) + ln Γ(other) - ln Γ(self + other)` for positive numbers,
    /// broadcast. The three terms cancel to few digits where they are large, hence one operation.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn log_beta(&self, other: &Tensor) -> Tensor {
        let (a, b) = (self.layout.shape, other.layout.shape);
        zip_each("log_beta", self, other, log_beta).record("log_beta", [self, other], |saver| {
            let (x, y) = (saver.input(self), saver.input(other));
            move |grad: &Tensor, node: &NodeRef| {
                let (x, y) = (x.get(node), y.get(node));
                let of_sum = (&x + &y).digamma();
                [
                    reduce(|| grad * (x.digamma() - &of_sum), node.needs(0), &a),
                    reduce(|| grad * (y.digamma() - &of_sum), node.needs(1), &b),
                ]
            }
        })
    }
}

fn log_beta(a: f32, b: f32) -> f32 {
    let (a, b) = (f64::from(a), f64::from(b));
    (libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)) as f32
}

/// B₂, B₄, … B₁₄ (DLMF, table 24.2.1).
const BERNOULLI: [f64; 7] =
    [1.0 / 6.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 5.0 / 66.0, -691.0 / 2730.0, 7.0 / 6.0];

/// ψ⁽ⁿ⁾(x) for x > 0, NaN elsewhere.
///
/// The recurrence ψ⁽ⁿ⁾(x) = ψ⁽ⁿ⁾(x + 1) - (-1)ⁿ n! / xⁿ⁺¹ (DLMF 5.15.5) leads to a large y, where
/// (-1)ⁿ⁺¹ ψ⁽ⁿ⁾(y) ~ (n-1)! / yⁿ + n! / 2yⁿ⁺¹ + Σⱼ B₂ⱼ (2j+n-1)! / ((2j)! y²ʲ⁺ⁿ) (DLMF 5.15.8; the
/// first term is -ln y for n = 0, DLMF 5.11.2).
pub(super) fn polygamma(order: u32, x: f32) -> f32 {
    if x.is_nan() || x <= 0.0 {
        return f32::NAN;
    }
    let n = f64::from(order);
    let factorial = (1..=order).map(f64::from).product::<f64>();
    let power = |y: f64| y.powi(order as i32);

    let mut y = f64::from(x);
    let mut sum = 0.0;
    while y < 15.0 + n {
        sum += factorial / (power(y) * y);
        y += 1.0;
    }
    sum += if order == 0 { -y.ln() } else { factorial / n / power(y) };
    sum += factorial / (2.0 * power(y) * y);
    // (2j+n-1)! / ((2j)! y²ʲ⁺ⁿ) from j = 1 on.
    let mut term = factorial * (n + 1.0) / (2.0 * power(y) * y * y);
    for (k, bernoulli) in (1..).map(|j| 2.0 * f64::from(j)).zip(BERNOULLI) {
        sum += bernoulli * term;
        term *= (k + n) * (k + n + 1.0) / ((k + 1.0) * (k + 2.0) * y * y);
    }
    (if order.is_multiple_of(2) { -sum } else { sum }) as f32
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;

    fn assert_close(found: f32, expected: f64) {
        assert!((f64::from(found) / expected - 1.0).abs() < 1e-7, "{found}, expected {expected}");
    }

    #[test]
    fn polygamma_has_its_known_values() {
        const EULER: f64 = 0.577_215_664_901_532_9;
        const ZETA_3: f64 = 1.202_056_903_159_594_3;
        // DLMF 5.4.12, 5.4.13 and 5.15.2 to 5.15.3.
        assert_close(polygamma(0, 1.0), -EULER);
        assert_close(polygamma(0, 0.5), -EULER - 2.0 * 2.0_f64.ln());
        assert_close(polygamma(0, 3.0), 1.5 - EULER);
        assert_close(polygamma(1, 1.0), PI * PI / 6.0);
        assert_close(polygamma(1, 0.5), PI * PI / 2.0);
        assert_close(polygamma(2, 1.0), -2.0 * ZETA_3);
        assert_close(polygamma(3, 1.0), PI.powi(4) / 15.0);
        // Leading terms at the ends of the range.
        assert_close(polygamma(0, 1e30), f64::from(1e30_f32).ln());
        assert_close(polygamma(1, 1e-10), 1.0 / f64::from(1e-10_f32).powi(2));
        assert!(polygamma(0, 0.0).is_nan() && polygamma(0, -0.5).is_nan());
    }

    #[test]
    fn log_beta_keeps_its_digits_where_the_terms_are_large() {
        // B(a, b) = (a-1)! (b-1)! / (a+b-1)!, and B(½, ½) = π.
        assert_close(log_beta(2.0, 3.0), -12.0_f64.ln());
        assert_close(log_beta(0.5, 0.5), PI.ln());
        // B(a, 1) = 1/a, from terms near 1e6.
        assert_close(log_beta(1e5, 1.0), -1e5_f64.ln());
    }
}
