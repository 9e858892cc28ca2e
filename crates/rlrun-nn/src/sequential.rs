//! Layers one after the other.

use rlrun_tensor::{CallGuard, LayerPath, Tensor};

use crate::{Layer, Module};

/// Layers one after the other, as `torch.nn.Sequential`: parameters are named after the place of
/// their layer, `0.weight`, `0.bias`, …; places without parameters, such as those of an
/// [`crate::Activation`], count.
///
/// # Shapes
/// Input of the first layer, output of the last.
#[derive(Module)]
pub struct Sequential {
    #[module(flatten)]
    layers: Vec<Box<dyn Layer>>,
    path: LayerPath,
}

impl Sequential {
    /// The composition of `layers`, the first one nearest to the input.
    pub fn new(layers: Vec<Box<dyn Layer>>) -> Sequential {
        Sequential { layers, path: LayerPath::unknown() }
    }
}

impl Layer for Sequential {
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Tensor {
        let mut features = input.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            let _call = CallGuard::part("Sequential", &self.path, index);
            features = layer.as_ref().forward(&features);
        }
        features
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, Init, LayerNorm, Linear, Mlp};
    use rlrun_core::{Purpose, rng_stream};

    #[test]
    fn an_mlp_is_a_sequential_of_its_layers() {
        let mut rng = rng_stream(3, Purpose::Weights, 0);
        let init = Init::KaimingUniform;
        let mlp = Mlp::new(&[3, 4, 4, 2], Activation::Tanh, init, init, &mut rng);
        let sequential = Sequential::new(vec![
            Box::new(Linear::new(3, 4, init, &mut rng)),
            Box::new(Activation::Tanh),
            Box::new(Linear::new(4, 4, init, &mut rng)),
            Box::new(Activation::Tanh),
            Box::new(Linear::new(4, 2, init, &mut rng)),
        ]);
        assert_ne!(sequential.state(), mlp.state());
        sequential.load_state(&mlp.state()).unwrap();
        let input = Tensor::from_slice(&[0.3, -1.0, 2.0, 0.0, 0.5, -0.7], [2, 3]);
        assert_eq!(sequential.forward(&input).to_vec(), mlp.forward(&input).to_vec());
    }

    #[test]
    fn layers_within_layers_are_named_by_their_path() {
        let inner = Sequential::new(vec![Box::new(LayerNorm::new(&[2]))]);
        let outer = Sequential::new(vec![Box::new(Activation::Relu), Box::new(inner)]);
        let names: Vec<String> = outer.state().0.into_keys().collect();
        assert_eq!(names, ["1.0.bias", "1.0.weight"]);
    }
}
