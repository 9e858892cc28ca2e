//! Values at the ends of a range: bounded functions, empty and huge tensors, nothing left unwritten.

use rlrun_tensor::{Backward, Tensor, catch, grad};

/// Fills the free lists of this thread, so that an element which nobody writes shows.
fn fill_free_lists() {
    let used: Vec<Tensor> = (4..12).map(|class| Tensor::full([1 << class], 777.0)).collect();
    drop(used);
}

#[test]
fn tanh_and_sigmoid_stay_within_their_bounds() {
    let numbers: Vec<f32> = (0..400_000).map(|i| (i as f32 - 200_000.0) / 10_000.0).collect();
    let x = Tensor::from_vec(numbers, [400_000]).requires_grad_(true);
    let y = x.tanh();
    assert!(y.to_vec().iter().all(|y| y.abs() <= 1.0));
    y.sum().backward();
    assert!(x.grad().expect("a gradient").to_vec().iter().all(|slope| (0.0..=1.0).contains(slope)));
    assert!((1.0 - &y * &y).log().to_vec().iter().all(|log| !log.is_nan()));
    assert!(x.sigmoid().to_vec().iter().all(|y| (0.0..=1.0).contains(y)));
}

#[test]
fn products_over_no_elements_are_zero() {
    fill_free_lists();
    assert_eq!(Tensor::ones([2, 3]).linear(&Tensor::ones([2, 3]), None).to_vec(), [3.0; 4]);
    let x = Tensor::ones([2, 3]).requires_grad_(true);
    fill_free_lists();
    x.linear(&Tensor::ones([0, 3]), None).sum().backward();
    assert_eq!(x.grad().expect("a gradient").to_vec(), [0.0; 6]);
    fill_free_lists();
    assert_eq!(Tensor::ones([2, 0]).linear(&Tensor::ones([2, 0]), None).to_vec(), [0.0; 4]);
    assert_eq!(Tensor::ones([2, 3, 0]).matmul(&Tensor::ones([2, 0, 4])).to_vec(), [0.0; 24]);
    let weight = Tensor::ones([2, 3]).requires_grad_(true);
    fill_free_lists();
    Tensor::ones([0, 3]).linear(&weight, None).sum().backward();
    assert_eq!(weight.grad().expect("a gradient").to_vec(), [0.0; 6]);
}

#[test]
fn no_index_of_a_scalar_is_refused() {
    let error = catch(|| Tensor::scalar(1.0).index_select(0, &Tensor::from_i64(&[], [0])));
    assert_eq!(error.expect_err("refused").kind(), "ShapeMismatch");
}

#[test]
fn log_softmax_of_large_equals_is_exact_along_every_dimension() {
    for large in [1e4, 1e8] {
        let x = Tensor::full([2, 3], large);
        for (dim, count) in [(0, 2.0_f32), (1, 3.0)] {
            let expected = -count.ln();
            let found = x.log_softmax(dim).to_vec();
            assert!(found.iter().all(|y| (y - expected).abs() < 1e-6), "{found:?}");
        }
    }
    let x = Tensor::from_slice(&[0.0, f32::INFINITY], [2, 1]);
    assert!(x.log_softmax(0).to_vec().iter().all(|y| y.is_nan()));
}

#[test]
fn a_long_line_of_powers_keeps_its_digits() {
    let count = 20_000;
    let line = Tensor::full([count, 1], -0.9);
    let expected = (count as f64).ln() - 0.9;
    assert!((line.logsumexp(0, false).to_vec()[0] as f64 - expected).abs() < 2e-6);
    assert!((line.log_softmax(0).to_vec()[0] as f64 + (count as f64).ln()).abs() < 2e-6);
    assert!((line.softmax(0).to_vec()[0] as f64 * count as f64 - 1.0).abs() < 2e-6);
}

#[test]
fn reductions_take_tensors_without_dimensions() {
    let x = Tensor::scalar(2.0);
    type Reduce<'a> = &'a dyn Fn(&[isize], bool) -> Tensor;
    let reductions: [Reduce<'_>; 5] = [
        &|dims, keep| x.sum_dims(dims, keep),
        &|dims, keep| x.mean_dims(dims, keep),
        &|dims, keep| x.amax_dims(dims, keep),
        &|dims, keep| x.amin_dims(dims, keep),
        &|dims, keep| x.logsumexp_dims(dims, keep),
    ];
    for reduce in reductions {
        for dims in [&[][..], &[0], &[-1]] {
            let y = reduce(dims, true);
            assert_eq!((y.dims(), y.item()), (&[][..], 2.0));
        }
        assert!(catch(|| reduce(&[0, -1], false)).is_err());
    }
    assert!(x.var_dims(&[0], true, false).item().is_nan());
}

#[test]
fn a_dimension_is_summed_once_and_none_means_all() {
    let x = Tensor::ones([2, 3]);
    assert_eq!(catch(|| x.sum_dims(&[0, 0], false)).expect_err("twice").kind(), "ShapeMismatch");
    assert_eq!(x.sum_dims(&[], false).item(), 6.0);
    assert_eq!(x.mean_dims(&[], true).dims(), [1, 1]);
}

#[test]
fn the_spread_of_huge_numbers_does_not_overflow() {
    let x = Tensor::from_slice(&[1e20, -1e20], [2]);
    assert!((x.std().item() / 1.414_213_6e20 - 1.0).abs() < 1e-6);
}

#[test]
fn lerp_ends_where_it_should() {
    let (start, end) = (Tensor::scalar(1e8), Tensor::scalar(1.0));
    assert_eq!(start.lerp(&end, 1.0).item(), 1.0);
    assert_eq!(start.lerp(&end, 0.0).item(), 1e8);
    start.lerp_(&end, 1.0);
    assert_eq!(start.item(), 1.0);
}

#[test]
fn an_empty_dimension_has_as_many_chunks_as_asked_for() {
    let parts = Tensor::zeros([0, 3]).chunk(2, 0);
    assert!(parts.len() == 2 && parts.iter().all(|part| part.dims() == [0, 3]));
}

#[test]
fn repeating_too_often_is_refused() {
    let error = catch(|| Tensor::ones([2]).repeat(&[usize::MAX])).expect_err("refused");
    assert_eq!(error.kind(), "ShapeMismatch");
    assert_eq!(Tensor::ones([0]).repeat(&[usize::MAX]).numel(), 0);
}

#[test]
fn zeros_like_keeps_the_memory_order() {
    assert_eq!(Tensor::ones([2, 3]).transpose(0, 1).zeros_like().strides(), [1, 3]);
}

#[test]
fn more_numbers_than_memory_holds_are_refused() {
    let huge = Tensor::ones([1]).expand([isize::MAX as usize / 16]);
    for f in
        [Tensor::clone_contiguous, |x: &Tensor| x + 1.0, |x: &Tensor| x.exp(), |x: &Tensor| x.sum()]
    {
        let error = catch(|| f(&huge)).expect_err("refused");
        assert_eq!(error.kind(), "ShapeMismatch");
    }
}

#[test]
fn activations_of_two_settings_follow_torch() {
    // Recorded with PyTorch 2.15: values, slopes and curvatures.
    const X: [f32; 8] = [-8.0, -1.5, -0.2, 0.0, 0.4, 1.3, 6.0, 30.0];
    type Row = (fn(&Tensor) -> Tensor, [[f64; 8]; 3]);
    let rows: [Row; 3] = [
        (
            Tensor::gelu_tanh,
            [
                [0.0, -0.100428432, -0.084148571, 0.0, 0.262161165, 1.17392898, 6.0, 30.0],
                [0.0, -0.127710819, 0.342541814, 0.5, 0.80265868, 1.1258781, 1.0, 1.0],
                [0.0, -0.0305182189, 0.766296506, 0.797884583, 0.677147686, 0.0545814782, 0.0, 0.0],
            ],
        ),
        (
            |x| x.softplus_with(2.0, 5.0),
            [
                [
                    5.62675844e-8,
                    0.024293676,
                    0.256507635,
                    0.346573591,
                    0.585550308,
                    1.33582234,
                    6.0,
                    30.0,
                ],
                [1.12535162e-7, 0.0474258736, 0.401312321, 0.5, 0.689974487, 0.930861592, 1.0, 1.0],
                [2.2507028e-7, 0.0903533176, 0.4805215, 0.5, 0.427819401, 0.128716573, 0.0, 0.0],
            ],
        ),
        (
            |x| x.softplus_with(0.5, 20.0),
            [
                [
                    0.0362998582,
                    0.77374202,
                    1.28879333,
                    1.38629436,
                    1.59627771,
                    2.14011073,
                    6.09717464,
                    30.0,
                ],
                [
                    0.0179862101,
                    0.320821285,
                    0.475020826,
                    0.5,
                    0.549834013,
                    0.657010496,
                    0.952574134,
                    0.9999997,
                ],
                [
                    0.00883135293,
                    0.108947493,
                    0.124688029,
                    0.125,
                    0.123758286,
                    0.112673864,
                    0.0225883275,
                    1.788e-7,
                ],
            ],
        ),
    ];
    for (which, (f, expected)) in rows.into_iter().enumerate() {
        let x = Tensor::from_slice(&X, [8]).requires_grad_(true);
        let recorded = Backward { create_graph: true, ..Backward::default() };
        let slope = grad(&f(&x).sum(), &[&x], recorded).remove(0);
        let curvature = grad(&slope.sum(), &[&x], Backward::default()).remove(0);
        for (found, expected) in [f(&x), slope, curvature].iter().zip(expected) {
            for (found, expected) in found.to_vec().into_iter().map(f64::from).zip(expected) {
                let near = (found - expected).abs() <= 1e-6 + 1e-5 * expected.abs();
                assert!(near, "{which}: {found}, in PyTorch {expected}");
            }
        }
        assert!(f(&Tensor::scalar(f32::NAN)).item().is_nan());
    }
}
