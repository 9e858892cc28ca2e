//! `#[derive(Module)]`: every field is listed, in order, under its name.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use rlrun_core::{Purpose, rng_stream};
use rlrun_nn::{Activation, BatchNorm, Dropout, Init, Layer, LayerNorm, Linear, Module};
use rlrun_tensor::{Parameter, Tensor};

fn scale() -> Parameter {
    Parameter::new(Tensor::ones([2]))
}

fn boxed() -> Box<dyn Layer> {
    Box::new(LayerNorm::new(&[2]))
}

fn paths(module: &(impl Module + ?Sized)) -> Vec<String> {
    module.named_parameters().into_iter().map(|(path, _)| path).collect()
}

#[derive(Module)]
struct Everything<L: Layer> {
    parameter: Parameter,
    layer: L,
    boxed: Box<dyn Layer>,
    list: Vec<Parameter>,
    array: [Box<dyn Layer>; 2],
    some: Option<Parameter>,
    none: Option<Linear>,
    map: BTreeMap<String, Parameter>,
    shared: Arc<Linear>,
    tuple: (Parameter, Dropout, BatchNorm),
    r#type: Parameter,
    activation: Activation,
    #[module(rename = "other")]
    renamed: Parameter,
    #[module(flatten)]
    flat: Flat,
    #[module(skip)]
    _steps: usize,
}

#[derive(Module)]
struct Flat(Parameter, #[module(flatten)] Option<Linear>);

#[test]
fn every_field_is_listed_in_order_under_its_name() {
    let rng = &mut rng_stream(1, Purpose::Weights, 0);
    let mut linear = || Linear::new(2, 2, Init::KaimingUniform, rng);
    let dropout = Dropout::new(0.5, rng_stream(1, Purpose::Layers, 0));
    let module = Everything {
        parameter: scale(),
        layer: linear(),
        boxed: boxed(),
        list: vec![scale(), scale()],
        array: [boxed(), boxed()],
        some: Some(scale()),
        none: None,
        map: [("b", scale()), ("a", scale())].map(|(k, v)| (k.to_owned(), v)).into(),
        shared: Arc::new(linear()),
        tuple: (scale(), dropout, BatchNorm::new(2)),
        r#type: scale(),
        activation: Activation::Relu,
        renamed: scale(),
        flat: Flat(scale(), Some(linear())),
        _steps: 3,
    };
    let expected = "parameter layer.weight layer.bias boxed.weight boxed.bias list.0 list.1 \
                    array.0.weight array.0.bias array.1.weight array.1.bias some map.a map.b \
                    shared.weight shared.bias tuple.0 tuple.2.weight tuple.2.bias type other 0 \
                    weight bias";
    assert_eq!(paths(&module), expected.split(' ').collect::<Vec<_>>());
    let mut stateful = Vec::new();
    module.visit_stateful("net", &mut |path, _| stateful.push(path.to_owned()));
    assert_eq!(stateful, ["net.tuple.1", "net.tuple.2"]);
    assert_eq!(module.state().f32("tuple.2.running_var").unwrap().1, [1.0, 1.0]);
}

#[derive(Module)]
enum Head {
    Unit,
    Named { log_std: Parameter },
    Unnamed(#[module(skip)] f32, #[module(rename = "mean")] Parameter),
}

#[derive(Module)]
struct Unit;

#[test]
fn a_variant_lists_its_own_fields() {
    assert!(paths(&Head::Unit).is_empty() && paths(&Unit).is_empty());
    assert_eq!(paths(&Head::Named { log_std: scale() }), ["log_std"]);
    let head = Head::Unnamed(0.5, scale());
    assert_eq!(paths(&head), ["mean"]);
    assert!(matches!(head, Head::Unnamed(x, _) if x == 0.5));
}

#[test]
fn two_networks_are_one_module() {
    let (first, second) = (LayerNorm::new(&[2]), scale());
    assert_eq!(paths(&(&first, &second)), ["0.weight", "0.bias", "1"]);
    assert_eq!(paths(&second), [""]);
}

/// Spans of a type that a macro passes on belong to the macro's caller.
macro_rules! wrapper {
    ($name:ident($inner:ty)) => {
        #[derive(Module)]
        struct $name($inner);
    };
}
wrapper!(Wrapper(Parameter));

#[test]
fn a_struct_that_a_macro_writes_is_derived_for() {
    assert_eq!(paths(&Wrapper(scale())), ["0"]);
}
