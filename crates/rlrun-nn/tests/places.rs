//! What goes wrong inside layers and optimizers names the layer's path and the line of the user's call.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rlrun_core::{Purpose, Rng, rng_stream};
use rlrun_nn::optim::{Adam, AdamConfig, Optimizer, Sgd, SgdConfig};
use rlrun_nn::{
    Activation, BatchNorm, Flatten, Init, Layer, LayerNorm, Linear, Module, Sequential,
};
use rlrun_tensor::{Parameter, Tensor, TensorError, catch, inference_mode};

fn rng() -> Rng {
    rng_stream(0, Purpose::Weights, 0)
}

fn linear(inputs: usize, outputs: usize) -> Linear {
    Linear::new(inputs, outputs, Init::KaimingUniform, &mut rng())
}

/// The text of the panic that ends `f`.
fn text_of(f: impl FnOnce() -> Tensor) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("a refusal");
    payload.downcast_ref::<String>().expect("a text").clone()
}

fn place(line: u32) -> String {
    format!("called at `{}:{line}:", file!())
}

/// A network whose third layer does not fit its second.
#[derive(Module)]
struct Agent {
    actor: Sequential,
    critic: Box<dyn Layer>,
}

impl Agent {
    fn new() -> Agent {
        let layers: Vec<Box<dyn Layer>> =
            vec![Box::new(linear(4, 8)), Box::new(Activation::Tanh), Box::new(linear(9, 2))];
        Agent { actor: Sequential::new(layers), critic: Box::new(linear(4, 1)) }
    }
}

#[test]
fn a_shape_error_in_a_module_tree_names_the_layers_path_and_the_outermost_call() {
    let agent = Agent::new();
    let observations = Tensor::ones([3, 4]);
    // What lists the parameters, as every optimizer's constructor does, tells the layers their paths.
    let _parameters = agent.parameters();
    let (line, text) = (line!(), text_of(|| agent.actor.forward(&observations)));
    assert!(text.starts_with("E-SHAPE-01: `linear`"), "{text}");
    assert!(text.contains("; in `actor.2: Linear`, ") && text.contains(&place(line)), "{text}");

    let (line, text) = (line!(), text_of(|| agent.critic.forward(&Tensor::ones([3, 5]))));
    assert!(text.contains("; in `critic: Linear`, ") && text.contains(&place(line)), "{text}");

    let forward = |x: &Tensor| agent.actor.forward(x);
    let line = line!() - 1;
    let text = text_of(|| forward(&observations));
    assert!(text.contains("`actor.2: Linear`") && text.contains(&place(line)), "{text}");
}

#[test]
fn before_paths_are_known_a_part_is_named_by_its_place() {
    let agent = Agent::new();
    let text = text_of(|| agent.actor.forward(&Tensor::ones([3, 4])));
    assert!(text.contains("; in `2: Linear`, "), "{text}");
    let boxed: Box<dyn Layer> = Box::new(agent.actor);
    let text = text_of(|| boxed.forward(&Tensor::ones([3, 4])));
    assert!(text.contains("; in `2: Linear`, "), "{text}");
    let inner = Sequential::new(vec![Box::new(Activation::Relu), Box::new(linear(4, 2))]);
    let outer = Sequential::new(vec![Box::new(Flatten), Box::new(inner)]);
    let text = text_of(|| outer.forward(&Tensor::ones([3, 5])));
    assert!(text.contains("; in `1: Linear`, "), "{text}");
    let _parameters = outer.parameters();
    let text = text_of(|| outer.forward(&Tensor::ones([3, 5])));
    assert!(text.contains("; in `1.1: Linear`, "), "{text}");
}

#[test]
fn layers_of_every_kind_name_themselves() {
    let boxed: [(&str, Box<dyn Layer>); 4] = [
        ("Linear", Box::new(linear(4, 2))),
        ("LayerNorm", Box::new(LayerNorm::new(&[7]))),
        ("BatchNorm", Box::new(BatchNorm::new(7))),
        ("Linear", Box::new(Sequential::new(vec![Box::new(linear(3, 3))]))),
    ];
    for (kind, layer) in boxed {
        let (line, text) = (line!(), text_of(|| layer.forward(&Tensor::ones([2, 5]))));
        assert!(text.contains(kind) && text.contains(&place(line)), "{text}");
    }
}

/// A layer of the user's own: its lines are the user's.
#[derive(Module)]
struct Doubled {
    layer: Linear,
}

impl Layer for Doubled {
    fn forward(&self, input: &Tensor) -> Tensor {
        self.layer.forward(input) * input
    }
}

#[test]
fn what_a_layer_of_the_users_own_records_keeps_its_line() {
    let net = Sequential::new(vec![Box::new(Doubled { layer: linear(2, 2) })]);
    let _parameters = net.parameters();
    let result = net.forward(&Tensor::ones([1, 2]));
    assert_eq!(result.origin().made_at.line(), line!() - 9);
    let text = text_of(|| net.forward(&Tensor::ones([1, 3])));
    assert!(text.contains("; in `0.layer: Linear`, "), "{text}");
}

#[test]
fn both_places_of_a_changed_saved_tensor_are_the_users_through_layers_and_optimizers() {
    let net: Box<dyn Layer> = Box::new(Sequential::new(vec![
        Box::new(linear(2, 2)),
        Box::new(Activation::Tanh),
        Box::new(linear(2, 1)),
    ]));
    type Build = fn(Vec<Parameter>) -> Box<dyn Optimizer>;
    let optimizers: [Build; 2] = [
        |parameters| Box::new(Adam::new(parameters, AdamConfig::default())),
        |parameters| Box::new(Sgd::new(parameters, SgdConfig::default())),
    ];
    for optimizer in optimizers {
        let mut optimizer = optimizer(net.parameters().into());
        let input = Tensor::ones([3, 2]).requires_grad_(true);
        net.forward(&input).sum().backward();
        let (forward_line, loss) = (line!(), net.forward(&input).sum());
        let step_line = line!() + 1;
        optimizer.step();
        let error = catch(|| loss.backward()).expect_err("a stale graph");
        let TensorError::SavedTensorModified { saved_at, write: Some((op, at)), .. } = error else {
            panic!("{error}")
        };
        assert_eq!((saved_at.file(), saved_at.line()), (file!(), forward_line));
        assert_eq!((op, at.file(), at.line()), ("optimizer step", file!(), step_line));
    }
}

#[test]
fn both_places_of_an_inference_tensor_are_the_users_through_layers() {
    let net: Box<dyn Layer> = Box::new(Sequential::new(vec![Box::new(linear(2, 2))]));
    let (line, values) = (line!(), inference_mode(|| net.forward(&Tensor::ones([1, 2]))));
    let error = catch(|| net.forward(&values)).expect_err("an inference tensor cannot be saved");
    let TensorError::SaveInferenceForBackward { tensor, .. } = &error else { panic!("{error}") };
    let mode_at = tensor.mode_at.expect("a mode");
    assert_eq!((tensor.made_at.file(), tensor.made_at.line()), (file!(), line));
    assert_eq!((mode_at.file(), mode_at.line()), (file!(), line));
}
