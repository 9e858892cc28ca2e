//! The tanh-squashed normal between bounds of the user's own.

use rlrun_core::Rng;
use rlrun_env::Actions;
use rlrun_tensor::Tensor;

use super::normal::TanhNormal;
use crate::AgentError;

/// c + h · tanh(u) of independent normals u, with the centre c and the half width h of the bounds of
/// each component: [`TanhNormal`] stretched from ±1 to [low, high].
///
/// log π(a) = log N(u) - Σ log(1 - tanh² u) - Σ log h.
#[derive(Clone, Debug)]
pub struct SquashedNormal {
    unit: TanhNormal,
    /// Each `[dim]`.
    centre: Tensor,
    half: Tensor,
    low: Tensor,
    high: Tensor,
}

impl SquashedNormal {
    /// Of μ and log σ of u, both `[B, dim]`, between `low` and `high`, a number for each component.
    ///
    /// # Panics
    /// If there is not one finite `low` below a finite `high` for each component.
    #[track_caller]
    pub fn new(mean: Tensor, log_std: Tensor, low: &[f32], high: &[f32]) -> SquashedNormal {
        let dim = mean.dims().last().copied().unwrap_or(0);
        let sound = |(low, high): (&f32, &f32)| low.is_finite() && high.is_finite() && low < high;
        assert!(
            low.len() == dim && high.len() == dim && low.iter().zip(high).all(sound),
            "bounds {low:?} to {high:?} of {dim} components: expected for each a finite low below a \
             finite high"
        );
        let between = |f: fn(f32, f32) -> f32| {
            let numbers = low.iter().zip(high).map(|(&low, &high)| f(low, high));
            Tensor::from_vec(numbers.collect(), [dim])
        };
        SquashedNormal {
            unit: TanhNormal { mean, log_std },
            centre: between(|low, high| low * 0.5 + high * 0.5),
            half: between(|low, high| high * 0.5 - low * 0.5),
            low: between(|low, _| low),
            high: between(|_, high| high),
        }
    }

    /// Draws one action per row into `actions`, each row from its own stream.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`] if μ or σ is not finite.
    pub fn sample(&self, rngs: &mut [Rng], actions: &mut Actions) -> Result<(), AgentError> {
        self.unit.sample(rngs, actions)?;
        self.stretch_numbers(actions);
        Ok(())
    }

    /// Writes the median of each component, c + h · tanh(μ), into `actions`.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`] if μ is not finite.
    pub fn mode(&self, actions: &mut Actions) -> Result<(), AgentError> {
        self.unit.mode(actions)?;
        self.stretch_numbers(actions);
        Ok(())
    }

    /// An action `[B, dim]` through which gradients reach μ and σ, and its log π(a), `[B]`. Both are exact
    /// where the action lies at a bound, too.
    pub fn rsample(&self, rng: &mut Rng) -> (Tensor, Tensor) {
        let (unit, log_prob) = self.unit.rsample(rng, 0.0);
        (self.stretch(&unit), log_prob - self.log_half())
    }

    /// log π(a) of one action per row `[B, dim]`, `[B]`. An action at a bound counts as the nearest one
    /// within, since the density there is 0 or infinite; so does one beyond.
    pub fn log_prob(&self, actions: &Tensor) -> Tensor {
        const WITHIN: f32 = 1.0 - f32::EPSILON / 2.0;
        let unit = ((actions - &self.centre) / &self.half).clamp(-WITHIN, WITHIN);
        self.unit.log_prob(&unit.atanh()) - self.log_half()
    }

    /// Numbers in ±1 as actions.
    fn stretch(&self, unit: &Tensor) -> Tensor {
        // Rounding may lead beyond a bound.
        (unit * &self.half + &self.centre).maximum(&self.low).minimum(&self.high)
    }

    fn stretch_numbers(&self, actions: &mut Actions) {
        if let Actions::Continuous { values, dim } = actions {
            let unit = Tensor::from_slice(values, [values.len() / *dim, *dim]);
            self.stretch(&unit).copy_to_slice(values);
        }
    }

    /// Σ log h: what the stretch takes from the log-density.
    fn log_half(&self) -> f32 {
        self.half.to_vec().into_iter().map(|half| f64::from(half).ln()).sum::<f64>() as f32
    }
}

#[cfg(test)]
mod tests {
    use rlrun_core::{Purpose, Streams, rng_stream};
    use rlrun_tensor::grad;

    use super::*;

    const LOW: [f32; 2] = [-2.0, 0.0];
    const HIGH: [f32; 2] = [2.0, 5.0];

    fn parameters() -> [Tensor; 2] {
        let mean = Tensor::from_slice(&[0.3, -1.2, 2.5, 0.0], [2, 2]);
        let log_std = Tensor::from_slice(&[-0.5, 0.2, 0.7, -1.5], [2, 2]);
        [mean.requires_grad_(true), log_std.requires_grad_(true)]
    }

    fn policy([mean, log_std]: &[Tensor; 2]) -> SquashedNormal {
        SquashedNormal::new(mean.clone(), log_std.clone(), &LOW, &HIGH)
    }

    fn assert_near(found: &Tensor, expected: &[f64], tolerance: f64) {
        for (found, expected) in found.to_vec().into_iter().map(f64::from).zip(expected) {
            let near = (found - expected).abs() <= tolerance * (1.0 + expected.abs());
            assert!(near, "{found}, expected {expected}");
        }
    }

    /// `TransformedDistribution(Normal, [TanhTransform, AffineTransform])` of PyTorch 2.15, in f64.
    #[test]
    fn the_density_is_that_of_torchs_transformed_distribution() {
        let parameters = parameters();
        let policy = policy(&parameters);
        let actions = Tensor::from_slice(&[0.5, 1.0, 1.9, 2.4], [2, 2]);
        let log_prob = policy.log_prob(&actions);
        assert_near(&log_prob, &[-2.7252938871586956, -0.3889512387981542], 1e-5);
        let total = (log_prob * Tensor::from_slice(&[1.0, 0.5], [2])).sum();
        let found = grad(&total, &[&parameters[0], &parameters[1]], Default::default());
        let to_mean =
            [-0.12120054324053875, 0.33975360526035103, -0.08239041013988692, -0.4019251901021836];
        assert_near(&found[0], &to_mean, 1e-4);
        let to_log_std =
            [-0.994596008578651, -0.8277949272588677, -0.44494514794897305, -0.48391440975101024];
        assert_near(&found[1], &to_log_std, 1e-4);
    }

    #[test]
    fn a_draw_lies_between_the_bounds_and_has_its_density() {
        let parameters = parameters();
        let policy = policy(&parameters);
        let rng = rng_stream(4, Purpose::Layers, 0);
        let (actions, log_prob) = policy.rsample(&mut rng.clone());
        let expected: Vec<f64> =
            policy.log_prob(&actions).to_vec().into_iter().map(f64::from).collect();
        assert_near(&log_prob, &expected, 1e-3);
        // Far out every action is a bound, the density is finite and gradients are.
        let far = Tensor::from_slice(&[90.0, -90.0], [1, 2]).requires_grad_(true);
        let narrow = Tensor::full([1, 2], -3.0).requires_grad_(true);
        let policy = SquashedNormal::new(far.clone(), narrow.clone(), &LOW, &HIGH);
        let (actions, log_prob) = policy.rsample(&mut rng.clone());
        assert_eq!(actions.to_vec(), [HIGH[0], LOW[1]]);
        assert!(log_prob.item().is_finite() && policy.log_prob(&actions).item().is_finite());
        (log_prob.sum() + actions.sum()).backward();
        for leaf in [far, narrow] {
            assert!(leaf.grad().unwrap().to_vec().iter().all(|gradient| gradient.is_finite()));
        }
        let mut actions = Actions::Discrete(Vec::new());
        policy.mode(&mut actions).unwrap();
        assert_eq!(actions, Actions::Continuous { values: vec![HIGH[0], LOW[1]], dim: 2 });
    }

    #[test]
    fn gradients_of_a_draw_agree_with_central_differences() {
        let rng = rng_stream(9, Purpose::Layers, 0);
        let value = |parameters: &[Tensor; 2]| {
            let (actions, log_prob) = policy(parameters).rsample(&mut rng.clone());
            let weights = Tensor::from_slice(&[0.4, -0.3, 0.8, 0.2], [2, 2]);
            (actions * weights).sum() + log_prob.sum() * 0.5
        };
        let inputs = parameters();
        let found = grad(&value(&inputs), &[&inputs[0], &inputs[1]], Default::default());
        const STEP: f32 = 1e-2;
        for (which, gradient) in found.iter().enumerate() {
            for (element, exact) in gradient.to_vec().into_iter().map(f64::from).enumerate() {
                let moved = |step: f32| {
                    let mut moved = parameters();
                    let mut numbers = moved[which].to_vec();
                    numbers[element] += step;
                    moved[which] = Tensor::from_vec(numbers, [2, 2]);
                    value(&moved).item()
                };
                let difference = (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP);
                assert!(
                    (exact - difference).abs() < 2e-3,
                    "{which} {element}: {exact}, {difference}"
                );
            }
        }
    }

    #[test]
    fn draws_of_a_wide_normal_reach_both_bounds_and_none_beyond() {
        let (mean, log_std) = (Tensor::zeros([500, 2]), Tensor::full([500, 2], 3.0));
        // Bounds whose centre and half width round.
        let (low, high) = ([-0.1, 0.3], [0.7, 0.900_000_1]);
        let policy = SquashedNormal::new(mean, log_std, &low, &high);
        let mut actions = Actions::Discrete(Vec::new());
        let mut streams = Streams::new(2, Purpose::Exploration, 500);
        policy.sample(streams.lanes(), &mut actions).unwrap();
        let Actions::Continuous { values, dim: 2 } = &actions else { panic!("{actions:?}") };
        for k in 0..2 {
            let component = || values.iter().skip(k).step_by(2).copied();
            assert!(component().all(|a| (low[k]..=high[k]).contains(&a)));
            assert!(component().any(|a| a == low[k]) && component().any(|a| a == high[k]));
        }
    }

    #[test]
    #[should_panic(expected = "expected for each a finite low below a finite high")]
    fn bounds_that_are_none_are_refused() {
        let zeros = || Tensor::zeros([1, 2]);
        SquashedNormal::new(zeros(), zeros(), &[0.0, 1.0], &[1.0, 1.0]);
    }
}
