use smallvec::SmallVec;
pub type Shape = SmallVec<[usize; 4]>;
#[derive(Clone, Debug)]
pub struct Tensor(());
impl Tensor {
    // constructors: under the current mode. shape: [usize; N], &[usize], Vec<usize>
    pub fn from_slice(data: &[f32], shape: impl AsRef<[usize]>) -> Tensor {
        todo!()
    }
    pub fn from_vec(data: Vec<f32>, shape: impl AsRef<[usize]>) -> Tensor {
        todo!()
    }
    pub fn from_i64(data: &[i64], shape: impl AsRef<[usize]>) -> Tensor {
        todo!()
    } // indices, not differentiable
    pub fn from_bool(data: &[bool], shape: impl AsRef<[usize]>) -> Tensor {
        todo!()
    }
    pub fn zeros(shape: impl AsRef<[usize]>) -> Tensor {
        todo!()
    }
    pub fn full(shape: impl AsRef<[usize]>, value: f32) -> Tensor {
        todo!()
    }
    pub fn scalar(value: f32) -> Tensor {
        todo!()
    }
    // inspection
    pub fn dims(&self) -> &[usize] {
        todo!()
    }
    pub fn numel(&self) -> usize {
        todo!()
    }
    pub fn item(&self) -> f64 {
        todo!()
    } // the only element
    pub fn to_vec(&self) -> Vec<f32> {
        todo!()
    } // row-major copy
    pub fn copy_to_slice(&self, out: &mut [f32]) {
        todo!()
    } // row-major, no allocation
    pub fn requires_grad(&self) -> bool {
        todo!()
    }
    pub fn is_inference(&self) -> bool {
        todo!()
    }
    pub fn grad(&self) -> Option<Tensor> {
        todo!()
    }
    // elementwise, broadcasting
    pub fn add(&self, other: &Tensor) -> Tensor {
        todo!()
    } // also sub mul div maximum minimum, and + - * / operators (Tensor, &Tensor, f32 in every combination), unary -
    pub fn maximum(&self, other: &Tensor) -> Tensor {
        todo!()
    }
    pub fn minimum(&self, other: &Tensor) -> Tensor {
        todo!()
    }
    pub fn exp(&self) -> Tensor {
        todo!()
    } // also log tanh sigmoid relu softplus sqrt abs square neg sin cos reciprocal
    pub fn clamp(&self, min: f32, max: f32) -> Tensor {
        todo!()
    }
    pub fn pow(&self, e: f32) -> Tensor {
        todo!()
    }
    // reductions
    pub fn sum(&self) -> Tensor {
        todo!()
    }
    pub fn mean(&self) -> Tensor {
        todo!()
    }
    pub fn sum_dim(&self, dim: isize, keepdim: bool) -> Tensor {
        todo!()
    } // also mean_dim, amax_dim
    pub fn max_dim(&self, dim: isize, keepdim: bool) -> (Tensor, Tensor) {
        todo!()
    } // values, indices
    pub fn argmax(&self, dim: isize) -> Tensor {
        todo!()
    } // I64
    pub fn std(&self) -> Tensor {
        todo!()
    }
    pub fn softmax(&self, dim: isize) -> Tensor {
        todo!()
    } // also log_softmax, logsumexp
    pub fn log_softmax(&self, dim: isize) -> Tensor {
        todo!()
    }
    // products
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        todo!()
    }
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        todo!()
    } // weight [out, in]; fused with activation: linear_act(weight, bias, Activation)
    // index & shape
    pub fn gather(&self, dim: isize, index: &Tensor) -> Tensor {
        todo!()
    }
    pub fn index_select(&self, dim: isize, index: &Tensor) -> Tensor {
        todo!()
    }
    pub fn select(&self, dim: isize, index: isize) -> Tensor {
        todo!()
    }
    pub fn narrow(&self, dim: isize, start: usize, len: usize) -> Tensor {
        todo!()
    }
    pub fn reshape(&self, shape: impl AsRef<[usize]>) -> Tensor {
        todo!()
    }
    pub fn view(&self, shape: impl AsRef<[usize]>) -> Tensor {
        todo!()
    }
    pub fn transpose(&self, d0: isize, d1: isize) -> Tensor {
        todo!()
    }
    pub fn unsqueeze(&self, dim: isize) -> Tensor {
        todo!()
    }
    pub fn squeeze_dim(&self, dim: isize) -> Tensor {
        todo!()
    }
    pub fn expand(&self, shape: impl AsRef<[usize]>) -> Tensor {
        todo!()
    }
    // losses, mean reduction
    pub fn mse_loss(&self, target: &Tensor) -> Tensor {
        todo!()
    }
    pub fn smooth_l1_loss(&self, target: &Tensor) -> Tensor {
        todo!()
    }
    // in place
    pub fn copy_(&self, source: &Tensor) {
        todo!()
    } // also add_ mul_ fill_ zero_ …
    pub fn fill_(&self, value: f32) {
        todo!()
    }
    // autograd
    pub fn backward(&self) {
        todo!()
    }
    pub fn detach(&self) -> Tensor {
        todo!()
    }
    pub fn set_requires_grad(&self, on: bool) {
        todo!()
    }
    pub fn set_grad(&self, grad: Option<&Tensor>) {
        todo!()
    }
}

/// A leaf that requires grad; `Deref<Target = Tensor>`.
#[derive(Clone, Debug)]
pub struct Parameter(Tensor);
impl Parameter {
    pub fn new(data: Tensor) -> Parameter {
        todo!()
    }
    pub fn zero_grad(&self) {
        todo!()
    }
    /// For optimizers: the parameter's and its gradient's numbers as flat slices in the same memory
    /// order, written in place under no_grad rules (one version bump). Does nothing without a gradient.
    pub fn update(&self, f: impl FnOnce(&mut [f32], &[f32])) {
        todo!()
    }
}
impl std::ops::Deref for Parameter {
    type Target = Tensor;
    fn deref(&self) -> &Tensor {
        &self.0
    }
}

pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    todo!()
}
pub fn enable_grad<R>(f: impl FnOnce() -> R) -> R {
    todo!()
}
pub fn inference_mode<R>(f: impl FnOnce() -> R) -> R {
    todo!()
}

/// What the library has made since the thread started, for tests and `--trace-modes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModeCounts {
    pub nodes: u64,
    pub normal_tensors: u64,
    pub inference_tensors: u64,
}
pub fn mode_counts() -> ModeCounts {
    todo!()
}
/// Names the phase that the work inside belongs to (rollout, target, loss, evaluation, logging).
pub fn phase<R>(name: &'static str, f: impl FnOnce() -> R) -> R {
    f()
}

impl Tensor {
    pub fn tanh(&self) -> Tensor { todo!() }
    pub fn relu(&self) -> Tensor { todo!() }
    pub fn log(&self) -> Tensor { todo!() }
    pub fn square(&self) -> Tensor { todo!() }
    pub fn neg(&self) -> Tensor { todo!() }
    pub fn mul_(&self, other: &Tensor) { todo!() }
    pub fn mean_dim(&self, dim: isize, keepdim: bool) -> Tensor { todo!() }
}
macro_rules! op { ($tr:ident, $f:ident) => {
    impl std::ops::$tr<Tensor> for Tensor { type Output = Tensor; fn $f(self, o: Tensor) -> Tensor { todo!() } }
    impl std::ops::$tr<&Tensor> for Tensor { type Output = Tensor; fn $f(self, o: &Tensor) -> Tensor { todo!() } }
    impl std::ops::$tr<Tensor> for &Tensor { type Output = Tensor; fn $f(self, o: Tensor) -> Tensor { todo!() } }
    impl std::ops::$tr<&Tensor> for &Tensor { type Output = Tensor; fn $f(self, o: &Tensor) -> Tensor { todo!() } }
    impl std::ops::$tr<f32> for Tensor { type Output = Tensor; fn $f(self, o: f32) -> Tensor { todo!() } }
    impl std::ops::$tr<f32> for &Tensor { type Output = Tensor; fn $f(self, o: f32) -> Tensor { todo!() } }
    impl std::ops::$tr<Tensor> for f32 { type Output = Tensor; fn $f(self, o: Tensor) -> Tensor { todo!() } }
    impl std::ops::$tr<&Tensor> for f32 { type Output = Tensor; fn $f(self, o: &Tensor) -> Tensor { todo!() } }
} }
op!(Add, add); op!(Sub, sub); op!(Mul, mul); op!(Div, div);
impl std::ops::Neg for Tensor { type Output = Tensor; fn neg(self) -> Tensor { todo!() } }
impl std::ops::Neg for &Tensor { type Output = Tensor; fn neg(self) -> Tensor { todo!() } }
