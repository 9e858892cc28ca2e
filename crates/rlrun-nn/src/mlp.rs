//! A stack of linear layers with an activation between them.

use rlrun_core::Rng;
use rlrun_tensor::{CallGuard, LayerPath, Tensor};

use crate::{Activation, Init, Layer, Linear, Module};

/// A multilayer perceptron: linear layers with an activation after each but the last.
///
/// Parameters are named as in `torch.nn.Sequential(Linear, act, Linear, act, …, Linear)`:
/// `0.weight`, `0.bias`, `2.weight`, …
///
/// # Shapes
/// input `[B, sizes[0]]`, output `[B, sizes[last]]`.
#[derive(Debug)]
pub struct Mlp {
    hidden: Vec<Linear>,
    output: Linear,
    activation: Activation,
    path: LayerPath,
}

impl Mlp {
    /// A network with the layer widths `sizes`, input first and output last. Hidden layers start
    /// from `hidden`, the last one from `output`.
    ///
    /// # Panics
    /// If `sizes` has fewer than two entries.
    pub fn new(
        sizes: &[usize],
        activation: Activation,
        hidden: Init,
        output: Init,
        rng: &mut Rng,
    ) -> Mlp {
        let [hidden_sizes @ .., outputs] = sizes else { panic!("an Mlp needs sizes") };
        let [.., inputs] = hidden_sizes else { panic!("an Mlp needs two sizes, got {sizes:?}") };
        let layer = |pair: &[usize]| Linear::new(pair[0], pair[1], hidden, rng);
        let hidden = hidden_sizes.windows(2).map(layer).collect();
        let output = Linear::new(*inputs, *outputs, output, rng);
        Mlp { hidden, output, activation, path: LayerPath::unknown() }
    }
}

impl Module for Mlp {
    fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
        for (index, layer) in self.hidden.iter().chain([&self.output]).enumerate() {
            visit(&(2 * index).to_string(), layer);
        }
        visit("path", &self.path);
    }
}

impl Layer for Mlp {
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Tensor {
        let _call = CallGuard::of("Mlp", &self.path);
        let mut features = input.clone();
        for layer in &self.hidden {
            features = layer.forward_act(&features, self.activation);
        }
        self.output.forward(&features)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlrun_core::{Purpose, State, StateError, rng_stream};

    fn net(sizes: &[usize]) -> Mlp {
        let mut rng = rng_stream(1, Purpose::Weights, 0);
        let init = Init::KaimingUniform;
        Mlp::new(sizes, Activation::Relu, init, init, &mut rng)
    }

    #[test]
    fn forward_is_the_composition_of_its_layers() {
        let net = net(&[2, 2, 1]);
        let mut state = State::new();
        state.insert_f32("0.weight", &[2, 2], &[1.0, 2.0, -1.0, 1.0]);
        state.insert_f32("0.bias", &[2], &[0.5, 0.0]);
        state.insert_f32("2.weight", &[1, 2], &[3.0, 5.0]);
        state.insert_f32("2.bias", &[1], &[-1.0]);
        net.load_state(&state).unwrap();
        // [1, 2] -> [5.5, 1] -> 3·5.5 + 5·1 - 1; [1, -2] -> [-2.5, -3] -> relu 0 -> -1.
        let output = net.forward(&Tensor::from_slice(&[1.0, 2.0, 1.0, -2.0], [2, 2]));
        assert_eq!(output.to_vec(), [20.5, -1.0]);
        assert_eq!(net.state(), state);
    }

    #[test]
    fn a_state_that_does_not_fit_changes_nothing() {
        let net = net(&[2, 3, 1]);
        let before = net.state();
        let mut other = before.clone();
        other.insert_f32("2.weight", &[3, 1], &[0.0; 3]);
        other.insert_f32("0.bias", &[3], &[9.0; 3]);
        assert!(matches!(net.load_state(&other), Err(StateError::Shape { .. })));
        let mut longer = before.clone();
        longer.insert_f32("4.bias", &[1], &[0.0]);
        assert!(matches!(net.load_state(&longer), Err(StateError::Invalid { .. })));
        assert_eq!(net.state(), before);
    }
}
