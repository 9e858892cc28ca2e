//! Dropout: random zeros while learning (Srivastava et al. 2014).

use std::sync::Arc;

use parking_lot::Mutex;
use rand::RngExt;
use rlrun_core::{Rng, State, StateError};
use rlrun_tensor::{CallGuard, Tensor};

use crate::{Layer, Module, Stateful, Training};

/// Sets each element to 0 with probability p and multiplies the others by 1/(1 - p), as
/// `torch.nn.Dropout`; while it is not training it passes its input on and draws nothing.
///
/// A new layer is not training, unlike PyTorch's: what acts, and what is evaluated, does so without
/// dropout, and evaluating more or less often never moves the random stream. Learning switches
/// training on around the loss: [`Module::train`].
///
/// The gradient mode plays no part: a training layer drops in inference mode, too.
///
/// # Shapes
/// input and output of any one shape.
#[derive(Debug)]
pub struct Dropout(Arc<Mask>);

#[derive(Debug)]
struct Mask {
    p: f32,
    training: Training,
    rng: Mutex<Rng>,
}

impl Dropout {
    /// A layer that drops elements with probability `p`, drawn from `rng`: a stream of its own for
    /// each layer, of [`rlrun_core::Purpose::Layers`].
    ///
    /// # Panics
    /// If `p` is not in [0, 1].
    #[track_caller]
    pub fn new(p: f32, rng: Rng) -> Dropout {
        assert!((0.0..=1.0).contains(&p), "a dropout probability is between 0 and 1, got `{p}`");
        Dropout(Arc::new(Mask { p, training: Training::new(), rng: Mutex::new(rng) }))
    }

    /// Whether elements are dropped; [`Training::freeze`] keeps them.
    pub fn training(&self) -> &Training {
        &self.0.training
    }
}

impl Mask {
    /// 0 with probability p, else 1/(1 - p), for each element of `input`.
    fn draw(&self, input: &Tensor) -> Tensor {
        let mut rng = self.rng.lock();
        let scale = 1.0 / (1.0 - self.p);
        let factor = |_| if rng.random::<f32>() < self.p { 0.0 } else { scale };
        Tensor::from_vec((0..input.numel()).map(factor).collect(), input.dims())
    }
}

impl Module for Dropout {
    fn visit_fields(&self, _: &mut dyn FnMut(&str, &dyn Module)) {}

    fn as_stateful(&self) -> Option<Arc<dyn Stateful>> {
        Some(self.0.clone())
    }
}

impl Stateful for Mask {
    fn training(&self) -> &Training {
        &self.training
    }

    fn random_state(&self) -> State {
        self.rng.lock().state()
    }

    fn load_random_state(&self, state: &State) -> Result<(), StateError> {
        self.rng.lock().load_state(state)
    }
}

impl Layer for Dropout {
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Tensor {
        let _call = CallGuard::named("Dropout");
        let Mask { p, training, .. } = &*self.0;
        // Without zeros to draw, evaluating is no different.
        let training = if *p > 0.0 { training.in_forward() } else { training.is_on() };
        if training { input * self.0.draw(input) } else { input.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, Sequential};
    use rlrun_core::{Purpose, rng_stream};
    use rlrun_tensor::Parameter;

    fn dropout(p: f32) -> Dropout {
        Dropout::new(p, rng_stream(1, Purpose::Layers, 0))
    }

    #[test]
    fn training_drops_a_share_of_p_and_keeps_the_mean() {
        let layer = dropout(0.25);
        layer.set_training(true);
        let output = layer.forward(&Tensor::full([100, 100], 3.0)).to_vec();
        assert!(output.iter().all(|&x| x == 0.0 || x == 4.0));
        let dropped = output.iter().filter(|&&x| x == 0.0).count();
        // A standard error of 43, times four.
        assert!(dropped.abs_diff(2500) < 173, "{dropped} of 10000 dropped");
    }

    #[test]
    fn gradients_flow_through_what_was_kept() {
        let layer = dropout(0.5);
        layer.set_training(true);
        let input = Parameter::new(Tensor::ones([64]));
        let output = layer.forward(&input);
        output.sum().backward();
        assert_eq!(input.grad().unwrap().to_vec(), output.to_vec());
    }

    #[test]
    fn certain_probabilities_drop_all_or_nothing() {
        let input = Tensor::from_slice(&[1.0, -2.0], [2]);
        for (p, expected) in [(0.0, [1.0, -2.0]), (1.0, [0.0, 0.0])] {
            let layer = dropout(p);
            layer.set_training(true);
            assert_eq!(layer.forward(&input).to_vec(), expected);
        }
    }

    #[test]
    fn evaluating_neither_drops_nor_draws() {
        let layer = dropout(0.5);
        let before = Module::random_state(&layer);
        let input = Tensor::ones([32]);
        assert_eq!(layer.forward(&input).to_vec(), [1.0; 32]);
        assert_eq!(Module::random_state(&layer), before);
        layer.set_training(true);
        assert_ne!(layer.forward(&input).to_vec(), [1.0; 32]);
        assert_ne!(Module::random_state(&layer), before);
        layer.set_training(false);
        assert_eq!(layer.forward(&input).to_vec(), [1.0; 32]);
    }

    #[test]
    fn a_restored_network_drops_what_it_would_have_dropped() {
        let network = |index| {
            let rng = rng_stream(1, Purpose::Layers, index);
            let inner = Sequential::new(vec![Box::new(Dropout::new(0.5, rng))]);
            Sequential::new(vec![Box::new(Activation::Relu), Box::new(inner)])
        };
        let (first, second) = (network(0), network(1));
        first.set_training(true);
        second.set_training(true);
        let input = Tensor::ones([64]);
        first.forward(&input);
        let saved = first.random_state();
        assert!(saved.0.keys().all(|path| path.starts_with("1.0.")), "{saved:?}");
        let expected = first.forward(&input).to_vec();
        assert_ne!(second.forward(&input).to_vec(), expected);
        second.load_random_state(&saved).unwrap();
        assert_eq!(second.forward(&input).to_vec(), expected);
        assert_eq!(
            second.load_random_state(&State::new()),
            Err(StateError::Missing { path: "1.0.key".to_owned() })
        );
    }

    #[test]
    #[should_panic(expected = "between 0 and 1, got `1.5`")]
    fn a_probability_above_one_is_refused() {
        dropout(1.5);
    }
}
