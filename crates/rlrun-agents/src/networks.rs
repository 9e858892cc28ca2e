//! Networks of the algorithms: actor and critic, and action values.

use rlrun_core::Rng;
use rlrun_env::{Actions, BoxSpace, EnvSpec, Space};
use rlrun_nn::{Activation, Init, Layer, Mlp, Module, join};
use rlrun_tensor::{Parameter, Tensor};

use crate::Policy;
use crate::distributions::{Distribution, argmax, write_choices};

/// How an [`ActorCritic`] is built.
#[derive(Clone, Debug, PartialEq)]
pub struct ActorCriticConfig {
    /// Widths of the hidden layers of the actor and of the critic.
    pub net_arch: Vec<usize>,
    /// Function after each hidden layer.
    pub activation: Activation,
    /// Whether weights start orthogonal (gain √2, 0.01 for the actor's and 1 for the critic's last
    /// layer) instead of with PyTorch's default.
    pub ortho_init: bool,
    /// Start of log σ for continuous actions.
    pub log_std_init: f32,
}

/// A policy π(a | s) and a value function v(s), two networks that share nothing.
#[derive(Debug)]
pub struct ActorCritic {
    actor: Mlp,
    critic: Mlp,
    /// Bounds and log σ of continuous actions; `None` for discrete ones.
    gaussian: Option<(BoxSpace, Parameter)>,
}

impl ActorCritic {
    /// Networks for the spaces of `spec`; `None` if no [`Distribution`] fits its action space.
    pub fn new(spec: &EnvSpec, config: &ActorCriticConfig, rng: &mut Rng) -> Option<ActorCritic> {
        let (outputs, gaussian) = match &spec.action_space {
            Space::Discrete(n) => (*n, None),
            Space::Box(bounds) => {
                let dim = bounds.low.len();
                let log_std = Parameter::new(Tensor::full([dim], config.log_std_init));
                (dim, Some((bounds.clone(), log_std)))
            }
            _ => return None,
        };
        let inputs = spec.observation_space.dim();
        let mut net = |outputs: usize, gain: f32| {
            let sizes = [&[inputs], config.net_arch.as_slice(), &[outputs]].concat();
            let (hidden, output) = if config.ortho_init {
                (Init::Orthogonal { gain: 2.0_f32.sqrt() }, Init::Orthogonal { gain })
            } else {
                (Init::KaimingUniform, Init::KaimingUniform)
            };
            Mlp::new(&sizes, config.activation, hidden, output, rng)
        };
        Some(ActorCritic { actor: net(outputs, 0.01), critic: net(1, 1.0), gaussian })
    }

    /// π(· | s) for observations `[B, obs_dim]`.
    pub fn policy(&self, obs: &Tensor) -> Distribution {
        let output = self.actor.forward(obs);
        match &self.gaussian {
            None => Distribution::Categorical { logits: output },
            Some((_, log_std)) => Distribution::DiagGaussian { mean: output, std: log_std.exp() },
        }
    }

    /// v(s) for observations `[B, obs_dim]`, `[B]`.
    pub fn value(&self, obs: &Tensor) -> Tensor {
        self.critic.forward(obs).squeeze_dim(-1)
    }

    /// Mean of σ over the components of a continuous action.
    pub fn mean_std(&self) -> Option<f64> {
        let (_, log_std) = self.gaussian.as_ref()?;
        let stds = log_std.to_vec().into_iter().map(|log_std| f64::from(log_std.exp()));
        Some(stds.sum::<f64>() / log_std.numel() as f64)
    }

    /// Moves continuous actions into the bounds of the action space.
    pub fn clip_actions(&self, actions: &mut Actions) {
        if let (Some((bounds, _)), Actions::Continuous { values, dim }) = (&self.gaussian, actions)
        {
            for row in values.chunks_exact_mut(*dim) {
                for (value, (low, high)) in row.iter_mut().zip(bounds.low.iter().zip(&bounds.high))
                {
                    *value = value.max(*low).min(*high);
                }
            }
        }
    }
}

impl Module for ActorCritic {
    fn visit_parameters(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Parameter)) {
        self.actor.visit_parameters(&join(prefix, "actor"), visit);
        self.critic.visit_parameters(&join(prefix, "critic"), visit);
        if let Some((_, log_std)) = &self.gaussian {
            visit(&join(prefix, "log_std"), log_std);
        }
    }
}

impl Policy for ActorCritic {
    fn act(&self, obs: &Tensor, rng: Option<&mut Rng>, actions: &mut Actions) {
        let policy = self.policy(obs);
        match rng {
            Some(rng) => policy.sample(rng, actions),
            None => policy.mode(actions),
        }
        self.clip_actions(actions);
    }

    fn values(&self, obs: &Tensor) -> Option<Vec<f32>> {
        Some(self.value(obs).to_vec())
    }
}

/// Action values Q(s, ·) of a discrete action space.
#[derive(Debug)]
pub struct QNetwork {
    head: QHead,
}

#[derive(Debug)]
enum QHead {
    Plain(Mlp),
    Dueling { value: Mlp, advantage: Mlp },
}

impl QNetwork {
    /// A network with one output per action.
    pub fn new(sizes: &[usize], activation: Activation, rng: &mut Rng) -> QNetwork {
        QNetwork { head: QHead::Plain(mlp(sizes, activation, rng)) }
    }

    /// Q(s, a) = V(s) + A(s, a) - mean_a' A(s, a') from two networks (Wang et al. 2016,
    /// arXiv 1511.06581, eq. 9). The paper's streams share their first layers; here they do not.
    pub fn dueling(sizes: &[usize], activation: Activation, rng: &mut Rng) -> QNetwork {
        let mut value_sizes = sizes.to_vec();
        value_sizes.splice(sizes.len() - 1.., [1]);
        let value = mlp(&value_sizes, activation, rng);
        QNetwork { head: QHead::Dueling { value, advantage: mlp(sizes, activation, rng) } }
    }
}

fn mlp(sizes: &[usize], activation: Activation, rng: &mut Rng) -> Mlp {
    Mlp::new(sizes, activation, Init::KaimingUniform, Init::KaimingUniform, rng)
}

impl Module for QNetwork {
    fn visit_parameters(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Parameter)) {
        match &self.head {
            QHead::Plain(net) => net.visit_parameters(prefix, visit),
            QHead::Dueling { value, advantage } => {
                value.visit_parameters(&join(prefix, "value"), visit);
                advantage.visit_parameters(&join(prefix, "advantage"), visit);
            }
        }
    }
}

impl Layer for QNetwork {
    fn forward(&self, obs: &Tensor) -> Tensor {
        match &self.head {
            QHead::Plain(net) => net.forward(obs),
            QHead::Dueling { value, advantage } => {
                let advantage = advantage.forward(obs);
                value.forward(obs) + &advantage - advantage.mean_dim(-1, true)
            }
        }
    }
}

impl Policy for QNetwork {
    /// argmax_a Q(s, a), with or without `rng`: the policy that is learnt is greedy.
    fn act(&self, obs: &Tensor, _rng: Option<&mut Rng>, actions: &mut Actions) {
        write_choices(&self.forward(obs), argmax, actions);
    }

    /// max_a Q(s, a).
    fn values(&self, obs: &Tensor) -> Option<Vec<f32>> {
        let (values, _) = self.forward(obs).max_dim(-1, false);
        Some(values.to_vec())
    }
}
