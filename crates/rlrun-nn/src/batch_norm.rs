//! Batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167).

use rlrun_tensor::{CallGuard, InCall, LayerPath, Parameter, Tensor, no_grad};

use crate::stateful::Running;
use crate::{Layer, Module, Training};

/// y = (x - mean) / √(var + ε) · weight + bias for each channel, as `torch.nn.BatchNorm1d` and
/// `BatchNorm2d`: while training with mean and variance of the batch, which the running ones
/// follow, else with the running ones.
///
/// A new layer is not training, unlike PyTorch's: see [`Module::train`].
///
/// # Shapes
/// input and output `[B, C, …]`, `weight` and `bias` `[C]`.
#[derive(Debug, Module)]
pub struct BatchNorm {
    /// Factor of each normalised channel, `[C]`; starts as 1.
    pub weight: Parameter,
    /// Summand of each normalised channel, `[C]`; starts as 0.
    pub bias: Parameter,
    /// ε, added to the variance; starts as 1e-5.
    #[module(skip)]
    pub eps: f32,
    /// How far the running statistics move towards those of a batch; starts as 0.1.
    #[module(skip)]
    pub momentum: f32,
    #[module(flatten)]
    running: Running,
    path: LayerPath,
}

impl BatchNorm {
    /// A layer for inputs of so many channels.
    #[track_caller]
    pub fn new(channels: usize) -> BatchNorm {
        let names = ["running_mean", "running_var", "num_batches_tracked"];
        BatchNorm {
            weight: Parameter::new(Tensor::ones([channels])),
            bias: Parameter::new(Tensor::zeros([channels])),
            eps: 1e-5,
            momentum: 0.1,
            running: Running::new(names, channels),
            path: LayerPath::unknown(),
        }
    }

    /// Whether the layer trains; [`Training::freeze`] keeps it evaluating.
    pub fn training(&self) -> &Training {
        self.running.training()
    }

    /// Mean and variance to normalise with.
    fn statistics(&self, input: &Tensor, training: bool) -> [Tensor; 2] {
        if !training {
            return self.running.mean_and_var();
        }
        let others: Vec<isize> = (0..input.ndim() as isize).filter(|&dim| dim != 1).collect();
        let statistics = [input.mean_dims(&others, false), input.var_dims(&others, false, false)];
        no_grad(|| {
            let var = input.var_dims(&others, true, false);
            self.running.follow(self.momentum, &statistics[0], &var);
        });
        statistics
    }
}

impl Layer for BatchNorm {
    /// # Panics
    /// While training, if a channel has one element only: it has no variance.
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Tensor {
        let _call = CallGuard::of("BatchNorm", &self.path);
        let training = self.running.training().in_forward();
        let channels = self.weight.numel();
        let each = input.numel().checked_div(channels).unwrap_or(0);
        assert!(
            input.dims().get(1) == Some(&channels) && (each > 1 || !training),
            "batch normalisation of {channels} channels cannot train on {:?}: expected [B, \
             {channels}, ..] with more than one element for each channel{InCall}",
            input.dims()
        );
        let mut shape = vec![1; input.ndim()];
        shape[1] = channels;
        let spread = |x: &Tensor| x.reshape(&shape[..]);
        let [mean, var] = self.statistics(input, training).map(|x| spread(&x));
        let scale = (var + self.eps).rsqrt() * spread(&self.weight);
        (input - mean) * scale + spread(&self.bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_uses_the_batch_and_acting_what_it_left_behind() {
        let layer = BatchNorm { eps: 0.0, momentum: 0.5, ..BatchNorm::new(2) };
        // Channels with means 2 and 5, variances 1 and 4, unbiased 2 and 8.
        let input = Tensor::from_slice(&[1.0, 3.0, 3.0, 7.0], [2, 2]);
        assert_eq!(layer.forward(&input).to_vec(), [1.0, 3.0, 3.0, 7.0]);
        layer.set_training(true);
        assert_eq!(layer.forward(&input).to_vec(), [-1.0, -1.0, 1.0, 1.0]);
        let state = layer.state();
        assert_eq!(state.f32("running_mean").unwrap().1, [1.0, 2.5]);
        assert_eq!(state.f32("running_var").unwrap().1, [1.5, 4.5]);
        assert_eq!(state.counter("num_batches_tracked"), Ok(1));
        let other = BatchNorm { eps: 0.0, ..BatchNorm::new(2) };
        other.load_state(&state).unwrap();
        let expected = [0.0, 0.5, 2.0, 4.5];
        for (found, x) in other.forward(&input).to_vec().into_iter().zip(expected) {
            let root = if x == 0.0 || x == 2.0 { 1.5_f32 } else { 4.5 };
            assert!((found - x / root.sqrt()).abs() < 1e-6, "{found}");
        }
    }

    #[test]
    fn images_are_normalised_over_rows_and_pixels() {
        let layer = BatchNorm::new(1);
        layer.set_training(true);
        let image = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [2, 1, 2, 2]);
        let output = layer.forward(&image);
        assert_eq!(output.dims(), image.dims());
        assert!(output.mean().item().abs() < 1e-6);
        assert!((output.square().mean().item() - 1.0).abs() < 1e-4);
    }

    #[test]
    #[should_panic(expected = "cannot train on [1, 2]")]
    fn a_batch_of_one_has_no_variance() {
        let layer = BatchNorm::new(2);
        layer.set_training(true);
        layer.forward(&Tensor::ones([1, 2]));
    }
}
