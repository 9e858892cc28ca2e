//! One step of a recurrent cell: LSTM (Hochreiter & Schmidhuber 1997) and GRU (Cho et al. 2014).

use crate::error::{TensorError, ok, raise};
use crate::tensor::Tensor;

/// Weights `[gates · hidden, in]` and `[gates · hidden, hidden]` and their biases
/// `[gates · hidden]`, in PyTorch's order.
#[derive(Clone, Copy, Debug)]
pub struct CellWeights<'a> {
    /// Weight of the input.
    pub w_ih: &'a Tensor,
    /// Weight of the hidden state.
    pub w_hh: &'a Tensor,
    /// Bias of the input.
    pub b_ih: &'a Tensor,
    /// Bias of the hidden state.
    pub b_hh: &'a Tensor,
}

impl CellWeights<'_> {
    /// The extent of the hidden state, checked against it.
    fn hidden(&self, op: &'static str, gates: usize, h: &Tensor) -> Result<usize, TensorError> {
        let hidden = h.dims().last().copied().unwrap_or(0);
        if h.ndim() == 2 && self.w_hh.dims() == [gates * hidden, hidden] {
            return Ok(hidden);
        }
        let detail = format!(
            "a state {:?} needs weights [{gates}·hidden, hidden], got {:?}",
            h.dims(),
            self.w_hh.dims()
        );
        Err(TensorError::ShapeMismatch { op, detail })
    }

    /// The contributions of input and hidden state to all gates, `[n, gates · hidden]`.
    #[track_caller]
    fn gates(&self, x: &Tensor, h: &Tensor) -> [Tensor; 2] {
        [x.linear(self.w_ih, Some(self.b_ih)), h.linear(self.w_hh, Some(self.b_hh))]
    }
}

/// Gate number `index` of `[n, gates · hidden]`.
#[track_caller]
fn gate(gates: &Tensor, index: usize, hidden: usize) -> Tensor {
    gates.narrow(1, (index * hidden) as isize, hidden)
}

impl Tensor {
    /// The next hidden state and cell of an LSTM from an input `[n, in]`, a hidden state
    /// `[n, hidden]` and a cell `[n, hidden]`; the gates i, f, g, o follow one another:
    /// c′ = σ(f) c + σ(i) tanh(g), h′ = σ(o) tanh(c′).
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn lstm_cell(&self, h: &Tensor, c: &Tensor, weights: CellWeights<'_>) -> (Tensor, Tensor) {
        let hidden = ok(weights.hidden("lstm_cell", 4, h));
        if c.dims() != h.dims() {
            let detail = format!("state {:?} and cell {:?} differ", h.dims(), c.dims());
            raise(TensorError::ShapeMismatch { op: "lstm_cell", detail });
        }
        let [of_x, of_h] = weights.gates(self, h);
        let gates = of_x + of_h;
        let [i, f, g, o] = std::array::from_fn(|index| gate(&gates, index, hidden));
        let cell = f.sigmoid() * c + i.sigmoid() * g.tanh();
        (o.sigmoid() * cell.tanh(), cell)
    }

    /// The next hidden state of a GRU from an input `[n, in]` and a hidden state `[n, hidden]`; the
    /// gates r, z, n follow one another: n = tanh(n_x + σ(r) n_h), h′ = (1 - σ(z)) n + σ(z) h.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn gru_cell(&self, h: &Tensor, weights: CellWeights<'_>) -> Tensor {
        let hidden = ok(weights.hidden("gru_cell", 3, h));
        let [of_x, of_h] = weights.gates(self, h);
        let both = |index| gate(&of_x, index, hidden) + gate(&of_h, index, hidden);
        let (reset, update) = (both(0).sigmoid(), both(1).sigmoid());
        let new = (gate(&of_x, 2, hidden) + reset * gate(&of_h, 2, hidden)).tanh();
        &new + update * (h - &new)
    }
}
