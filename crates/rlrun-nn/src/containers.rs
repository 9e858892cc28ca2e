//! What holds modules is a module: boxes, sequences, options, maps and tuples.

use std::collections::BTreeMap;
use std::sync::Arc;

use rlrun_tensor::{CallGuard, LayerPath, Parameter, Tensor};

use crate::{Layer, Module, Stateful};

impl Module for Parameter {
    fn visit_fields(&self, _: &mut dyn FnMut(&str, &dyn Module)) {}

    fn as_parameter(&self) -> Option<&Parameter> {
        Some(self)
    }
}

/// A field `path` of a layer, which learns where the layer lies when its parameters are listed.
impl Module for LayerPath {
    fn visit_fields(&self, _: &mut dyn FnMut(&str, &dyn Module)) {}

    fn visit_parameters(&self, prefix: &str, _: &mut dyn FnMut(&str, &Parameter)) {
        if let Some((layer, _)) = prefix.rsplit_once('.') {
            self.set(layer);
        }
    }
}

/// So that a boxed layer knows its caller, which a call through the trait object alone does not.
impl<L: Layer + ?Sized> Layer for Box<L> {
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Tensor {
        let _call = CallGuard::through();
        (**self).forward(input)
    }
}

/// Pointers are what they point at.
macro_rules! pointer {
    ($($pointer:ty),*) => {
        $(impl<M: Module + ?Sized> Module for $pointer {
            fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
                (**self).visit_fields(visit);
            }

            fn as_parameter(&self) -> Option<&Parameter> {
                (**self).as_parameter()
            }

            fn as_stateful(&self) -> Option<Arc<dyn Stateful>> {
                (**self).as_stateful()
            }
        })*
    };
}
pointer!(&M, Box<M>, Arc<M>);

impl<M: Module> Module for [M] {
    fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
        for (index, module) in self.iter().enumerate() {
            visit(&index.to_string(), module);
        }
    }
}

impl<M: Module> Module for Vec<M> {
    fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
        self[..].visit_fields(visit);
    }
}

impl<M: Module, const N: usize> Module for [M; N] {
    fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
        self[..].visit_fields(visit);
    }
}

/// Under the path of the option itself, if there is something.
impl<M: Module> Module for Option<M> {
    fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
        if let Some(module) = self {
            visit("", module);
        }
    }
}

/// In the order of the keys.
impl<M: Module> Module for BTreeMap<String, M> {
    fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
        for (name, module) in self {
            visit(name, module);
        }
    }
}

macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Module),+> Module for ($($name,)+) {
            fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
                $(visit(stringify!($index), &self.$index);)+
            }
        }
    };
}
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
