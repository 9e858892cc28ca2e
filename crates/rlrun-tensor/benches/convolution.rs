//! Convolutional networks with ReLU, forward in inference mode and with backward to all parameters:
//! `two/<what>` is `[256, 3, 8, 8]` through 16 and 32 kernels of 3 × 3 and a layer of 10;
//! `two_wide/<what>` 32 and 64 kernels; `nature/<what>` the three layers of Mnih et al. 2015 on
//! `[32, 4, 84, 84]`. What torch takes for them is in `docs/performance/convolution.csv`.

use criterion::{Criterion, criterion_group, criterion_main};
use rlrun_tensor::{Tensor, inference_mode};

/// Numbers in [−1, 1) without a pattern that matters.
fn numbers(shape: &[usize], scale: f32) -> Tensor {
    let len = shape.iter().product();
    let number = |i: usize| ((i * 7919 % 2048) as f32 / 1024.0 - 1.0) * scale;
    Tensor::from_vec((0..len).map(number).collect(), shape)
}

fn parameter(shape: &[usize]) -> Tensor {
    let fan_in: usize = shape[1..].iter().product();
    numbers(shape, 1.0 / (fan_in as f32).sqrt()).requires_grad_(true)
}

struct Network {
    layers: Vec<(Tensor, Tensor, usize)>,
    head: Option<(Tensor, Tensor)>,
}

impl Network {
    /// `[out, kernel, stride]` of each layer, and the outputs of a linear layer behind them.
    fn new(image: [usize; 3], layers: &[[usize; 3]], outputs: Option<usize>) -> Network {
        let [mut channels, mut extent, _] = image;
        let layers = layers.iter().map(|&[out, kernel, stride]| {
            let weight = parameter(&[out, channels, kernel, kernel]);
            (channels, extent) = (out, (extent - kernel) / stride + 1);
            (weight, numbers(&[out], 0.1).requires_grad_(true), stride)
        });
        let layers = layers.collect();
        let head = outputs.map(|n| {
            let weight = parameter(&[n, channels * extent * extent]);
            (weight, numbers(&[n], 0.1).requires_grad_(true))
        });
        Network { layers, head }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let images = self.layers.iter().fold(x.clone(), |x, (weight, bias, stride)| {
            x.conv2d(weight, Some(bias), *stride, 0).relu()
        });
        match &self.head {
            Some((weight, bias)) => {
                images.reshape([x.dims()[0] as isize, -1]).linear(weight, Some(bias))
            }
            None => images,
        }
    }

    fn clear(&self) {
        let layers = self.layers.iter().map(|(weight, bias, _)| (weight, bias));
        for (weight, bias) in layers.chain(self.head.iter().map(|(w, b)| (w, b))) {
            weight.set_grad(None);
            bias.set_grad(None);
        }
    }
}

fn convolutions(c: &mut Criterion) {
    let networks = [
        ("two", 256, [3, 8, 8], vec![[16, 3, 1], [32, 3, 1]], Some(10)),
        ("two_wide", 256, [3, 8, 8], vec![[32, 3, 1], [64, 3, 1]], Some(10)),
        ("nature", 32, [4, 84, 84], vec![[32, 8, 4], [64, 4, 2], [64, 3, 1]], None),
    ];
    for (name, batch, image, layers, outputs) in networks {
        let network = Network::new(image, &layers, outputs);
        let x = numbers(&[batch, image[0], image[1], image[2]], 1.0);
        let mut group = c.benchmark_group(name);
        group.bench_function("forward", |b| {
            b.iter(|| inference_mode(|| network.forward(&x)));
        });
        group.bench_function("forward_backward", |b| {
            b.iter(|| {
                network.clear();
                network.forward(&x).sum().backward();
            });
        });
    }
}

criterion_group!(benches, convolutions);
criterion_main!(benches);
