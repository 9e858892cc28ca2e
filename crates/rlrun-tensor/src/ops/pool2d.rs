//! Pooling of images: the largest element or the mean of each window. Windows are square and lie
//! within the padded image: PyTorch's `dilation` 1 and `ceil_mode` off, the defaults.

use crate::error::{TensorError, ok};
use crate::layout::Shape;
use crate::tensor::Tensor;

/// How windows lie in images `[n, c, h, w]`.
struct Windows {
    planes: usize,
    image: [usize; 2],
    count: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Windows {
    fn new(
        op: &'static str,
        x: &Tensor,
        [kernel, stride, padding]: [usize; 3],
    ) -> Result<Windows, TensorError> {
        x.expect_f32(op)?;
        let &[batch, channels, height, width] = x.dims() else {
            let detail = format!("expected [n, c, h, w], got {:?}", x.dims());
            return Err(TensorError::ShapeMismatch { op, detail });
        };
        let fits = |extent: usize| {
            let room = (extent + 2 * padding).checked_sub(kernel);
            room.filter(|_| stride > 0 && kernel > 0 && 2 * padding <= kernel)
                .map(|room| room / stride + 1)
        };
        let Some((down, across)) = fits(height).zip(fits(width)) else {
            let detail = format!(
                "a window of {kernel} with stride {stride} and padding {padding} (at most half the \
                 window) does not fit {:?}",
                x.dims()
            );
            return Err(TensorError::ShapeMismatch { op, detail });
        };
        let planes = batch * channels;
        let (image, count) = ([height, width], [down, across]);
        Ok(Windows { planes, image, count, kernel, stride, padding })
    }

    /// The shape of the result for images of shape `[n, c, h, w]`.
    fn result(&self, images: &[usize]) -> Shape {
        Shape::of(&[images[0], images[1], self.count[0], self.count[1]])
    }

    /// For each window, row-major, the places of its elements within the images.
    fn places(&self) -> impl Iterator<Item = impl Iterator<Item = usize>> {
        let [height, width] = self.image;
        let inside = move |start: usize, extent: usize| {
            let first = start * self.stride;
            let end = (first + self.kernel).saturating_sub(self.padding).min(extent);
            first.saturating_sub(self.padding)..end
        };
        let [down, across] = self.count;
        (0..self.planes * down * across).map(move |window| {
            let (plane, within) = (window / (down * across), window % (down * across));
            let (rows, columns) = (inside(within / across, height), inside(within % across, width));
            rows.flat_map(move |y| columns.clone().map(move |x| (plane * height + y) * width + x))
        })
    }
}

impl Tensor {
    /// The largest element of each window of images `[n, c, h, w]`; the gradient goes to the first
    /// of equal ones; NaN wins. Padding never does.
    ///
    /// # Panics
    /// If the windows do not fit or `padding` is more than half a window.
    #[track_caller]
    pub fn max_pool2d(&self, kernel: usize, stride: usize, padding: usize) -> Tensor {
        let windows = ok(Windows::new("max_pool2d", self, [kernel, stride, padding]));
        let numbers = self.read();
        let better = |best: f32, x: f32| !best.is_nan() && (x > best || x.is_nan());
        let largest = |places: &mut dyn Iterator<Item = usize>| {
            places.reduce(|best, at| if better(numbers[best], numbers[at]) { at } else { best })
        };
        let places = windows.places().filter_map(|mut window| largest(&mut window));
        let places: Vec<i64> = places.map(|place| place as i64).collect();
        drop(numbers);
        let index = Tensor::from_i64(&places, [places.len()]);
        self.reshape([-1]).gather(0, &index).result_of_shape(&windows.result(self.dims()))
    }

    /// The mean of each window of images `[n, c, h, w]`; padding counts as zeros.
    ///
    /// # Panics
    /// If the windows do not fit or `padding` is more than half a window.
    #[track_caller]
    pub fn avg_pool2d(&self, kernel: usize, stride: usize, padding: usize) -> Tensor {
        let windows = ok(Windows::new("avg_pool2d", self, [kernel, stride, padding]));
        let [height, width] = windows.image;
        let planes = self.reshape([windows.planes, 1, height, width]);
        let sums = planes.conv2d(&Tensor::ones([1, 1, kernel, kernel]), None, stride, padding);
        (sums / (kernel * kernel) as f32).result_of_shape(&windows.result(self.dims()))
    }
}
