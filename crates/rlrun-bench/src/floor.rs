//! A network and its training step on the bare kernels: preallocated, input-major, no tensors.

use rlrun_nn::{Activation, Mlp, Module};
use rlrun_tensor::kernels::{self, AdamStep, Matrix, MatrixMut, Start};

/// A layer: weight `[in, out]` row-major and bias, their gradients and moments, and its output.
struct FloorLayer {
    inputs: usize,
    outputs: usize,
    act: kernels::Activation,
    weight: Trained,
    bias: Trained,
    /// `[batch, out]`.
    output: Vec<f32>,
    /// Gradients of the output and of what the activation got, `[batch, out]`.
    grad: Vec<f32>,
    dz: Vec<f32>,
}

/// Parameters with what a training step needs beside them.
struct Trained {
    values: Vec<f32>,
    grad: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Trained {
    fn new(values: Vec<f32>) -> Trained {
        let zeros = || vec![0.0; values.len()];
        Trained { grad: zeros(), first: zeros(), second: zeros(), values }
    }

    fn step(&mut self, step: &AdamStep) {
        let Trained { values, grad, first, second } = self;
        kernels::adam(values, grad, first, second, step);
    }
}

/// The hand-fused twin of an [`Mlp`].
pub(crate) struct FloorNet {
    layers: Vec<FloorLayer>,
    batch: usize,
    steps: u64,
}

impl FloorNet {
    /// A copy of `net` for batches of `batch` rows.
    pub(crate) fn new(net: &Mlp, activation: Activation, batch: usize) -> FloorNet {
        let parameters = net.parameters();
        let last = parameters.len() / 2 - 1;
        let hidden = match activation {
            Activation::Relu => kernels::Activation::Relu,
            _ => kernels::Activation::Tanh,
        };
        let layer = |(index, pair): (usize, &[rlrun_tensor::Parameter])| {
            let (outputs, inputs) = (pair[0].dims()[0], pair[0].dims()[1]);
            FloorLayer {
                inputs,
                outputs,
                act: if index == last { kernels::Activation::None } else { hidden },
                weight: Trained::new(pair[0].transpose(0, 1).to_vec()),
                bias: Trained::new(pair[1].to_vec()),
                output: vec![0.0; batch * outputs],
                grad: vec![0.0; batch * outputs],
                dz: vec![0.0; batch * outputs],
            }
        };
        let layers = parameters.chunks_exact(2).enumerate().map(layer).collect();
        FloorNet { layers, batch, steps: 0 }
    }

    /// The output for `x` `[batch, in]`.
    pub(crate) fn forward(&mut self, x: &[f32]) -> &[f32] {
        let batch = self.batch;
        let mut done: &mut [FloorLayer] = &mut [];
        let mut rest = &mut self.layers[..];
        while let Some((layer, after)) = rest.split_first_mut() {
            let input = done.last().map_or(x, |before| &before.output);
            let FloorLayer { inputs, outputs, act, .. } = *layer;
            kernels::gemm(
                Matrix::new(input, batch, inputs),
                Matrix::new(&layer.weight.values, inputs, outputs),
                Start::Bias(&layer.bias.values),
                act,
                MatrixMut::new(&mut layer.output, batch, outputs),
            );
            done = std::slice::from_mut(layer);
            rest = after;
        }
        self.layers.last().map_or(&[], |layer| &layer.output)
    }

    /// One step of Adam on the mean squared error to `y` `[batch, out]`; returns the error before.
    pub(crate) fn train(&mut self, x: &[f32], y: &[f32]) -> f32 {
        self.forward(x);
        let mut error = 0.0;
        if let Some(FloorLayer { output, grad, .. }) = self.layers.last_mut() {
            let scale = 1.0 / output.len() as f32;
            for ((grad, output), y) in grad.iter_mut().zip(&*output).zip(y) {
                error += (output - y) * (output - y) * scale;
                *grad = 2.0 * (output - y) * scale;
            }
        }
        for index in (0..self.layers.len()).rev() {
            self.backward(index, x);
        }
        self.steps += 1;
        let step = AdamStep::new(1e-3, (0.9, 0.999), 1e-8, self.steps);
        for layer in &mut self.layers {
            layer.weight.step(&step);
            layer.bias.step(&step);
        }
        error
    }

    /// Gradients of one layer, whose `grad` holds that of its output.
    fn backward(&mut self, index: usize, x: &[f32]) {
        let (before, from) = self.layers.split_at_mut(index);
        let layer = &mut from[0];
        let (inputs, outputs, batch) = (layer.inputs, layer.outputs, self.batch);
        let (grad, dz, bias) = (&layer.grad, &mut layer.dz, &mut layer.bias.grad);
        let dz = match layer.act {
            kernels::Activation::None => {
                kernels::column_sums(grad, bias);
                grad
            }
            act => {
                kernels::activation_backward(act, &layer.output, grad, dz, bias);
                dz
            }
        };
        let dz = Matrix::new(dz, batch, outputs);
        let input = before.last().map_or(x, |before| &before.output);
        let out = MatrixMut::new(&mut layer.weight.grad, inputs, outputs);
        kernels::gemm_tall(Matrix::new(input, batch, inputs), dz, out);
        if let Some(before) = before.last_mut() {
            let weight = Matrix::new(&layer.weight.values, inputs, outputs);
            let out = MatrixMut::new(&mut before.grad, batch, inputs);
            kernels::gemm(dz, weight.t(), Start::Zero, kernels::Activation::None, out);
        }
    }
}
