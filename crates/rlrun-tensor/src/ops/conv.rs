//! Convolution of images: products with their patches.

use crate::autograd::NodeRef;
use crate::error::{TensorError, ok};
use crate::kernels::{self, Matrix};
use crate::layout::Shape;
use crate::mode;
use crate::pool::Scratch;
use crate::tensor::Tensor;

use super::apply::wanted;

/// How patches lie in a batch of images.
#[derive(Clone, Copy)]
struct Patches {
    batch: usize,
    channels: usize,
    image: [usize; 2],
    kernel: [usize; 2],
    /// Number of patches down and across.
    count: [usize; 2],
    stride: usize,
    padding: usize,
}

impl Patches {
    fn new(
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: usize,
        padding: usize,
    ) -> Result<Patches, TensorError> {
        for tensor in [Some(x), Some(weight), bias].into_iter().flatten() {
            tensor.expect_f32("conv2d")?;
        }
        if let Some(bias) = bias
            && bias.dims() != weight.dims().get(..1).unwrap_or_default()
        {
            let detail = format!("a bias {:?} for kernels {:?}", bias.dims(), weight.dims());
            return Err(TensorError::ShapeMismatch { op: "conv2d", detail });
        }
        let (&[batch, channels, height, width], &[_, inputs, rows, columns]) =
            (x.dims(), weight.dims())
        else {
            let detail = format!(
                "expected [n, c, h, w] and [out, c, kh, kw], got {:?} and {:?}",
                x.dims(),
                weight.dims()
            );
            return Err(TensorError::ShapeMismatch { op: "conv2d", detail });
        };
        let fits = |extent: usize, kernel: usize| {
            let room = (extent + 2 * padding).checked_sub(kernel);
            room.filter(|_| stride > 0 && kernel > 0).map(|room| room / stride + 1)
        };
        match (fits(height, rows), fits(width, columns)) {
            (Some(down), Some(across)) if channels == inputs => Ok(Patches {
                batch,
                channels,
                image: [height, width],
                kernel: [rows, columns],
                count: [down, across],
                stride,
                padding,
            }),
            _ => {
                let detail = format!(
                    "a kernel {:?} with stride {stride} and padding {padding} does not fit {:?}",
                    weight.dims(),
                    x.dims()
                );
                Err(TensorError::ShapeMismatch { op: "conv2d", detail })
            }
        }
    }

    /// `[n, c, h, w]`.
    fn image_shape(&self) -> [usize; 4] {
        [self.batch, self.channels, self.image[0], self.image[1]]
    }

    /// `[n · down · across, c · kh · kw]`.
    fn matrix_shape(&self) -> [usize; 2] {
        let [rows, columns] = self.kernel;
        [self.batch * self.count[0] * self.count[1], self.channels * rows * columns]
    }

    /// For each element of the patch matrix, row-major, its place in the images, if it is not in
    /// the padding.
    fn places(self) -> impl Iterator<Item = Option<usize>> {
        let [down, across] = self.count;
        let [rows, columns] = self.kernel;
        let [height, width] = self.image;
        let patches = (0..self.batch * down * across).map(move |patch| {
            let (image, within) = (patch / (down * across), patch % (down * across));
            (image, within / across * self.stride, within % across * self.stride)
        });
        patches.flat_map(move |(image, top, left)| {
            (0..self.channels * rows * columns).map(move |at| {
                let (channel, within) = (at / (rows * columns), at % (rows * columns));
                let y = (top + within / columns).checked_sub(self.padding)?;
                let x = (left + within % columns).checked_sub(self.padding)?;
                let inside = y < height && x < width;
                inside.then(|| ((image * self.channels + channel) * height + y) * width + x)
            })
        })
    }
}

impl Patches {
    /// The same for kernels, which see the padding as a part of the images.
    fn padded(&self) -> kernels::Patches {
        let image = self.image.map(|extent| extent + 2 * self.padding);
        let Patches { channels, kernel, stride, .. } = *self;
        kernels::Patches { channels, image, kernel, stride }
    }

    /// The images with their padding, in `own` if they have any.
    fn pad<'a>(&self, images: &'a [f32], own: &'a mut Scratch) -> &'a [f32] {
        if self.padding == 0 {
            return images;
        }
        let [height, width] = self.padded().image;
        *own = Scratch::new(self.batch * self.channels * height * width);
        own.fill(0.0);
        self.rows(|at, padded| {
            own[padded..][..self.image[1]].copy_from_slice(&images[at..][..self.image[1]]);
        });
        own
    }

    /// Calls `f` with where each row of the images lies in them, and among padding.
    fn rows(&self, mut f: impl FnMut(usize, usize)) {
        let ([height, width], [padded_height, padded_width]) = (self.image, self.padded().image);
        for plane in 0..self.batch * self.channels {
            for y in 0..height {
                let row = plane * padded_height + y + self.padding;
                f((plane * height + y) * width, row * padded_width + self.padding);
            }
        }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let (x, kernels, bias) = (x.read(), weight.read(), bias.map(Tensor::read));
        let mut own = Scratch::new(0);
        let x = self.pad(&x, &mut own);
        let shape = [self.batch, weight.dims()[0], self.count[0], self.count[1]];
        let kernels = Matrix::new(&kernels, shape[1], self.matrix_shape()[1]);
        Tensor::build(&shape, |y| {
            kernels::convolve(x, &self.padded(), kernels, bias.as_deref(), y);
        })
    }

    /// dx of the images, without the padding.
    #[track_caller]
    fn input_gradient(&self, dy: &[f32], weight: &Tensor) -> Tensor {
        let kernels = weight.read();
        let padded = self.padded();
        Tensor::build(&self.image_shape(), |dx| {
            if self.padding == 0 {
                return kernels::convolve_dx(dy, &padded, &kernels, dx);
            }
            let [height, width] = padded.image;
            let mut whole = Scratch::new(self.batch * self.channels * height * width);
            kernels::convolve_dx(dy, &padded, &kernels, &mut whole);
            self.rows(|at, padded| {
                dx[at..][..self.image[1]].copy_from_slice(&whole[padded..][..self.image[1]]);
            });
        })
    }

    #[track_caller]
    fn weight_gradient(&self, dy: &[f32], x: &Tensor, shape: &Shape) -> Tensor {
        let numbers = x.read();
        let mut own = Scratch::new(0);
        let x = self.pad(&numbers, &mut own);
        Tensor::build(shape, |dw| kernels::convolve_dw(x, &self.padded(), dy, dw))
    }
}

#[track_caller]
fn record<const N: usize>(value: Tensor, inputs: [&Tensor; N], patches: Patches) -> Tensor {
    let [x, weight] = [inputs[0], inputs[1]];
    let shape = weight.layout.shape;
    value.record("conv2d", inputs, |saver| {
        let saved_x = saver.input_if(saver.needs(1), x);
        let saved_weight = saver.input_if(saver.needs(0), weight);
        move |grad: &Tensor, node: &NodeRef| {
            let x = wanted(node, 1, &saved_x);
            let weight = wanted(node, 0, &saved_weight);
            let needs_bias = N == 3 && node.needs(2);
            let parts = Parts { patches, grad, x, weight, shape, needs_bias };
            let mut grads = parts.fused();
            if mode::recording() {
                for (grad, composed) in grads.iter_mut().zip(&parts.composed()) {
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

/// What the gradients of a convolution are computed from.
struct Parts<'a> {
    patches: Patches,
    grad: &'a Tensor,
    x: Option<Tensor>,
    weight: Option<Tensor>,
    /// Of the weight.
    shape: Shape,
    needs_bias: bool,
}

impl Parts<'_> {
    /// Gradients of images, kernels and bias.
    fn fused(&self) -> [Option<Tensor>; 3] {
        let Parts { patches, shape, .. } = self;
        let grad = self.grad.read();
        let mut dy = Scratch::new(grad.len());
        let images = grad.len().checked_div(patches.batch).unwrap_or(0).max(1);
        for (image, dy) in grad.chunks_exact(images).zip(dy.chunks_exact_mut(images)) {
            kernels::transpose(Matrix::new(image, shape[0], images / shape[0].max(1)), dy);
        }
        [
            self.weight.as_ref().map(|weight| patches.input_gradient(&dy, weight)),
            self.x.as_ref().map(|x| patches.weight_gradient(&dy, x, shape)),
            self.needs_bias.then(|| Tensor::build(&shape[..1], |db| kernels::column_sums(&dy, db))),
        ]
    }

    /// The same in tensor operations, which have a history: products with the patch matrix.
    fn composed(&self) -> [Option<Tensor>; 3] {
        let Parts { patches, shape, .. } = *self;
        let [rows, length] = patches.matrix_shape();
        let dy = self.grad.permute([0, 2, 3, 1]).reshape([rows, shape[0]]);
        [
            self.weight
                .as_ref()
                .map(|weight| dy.matmul(&weight.reshape([shape[0], length])).fold(patches)),
            self.x
                .as_ref()
                .map(|x| dy.transpose(0, 1).matmul(&x.unfold(patches)).reshape(&shape[..])),
            self.needs_bias.then(|| dy.sum_dim(0, false)),
        ]
    }
}

impl Tensor {
    /// The cross-correlation of images `[n, c, h, w]` with kernels `[out, c, kh, kw]`, plus a bias
    /// `[out]`: `[n, out, (h + 2·padding - kh)/stride + 1, …]`.
    ///
    /// # Panics
    /// If the shapes do not fit, the kernel is larger than the padded image, or `stride` is 0.
    #[track_caller]
    pub fn conv2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: usize,
        padding: usize,
    ) -> Tensor {
        let patches = ok(Patches::new(self, weight, bias, stride, padding));
        let value = patches.forward(self, weight, bias);
        match bias {
            Some(bias) => record(value, [self, weight, bias], patches),
            None => record(value, [self, weight], patches),
        }
    }

    /// The patches of images as rows of a matrix.
    #[track_caller]
    fn unfold(&self, patches: Patches) -> Tensor {
        let numbers = self.read();
        let value = Tensor::build(&patches.matrix_shape(), |out| {
            for (out, place) in out.iter_mut().zip(patches.places()) {
                *out = place.map_or(0.0, |place| numbers[place]);
            }
        });
        drop(numbers);
        value.record("unfold", [self], |_| {
            move |grad: &Tensor, _: &NodeRef| [Some(grad.fold(patches))]
        })
    }

    /// Images in which the patches are added up: what [`Tensor::unfold`] sends gradients through.
    #[track_caller]
    fn fold(&self, patches: Patches) -> Tensor {
        let numbers = self.read();
        let value = Tensor::build(&Shape::of(&patches.image_shape()), |out| {
            out.fill(0.0);
            for (&x, place) in numbers.iter().zip(patches.places()) {
                if let Some(place) = place {
                    out[place] += x;
                }
            }
        });
        drop(numbers);
        value.record("fold", [self], |_| {
            move |grad: &Tensor, _: &NodeRef| [Some(grad.unfold(patches))]
        })
    }
}
