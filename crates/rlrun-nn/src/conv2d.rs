//! Convolution of images (LeCun et al. 1989).

use rlrun_core::Rng;
use rlrun_tensor::{CallGuard, LayerPath, Parameter, Tensor};

use crate::{Init, Layer, Module};

/// Settings of [`Conv2d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output, one kernel each.
    pub out_channels: usize,
    /// Height and width of a kernel.
    pub kernel_size: [usize; 2],
    /// Distance of two patches, down and across.
    pub stride: usize,
    /// Rows and columns of zeros around each image.
    pub padding: usize,
}

impl Conv2dConfig {
    /// Square kernels with stride 1 and no padding, PyTorch's defaults.
    pub fn new(in_channels: usize, out_channels: usize, kernel_size: usize) -> Conv2dConfig {
        let kernel_size = [kernel_size; 2];
        Conv2dConfig { in_channels, out_channels, kernel_size, stride: 1, padding: 0 }
    }
}

/// Cross-correlation of images with kernels, plus a bias, as `torch.nn.Conv2d`.
///
/// # Shapes
/// input `[B, in, h, w]`, `weight` `[out, in, kh, kw]`, `bias` `[out]`, output
/// `[B, out, (h + 2·padding - kh)/stride + 1, (w + 2·padding - kw)/stride + 1]`.
#[derive(Debug, Module)]
pub struct Conv2d {
    /// The kernels, `[out, in, kh, kw]`.
    pub weight: Parameter,
    /// The bias, `[out]`.
    pub bias: Parameter,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: usize,
    path: LayerPath,
}

impl Conv2d {
    /// A layer whose kernels are drawn from `rng` by `init`, each as a row of `in · kh · kw`
    /// weights.
    pub fn new(config: Conv2dConfig, init: Init, rng: &mut Rng) -> Conv2d {
        let Conv2dConfig { in_channels, out_channels, kernel_size: [kh, kw], .. } = config;
        let (weight, bias) = init.linear(in_channels * kh * kw, out_channels, rng);
        Conv2d {
            weight: Parameter::new(Tensor::from_vec(weight, [out_channels, in_channels, kh, kw])),
            bias: Parameter::new(Tensor::from_vec(bias, [out_channels])),
            stride: config.stride,
            padding: config.padding,
            path: LayerPath::unknown(),
        }
    }
}

impl Layer for Conv2d {
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Tensor {
        let _call = CallGuard::of("Conv2d", &self.path);
        input.conv2d(&self.weight, Some(&self.bias), self.stride, self.padding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlrun_core::{Purpose, State, rng_stream};

    #[test]
    fn kernels_slide_over_the_padded_image_by_the_stride() {
        let config = Conv2dConfig { stride: 2, padding: 1, ..Conv2dConfig::new(1, 2, 2) };
        let mut rng = rng_stream(1, Purpose::Weights, 0);
        let layer = Conv2d::new(config, Init::KaimingUniform, &mut rng);
        let mut state = State::new();
        state.insert_f32("weight", &[2, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 1.0]);
        state.insert_f32("bias", &[2], &[0.5, 0.0]);
        layer.load_state(&state).unwrap();
        let image = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0], [1, 1, 2, 2]);
        let output = layer.forward(&image);
        assert_eq!(output.dims(), [1, 2, 2, 2]);
        // Each of the four patches holds one pixel, in the corner nearest to the image's centre.
        assert_eq!(output.to_vec(), [4.5, 6.5, 6.5, 4.5, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn the_default_bound_counts_all_inputs_of_a_kernel() {
        let mut rng = rng_stream(2, Purpose::Weights, 0);
        // 4 channels of 4 x 4 are 64 inputs: ±1/8.
        let layer = Conv2d::new(Conv2dConfig::new(4, 32, 4), Init::KaimingUniform, &mut rng);
        let largest = |p: &Parameter| p.to_vec().iter().fold(0.0f32, |max, x| max.max(x.abs()));
        assert!((0.124..=0.125).contains(&largest(&layer.weight)));
        assert!((0.1..=0.125).contains(&largest(&layer.bias)));
    }
}
