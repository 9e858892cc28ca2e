//! Gradient descent as every algorithm takes it: gradient, clip, check, step.

use rlrun_nn::optim::{Norm, Optimizer, clip_grad_norm};
use rlrun_nn::{Module, Parameters, StatefulLayers};
use rlrun_tensor::{Backward, Parameter, Tensor};

use crate::AgentError;
use crate::rehearsal::{self, Event, trace};
use crate::saved::saved;

/// The parameters of a network and the optimizer that trains them.
pub struct Learner {
    names: Vec<String>,
    parameters: Vec<Parameter>,
    layers: StatefulLayers,
    optimizer: Box<dyn Optimizer>,
    max_grad_norm: Option<f64>,
    n_updates: u64,
}

impl Learner {
    /// Trains the parameters of `network` with the optimizer that `optimizer` makes of them; their
    /// gradient, taken as one vector, is scaled down to the length `max_grad_norm` if given.
    pub fn new<O: Optimizer + 'static>(
        network: &dyn Module,
        optimizer: impl FnOnce(Parameters) -> O,
        max_grad_norm: impl Into<Option<f64>>,
    ) -> Learner {
        let (names, parameters) = network.named_parameters().into_iter().unzip();
        Learner {
            optimizer: Box::new(optimizer(network.parameters())),
            names,
            parameters,
            layers: StatefulLayers::of(network),
            max_grad_norm: max_grad_norm.into(),
            n_updates: 0,
        }
    }

    /// What `loss` returns, computed with training on in the layers of the network that learns that
    /// know of it, dropout and batch normalisation: [`Module::train`].
    pub fn train<T>(&self, loss: impl FnOnce() -> T) -> T {
        self.layers.train(loss)
    }

    /// θ ← θ - α step(∂loss/∂θ), α the `learning_rate`; returns the loss. The gradient reaches these
    /// parameters and no others.
    ///
    /// # Errors
    /// Before the parameters are touched: [`AgentError::NonFinite`], and [`AgentError::Untrained`] if
    /// a layer of the network did not train for the loss, which was computed outside of
    /// [`Learner::train`].
    pub fn minimize(&mut self, loss: &Tensor, learning_rate: f64) -> Result<f64, AgentError> {
        self.layers.check_trained()?;
        self.optimizer.zero_grad();
        let own: Vec<&Tensor> = self.parameters.iter().map(|parameter| &**parameter).collect();
        loss.backward_with(Backward { inputs: Some(&own), ..Backward::default() });
        self.trace("gradient");
        let max_norm = self.max_grad_norm.map_or(f32::INFINITY, |norm| norm as f32);
        let total_norm = clip_grad_norm(&self.parameters, max_norm, Norm::L2);
        self.check_finite(loss.item(), total_norm)?;
        trace!("norm": total_norm);
        self.trace("step");
        self.optimizer.set_learning_rate(learning_rate);
        self.optimizer.step();
        self.layers.stepped();
        self.n_updates += 1;
        Ok(loss.item())
    }

    fn check_finite(&self, loss: f64, norm: f32) -> Result<(), AgentError> {
        if loss.is_finite() && norm.is_finite() {
            return Ok(());
        }
        let grads = self.names.iter().zip(&self.parameters);
        let mut broken = grads.filter(|(_, parameter)| {
            parameter.grad().is_some_and(|grad| grad.to_vec().iter().any(|g| !g.is_finite()))
        });
        let name = broken.next().map(|(name, _)| name.as_str());
        AgentError::check_finite(loss, norm, name, self.n_updates)
    }

    fn trace(&self, name: &'static str) {
        if rehearsal::is_on() {
            let grads = self.names.iter().zip(&self.parameters);
            let numbers = |(name, parameter): (&String, &Parameter)| {
                Some((name.clone(), parameter.grad()?.to_vec()))
            };
            rehearsal::record(Event { name, values: grads.filter_map(numbers).collect() });
        }
    }

    /// Steps taken.
    pub fn n_updates(&self) -> u64 {
        self.n_updates
    }

    saved! { pub Learner {
        optimizer, layers;
        counters: n_updates;
        not: names "the network's", parameters "saved with the network",
            max_grad_norm "from the run file",
    } }
}
