//! Actor and critic as two networks that share nothing.

use rlrun_core::{Purpose, Rng, rng_stream};
use rlrun_env::Space;
use rlrun_nn::{Activation, Init, Layer, Mlp, Module};
use rlrun_tensor::{Parameter, Tensor};

use super::{ActorCritic, NetArch};
use crate::distributions::Distribution;
use crate::encoder::Encoder;
use crate::{AgentContext, AgentError};

/// How a [`MlpActorCritic`] is built.
#[derive(Clone, Debug, PartialEq)]
pub struct ActorCriticConfig<'a> {
    /// Widths of the hidden layers.
    pub net_arch: &'a NetArch,
    /// Function after each hidden layer.
    pub activation: Activation,
    /// Whether weights start orthogonal (gain √2, 0.01 for the actor's and 1 for the critic's last
    /// layer) instead of with PyTorch's default.
    pub ortho_init: bool,
    /// Start of log σ for continuous actions.
    pub log_std_init: f64,
}

impl ActorCriticConfig<'_> {
    /// The networks for the environment of `context`.
    ///
    /// # Errors
    /// [`AgentError::ActionSpace`] naming `algorithm`, if no [`Distribution`] fits the actions.
    pub fn build(
        &self,
        algorithm: &'static str,
        context: &AgentContext<'_>,
    ) -> Result<Box<dyn ActorCritic>, AgentError> {
        let inputs = Encoder::of(&context.spec.observation_space)?.width();
        let mut weights = rng_stream(context.seed, Purpose::Weights, 0);
        let net = MlpActorCritic::new(inputs, &context.spec.action_space, self, &mut weights);
        let needed = "a Discrete, Box, MultiDiscrete or MultiBinary action space";
        Ok(Box::new(net.ok_or_else(|| context.unfit(algorithm, needed))?))
    }
}

/// π(a | s) and v(s), two networks.
#[derive(Debug, Module)]
pub struct MlpActorCritic {
    actor: Mlp,
    critic: Mlp,
    #[module(flatten)]
    head: Head,
}

/// What the actor's outputs are.
#[derive(Debug, Module)]
enum Head {
    Categorical,
    MultiCategorical(#[module(skip)] Vec<usize>),
    Bernoulli,
    /// With log σ, which does not depend on the state.
    Gaussian(#[module(rename = "log_std")] Parameter),
}

impl MlpActorCritic {
    /// Networks from `inputs` features to the actions of `space`; `None` if no [`Distribution`]
    /// fits them.
    pub fn new(
        inputs: usize,
        space: &Space,
        config: &ActorCriticConfig<'_>,
        rng: &mut Rng,
    ) -> Option<MlpActorCritic> {
        let (outputs, head) = match space {
            Space::Discrete(n) => (*n, Head::Categorical),
            Space::MultiDiscrete(n) => (n.iter().sum(), Head::MultiCategorical(n.clone())),
            Space::MultiBinary(n) => (*n, Head::Bernoulli),
            Space::Box(bounds) => {
                let dim = bounds.low.len();
                let log_std = Tensor::full([dim], config.log_std_init as f32);
                (dim, Head::Gaussian(Parameter::new(log_std)))
            }
            _ => return None,
        };
        let mut net = |widths: &[usize], outputs: usize, gain: f32| {
            let sizes = [&[inputs], widths, &[outputs]].concat();
            let (hidden, output) = if config.ortho_init {
                (Init::Orthogonal { gain: 2.0_f32.sqrt() }, Init::Orthogonal { gain })
            } else {
                (Init::KaimingUniform, Init::KaimingUniform)
            };
            Mlp::new(&sizes, config.activation, hidden, output, rng)
        };
        let actor = net(config.net_arch.pi(), outputs, 0.01);
        let critic = net(config.net_arch.critic(), 1, 1.0);
        Some(MlpActorCritic { actor, critic, head })
    }
}

impl ActorCritic for MlpActorCritic {
    fn policy(&self, obs: &Tensor) -> Distribution {
        let output = self.actor.forward(obs);
        match &self.head {
            Head::Categorical => Distribution::Categorical { logits: output },
            Head::MultiCategorical(choices) => {
                Distribution::MultiCategorical { logits: output, choices: choices.clone() }
            }
            Head::Bernoulli => Distribution::Bernoulli { logits: output },
            Head::Gaussian(log_std) => {
                Distribution::DiagGaussian { mean: output, std: log_std.exp() }
            }
        }
    }

    fn value(&self, obs: &Tensor) -> Tensor {
        self.critic.forward(obs).squeeze_dim(-1)
    }

    fn mean_std(&self) -> Option<f64> {
        let Head::Gaussian(log_std) = &self.head else { return None };
        let stds = log_std.to_vec().into_iter().map(|log_std| f64::from(log_std.exp()));
        Some(stds.sum::<f64>() / log_std.numel() as f64)
    }
}
