//! Matrix products, and the fused layer `act(x Wᵀ + b)`.

use crate::autograd::NodeRef;
use crate::error::{TensorError, ok};
use crate::kernels::{self, Matrix, MatrixMut, Start};
use crate::layout::{Dims, Layout, Shape, broadcast_shape};
use crate::mode;
use crate::pool::Scratch;
use crate::read::f32s;
use crate::tensor::Tensor;

use super::apply::wanted;
use super::elementwise::through_relu;

pub use crate::kernels::Activation;

/// A product of (batches of) matrices, checked.
struct Product {
    batch: Shape,
    rows: usize,
    inner: usize,
    columns: usize,
}

impl Product {
    fn new(a: &[usize], b: &[usize]) -> Result<Product, TensorError> {
        let mismatch = || TensorError::ShapeMismatch {
            op: "matmul",
            detail: format!(
                "{a:?} and {b:?} do not fit: columns of the one are not rows of the other"
            ),
        };
        let ([batch_a @ .., rows, inner], [batch_b @ .., inner_b, columns]) = (a, b) else {
            return Err(mismatch());
        };
        if inner != inner_b {
            return Err(mismatch());
        }
        let batch = broadcast_shape("matmul", batch_a, batch_b)?;
        Ok(Product { batch, rows: *rows, inner: *inner, columns: *columns })
    }

    fn shape(&self) -> Shape {
        let mut shape = self.batch;
        shape.insert(shape.len(), self.rows);
        shape.insert(shape.len(), self.columns);
        shape
    }
}

/// The leading dimensions of a layout, broadcast, and the strides of its last two.
fn batches(layout: &Layout, batch: &Shape) -> (Layout, [usize; 2]) {
    let leading = layout.shape.len() - 2;
    let strides = [layout.strides[leading] as usize, layout.strides[leading + 1] as usize];
    let outer = Layout {
        shape: Shape::of(&layout.shape[..leading]),
        strides: Dims::of(&layout.strides[..leading]),
        offset: layout.offset,
    };
    match outer.broadcast(batch) {
        Some(outer) => (outer, strides),
        None => unreachable!("the batch dimensions were checked"),
    }
}

impl Tensor {
    /// The matrix product `[…, m, k] · […, k, n] -> […, m, n]`; leading dimensions broadcast, and
    /// a vector counts as a row on the left and as a column on the right.
    ///
    /// # Panics
    /// If the shapes do not fit or a tensor is not `f32`.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        match (self.ndim(), other.ndim()) {
            (1, 1) => self.unsqueeze(0).matrix_product(&other.unsqueeze(1)).result_of_shape(&[]),
            (1, _) => {
                let product = self.unsqueeze(0).matrix_product(other);
                let mut shape = product.layout.shape;
                shape.remove(product.ndim() - 2);
                product.result_of_shape(&shape)
            }
            (_, 1) => {
                let product = self.matrix_product(&other.unsqueeze(1));
                let shape = Shape::of(&product.dims()[..product.ndim() - 1]);
                product.result_of_shape(&shape)
            }
            _ => self.matrix_product(other),
        }
    }

    #[track_caller]
    fn matrix_product(&self, other: &Tensor) -> Tensor {
        ok(self.expect_f32("matmul").and_then(|()| other.expect_f32("matmul")));
        let product = ok(Product::new(self.dims(), other.dims()));
        let (shape_a, shape_b) = (self.layout.shape, other.layout.shape);
        multiply(self, other, &product).record("matmul", [self, other], |saver| {
            let a = saver.input_if(saver.needs(1), self);
            let b = saver.input_if(saver.needs(0), other);
            move |grad: &Tensor, node: &NodeRef| {
                [
                    wanted(node, 0, &b).map(|b| grad.matmul(&b.transpose(-2, -1)).sum_to(&shape_a)),
                    wanted(node, 1, &a).map(|a| a.transpose(-2, -1).matmul(grad).sum_to(&shape_b)),
                ]
            }
        })
    }

    /// `x Wᵀ + b`, `[…, in] · [out, in] -> […, out]`.
    ///
    /// # Panics
    /// If the shapes do not fit or a tensor is not `f32`.
    #[track_caller]
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        self.linear_act(weight, bias, Activation::None)
    }

    /// `act(x Wᵀ + b)`, `[…, in] · [out, in] -> […, out]`, in one pass.
    ///
    /// # Panics
    /// If the shapes do not fit or a tensor is not `f32`.
    #[track_caller]
    pub fn linear_act(&self, weight: &Tensor, bias: Option<&Tensor>, act: Activation) -> Tensor {
        ok(check_linear(self, weight, bias));
        let value = forward(self, weight, bias, act);
        match bias {
            Some(bias) => record(value, [self, weight, bias], act),
            None => record(value, [self, weight], act),
        }
    }
}

#[track_caller]
fn multiply(a: &Tensor, b: &Tensor, product: &Product) -> Tensor {
    let Product { batch, rows, inner, columns } = product;
    let (batches_a, strides_a) = batches(&a.layout, batch);
    let (batches_b, strides_b) = batches(&b.layout, batch);
    let (a, b) = (a.storage.read(), b.storage.read());
    let (a, b) = (f32s(&a), f32s(&b));
    Tensor::build(&product.shape(), |out| {
        if *inner == 0 {
            return out.fill(0.0);
        }
        let out = out.chunks_exact_mut((rows * columns).max(1));
        for ((out, at_a), at_b) in out.zip(batches_a.offsets()).zip(batches_b.offsets()) {
            let a = Matrix::strided(&a[at_a..], [*rows, *inner], strides_a);
            let b = Matrix::strided(&b[at_b..], [*inner, *columns], strides_b);
            let c = MatrixMut::new(out, *rows, *columns);
            kernels::gemm(a, b, Start::Zero, Activation::None, c);
        }
    })
}

fn check_linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<(), TensorError> {
    for tensor in [Some(x), Some(weight), bias].into_iter().flatten() {
        tensor.expect_f32("linear")?;
    }
    let fits = weight.ndim() == 2
        && x.dims().last() == weight.dims().last()
        && bias.is_none_or(|bias| bias.dims() == &weight.dims()[..1]);
    if fits {
        return Ok(());
    }
    let bias = bias.map(Tensor::dims);
    let detail = format!(
        "input {:?}, weight {:?} and bias {bias:?} do not fit: expected [.., in], [out, in], [out]",
        x.dims(),
        weight.dims()
    );
    Err(TensorError::ShapeMismatch { op: "linear", detail })
}

/// Rows of the input, inputs, outputs.
fn sizes(x: &Tensor, weight: &Tensor) -> [usize; 3] {
    let inputs = weight.dims()[1];
    let rows: usize = x.dims()[..x.ndim() - 1].iter().product();
    [rows, inputs, weight.dims()[0]]
}

/// The weight `[out, in]` as a matrix, whatever its memory order.
fn matrix<'a>(memory: &'a [f32], weight: &Tensor) -> Matrix<'a> {
    let strides = [weight.strides()[0] as usize, weight.strides()[1] as usize];
    Matrix::strided(&memory[weight.layout.offset..], [weight.dims()[0], weight.dims()[1]], strides)
}

#[track_caller]
fn forward(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, act: Activation) -> Tensor {
    let [rows, inputs, outputs] = sizes(x, weight);
    let mut shape = x.layout.shape;
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    let numbers = x.read();
    let memory = weight.storage.read();
    let bias = bias.map(Tensor::read);
    Tensor::build(&shape, |out| {
        let start = bias.as_ref().map_or(Start::Zero, |bias| Start::Bias(bias));
        let x = Matrix::new(&numbers, rows, inputs);
        let weight = matrix(f32s(&memory), weight);
        kernels::gemm(x, weight.t(), start, act, MatrixMut::new(out, rows, outputs));
    })
}

#[track_caller]
fn record<const N: usize>(value: Tensor, inputs: [&Tensor; N], act: Activation) -> Tensor {
    if !Tensor::any_requires_grad(&inputs) {
        return value;
    }
    let [x, weight] = [inputs[0], inputs[1]];
    let result = value.clone();
    value.record("linear", inputs, |saver| {
        let saved_x = saver.input_if(saver.needs(1), x);
        let saved_weight = saver.input_if(saver.needs(0), weight);
        let saved_y = (act != Activation::None).then(|| saver.result(&result));
        let layouts = [x.layout, weight.layout];
        move |grad: &Tensor, node: &NodeRef| {
            let x = wanted(node, 1, &saved_x);
            let weight = wanted(node, 0, &saved_weight);
            let y = saved_y.as_ref().map(|y| y.get(node));
            let needs_bias = N == 3 && node.needs(2);
            let parts = Parts { act, grad, x, weight, y, layouts, needs_bias };
            let mut grads = parts.fused();
            if mode::recording() {
                let composed = parts.composed();
                for (grad, composed) in grads.iter_mut().zip(&composed) {
                    let pair = grad.take().zip(composed.as_ref());
                    *grad = pair.map(|(grad, composed)| grad.with_history_of(composed));
                }
            }
            let mut grads = grads.into_iter();
            let grads: [Option<Tensor>; N] = std::array::from_fn(|_| grads.next().flatten());
            grads
        }
    })
}

/// What the gradients of a layer are computed from.
struct Parts<'a> {
    act: Activation,
    grad: &'a Tensor,
    x: Option<Tensor>,
    weight: Option<Tensor>,
    y: Option<Tensor>,
    layouts: [Layout; 2],
    needs_bias: bool,
}

impl Parts<'_> {
    /// Gradients of input, weight and bias in tensor operations, which have a history:
    /// dz = dy ∘ act′(y), dx = dz W, dW = dzᵀ x, db = Σ dz.
    fn composed(&self) -> [Option<Tensor>; 3] {
        let [x_layout, weight_layout] = self.layouts;
        let dz = match (self.act, &self.y) {
            (Activation::Tanh, Some(y)) => self.grad * (1.0 - y * y),
            (Activation::Sigmoid, Some(y)) => self.grad * (y * (1.0 - y)),
            (Activation::Relu, Some(y)) => through_relu(self.grad, y),
            _ => self.grad.clone(),
        };
        let rows = x_layout.shape[..x_layout.shape.len() - 1].iter().product();
        let dz = dz.reshape([rows, weight_layout.shape[0]]);
        let inputs = weight_layout.shape[1];
        [
            self.weight.as_ref().map(|weight| dz.matmul(weight).reshape(&x_layout.shape[..])),
            self.x.as_ref().map(|x| dz.transpose(0, 1).matmul(&x.reshape([rows, inputs]))),
            self.needs_bias.then(|| dz.sum_dim(0, false)),
        ]
    }

    /// The same in one pass for dz and db, and one product each for dx and dW, which lies in
    /// memory as the weight does.
    fn fused(&self) -> [Option<Tensor>; 3] {
        let [x_layout, weight_layout] = self.layouts;
        let (outputs, inputs) = (weight_layout.shape[0], weight_layout.shape[1]);
        let rows = x_layout.shape[..x_layout.shape.len() - 1].iter().product();
        let grad = self.grad.read();
        let mut own = None;
        let (dz, bias): (&[f32], _) = match &self.y {
            None => {
                let sums = |db: &mut [f32]| kernels::column_sums(&grad, db);
                (&grad, self.needs_bias.then(|| Tensor::build(&[outputs], sums)))
            }
            Some(y) => {
                let y = y.read();
                let dz = own.insert(Scratch::new(grad.len()));
                let bias = Tensor::build(&[outputs], |db| {
                    kernels::activation_backward(self.act, &y, &grad, dz, db);
                });
                (dz, self.needs_bias.then_some(bias))
            }
        };
        let dz = Matrix::new(dz, rows, outputs);
        let dx = self.weight.as_ref().map(|weight| {
            let memory = weight.storage.read();
            let weight = matrix(f32s(&memory), weight);
            Tensor::build(&x_layout.shape, |out| {
                if outputs == 0 {
                    return out.fill(0.0);
                }
                let out = MatrixMut::new(out, rows, inputs);
                kernels::gemm(dz, weight, Start::Zero, Activation::None, out);
            })
        });
        let dw = self.x.as_ref().map(|x| weight_gradient(dz, x, &weight_layout));
        [dx, dw, bias]
    }
}

/// dW = dzᵀ x, in the memory order of the weight.
fn weight_gradient(dz: Matrix<'_>, x: &Tensor, weight: &Layout) -> Tensor {
    let [rows, outputs] = dz.dims();
    let inputs = weight.shape[1];
    let numbers = x.read();
    let x = Matrix::new(&numbers, rows, inputs);
    let column_major = weight.is_dense() && !weight.is_contiguous();
    let layout = if column_major { *weight } else { Layout::contiguous(&weight.shape) };
    Tensor::build_as(layout, |out| {
        if rows == 0 {
            return out.fill(0.0);
        }
        let (a, b, dims) =
            if column_major { (x, dz, [inputs, outputs]) } else { (dz, x, [outputs, inputs]) };
        kernels::gemm_tall(a, b, MatrixMut::new(out, dims[0], dims[1]));
    })
}
