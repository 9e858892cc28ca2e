//! Convolution of images, as products with their patches, which are never copied.
//!
//! y = P·Wᵀ + b, dW = dyᵀ·P and dP = dy·W, where P holds a patch a row: its elements are read from the
//! images where they lie. The orders of the sums are those of the products; what patches share in dx is
//! added up patch by patch.
//! Every function panics when its slices do not fit together.

use super::gemm::{Activation, Gathered, Start, multiply, multiply_tall};
use super::matrix::{Matrix, MatrixMut};
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::threads::{halves, threads_for};
use crate::pool::Scratch;

/// Where patches lie in images `[n, channels, height, width]`.
#[derive(Clone, Copy, Debug)]
pub struct Patches {
    /// Channels of the images.
    pub channels: usize,
    /// Height and width of the images, padding included.
    pub image: [usize; 2],
    /// Height and width of a patch.
    pub kernel: [usize; 2],
    /// Distance of two patches, down and across.
    pub stride: usize,
}

impl Patches {
    /// Patches down and across.
    pub fn count(&self) -> [usize; 2] {
        let fit = |dim: usize| (self.image[dim] - self.kernel[dim]) / self.stride + 1;
        [fit(0), fit(1)]
    }

    /// Numbers of an image.
    fn pixels(&self) -> usize {
        self.channels * self.image[0] * self.image[1]
    }

    /// Patches of an image.
    fn each(&self) -> usize {
        self.count().iter().product()
    }

    /// Numbers of a patch.
    fn len(&self) -> usize {
        self.channels * self.kernel[0] * self.kernel[1]
    }

    /// Where the patches of `images` images start.
    fn starts(&self, images: usize) -> Vec<usize> {
        let ([down, across], width) = (self.count(), self.image[1]);
        let mut starts = Vec::with_capacity(images * down * across);
        for image in 0..images {
            for y in 0..down {
                let row = image * self.pixels() + y * self.stride * width;
                starts.extend((0..across).map(|x| row + x * self.stride));
            }
        }
        starts
    }

    /// Where the numbers of a patch lie from its start: channel by channel, row by row.
    fn places(&self) -> Vec<usize> {
        let ([rows, columns], [height, width]) = (self.kernel, self.image);
        let mut places = Vec::with_capacity(self.len());
        for channel in 0..self.channels {
            for i in 0..rows {
                places.extend((0..columns).map(|j| (channel * height + i) * width + j));
            }
        }
        places
    }

    /// How many images are worked on at a time, of which the patches fill `each` numbers.
    fn group(&self, each: usize) -> usize {
        /// Rows that make a product efficient.
        const ROWS: usize = 192;
        /// Numbers that stay in the second cache.
        const NUMBERS: usize = 1 << 16;
        ROWS.div_ceil(self.each()).min((NUMBERS / each.max(1)).max(1))
    }
}

/// y\[n, o, p] = bias\[o] + Σₖ patch\[n, p, k] · weight\[o, k] for images `x` and weights
/// `[out, channels · kh · kw]`.
pub fn convolve(
    x: &[f32],
    patches: &Patches,
    weight: Matrix<'_>,
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let [outputs, len] = weight.dims();
    if y.is_empty() {
        return;
    }
    let images = y.len() / (outputs * patches.each());
    assert_eq!((x.len(), len), (images * patches.pixels(), patches.len()), "convolve: shapes");
    let mut by_term = Scratch::new(outputs * len);
    transpose(weight, &mut by_term);
    let group = patches.group(outputs * patches.each()).min(images);
    let (starts, places) = (patches.starts(group), patches.places());
    let weight = Matrix::new(&by_term, len, outputs);
    let start = bias.map_or(Start::Zero, Start::Bias);
    let threads = threads_for(y.len() * len);
    Forward { x, patches, starts: &starts, places: &places, weight, start, y }.run_on(threads);
}

struct Forward<'a> {
    x: &'a [f32],
    patches: &'a Patches,
    /// Those of one group of images.
    starts: &'a [usize],
    places: &'a [usize],
    weight: Matrix<'a>,
    start: Start<'a>,
    y: &'a mut [f32],
}

impl Forward<'_> {
    fn run_on(self, threads: usize) {
        let each = self.patches.each() * self.weight.dims()[1];
        let images = self.y.len() / each;
        if threads == 1 || images < 2 {
            return self.run(threads);
        }
        let at = images / 2;
        let (x, x_rest) = self.x.split_at(at * self.patches.pixels());
        let (y, y_rest) = self.y.split_at_mut(at * each);
        let first = Forward { x, y, ..self };
        let rest = Forward { x: x_rest, y: y_rest, ..self };
        halves(threads, |n| first.run_on(n), |n| rest.run_on(n));
    }

    fn run(self, threads: usize) {
        let Forward { x, patches, starts, places, weight, start, y } = self;
        let (outputs, each) = (weight.dims()[1], patches.each());
        let mut rows = Scratch::new(starts.len() * outputs);
        for (number, y) in y.chunks_mut(starts.len() * outputs).enumerate() {
            let x = &x[number * starts.len() / each * patches.pixels()..];
            let starts = &starts[..y.len() / outputs];
            let rows = &mut rows[..y.len()];
            let image = Gathered::new(x, starts, places);
            let out = MatrixMut::new(rows, starts.len(), outputs);
            multiply(image, weight, start, Activation::None, out, threads);
            let images = rows.chunks_exact(each * outputs).zip(y.chunks_exact_mut(each * outputs));
            for (rows, y) in images {
                transpose(Matrix::new(rows, each, outputs), y);
            }
        }
    }
}

/// dW\[o, k] = Σₙₚ dy\[n, p, o] · patch\[n, p, k] for `dy` `[n · p, out]`.
pub fn convolve_dw(x: &[f32], patches: &Patches, dy: &[f32], dw: &mut [f32]) {
    let outputs = dw.len().checked_div(patches.len()).unwrap_or(0);
    let images = x.len().checked_div(patches.pixels()).unwrap_or(0);
    let (starts, places) = (patches.starts(images), patches.places());
    let dy = Matrix::new(dy, starts.len(), outputs);
    let mut by_term = Scratch::new(dw.len());
    if starts.is_empty() {
        return dw.fill(0.0);
    }
    let image = Gathered::new(x, &starts, &places);
    multiply_tall(image.t(), dy, MatrixMut::new(&mut by_term, places.len(), outputs));
    transpose(Matrix::new(&by_term, places.len(), outputs), dw);
}

/// dx\[n, …] = Σₒ dy\[n, p, o] · weight\[o, …], added up over the patches for `dy` `[n · p, out]`.
pub fn convolve_dx(dy: &[f32], patches: &Patches, weight: &[f32], dx: &mut [f32]) {
    let outputs = weight.len().checked_div(patches.len()).unwrap_or(0);
    if outputs == 0 {
        return dx.fill(0.0);
    }
    // Channels last: what a row of a patch holds then lies side by side, in the images too.
    let mut channels_last = Scratch::new(weight.len());
    let taps = patches.kernel[0] * patches.kernel[1];
    let kernels = weight.chunks_exact(patches.len());
    for (kernel, last) in kernels.zip(channels_last.chunks_exact_mut(patches.len())) {
        transpose(Matrix::new(kernel, patches.channels, taps), last);
    }
    let weight = Matrix::new(&channels_last, outputs, patches.len());
    let threads = threads_for(dy.len() * patches.len());
    Backward { dy, patches, weight, dx }.run_on(threads);
}

struct Backward<'a> {
    dy: &'a [f32],
    patches: &'a Patches,
    weight: Matrix<'a>,
    dx: &'a mut [f32],
}

impl Backward<'_> {
    fn run_on(self, threads: usize) {
        let pixels = self.patches.pixels();
        let images = self.dx.len().checked_div(pixels).unwrap_or(0);
        if threads == 1 || images < 2 {
            return self.run(threads);
        }
        let at = images / 2;
        let (dy, dy_rest) = self.dy.split_at(at * self.patches.each() * self.weight.dims()[0]);
        let (dx, dx_rest) = self.dx.split_at_mut(at * pixels);
        let first = Backward { dy, dx, ..self };
        let rest = Backward { dy: dy_rest, dx: dx_rest, ..self };
        halves(threads, |n| first.run_on(n), |n| rest.run_on(n));
    }

    fn run(self, threads: usize) {
        let Backward { dy, patches, weight, dx } = self;
        let (outputs, each, len) = (weight.dims()[0], patches.each(), patches.len());
        let group = patches.group(each * len);
        let mut terms = Scratch::new(group * each * len);
        let mut image = Scratch::new(patches.pixels());
        let groups = dx.chunks_mut((group * patches.pixels()).max(1));
        for (dy, dx) in dy.chunks(group * each * outputs).zip(groups) {
            let rows = dy.len() / outputs;
            let terms = &mut terms[..rows * len];
            let out = MatrixMut::new(terms, rows, len);
            let dy = Matrix::new(dy, rows, outputs);
            multiply(dy, weight, Start::Zero, Activation::None, out, threads);
            let terms = terms.chunks_exact((each * len).max(1));
            for (terms, dx) in terms.zip(dx.chunks_exact_mut(patches.pixels().max(1))) {
                image.fill(0.0);
                dispatch(AddPatches { terms, patches, image: &mut image });
                transpose(Matrix::new(&image, dx.len() / patches.channels, patches.channels), dx);
            }
        }
    }
}

/// Adds patches, one after the other, to an image; the channels of a pixel lie side by side in both.
struct AddPatches<'a> {
    terms: &'a [f32],
    patches: &'a Patches,
    image: &'a mut [f32],
}

impl Kernel for AddPatches<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let AddPatches { terms, patches, image } = self;
        let Patches { channels, image: [_, width], kernel: [_, columns], stride } = *patches;
        let across = patches.count()[1];
        for (at, patch) in terms.chunks_exact(patches.len()).enumerate() {
            let start = (at / across * width + at % across) * stride;
            for (i, row) in patch.chunks_exact(columns * channels).enumerate() {
                let pixels = &mut image[(start + i * width) * channels..][..row.len()];
                for (sum, x) in pixels.chunks_mut(LANES).zip(row.chunks(LANES)) {
                    s.store_any(s.add(s.load_any(sum), s.load_any(x)), sum);
                }
            }
        }
    }
}

/// Writes the columns of a row-major matrix, one after the other.
pub fn transpose(x: Matrix<'_>, out: &mut [f32]) {
    assert_eq!(x.rows * x.cols, out.len(), "transpose: shapes");
    dispatch(Transpose { x, out });
}

struct Transpose<'a> {
    x: Matrix<'a>,
    out: &'a mut [f32],
}

impl Kernel for Transpose<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Transpose { x, out } = self;
        for i in (0..x.rows).step_by(LANES) {
            let rows = LANES.min(x.rows - i);
            for j in (0..x.cols).step_by(LANES) {
                let columns = LANES.min(x.cols - j);
                let mut block = [s.zero(); LANES];
                for (r, v) in block.iter_mut().enumerate().take(rows) {
                    *v = s.load_any(&x.data[(i + r) * x.row_stride + j..][..columns]);
                }
                for (c, v) in s.transpose(block).into_iter().enumerate().take(columns) {
                    s.store_any(v, &mut out[(j + c) * x.rows + i..][..rows]);
                }
            }
        }
    }
}
