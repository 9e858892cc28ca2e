//! A network with two heads: mean and log σ.

use rlrun_core::Rng;
use rlrun_nn::{Activation, Init, Layer, Linear, Module};
use rlrun_tensor::Tensor;

/// Hidden layers with an activation after each, then two linear heads side by side: the actor of
/// soft actor-critic. Named as in Stable-Baselines3: `latent_pi.0.weight`, …, `mu`, `log_std`.
#[derive(Debug)]
pub struct GaussianHead {
    latent_pi: Vec<Linear>,
    mu: Linear,
    log_std: Linear,
    activation: Activation,
}

impl GaussianHead {
    /// A network with hidden layers of `widths` from `inputs` features to two times `dim` numbers.
    pub fn new(
        inputs: usize,
        widths: &[usize],
        dim: usize,
        activation: Activation,
        rng: &mut Rng,
    ) -> GaussianHead {
        let sizes = [&[inputs], widths].concat();
        let mut linear = |inputs, outputs| Linear::new(inputs, outputs, Init::KaimingUniform, rng);
        let latent_pi = sizes.windows(2).map(|pair| linear(pair[0], pair[1])).collect();
        let latent = sizes[sizes.len() - 1];
        GaussianHead {
            latent_pi,
            mu: linear(latent, dim),
            log_std: linear(latent, dim),
            activation,
        }
    }
}

impl Module for GaussianHead {
    fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
        for (index, layer) in self.latent_pi.iter().enumerate() {
            visit(&format!("latent_pi.{}", 2 * index), layer);
        }
        visit("mu", &self.mu);
        visit("log_std", &self.log_std);
    }
}

impl Layer for GaussianHead {
    fn forward(&self, obs: &Tensor) -> Tensor {
        let latent = self
            .latent_pi
            .iter()
            .fold(obs.clone(), |latent, layer| layer.forward_act(&latent, self.activation));
        Tensor::cat(&[&self.mu.forward(&latent), &self.log_std.forward(&latent)], -1)
    }
}
