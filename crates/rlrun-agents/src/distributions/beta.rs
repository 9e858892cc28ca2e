//! Beta distributions: their formulas, component by component.

use rand_distr::Distribution as _;
use rlrun_core::Rng;
use rlrun_env::Actions;
use rlrun_tensor::Tensor;

use super::actions::write_vectors;
use crate::AgentError;

pub(super) fn sample(
    alpha: &Tensor,
    beta: &Tensor,
    rngs: &mut [Rng],
    actions: &mut Actions,
) -> Result<(), AgentError> {
    let (beta, dim) = (beta.to_scratch(), alpha.dims()[1]);
    write_vectors(alpha, actions, |row, k, alpha| {
        let beta = beta[row * dim + k];
        let draw = rand_distr::Beta::new(f64::from(alpha), f64::from(beta))
            .unwrap_or_else(|_| panic!("Beta({alpha}, {beta}): both must be positive"))
            .sample(&mut rngs[row]);
        // The density may be infinite at the ends themselves.
        (draw as f32).clamp(f32::MIN_POSITIVE, 1.0 - f32::EPSILON / 2.0)
    })
}

pub(super) fn mode(alpha: &Tensor, beta: &Tensor, actions: &mut Actions) -> Result<(), AgentError> {
    let (beta, dim) = (beta.to_scratch(), alpha.dims()[1]);
    write_vectors(alpha, actions, |row, k, alpha| {
        let beta = beta[row * dim + k];
        let (up, down) = ((alpha - 1.0).max(0.0), (beta - 1.0).max(0.0));
        match up + down {
            0.0 => alpha / (alpha + beta),
            sum => up / sum,
        }
    })
}

/// (α - 1) log x + (β - 1) log(1 - x) - log B(α, β).
pub(super) fn log_density(alpha: &Tensor, beta: &Tensor, x: &Tensor) -> Tensor {
    xlogy(&(alpha - 1.0), x) + xlogy(&(beta - 1.0), &(1.0 - x)) - alpha.log_beta(beta)
}

/// log B(α, β) - (α - 1) E[log x] - (β - 1) E[log(1 - x)].
pub(super) fn entropy(alpha: &Tensor, beta: &Tensor) -> Tensor {
    let (log_x, log_rest) = mean_logs(alpha, beta);
    alpha.log_beta(beta) - (alpha - 1.0) * log_x - (beta - 1.0) * log_rest
}

/// KL(p ‖ q) = log B_q/B_p + (αₚ - α_q) E[log x] + (βₚ - β_q) E[log(1 - x)], each as (α, β).
pub(super) fn kl_divergence(p: (&Tensor, &Tensor), q: (&Tensor, &Tensor)) -> Tensor {
    let (log_x, log_rest) = mean_logs(p.0, p.1);
    q.0.log_beta(q.1) - p.0.log_beta(p.1) + (p.0 - q.0) * log_x + (p.1 - q.1) * log_rest
}

/// E[log x] = ψ(α) - ψ(α + β) and E[log(1 - x)] = ψ(β) - ψ(α + β).
fn mean_logs(alpha: &Tensor, beta: &Tensor) -> (Tensor, Tensor) {
    let of_sum = (alpha + beta).digamma();
    (alpha.digamma() - &of_sum, beta.digamma() - of_sum)
}

/// a log y, 0 for a = 0 even where y = 0.
fn xlogy(a: &Tensor, y: &Tensor) -> Tensor {
    let places = a.to_vec().into_iter().zip(y.to_vec());
    let undefined: Vec<bool> = places.map(|(a, y)| a == 0.0 && y == 0.0).collect();
    a * y.log().masked_fill(&Tensor::from_bool(&undefined, y.dims()), 0.0)
}
