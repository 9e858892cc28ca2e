//! The parameters of a network, as optimizers take them.

use std::ops::Deref;

use rlrun_tensor::Parameter;

use crate::{StatefulLayers, distinct};

/// Parameters, each once, and the layers beside them that must train when they are stepped. From
/// [`crate::Module::parameters`], or from a plain list, which knows of no layers.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    list: Vec<Parameter>,
    layers: StatefulLayers,
}

impl Parameters {
    pub(crate) fn new(list: Vec<Parameter>, layers: StatefulLayers) -> Parameters {
        Parameters { list: distinct(list), layers }
    }

    /// The layers of the network that are more than their parameters.
    pub fn layers(&self) -> &StatefulLayers {
        &self.layers
    }

    pub(crate) fn into_parts(self) -> (Vec<Parameter>, StatefulLayers) {
        (self.list, self.layers)
    }
}

impl Deref for Parameters {
    type Target = [Parameter];
    fn deref(&self) -> &[Parameter] {
        &self.list
    }
}

impl From<Vec<Parameter>> for Parameters {
    fn from(list: Vec<Parameter>) -> Parameters {
        Parameters::new(list, StatefulLayers::default())
    }
}

impl From<Parameters> for Vec<Parameter> {
    fn from(parameters: Parameters) -> Vec<Parameter> {
        parameters.list
    }
}

impl FromIterator<Parameter> for Parameters {
    fn from_iter<I: IntoIterator<Item = Parameter>>(parameters: I) -> Parameters {
        parameters.into_iter().collect::<Vec<_>>().into()
    }
}

impl IntoIterator for Parameters {
    type Item = Parameter;
    type IntoIter = std::vec::IntoIter<Parameter>;
    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Parameters {
    type Item = &'a Parameter;
    type IntoIter = std::slice::Iter<'a, Parameter>;
    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}
