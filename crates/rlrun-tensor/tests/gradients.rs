//! Gradients: whose memory they are, where they stop, and what they must never become.

use rlrun_tensor::{
    Activation, Backward, Parameter, Reduction, Tensor, catch, grad, inference_mode, no_grad,
};

fn leaf(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, [values.len()]).requires_grad_(true)
}

fn grad_of(x: &Tensor) -> Vec<f32> {
    x.grad().expect("a gradient").to_vec()
}

const RECORDED: Backward<'_> =
    Backward { gradient: None, retain_graph: true, create_graph: true, inputs: None };

#[test]
fn two_leaves_never_share_one_gradient() {
    let (x, y) = (leaf(&[1.0, 2.0]), leaf(&[3.0, 4.0]));
    let z = &x + &y;
    (&z * &z).sum().backward_with(RECORDED);
    (&x * 3.0).sum().backward();
    assert_eq!(grad_of(&x), [11.0, 15.0]);
    assert_eq!(grad_of(&y), [8.0, 12.0]);
}

#[test]
fn the_callers_upstream_gradient_is_not_accumulated_into() {
    for create_graph in [false, true] {
        let x = leaf(&[1.0, 2.0]);
        let upstream = Tensor::ones([2]);
        x.backward_with(Backward {
            gradient: Some(&upstream),
            create_graph,
            ..Backward::default()
        });
        (&x * 5.0).sum().backward();
        assert_eq!(upstream.to_vec(), [1.0, 1.0]);
        assert_eq!(grad_of(&x), [6.0, 6.0]);
    }
}

#[test]
fn a_second_backward_adds_to_the_gradient_of_a_sum() {
    let x = leaf(&[1.0, 2.0]);
    x.sum().backward_with(RECORDED);
    x.sum().backward();
    assert_eq!(grad_of(&x), [2.0, 2.0]);
    let y = leaf(&[1.0, 2.0]);
    let loss = y.sum();
    inference_mode(|| {
        for _ in 0..2 {
            loss.backward_with(Backward { retain_graph: true, ..Backward::default() });
        }
    });
    assert_eq!(grad_of(&y), [2.0, 2.0]);
}

#[test]
fn a_tensor_may_be_its_own_gradient_in_a_recorded_walk() {
    let x = leaf(&[3.0, 4.0]);
    x.backward_with(Backward { gradient: Some(&x), ..RECORDED });
    assert_eq!(grad_of(&x), [3.0, 4.0]);
    let y = &x * 2.0;
    y.retain_grad();
    y.backward_with(Backward { gradient: Some(&y), inputs: Some(&[&y]), ..RECORDED });
    assert_eq!(grad_of(&y), [6.0, 8.0]);
}

#[test]
fn grad_of_a_result_stops_there_and_leaves_its_node_alone() {
    // A deterministic policy gradient by hand.
    let (w, x) = (leaf(&[0.5, -0.3]), Tensor::from_slice(&[1.0, 2.0], [2]));
    let action = (&w * &x).tanh();
    let value = (&action * 3.0).sum();
    let to_action = grad(&value, &[&action], Backward::default());
    action.backward_with(Backward { gradient: Some(&to_action[0]), ..Backward::default() });
    let expected = |w: f32, x: f32| 3.0 * x * (1.0 - (w * x).tanh().powi(2));
    for (found, expected) in grad_of(&w).into_iter().zip([expected(0.5, 1.0), expected(-0.3, 2.0)])
    {
        assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
    }
}

#[test]
fn grad_of_a_result_does_not_need_what_its_node_saved() {
    let x = leaf(&[2.0]);
    let h = &x * &x;
    let y = (&h * 3.0).sum();
    no_grad(|| x.fill_(7.0));
    assert_eq!(grad(&y, &[&h], Backward::default())[0].to_vec(), [3.0]);
}

#[test]
fn a_gradient_may_be_asked_for_twice() {
    let x = leaf(&[1.0, 2.0]);
    let y = (&x * &x).sum();
    let twice =
        grad(&y, &[&x, &x.contiguous()], Backward { retain_graph: true, ..Backward::default() });
    assert_eq!((twice[0].to_vec(), twice[1].to_vec()), (vec![2.0, 4.0], vec![2.0, 4.0]));
    let h = &x * 2.0;
    let both = grad(&h.sum(), &[&h, &h, &x], Backward::default());
    assert_eq!((both[1].to_vec(), both[2].to_vec()), (vec![1.0, 1.0], vec![2.0, 2.0]));
}

#[test]
fn backward_into_a_result_stores_its_gradient() {
    let x = leaf(&[1.0, 2.0]);
    let h = &x * 2.0;
    (&h * &h).sum().backward_with(Backward { inputs: Some(&[&h]), ..Backward::default() });
    assert_eq!(grad_of(&h), [4.0, 8.0]);
    assert!(x.grad().is_none());
}

#[test]
fn backward_into_nothing_or_a_constant_is_refused() {
    let x = leaf(&[1.0]);
    let refused = |inputs: &[&Tensor]| {
        let options = Backward { inputs: Some(inputs), ..Backward::default() };
        catch(|| x.sum().backward_with(options)).expect_err("refused").kind()
    };
    assert_eq!(refused(&[]), "NoInputs");
    assert_eq!(refused(&[&Tensor::ones([1])]), "GradWrtNotRequired");
}

#[test]
fn backward_from_a_view_made_in_no_grad_is_refused() {
    let x = leaf(&[1.0, 2.0]);
    let view = no_grad(|| x.select(0, 0));
    assert_eq!(catch(|| view.backward()).expect_err("no graph").kind(), "NoGraph");
}

#[test]
fn a_leaf_that_was_frozen_since_gets_no_gradient() {
    let freeze: [fn(&Tensor); 2] = [|w| w.set_requires_grad(false), Tensor::detach_];
    for freeze in freeze {
        let w = leaf(&[1.0, 2.0]);
        let loss = (&w * &w).sum();
        freeze(&w);
        loss.backward();
        assert!(w.grad().is_none());
    }
}

#[test]
fn an_overwritten_index_of_a_maximum_is_noticed() {
    let x = Tensor::from_slice(&[1.0, 5.0, 2.0], [1, 3]).requires_grad_(true);
    for (values, places) in [x.max_dim(1, false), x.min_dim(1, true)] {
        places.fill_(2.0);
        let error = catch(|| values.sum().backward()).expect_err("the index was saved");
        assert_eq!(error.kind(), "SavedTensorModified");
    }
}

#[test]
fn masks_select_gradients_also_of_infinite_slopes() {
    type Function = fn(&Tensor) -> Tensor;
    let mask = || Tensor::from_bool(&[true, false], [2]);
    let cases: [(&str, Function, [f32; 2], [f32; 2]); 7] = [
        ("clamp_min, sqrt", |x| x.clamp_min(0.0).sqrt(), [-1.0, 0.25], [0.0, 1.0]),
        ("clamp, log", |x| x.clamp(0.0, 1.0).log(), [-1.0, 2.0], [0.0, 0.0]),
        ("maximum", |x| 1.0 / x.maximum(&Tensor::zeros([2])), [-1.0, 1.0], [0.0, -1.0]),
        ("relu, sqrt", |x| x.relu().sqrt(), [-1.0, 0.25], [0.0, 1.0]),
        (
            "masked_fill",
            |x| x.masked_fill(&Tensor::from_bool(&[true, false], [2]), 0.0).sqrt(),
            [4.0, 0.25],
            [0.0, 1.0],
        ),
        (
            "where",
            |x| {
                let condition = Tensor::from_bool(&[false, true], [2]);
                Tensor::where_(&condition, x, &Tensor::scalar(0.0)).sqrt()
            },
            [4.0, 0.25],
            [0.0, 1.0],
        ),
        ("pow 0", |x| (x.pow(0.0) - 1.0).sqrt(), [0.0, 0.0], [0.0, 0.0]),
    ];
    for (name, f, at, expected) in cases {
        for create_graph in [false, true] {
            let x = leaf(&at);
            f(&x).sum().backward_with(Backward { create_graph, ..Backward::default() });
            assert_eq!(grad_of(&x), expected, "{name}, create_graph {create_graph}");
        }
    }
    let x = leaf(&[3.0, 0.5]);
    let y = &x * 1.0;
    y.masked_fill_(&mask(), 0.0);
    y.reciprocal().sum().backward();
    assert_eq!(grad_of(&x), [0.0, -4.0]);
}

#[test]
fn a_recorded_walk_gives_the_same_bits() {
    type Function = fn(&Tensor) -> Tensor;
    let numbers: Vec<f32> = (0..1200).map(|i| ((i * 37 % 101) as f32 - 50.0) / 17.0).collect();
    let weight = || {
        let numbers: Vec<f32> = (0..12).map(|i| (i as f32 * 0.7).sin()).collect();
        Tensor::from_vec(numbers, [6, 2])
    };
    let layer = |x: &Tensor, act| x.reshape([-1, 2]).linear_act(&weight(), None, act);
    type Apply<'a> = &'a dyn Fn(&Tensor) -> Tensor;
    let functions: [(&str, Apply<'_>); 8] = [
        ("tanh", &(Tensor::tanh as Function)),
        ("sigmoid", &(Tensor::sigmoid as Function)),
        ("relu", &(Tensor::relu as Function)),
        ("layer, tanh", &|x| layer(x, Activation::Tanh)),
        ("layer, sigmoid", &|x| layer(x, Activation::Sigmoid)),
        ("layer, relu", &|x| layer(x, Activation::Relu)),
        ("entropy", &|x| x.reshape([-1, 6]).categorical_entropy()),
        ("log_prob", &|x| {
            x.reshape([-1, 6]).categorical_log_prob(&Tensor::from_i64(&[3; 200], [200]))
        }),
    ];
    for (name, f) in functions {
        let gradient = |create_graph| {
            let x = leaf(&numbers);
            let y = f(&x);
            (&y * &y).sum().backward_with(Backward { create_graph, ..Backward::default() });
            grad_of(&x)
        };
        assert_eq!(gradient(false), gradient(true), "{name}");
    }
}

#[test]
fn the_gradients_of_a_layer_are_the_same_bits_for_every_number_of_rows() {
    for rows in [0, 1, 7, 700] {
        let gradients = |create_graph| {
            let numbers: Vec<f32> = (0..rows * 3).map(|i| (i as f32 * 0.31).cos()).collect();
            let x = Tensor::from_vec(numbers, [rows, 3]).requires_grad_(true);
            let weight = Tensor::from_vec((0..6).map(|i| i as f32 - 2.0).collect(), [2, 3]);
            let (weight, bias) = (Parameter::column_major(&weight), leaf(&[0.1, -0.2]));
            let y = x.linear_act(&weight, Some(&bias), Activation::Tanh);
            (&y * &y).sum().backward_with(Backward { create_graph, ..Backward::default() });
            [grad_of(&x), grad_of(&weight), grad_of(&bias)]
        };
        assert_eq!(gradients(false), gradients(true), "{rows} rows");
    }
}

#[test]
fn results_are_no_views() {
    let w = Tensor::ones([2, 3]).requires_grad_(true);
    let vector = Tensor::ones([3]);
    no_grad(|| {
        let results = [
            w.mean_dims(&[0], true),
            w.var_dims(&[0, 1], true, true),
            w.std_dims(&[1], true, true),
            w.amax_dims(&[0], true),
            w.amin_dims(&[0], true),
            w.logsumexp_dims(&[0], true),
            w.matmul(&vector),
            vector.matmul(&w.transpose(0, 1)),
            vector.matmul(&vector),
            w.repeat(&[1, 1, 1]),
            w.repeat(&[2, 0]),
            Tensor::ones([1, 1, 2, 2]).conv2d(&Tensor::ones([1, 1, 2, 2]), None, 1, 0),
        ];
        assert!(results.iter().all(|result| result.base().is_none()));
    });
    let scaled = no_grad(|| w.mean_dims(&[0], true));
    scaled.mul_(&w.select(0, 0));
    assert!(scaled.requires_grad());
}

#[test]
fn a_gradient_handed_out_is_no_view() {
    let x = leaf(&[1.0, 2.0]);
    let gradient = &grad(&x.reshape([2, 1]).sum(), &[&x], Backward::default())[0];
    assert!(gradient.base().is_none());
    (gradient * 2.0).add_(&x.select(0, 0));
}

#[test]
fn hooks_run_in_the_mode_of_the_walk_and_track_their_views() {
    let x = leaf(&[1.0, 2.0]);
    x.register_hook(|gradient| {
        assert!(gradient.select(0, 0).base().is_some());
        Some(gradient * 2.0)
    });
    x.sum().backward();
    assert_eq!(grad_of(&x), [2.0, 2.0]);
}

#[test]
fn losses_have_a_gradient_of_0_where_input_and_target_are_equal() {
    let (x, y) = (leaf(&[1.0, 2.0]), Tensor::from_slice(&[1.0, 5.0], [2]));
    x.smooth_l1_loss_with(&y, 0.0, Reduction::Sum).backward();
    assert_eq!(grad_of(&x), [0.0, -1.0]);
    for delta in [0.0, -1.0, f32::NAN] {
        let error = catch(|| x.huber_loss_with(&y, delta, Reduction::Sum)).expect_err("refused");
        assert_eq!(error.kind(), "InvalidArgument");
    }
}

#[test]
fn the_gradient_of_a_tiny_divisor_does_not_underflow_to_nan() {
    let (x, y) = (leaf(&[0.0]), leaf(&[1e-23]));
    (&x / &y).backward();
    assert_eq!(grad_of(&y), [0.0]);
}

#[test]
fn a_walk_is_linear_in_leaves() {
    let leaves: Vec<Tensor> = (0..50_000).map(|_| leaf(&[1.0])).collect();
    let loss = Tensor::cat(&leaves.iter().collect::<Vec<_>>(), 0).sum();
    let start = std::time::Instant::now();
    loss.backward();
    // A scan of the leaves for each of them took seconds.
    assert!(start.elapsed().as_secs_f64() < 1.0, "{:?}", start.elapsed());
    assert!(leaves.iter().all(|leaf| grad_of(leaf) == [1.0]));
}

#[test]
fn a_parameter_of_a_part_of_memory_trains() {
    let whole = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0], [2, 2]);
    let part = whole.narrow(1, 0, 1).detach();
    drop(whole);
    let spread = Tensor::ones([1]).expand([3]).detach();
    for data in [part, spread] {
        let before = data.to_vec();
        let parameter = Parameter::new(data);
        parameter.set_grad(Some(&Tensor::ones(parameter.dims())));
        parameter.update(|values, grads| {
            values.iter_mut().zip(grads).for_each(|(value, grad)| *value -= grad);
        });
        let expected: Vec<f32> = before.iter().map(|x| x - 1.0).collect();
        assert_eq!(parameter.to_vec(), expected);
    }
}

#[test]
fn a_gradient_of_whole_numbers_is_refused() {
    let x = leaf(&[1.0]);
    let error = catch(|| x.set_grad(Some(&Tensor::from_i64(&[1], [1])))).expect_err("refused");
    assert_eq!(error.kind(), "DtypeMismatch");
}

#[test]
fn convolutions_of_nothing_are_empty_or_the_bias() {
    let bias = |n| Tensor::full([n], 2.0).requires_grad_(true);
    // Images, kernels and what comes out: no images, no kernels, no channels.
    for (image, kernel, numel) in [
        ([0, 2, 3, 3], [4, 2, 2, 2], 0),
        ([2, 2, 3, 3], [0, 2, 2, 2], 0),
        ([2, 0, 3, 3], [4, 0, 2, 2], 32),
    ] {
        for padding in [0, 1] {
            let x = Tensor::ones(image).requires_grad_(true);
            let weight = Tensor::ones(kernel).requires_grad_(true);
            let bias = bias(kernel[0]);
            let y = x.conv2d(&weight, Some(&bias), 1, padding);
            assert!(y.to_vec().iter().all(|&y| y == 2.0), "{image:?}");
            assert!(padding > 0 || y.numel() == numel, "{:?}", y.dims());
            y.sum().backward();
            assert!(grad_of(&x).iter().chain(&grad_of(&weight)).all(|&grad| grad == 0.0));
        }
    }
}

#[test]
fn what_was_saved_before_detach_keeps_its_history_for_second_derivatives() {
    let x = Tensor::from_slice(&[2.0], [1]).requires_grad_(true);
    let h = &x * &x;
    let y = (&h * &h).sum();
    h.detach_();
    let options = Backward { create_graph: true, ..Backward::default() };
    // y = x⁴
    let first = grad(&y, &[&x], options).remove(0);
    assert_eq!(first.to_vec(), [32.0]);
    let second = grad(&first.sum(), &[&x], Backward::default()).remove(0);
    assert_eq!(second.to_vec(), [48.0]);
}
