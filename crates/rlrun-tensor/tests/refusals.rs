//! Bad input: every case is refused with a typed error, or has a defined result.

use rlrun_tensor::{Reduction, Tensor, TensorError, catch};

/// The kind of error that `f` is refused with.
#[track_caller]
fn refused<R>(f: impl FnOnce() -> R) -> String {
    catch(f).map_or_else(|error| error.kind(), |_| "accepted".to_owned())
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape)
}

#[test]
fn memory_that_the_system_does_not_give_is_an_error_for_every_type() {
    const HUGE: usize = 1 << 50;
    let wide = || Tensor::zeros([1]).expand([HUGE]);
    let of_index = || Tensor::from_i64(&[0], [1]);
    let refused: [&dyn Fn(); 8] = [
        &|| drop(Tensor::zeros([HUGE])),
        &|| drop(Tensor::arange_i64(0, HUGE as i64, 1)),
        &|| drop(Tensor::zeros([1]).repeat(&[HUGE])),
        &|| drop(of_index().one_hot(HUGE)),
        &|| drop(of_index().expand([HUGE]).clone_contiguous()),
        &|| drop(wide().gt_scalar(0.0)),
        &|| drop(wide().nonzero()),
        &|| drop(wide().to_vec()),
    ];
    for (case, allocate) in refused.into_iter().enumerate() {
        let error = catch(allocate).expect_err(&format!("case {case}"));
        assert!(error.to_string().contains("more than memory can hold"), "{error}");
    }
}

#[test]
fn a_refused_product_sum_names_itself() {
    let leaf = Tensor::ones([2]).requires_grad_(true);
    let error = catch(|| leaf.addcmul_(&Tensor::ones([2]), &Tensor::ones([2]), 1.0)).unwrap_err();
    assert!(matches!(error, TensorError::LeafInplace { op: "addcmul_", .. }), "{error}");
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let cases: [(&str, &dyn Fn() -> Tensor); 22] = [
        ("from_slice", &|| Tensor::from_slice(&[1.0], [2])),
        ("from_slice overflow", &|| Tensor::from_slice(&[], [usize::MAX, 2])),
        ("zeros overflow", &|| Tensor::zeros([usize::MAX / 2, 8])),
        ("nine dimensions", &|| Tensor::zeros([1; 9])),
        ("add", &|| ones(&[2, 3]) + ones(&[2])),
        ("matmul", &|| ones(&[2, 3]).matmul(&ones(&[2, 3]))),
        ("matmul of scalars", &|| Tensor::scalar(1.0).matmul(&Tensor::scalar(1.0))),
        ("matmul batches", &|| ones(&[2, 2, 3]).matmul(&ones(&[3, 3, 2]))),
        ("linear", &|| ones(&[2, 3]).linear(&ones(&[4, 2]), None)),
        ("linear bias", &|| ones(&[2, 3]).linear(&ones(&[4, 3]), Some(&ones(&[3])))),
        ("linear of a vector weight", &|| ones(&[3]).linear(&ones(&[3]), None)),
        ("view", &|| ones(&[2, 3]).view([4])),
        ("view below -1", &|| ones(&[2, 3]).view([-2, 3])),
        ("view overflow", &|| ones(&[2]).view([isize::MAX, 4])),
        ("expand", &|| ones(&[2]).expand([3])),
        ("expand to fewer", &|| ones(&[1, 2]).expand([2])),
        ("expand a missing -1", &|| ones(&[2]).expand([-1, 2])),
        ("expand below -1", &|| ones(&[1]).expand([-3])),
        ("cat", &|| Tensor::cat(&[&ones(&[2]), &ones(&[2, 2])], 0)),
        ("stack nothing", &|| Tensor::stack(&[], 0)),
        ("permute", &|| ones(&[2, 3]).permute([0, 0])),
        ("flip twice", &|| ones(&[2, 3]).flip(&[0, -2])),
    ];
    for (name, case) in cases {
        assert_eq!(refused(case), "ShapeMismatch", "{name}");
    }
    let nine = || (0..9).fold(Tensor::scalar(1.0), |x, _| x.unsqueeze(0));
    assert_eq!(refused(nine), "ShapeMismatch");
}

#[test]
fn shapes_of_losses_and_layers_that_do_not_fit_are_refused() {
    let class = || Tensor::from_i64(&[0, 1], [2]);
    let image = || ones(&[1, 1, 2, 2]);
    let cases: [(&str, &dyn Fn() -> Tensor); 15] = [
        ("mse_loss", &|| ones(&[2]).mse_loss(&ones(&[2, 1]))),
        ("huber_loss", &|| ones(&[2]).huber_loss_with(&ones(&[3]), 1.0, Reduction::Sum)),
        ("bce", &|| ones(&[2]).binary_cross_entropy_with_logits(&ones(&[3]), Reduction::Sum)),
        ("nll_loss rows", &|| ones(&[3, 2]).nll_loss(&class(), Reduction::Mean)),
        ("nll_loss scalar", &|| Tensor::scalar(0.0).nll_loss(&class(), Reduction::Mean)),
        ("log_prob", &|| ones(&[2, 2]).categorical_log_prob(&class().view([2, 1]))),
        ("entropy", &|| ones(&[2, 0]).categorical_entropy()),
        ("cross_entropy", &|| ones(&[2, 2, 2]).cross_entropy(&class(), Reduction::Mean)),
        ("layer_norm", &|| ones(&[2, 3]).layer_norm(&[2], None, None, 1e-5)),
        ("layer_norm nothing", &|| ones(&[2, 3]).layer_norm(&[], None, None, 1e-5)),
        ("layer_norm weight", &|| ones(&[3]).layer_norm(&[3], Some(&ones(&[2])), None, 1e-5)),
        ("conv2d channels", &|| image().conv2d(&ones(&[1, 2, 1, 1]), None, 1, 0)),
        ("conv2d kernel", &|| image().conv2d(&ones(&[1, 1, 3, 3]), None, 1, 0)),
        ("conv2d stride", &|| image().conv2d(&ones(&[1, 1, 1, 1]), None, 0, 0)),
        ("conv2d dimensions", &|| ones(&[2, 2]).conv2d(&ones(&[1, 1, 1, 1]), None, 1, 0)),
    ];
    for (name, case) in cases {
        assert_eq!(refused(case), "ShapeMismatch", "{name}");
    }
}

#[test]
fn dimensions_and_indices_out_of_range_are_refused() {
    let at = |index: i64| Tensor::from_i64(&[index], [1]);
    let scalar = || Tensor::scalar(1.0);
    let cases: [(&str, &dyn Fn() -> Tensor); 21] = [
        ("sum", &|| ones(&[2]).sum_dim(1, false)),
        ("mean", &|| ones(&[2]).mean_dim(-2, false)),
        ("softmax", &|| ones(&[2]).softmax(1)),
        ("amax", &|| ones(&[2]).amax(isize::MIN, false)),
        ("transpose", &|| ones(&[2, 3]).transpose(0, 2)),
        ("unsqueeze", &|| ones(&[2]).unsqueeze(3)),
        ("squeeze", &|| ones(&[2]).squeeze_dim(2)),
        ("select", &|| ones(&[2]).select(0, -3)),
        ("select of a scalar", &|| scalar().select(0, 0)),
        ("narrow", &|| ones(&[4]).narrow(0, 2, 3)),
        ("narrow far", &|| ones(&[4]).narrow(0, isize::MAX, usize::MAX)),
        ("narrow before", &|| ones(&[4]).narrow(0, -5, 1)),
        ("narrow of a scalar", &|| scalar().narrow(0, 0, 0)),
        ("unbind of a scalar", &|| scalar().unbind(0).remove(0)),
        ("cat of scalars", &|| Tensor::cat(&[&scalar(), &scalar()], 0)),
        ("gather", &|| ones(&[2]).gather(0, &at(2))),
        ("index_select", &|| ones(&[2]).index_select(0, &at(-1))),
        ("one_hot", &|| at(3).one_hot(3)),
        ("nll_loss", &|| ones(&[1, 2]).nll_loss(&at(2), Reduction::Mean)),
        ("log_prob", &|| ones(&[1, 2]).categorical_log_prob(&at(2))),
        ("cross_entropy", &|| ones(&[1, 2]).cross_entropy(&at(-100), Reduction::Mean)),
    ];
    for (name, case) in cases {
        assert_eq!(refused(case), "IndexOutOfRange", "{name}");
    }
}

#[test]
fn other_element_types_are_refused_and_never_converted() {
    let whole = || Tensor::from_i64(&[1, 2], [2]);
    let flags = || Tensor::from_bool(&[true, false], [2]);
    let cases: [(&str, &dyn Fn() -> Tensor); 14] = [
        ("add", &|| whole() + ones(&[2])),
        ("mul", &|| ones(&[2]) * flags()),
        ("exp", &|| whole().exp()),
        ("sum", &|| whole().sum()),
        ("softmax", &|| flags().softmax(0)),
        ("matmul", &|| whole().matmul(&ones(&[2]))),
        ("linear", &|| ones(&[2]).linear(&Tensor::from_i64(&[1, 2], [1, 2]), None)),
        ("cat", &|| Tensor::cat(&[&ones(&[2]), &whole()], 0)),
        ("where condition", &|| Tensor::where_(&whole(), &ones(&[2]), &ones(&[2]))),
        ("where branch", &|| Tensor::where_(&flags(), &whole(), &ones(&[2]))),
        ("masked_fill", &|| ones(&[2]).masked_fill(&ones(&[2]), 0.0)),
        ("gather", &|| ones(&[2]).gather(0, &ones(&[2]))),
        ("nll_loss", &|| ones(&[2, 2]).nll_loss(&ones(&[2]), Reduction::Mean)),
        ("one_hot", &|| ones(&[2]).one_hot(3)),
    ];
    for (name, case) in cases {
        assert_eq!(refused(case), "DtypeMismatch", "{name}");
    }
    assert_eq!(refused(|| ones(&[2]).copy_(&whole())), "DtypeMismatch");
    assert_eq!(refused(|| whole().add_(&ones(&[2]))), "DtypeMismatch");
    assert_eq!(refused(|| whole().to_vec()), "DtypeMismatch");
}

#[test]
fn a_write_never_grows_its_target() {
    let target = ones(&[2]);
    let wide = ones(&[3, 2]);
    assert_eq!(refused(|| target.add_(&wide)), "ShapeMismatch");
    assert_eq!(refused(|| target.copy_(&wide)), "ShapeMismatch");
    assert_eq!(refused(|| target.lerp_(&wide, 0.5)), "ShapeMismatch");
    let mask = Tensor::from_bool(&[true; 6], [3, 2]);
    assert_eq!(refused(|| target.masked_fill_(&mask, 0.0)), "ShapeMismatch");
    assert_eq!((target.to_vec(), target.version()), (vec![1.0, 1.0], 0));
}

#[test]
fn tensors_without_elements_have_defined_results_and_gradients() {
    let empty = || Tensor::zeros([0, 3]).requires_grad_(true);
    let x = empty();
    (x.exp().softmax(1).sum() + x.mean_dim(1, false).sum()).backward();
    assert_eq!(x.grad().map(|grad| grad.dims().to_vec()), Some(vec![0, 3]));
    assert_eq!(Tensor::zeros([2, 0]).sum_dim(1, false).to_vec(), [0.0, 0.0]);
    assert!(Tensor::zeros([0]).mean().item().is_nan());
    assert_eq!(ones(&[2, 0]).matmul(&ones(&[0, 2])).to_vec(), [0.0; 4]);
    assert_eq!(ones(&[0, 3]).linear(&ones(&[4, 3]), None).dims(), [0, 4]);
    assert_eq!(ones(&[2, 0]).linear(&ones(&[4, 0]), Some(&ones(&[4]))).to_vec(), [1.0; 8]);
    assert_eq!(Tensor::cat(&[&ones(&[0, 2]), &ones(&[1, 2])], 0).dims(), [1, 2]);
    assert_eq!(ones(&[0]).split(2, 0).len(), 1);
    for kind in [
        refused(|| Tensor::zeros([0]).max()),
        refused(|| Tensor::zeros([2, 0]).amin(1, false)),
        refused(|| Tensor::zeros([0]).argmax(0)),
    ] {
        assert_eq!(kind, "EmptyReduction");
    }
    assert_eq!(refused(|| Tensor::zeros([0, 3]).view([0, -1])), "AmbiguousReshape");
    assert_eq!(refused(|| Tensor::zeros([0]).item()), "ShapeMismatch");
}

#[test]
fn tensors_without_dimensions_reduce_along_their_only_line() {
    let x = || Tensor::scalar(2.0).requires_grad_(true);
    let ops: [fn(&Tensor) -> Tensor; 8] = [
        |x| x.sum_dim(0, false),
        |x| x.mean_dim(-1, true),
        |x| x.cumsum(0),
        |x| x.amax(0, false),
        |x| x.max_dim(0, false).0,
        |x| x.log_softmax(0),
        |x| x.logsumexp(0, false),
        |x| x.flip(&[0]),
    ];
    for (at, op) in ops.into_iter().enumerate() {
        let x = x();
        let y = op(&x);
        y.backward();
        let expected = if at == 5 { (0.0, 0.0) } else { (2.0, 1.0) };
        let grad = x.grad().map(|grad| grad.item());
        assert_eq!((y.item(), grad), (expected.0, Some(expected.1)), "operation {at}");
    }
}

#[test]
fn nan_and_infinity_pass_through_instead_of_vanishing() {
    let x = Tensor::from_slice(&[1.0, f32::NAN, f32::INFINITY], [3]);
    assert!(x.max().item().is_nan() && x.min().item().is_nan());
    assert_eq!(x.argmax(0).to_vec_i64(), [1]);
    assert!(x.relu().to_vec()[1].is_nan() && x.clamp(0.0, 2.0).to_vec()[1].is_nan());
    assert!(x.softmax(0).to_vec().iter().all(|p| p.is_nan()));
    let masked = Tensor::from_slice(&[f32::NEG_INFINITY, 0.0], [2]);
    assert_eq!(masked.softmax(0).to_vec(), [0.0, 1.0]);
    assert!(
        ones(&[1, 2])
            .cross_entropy_ignoring(&Tensor::from_i64(&[-1], [1]), Some(-1), Reduction::Mean,)
            .item()
            .is_nan()
    );
}

#[test]
fn a_hook_that_returns_another_shape_is_refused() {
    let w = ones(&[2]).requires_grad_(true);
    w.register_hook(|_| Some(Tensor::ones([3])));
    assert_eq!(refused(|| (&w * 2.0).sum().backward()), "GradShapeMismatch");
}

/// A small generator of shapes and arguments; the same sequence in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % n
    }

    fn shape(&mut self) -> Vec<usize> {
        (0..self.below(4)).map(|_| self.below(4) as usize).collect()
    }

    fn int(&mut self) -> isize {
        self.below(8) as isize - 4
    }

    fn leaf(&mut self) -> Tensor {
        let shape = self.shape();
        let leaf = ones(&shape).requires_grad_(true);
        if self.below(3) == 0 && shape.len() > 1 { leaf.transpose(0, -1) } else { leaf }
    }

    fn index(&mut self) -> Tensor {
        let shape = self.shape();
        let numel = shape.iter().product();
        let index: Vec<i64> = (0..numel).map(|_| self.below(4) as i64).collect();
        Tensor::from_i64(&index, shape)
    }
}

/// One of the operations with arguments that may or may not fit.
fn anything(draw: &mut Draw) -> Tensor {
    let (x, y, index) = (draw.leaf(), draw.leaf(), draw.index());
    let (a, b, c) = (draw.int(), draw.int(), draw.int());
    let size = draw.below(4) as usize;
    let (keep, reduction) = (draw.below(2) == 0, Reduction::Mean);
    let last = |mut parts: Vec<Tensor>| parts.pop().unwrap_or_else(|| Tensor::zeros([0]));
    match draw.below(44) {
        0 => x.sum_dim(a, keep),
        1 => x.mean_dims(&[a, b], keep),
        2 => x.var_dims(&[a, b], true, keep),
        3 => x.std_dim(a, false, keep),
        4 => x.amax(a, keep),
        5 => x.amin_dims(&[a, b], keep),
        6 => x.max_dim(a, keep).0,
        7 => x.min(),
        8 => x.cumsum(a),
        9 => x.softmax(a),
        10 => x.log_softmax(a),
        11 => x.logsumexp_dims(&[a, b], keep),
        12 => x.view([a, b]),
        13 => x.reshape([a, b, c]),
        14 => x.expand([a, b, c]),
        15 => x.transpose(a, b),
        16 => x.permute([a, b]),
        17 => x.narrow(a, b, size),
        18 => x.select(a, b),
        19 => x.unsqueeze(a),
        20 => x.squeeze_dim(a),
        21 => x.squeeze(),
        22 => last(x.split(size, a)),
        23 => last(x.split_sizes(&[size, 1], a)),
        24 => last(x.chunk(size, a)),
        25 => last(x.unbind(a)),
        26 => x.flip(&[a, b]),
        27 => x.repeat(&[size, 2, 1]),
        28 => Tensor::cat(&[&x, &y], a),
        29 => Tensor::stack(&[&x, &y], a),
        30 => x.gather(a, &index),
        31 => x.scatter_add(a, &index, &y),
        32 => x.index_select(a, &index),
        33 => x.matmul(&y),
        34 => x.linear(&y, None),
        35 => x.nll_loss(&index, reduction),
        36 => x.cross_entropy_ignoring(&index, Some(1), reduction),
        37 => x.layer_norm(y.dims(), Some(&y), None, 1e-5),
        38 => x.smooth_l1_loss(&y),
        39 => x.unsqueeze(0).conv2d(&y.unsqueeze(0), None, size, 1),
        40 => &x / &y,
        41 => x.maximum(&y),
        42 => x.pow_tensor(&y),
        _ => index.one_hot(size),
    }
}

#[test]
fn arbitrary_arguments_are_accepted_or_refused_and_never_crash() {
    let mut draw = Draw(7);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let done = catch(|| {
            let y = anything(&mut draw);
            if y.requires_grad() {
                (&y * &y).sum().backward();
            }
        });
        accepted += usize::from(done.is_ok());
    }
    assert!((2_000..18_000).contains(&accepted), "{accepted} were accepted");
}
