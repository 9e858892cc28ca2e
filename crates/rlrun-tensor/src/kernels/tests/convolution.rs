//! Convolution against patches that are copied, in the documented orders.

use super::*;
use crate::kernels::*;

/// Random images, patches and kernels.
struct Case {
    patches: Patches,
    images: usize,
    outputs: usize,
    x: Vec<f32>,
    weight: Vec<f32>,
    dy: Vec<f32>,
}

impl Case {
    fn new(rng: &mut Rng, most_outputs: usize) -> Case {
        let kernel = [rng.random_range(1..5), rng.random_range(1..5)];
        let image = kernel.map(|extent| extent + rng.random_range(0..9));
        let (channels, stride) = (rng.random_range(1..20), rng.random_range(1..4));
        let patches = Patches { channels, image, kernel, stride };
        let (images, outputs) = (rng.random_range(0..9), rng.random_range(1..most_outputs));
        let each: usize = patches.count().iter().product();
        let mut numbers = |len| random(rng, len);
        let x = numbers(images * channels * image[0] * image[1]);
        let weight = numbers(outputs * channels * kernel[0] * kernel[1]);
        Case { patches, images, outputs, x, weight, dy: numbers(images * each * outputs) }
    }

    fn each(&self) -> usize {
        self.patches.count().iter().product()
    }

    fn len(&self) -> usize {
        self.patches.channels * self.patches.kernel[0] * self.patches.kernel[1]
    }

    /// For each element of the patch matrix, row-major, its place in the images.
    fn places(&self) -> Vec<usize> {
        let Patches { channels, image: [height, width], kernel: [rows, columns], stride } =
            self.patches;
        let [down, across] = self.patches.count();
        let mut places = Vec::new();
        for (n, y, x) in (0..self.images)
            .flat_map(|n| (0..down).flat_map(move |y| (0..across).map(move |x| (n, y, x))))
        {
            for c in 0..channels {
                for i in 0..rows {
                    for j in 0..columns {
                        let row = (n * channels + c) * height + y * stride + i;
                        places.push(row * width + x * stride + j);
                    }
                }
            }
        }
        places
    }

    fn copied(&self) -> Vec<f32> {
        self.places().into_iter().map(|place| self.x[place]).collect()
    }
}

#[test]
fn a_convolution_has_the_bits_of_a_product_with_copied_patches() {
    let mut rng = rng(11);
    for number in 0..60 {
        let case = Case::new(&mut rng, 70);
        let bias = random(&mut rng, case.outputs);
        let bias = (number % 2 == 0).then_some(&bias[..]);
        let (rows, outputs, each) = (case.images * case.each(), case.outputs, case.each());
        let copied = case.copied();
        let mut product = vec![0.0; rows * outputs];
        gemm(
            Matrix::new(&copied, rows, case.len()),
            Matrix::new(&case.weight, outputs, case.len()).t(),
            bias.map_or(Start::Zero, Start::Bias),
            Activation::None,
            MatrixMut::new(&mut product, rows, outputs),
        );
        let got = same_bits(|| {
            let mut y = vec![f32::NAN; rows * outputs];
            let weight = Matrix::new(&case.weight, outputs, case.len());
            convolve(&case.x, &case.patches, weight, bias, &mut y);
            y
        });
        for (at, y) in got.iter().enumerate() {
            let (image, o, p) = (at / (outputs * each), at / each % outputs, at % each);
            assert_eq!(*y, product[(image * each + p) * outputs + o], "{:?}", case.patches);
        }
    }
}

#[test]
fn gradients_of_a_convolution_have_the_bits_of_products_with_copied_patches() {
    let mut rng = rng(12);
    for _ in 0..60 {
        let case = Case::new(&mut rng, 40);
        let (rows, outputs, len) = (case.images * case.each(), case.outputs, case.len());
        let dy = Matrix::new(&case.dy, rows, outputs);
        let copied = case.copied();
        let mut want = vec![0.0; outputs * len];
        if rows > 0 {
            let out = MatrixMut::new(&mut want, outputs, len);
            gemm_tall(dy, Matrix::new(&copied, rows, len), out);
        }
        let got = same_bits(|| {
            let mut dw = vec![f32::NAN; outputs * len];
            convolve_dw(&case.x, &case.patches, &case.dy, &mut dw);
            dw
        });
        assert_eq!(got, want, "dw of {:?}", case.patches);

        let mut terms = vec![0.0; rows * len];
        let weight = Matrix::new(&case.weight, outputs, len);
        let out = MatrixMut::new(&mut terms, rows, len);
        gemm(dy, weight, Start::Zero, Activation::None, out);
        let mut want = vec![0.0; case.x.len()];
        for (place, term) in case.places().into_iter().zip(terms) {
            want[place] += term;
        }
        let got = same_bits(|| {
            let mut dx = vec![f32::NAN; case.x.len()];
            convolve_dx(&case.dy, &case.patches, &case.weight, &mut dx);
            dx
        });
        assert_eq!(got, want, "dx of {:?}", case.patches);
    }
}

#[test]
fn convolutions_have_the_same_bits_on_any_number_of_threads() {
    let patches = Patches { channels: 4, image: [20, 20], kernel: [4, 4], stride: 2 };
    let (images, outputs, each, len) = (33, 32, 81, 64);
    let mut rng = rng(14);
    let [x, weight, dy] =
        [images * 1600, outputs * len, images * each * outputs].map(|len| random(&mut rng, len));
    let run = || {
        let (mut y, mut dw) = (vec![0.0; dy.len()], vec![0.0; weight.len()]);
        let mut dx = vec![0.0; x.len()];
        convolve(&x, &patches, Matrix::new(&weight, outputs, len), None, &mut y);
        convolve_dw(&x, &patches, &dy, &mut dw);
        convolve_dx(&dy, &patches, &weight, &mut dx);
        [y, dw, dx]
    };
    let one = run();
    for threads in [2, 3] {
        assert!(with_threads(threads, run).unwrap() == one, "{threads} threads");
    }
}

#[test]
fn a_transpose_moves_every_element() {
    let mut rng = rng(13);
    for [rows, columns] in [[0, 3], [1, 1], [16, 16], [17, 40], [100, 3], [3, 100]] {
        let x = random(&mut rng, rows * columns);
        let got = same_bits(|| {
            let mut out = vec![f32::NAN; rows * columns];
            transpose(Matrix::new(&x, rows, columns), &mut out);
            out
        });
        for (at, got) in got.iter().enumerate() {
            assert_eq!(*got, x[at % rows * columns + at / rows]);
        }
    }
}
