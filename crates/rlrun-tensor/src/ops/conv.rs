//! Convolution of images, as a matrix product with their patches.

use crate::autograd::NodeRef;
use crate::error::{TensorError, ok};
use crate::layout::Shape;
use crate::tensor::Tensor;

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
        stride: usize,
        padding: usize,
    ) -> Result<Patches, TensorError> {
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
        let patches = ok(Patches::new(self, weight, stride, padding));
        let [outputs, length] = [weight.dims()[0], patches.matrix_shape()[1]];
        let kernels = weight.reshape([outputs, length]);
        let pixels = self.unfold(patches).linear(&kernels, bias);
        let [down, across] = patches.count;
        let shape = [patches.batch, outputs, down, across];
        let pixels = pixels.reshape([patches.batch, down, across, outputs]);
        pixels.permute([0, 3, 1, 2]).contiguous().result_of_shape(&shape)
    }

    /// The patches of images as rows of a matrix.
    #[track_caller]
    fn unfold(&self, patches: Patches) -> Tensor {
        ok(self.expect_f32("conv2d"));
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
