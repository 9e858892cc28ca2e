//! Batch renormalisation (Ioffe 2017, arXiv 1702.03275), as CrossQ uses it (Bhatt et al. 2024,
//! arXiv 1902.05605).

use rlrun_tensor::{CallGuard, InCall, LayerPath, Parameter, Tensor, no_grad};

use crate::stateful::Running;
use crate::{Layer, Module, Training};

/// Settings of [`BatchRenorm`], with the defaults of sb3-contrib.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchRenormConfig {
    /// ε, added to the variance.
    pub eps: f32,
    /// How far the running statistics move towards those of a batch.
    pub momentum: f32,
    /// Batches that are normalised by themselves, before the running statistics correct them.
    pub warmup_steps: u64,
    /// The largest correction r of the scale; the smallest is 1 / `r_max`.
    pub r_max: f32,
    /// The largest correction d of the mean, in standard deviations.
    pub d_max: f32,
}

impl Default for BatchRenormConfig {
    fn default() -> BatchRenormConfig {
        BatchRenormConfig {
            eps: 1e-3,
            momentum: 0.01,
            warmup_steps: 100_000,
            r_max: 3.0,
            d_max: 5.0,
        }
    }
}

/// y = (x - mean) / √(var + ε) · scale + bias for each column. While training, mean and variance are
/// those of the batch, corrected towards the running ones by factors r and d without gradient; else
/// they are the running ones.
///
/// A new layer is not training: see [`Module::train`].
///
/// # Shapes
/// input and output `[B, C]`, `scale` and `bias` `[C]`.
#[derive(Debug, Module)]
pub struct BatchRenorm {
    /// Factor of each normalised column, `[C]`; starts as 1.
    pub scale: Parameter,
    /// Summand of each normalised column, `[C]`; starts as 0.
    pub bias: Parameter,
    #[module(skip)]
    config: BatchRenormConfig,
    #[module(flatten)]
    running: Running,
    path: LayerPath,
}

impl BatchRenorm {
    /// A layer for inputs of so many columns.
    #[track_caller]
    pub fn new(columns: usize, config: BatchRenormConfig) -> BatchRenorm {
        BatchRenorm {
            scale: Parameter::new(Tensor::ones([columns])),
            bias: Parameter::new(Tensor::zeros([columns])),
            config,
            running: Running::new(["ra_mean", "ra_var", "steps"], columns),
            path: LayerPath::unknown(),
        }
    }

    /// Whether the layer trains; [`Training::freeze`] keeps it evaluating.
    pub fn training(&self) -> &Training {
        self.running.training()
    }

    /// Mean and variance to normalise with: those of the batch, with mean′ = mean - d √var / r and
    /// var′ = var / r² after the warm-up.
    fn statistics(&self, input: &Tensor, training: bool) -> [Tensor; 2] {
        let [running_mean, running_var] = self.running.mean_and_var();
        if !training {
            return [running_mean, running_var];
        }
        let BatchRenormConfig { eps, momentum, warmup_steps, r_max, d_max } = self.config;
        let (mean, var) = (input.mean_dim(0, false), input.var_dim(0, true, false));
        let warm = self.running.batches() > warmup_steps;
        let (r, d) = no_grad(|| {
            let running_std = (running_var + eps).sqrt();
            let r = ((&var + eps).sqrt() / &running_std).clamp(1.0 / r_max, r_max);
            let d = ((&mean - running_mean) / running_std).clamp(-d_max, d_max);
            self.running.follow(momentum, &mean, &var);
            (r, d)
        });
        if warm { [&mean - d * var.sqrt() / &r, &var / (&r * &r)] } else { [mean, var] }
    }
}

impl Layer for BatchRenorm {
    /// # Panics
    /// If the input is not `[B, C]`, or has one row only while training: it has no variance.
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Tensor {
        let _call = CallGuard::of("BatchRenorm", &self.path);
        let training = self.running.training().in_forward();
        let (dims, columns) = (input.dims(), self.scale.numel());
        assert!(
            dims.len() == 2 && dims[1] == columns && (dims[0] > 1 || !training),
            "batch renormalisation of {columns} columns cannot train on {dims:?}: expected [B, \
             {columns}] with more than one row{InCall}"
        );
        let [mean, var] = self.statistics(input, training);
        (input - mean) / (var + self.config.eps).sqrt() * &*self.scale + &*self.bias
    }
}
