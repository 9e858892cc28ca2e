//! Every differentiable operation against finite differences: its gradient, and where it is smooth,
//! the gradient of its gradient.

use std::collections::BTreeSet;
use std::path::Path;

use rlrun_tensor::{Activation, Backward, CellWeights, NewAxis, Reduction, Tensor, grad};

type Function = Box<dyn Fn(&[Tensor]) -> Tensor>;

/// An operation with inputs away from its kinks.
struct Case {
    name: &'static str,
    inputs: Vec<Tensor>,
    /// Whether it has a second derivative worth checking; linear ones and kinks have none.
    smooth: bool,
    f: Function,
}

fn case(name: &'static str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor + 'static) -> Case {
    Case { name, inputs: inputs.to_vec(), smooth: true, f: Box::new(f) }
}

/// `[2, 3]` numbers of both signs.
fn signed() -> Tensor {
    Tensor::from_slice(&[0.7, -1.3, 0.45, 1.6, -0.6, 1.1], [2, 3])
}

/// `[2, 3]` positive numbers, none equal to its counterpart in `signed`.
fn positive() -> Tensor {
    Tensor::from_slice(&[0.9, 1.3, 0.55, 1.2, 0.8, 1.5], [2, 3])
}

/// Numbers of any shape, in no order.
fn some(shape: &[usize]) -> Tensor {
    let numel = shape.iter().product::<usize>();
    let values = (0..numel).map(|i| (1.0 + i as f32 * 2.3).sin() * 0.8);
    Tensor::from_vec(values.collect(), shape)
}

fn mask() -> Tensor {
    Tensor::from_bool(&[true, false, false, true, true, false], [2, 3])
}

fn classes() -> Tensor {
    Tensor::from_i64(&[2, 0], [2])
}

/// A result written in place, so that history passes through the write.
fn written(x: &Tensor, write: impl FnOnce(&Tensor)) -> Tensor {
    let y = x * 1.0;
    write(&y);
    y
}

macro_rules! unary {
    ($($x:expr => $name:ident, $in_place:ident $(($($arg:expr),*))?;)*) => { vec![$(
        case(stringify!($name), &[$x], |x| x[0].$name($($($arg),*)?)),
        case(stringify!($in_place), &[$x], |x| written(&x[0], |y| y.$in_place($($($arg),*)?))),
    )*] };
}

fn of_one() -> Vec<Case> {
    unary! {
        signed() => neg, neg_;
        signed() => exp, exp_;
        signed() => expm1, expm1_;
        positive() => log, log_;
        positive() => log1p, log1p_;
        positive() => sqrt, sqrt_;
        positive() => rsqrt, rsqrt_;
        positive() => reciprocal, reciprocal_;
        signed() => square, square_;
        signed() => abs, abs_;
        signed() => sin, sin_;
        signed() => cos, cos_;
        signed() => tanh, tanh_;
        signed() => sigmoid, sigmoid_;
        signed() => relu, relu_;
        signed() => leaky_relu, leaky_relu_(0.2);
        signed() => elu, elu_(1.5);
        signed() => silu, silu_;
        signed() => gelu, gelu_;
        signed() => gelu_tanh, gelu_tanh_;
        signed() * 0.3 => atanh, atanh_;
        signed() => floor, floor_;
        signed() => ceil, ceil_;
        signed() => round, round_;
        signed() => erf, erf_;
        positive() => digamma, digamma_;
        positive() => polygamma, polygamma_(1);
        signed() => softplus, softplus_;
        signed() => softplus_with, softplus_with_(2.0, 2.5);
        signed() => logsigmoid, logsigmoid_;
        signed() => clamp, clamp_(-0.9, 0.9);
        signed() => clamp_min, clamp_min_(0.1);
        signed() => clamp_max, clamp_max_(0.1);
        positive() => pow, pow_(2.5);
        signed() => sign, sign_;
    }
}

fn of_two() -> Vec<Case> {
    let row = || Tensor::from_slice(&[0.65, 1.4, -0.8], [3]);
    let both = || [signed(), row()];
    let steep = || [positive(), row().abs()];
    vec![
        case("add", &both(), |x| &x[0] + &x[1]),
        case("sub", &both(), |x| &x[0] - &x[1]),
        case("mul", &both(), |x| &x[0] * &x[1]),
        case("div", &both(), |x| &x[0] / &x[1]),
        case("maximum", &both(), |x| x[0].maximum(&x[1])),
        case("minimum", &both(), |x| x[0].minimum(&x[1])),
        case("pow_tensor", &steep(), |x| x[0].pow_tensor(&x[1])),
        case("log_beta", &steep(), |x| x[0].log_beta(&x[1])),
        case("lerp", &both(), |x| x[0].lerp(&x[1], 0.3)),
        case("where_", &both(), |x| Tensor::where_(&mask(), &x[0], &x[1])),
        case("masked_fill", &[signed()], |x| x[0].masked_fill(&mask(), 2.0)),
        case("add_scalar", &[signed()], |x| x[0].add_scalar(0.5)),
        case("sub_scalar", &[signed()], |x| x[0].sub_scalar(0.5)),
        case("rsub_scalar", &[signed()], |x| x[0].rsub_scalar(0.5)),
        case("mul_scalar", &[signed()], |x| x[0].mul_scalar(0.5)),
        case("div_scalar", &[signed()], |x| x[0].div_scalar(0.5)),
        case("rdiv_scalar", &[positive()], |x| x[0].rdiv_scalar(0.5)),
        case("add_", &both(), |x| written(&x[0], |y| y.add_(&x[1]))),
        case("add_scaled_", &both(), |x| written(&x[0], |y| y.add_scaled_(&x[1], -0.7))),
        case("sub_", &both(), |x| written(&x[0], |y| y.sub_(&x[1]))),
        case("mul_", &both(), |x| written(&x[0], |y| y.mul_(&x[1]))),
        case("div_", &both(), |x| written(&x[0], |y| y.div_(&x[1]))),
        case("lerp_", &both(), |x| written(&x[0], |y| y.lerp_(&x[1], 0.3))),
        case("addcmul_", &[signed(), row(), positive()], |x| {
            written(&x[0], |y| y.addcmul_(&x[1], &x[2], 0.5))
        }),
        case("masked_fill_", &[signed()], |x| written(&x[0], |y| y.masked_fill_(&mask(), 2.0))),
        case("add_scalar_", &[signed()], |x| written(&x[0], |y| y.add_scalar_(0.5))),
        case("mul_scalar_", &[signed()], |x| written(&x[0], |y| y.mul_scalar_(0.5))),
        case("div_scalar_", &[signed()], |x| written(&x[0], |y| y.div_scalar_(0.5))),
        case("copy_", &both(), |x| written(&x[0], |y| y.narrow(0, 0, 1).copy_(&x[1]))),
        case("fill_", &[signed()], |x| written(&x[0], |y| y.select(0, 1).fill_(2.0))),
        case("zero_", &[signed()], |x| written(&x[0], |y| y.select(1, 1).zero_())),
    ]
}

fn reductions() -> Vec<Case> {
    let cube = || some(&[2, 3, 2]);
    vec![
        case("sum", &[signed()], |x| x[0].sum()),
        case("sum_dim", &[signed()], |x| x[0].sum_dim(0, false)),
        case("sum_dims", &[cube()], |x| x[0].sum_dims(&[0, 2], true)),
        case("mean", &[signed()], |x| x[0].mean()),
        case("mean_dim", &[signed()], |x| x[0].mean_dim(1, true)),
        case("mean_dims", &[cube()], |x| x[0].mean_dims(&[0, 1], false)),
        case("var", &[signed()], |x| x[0].var()),
        case("var_dim", &[signed()], |x| x[0].var_dim(1, true, false)),
        case("var_dims", &[cube()], |x| x[0].var_dims(&[1, 2], false, true)),
        case("std", &[signed()], |x| x[0].std()),
        case("std_dim", &[signed()], |x| x[0].std_dim(1, true, false)),
        case("std_dims", &[cube()], |x| x[0].std_dims(&[1, 2], true, false)),
        case("max", &[signed()], |x| x[0].max()),
        case("min", &[signed()], |x| x[0].min()),
        case("amax", &[signed()], |x| x[0].amax(1, false)),
        case("amin", &[signed()], |x| x[0].amin(0, true)),
        case("amax_dims", &[cube()], |x| x[0].amax_dims(&[0, 2], false)),
        case("amin_dims", &[cube()], |x| x[0].amin_dims(&[0, 2], true)),
        case("max_dim", &[signed()], |x| x[0].max_dim(1, false).0),
        case("min_dim", &[signed()], |x| x[0].min_dim(1, true).0),
        case("cumsum", &[signed()], |x| x[0].cumsum(1)),
        case("prod", &[signed()], |x| x[0].prod()),
        case("prod_dim", &[some(&[2, 5])], |x| x[0].prod_dim(1, false)),
        case("norm", &[signed()], |x| x[0].norm()),
        case("norm_dim", &[signed()], |x| x[0].norm_dim(0, true)),
        case("sort", &[signed()], |x| x[0].sort(1, true).0),
        case("topk", &[signed()], |x| x[0].topk(2, 1).0),
        case("softmax", &[signed()], |x| x[0].softmax(1)),
        case("log_softmax", &[signed()], |x| x[0].log_softmax(0)),
        case("logsumexp", &[signed()], |x| x[0].logsumexp(1, false)),
        case("logsumexp_dims", &[cube()], |x| x[0].logsumexp_dims(&[0, 2], true)),
    ]
}

fn shapes() -> Vec<Case> {
    let one = || some(&[2, 1, 3]);
    vec![
        case("view", &[signed()], |x| x[0].view([3, 2])),
        case("reshape", &[signed()], |x| x[0].transpose(0, 1).reshape([6])),
        case("expand", &[one()], |x| x[0].expand([2, 4, -1])),
        case("transpose", &[signed()], |x| x[0].transpose(0, 1)),
        case("permute", &[one()], |x| x[0].permute([2, 0, 1])),
        case("narrow", &[signed()], |x| x[0].narrow(1, 1, 2)),
        case("select", &[signed()], |x| x[0].select(1, -1)),
        case("unsqueeze", &[signed()], |x| x[0].unsqueeze(1)),
        case("squeeze_dim", &[one()], |x| x[0].squeeze_dim(1)),
        case("squeeze", &[one()], |x| x[0].squeeze()),
        case("split", &[signed()], |x| x[0].split(2, 1).remove(1)),
        case("split_sizes", &[signed()], |x| x[0].split_sizes(&[1, 2], 1).remove(1)),
        case("chunk", &[signed()], |x| x[0].chunk(2, 0).remove(1)),
        case("unbind", &[signed()], |x| x[0].unbind(1).remove(2)),
        case("clone_contiguous", &[signed()], |x| x[0].clone_contiguous()),
        case("contiguous", &[signed()], |x| x[0].transpose(0, 1).contiguous()),
        case("flip", &[signed()], |x| x[0].flip(&[0, 1])),
        case("repeat", &[signed()], |x| x[0].repeat(&[2, 1, 3])),
        case("cat", &[signed(), positive()], |x| Tensor::cat(&[&x[0], &x[1]], 1)),
        case("stack", &[signed(), positive()], |x| Tensor::stack(&[&x[0], &x[1]], 1)),
        case("gather", &[signed()], |x| x[0].gather(1, &Tensor::from_i64(&[2, 2, 0, 1], [2, 2]))),
        case("scatter_add", &[signed(), some(&[2, 2])], |x| {
            x[0].scatter_add(1, &Tensor::from_i64(&[2, 2, 0, 1], [2, 2]), &x[1])
        }),
        case("i", &[signed()], |x| x[0].i((1, NewAxis, 1..))),
        case("masked_select", &[signed()], |x| x[0].masked_select(&mask())),
        case("index_select", &[signed()], |x| {
            x[0].index_select(1, &Tensor::from_i64(&[2, 0, 2], [3]))
        }),
    ]
}

fn losses() -> Vec<Case> {
    let both = || [signed(), positive()];
    let (mean, sum) = (Reduction::Mean, Reduction::Sum);
    vec![
        case("mse_loss", &both(), |x| x[0].mse_loss(&x[1])),
        case("mse_loss_with", &both(), move |x| x[0].mse_loss_with(&x[1], sum)),
        case("l1_loss_with", &both(), move |x| x[0].l1_loss_with(&x[1], mean)),
        case("smooth_l1_loss", &both(), |x| x[0].smooth_l1_loss(&x[1])),
        case("smooth_l1_loss_with", &both(), move |x| {
            x[0].smooth_l1_loss_with(&x[1], 0.7, Reduction::None)
        }),
        case("huber_loss_with", &both(), move |x| x[0].huber_loss_with(&x[1], 0.7, sum)),
        case("categorical_log_prob", &[signed()], move |x| x[0].categorical_log_prob(&classes())),
        case("categorical_entropy", &[signed()], |x| x[0].categorical_entropy()),
        case("nll_loss", &[signed()], move |x| x[0].nll_loss(&classes(), mean)),
        case("nll_loss_ignoring", &[signed()], move |x| {
            x[0].nll_loss_ignoring(&classes(), Some(2), mean)
        }),
        case("cross_entropy", &[signed()], move |x| x[0].cross_entropy(&classes(), mean)),
        case("cross_entropy_ignoring", &[signed()], move |x| {
            x[0].cross_entropy_ignoring(&classes(), Some(0), Reduction::None)
        }),
        case("binary_cross_entropy_with_logits", &both(), move |x| {
            x[0].binary_cross_entropy_with_logits(&x[1], mean)
        }),
    ]
}

fn layers() -> Vec<Case> {
    let cell = |gates: usize| {
        [
            some(&[2, 3]),
            some(&[2, 2]),
            some(&[gates, 3]),
            some(&[gates, 2]),
            some(&[gates]),
            some(&[gates]),
        ]
    };
    fn weights(x: &[Tensor]) -> CellWeights<'_> {
        CellWeights { w_ih: &x[2], w_hh: &x[3], b_ih: &x[4], b_hh: &x[5] }
    }
    let mut lstm = cell(8).to_vec();
    lstm.push(some(&[2, 2]));
    vec![
        case("matmul", &[some(&[2, 2, 3]), some(&[3, 2])], |x| x[0].matmul(&x[1])),
        case("linear", &[signed(), some(&[4, 3]), some(&[4])], |x| x[0].linear(&x[1], Some(&x[2]))),
        case("linear_act", &[signed(), some(&[4, 3]), some(&[4])], |x| {
            x[0].linear_act(&x[1], Some(&x[2]), Activation::Tanh)
        }),
        case("layer_norm", &[signed(), some(&[3]), some(&[3])], |x| {
            x[0].layer_norm(&[3], Some(&x[1]), Some(&x[2]), 1e-2)
        }),
        case("conv2d", &[some(&[1, 2, 4, 4]), some(&[2, 2, 2, 2]), some(&[2])], |x| {
            x[0].conv2d(&x[1], Some(&x[2]), 2, 1)
        }),
        case("max_pool2d", &[some(&[1, 2, 4, 4])], |x| x[0].max_pool2d(2, 1, 1)),
        case("avg_pool2d", &[some(&[1, 2, 4, 4])], |x| x[0].avg_pool2d(3, 2, 1)),
        case("lstm_cell", &lstm, |x| {
            let (h, c) = x[0].lstm_cell(&x[1], &x[6], weights(x));
            h + c
        }),
        case("gru_cell", &cell(6), |x| x[0].gru_cell(&x[1], weights(x))),
    ]
}

fn table() -> Vec<Case> {
    let mut cases = of_one();
    cases.extend([of_two(), reductions(), shapes(), losses(), layers()].into_iter().flatten());
    for case in &mut cases {
        // Their gradients jump, which a difference cannot follow.
        case.smooth = !["abs", "sign", "l1_loss_with"].contains(&case.name);
    }
    cases
}

/// Unequal weights for the elements of a result.
fn weights_of(shape: &[usize]) -> Tensor {
    let numel = shape.iter().product::<usize>();
    Tensor::from_vec((0..numel).map(|i| 0.4 + (i as f32 * 1.7).cos() * 0.5).collect(), shape)
}

fn leaves(inputs: &[Tensor]) -> Vec<Tensor> {
    inputs.iter().map(|x| x.copy().requires_grad_(true)).collect()
}

/// Σ w · y in f64.
fn weighed(y: &Tensor) -> f64 {
    let pairs = y.to_vec().into_iter().zip(weights_of(y.dims()).to_vec());
    pairs.map(|(y, w)| f64::from(y) * f64::from(w)).sum()
}

/// The gradients of Σ w · f(x), recorded if `recorded`; zeros where an input plays no part.
fn gradients(f: &Function, inputs: &[Tensor], recorded: bool) -> Vec<Tensor> {
    let total = (f(inputs) * weights_of(f(inputs).dims())).sum();
    let wrt: Vec<&Tensor> = inputs.iter().collect();
    let options = Backward { create_graph: recorded, ..Backward::default() };
    let found = total.grad_of(&wrt, options);
    found.into_iter().zip(inputs).map(|(g, x)| g.unwrap_or_else(|| x.zeros_like())).collect()
}

/// Compares gradients with central differences of `value`, element by element.
fn compare(name: &str, inputs: &[Tensor], analytic: &[Tensor], value: impl Fn(&[Tensor]) -> f64) {
    const STEP: f32 = 1e-2;
    for (at, gradient) in analytic.iter().enumerate() {
        for (element, exact) in gradient.to_vec().into_iter().enumerate() {
            let moved = |step: f32| {
                let mut inputs = inputs.to_vec();
                let mut values = inputs[at].to_vec();
                values[element] += step;
                inputs[at] = Tensor::from_vec(values, inputs[at].dims());
                value(&leaves(&inputs))
            };
            let difference = (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP);
            let exact = f64::from(exact);
            assert!(
                (exact - difference).abs() <= 3e-3 * (1.0 + difference.abs()),
                "{name}: input {at}, element {element}: {exact}, by differences {difference}"
            );
        }
    }
}

#[test]
fn gradients_agree_with_central_differences() {
    for Case { name, inputs, f, .. } in table() {
        let analytic = gradients(&f, &leaves(&inputs), false);
        compare(name, &inputs, &analytic, |inputs| weighed(&f(inputs)));
    }
}

#[test]
fn second_derivatives_agree_with_central_differences() {
    for Case { name, inputs, f, .. } in table().into_iter().filter(|case| case.smooth) {
        let inputs_ = leaves(&inputs);
        let first = gradients(&f, &inputs_, true);
        let parts = first.iter().map(|g| (g * weights_of(g.dims())).sum());
        let total = parts.reduce(|a, b| a + b).expect("an input");
        let wrt: Vec<&Tensor> = inputs_.iter().collect();
        let second: Vec<Tensor> = if total.requires_grad() {
            let found = total.grad_of(&wrt, Backward::default());
            let zero = |(g, x): (Option<Tensor>, &Tensor)| g.unwrap_or_else(|| x.zeros_like());
            found.into_iter().zip(&inputs_).map(zero).collect()
        } else {
            inputs_.iter().map(Tensor::zeros_like).collect()
        };
        let slope = |inputs: &[Tensor]| gradients(&f, inputs, false).iter().map(weighed).sum();
        compare(&format!("{name}, second order"), &inputs, &second, slope);
    }
}

#[test]
fn recording_the_walk_does_not_change_the_bits_of_a_gradient() {
    for Case { name, inputs, f, .. } in table() {
        let bits = |recorded: bool| {
            let gradients = gradients(&f, &leaves(&inputs), recorded);
            let numbers = gradients.iter().flat_map(Tensor::to_vec);
            numbers.map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(bits(true), bits(false), "{name}");
    }
}

/// Public functions of tensors that have no gradient of their own.
const WITHOUT_GRADIENT: [&str; 22] = [
    "nonzero",
    "copy",
    "argmax",
    "one_hot",
    "mul_out",
    "mul_scalar_out",
    "sum_of_squares",
    "base",
    "argmin",
    "argsort",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "any_dim",
    "all_dim",
    "logical_and",
    "logical_or",
    "logical_not",
    "to_dtype",
];

/// The names of all public operations, by their source.
fn public_operations() -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("view.rs"), source.join("inplace.rs")];
    let ops = std::fs::read_dir(source.join("ops")).expect("the operations");
    files.extend(ops.map(|entry| entry.expect("an entry").path()));
    let mut names = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let functions = text.split("\n    pub fn ").skip(1);
        let of_tensors = |rest: &&str| {
            let signature = rest.split('{').next().unwrap_or_default();
            signature.contains("-> Tensor")
                || signature.contains("-> Vec<Tensor>")
                || signature.contains("-> (Tensor, Tensor)")
                || signature.split('(').next().is_some_and(|name| name.ends_with('_'))
        };
        let name = |rest: &str| rest.split('(').next().unwrap_or_default().to_owned();
        names.extend(functions.filter(of_tensors).map(name));
        // The table of functions of one number: `name, name_, what is kept, …`.
        let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
        let pairs = lines.filter_map(|line| line.split_once(", "));
        names.extend(
            pairs
                .filter(|(name, rest)| rest.starts_with(&format!("{name}_")))
                .map(|(name, _)| name.to_owned()),
        );
    }
    names.retain(|name| !name.starts_with('$'));
    assert!(names.len() > 80, "found only {names:?}");
    names
}

#[test]
fn every_public_operation_is_in_the_table() {
    let mut names = public_operations();
    names.retain(|name| !WITHOUT_GRADIENT.contains(&name.as_str()));
    let tested: BTreeSet<String> = table().iter().map(|case| case.name.to_owned()).collect();
    let missing: Vec<&String> = names.difference(&tested).collect();
    assert!(missing.is_empty(), "operations without a case: {missing:?}");
}

#[test]
fn the_page_of_operations_lists_them_all_and_no_others() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/operations.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (rules, without) = page.split_once("## Without a gradient").expect("both parts");
    let rows = rules.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.map(|row| row.split('|').next().unwrap_or_default());
    let listed: BTreeSet<String> = cells
        .flat_map(|cell| cell.split(['`', ',', ';', ' ']))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let tested: BTreeSet<String> = table().iter().map(|case| case.name.to_owned()).collect();
    let differ: Vec<&String> = tested.symmetric_difference(&listed).collect();
    assert!(differ.is_empty(), "on the page or in the table alone: {differ:?}");
    for name in WITHOUT_GRADIENT {
        assert!(without.contains(&format!("`{name}`")), "`{name}` is not on the page");
    }
}

#[test]
fn grad_gives_the_third_derivative_of_a_power() {
    let x = Tensor::from_slice(&[2.0], [1]).requires_grad_(true);
    let recorded = Backward { create_graph: true, ..Backward::default() };
    let first = grad(&x.pow(4.0).sum(), &[&x], recorded);
    let second = grad(&first[0].sum(), &[&x], recorded);
    let third = grad(&second[0].sum(), &[&x], Backward::default());
    assert_eq!(third[0].to_vec(), [48.0]);
}

#[test]
fn choices_in_one_pass_agree_with_the_operations_they_stand_for() {
    let numbers = |shape: &[usize], step: f32| {
        let len = shape.iter().product::<usize>();
        Tensor::from_vec((0..len).map(|i| 3.0 * (i as f32 * step).sin()).collect(), shape)
    };
    for (rows, width) in [(1, 1), (3, 2), (40, 2), (17, 5), (33, 16), (5, 70)] {
        let logits = numbers(&[rows, width], 1.7).requires_grad_(true);
        let twin = numbers(&[rows, width], 1.7).requires_grad_(true);
        let choices: Vec<i64> = (0..rows as i64).map(|row| row * 7 % width as i64).collect();
        let choices = Tensor::from_i64(&choices, [rows]);
        let weights = numbers(&[rows], 0.9);

        let fused = [logits.categorical_log_prob(&choices), logits.categorical_entropy()];
        let log_probs = twin.log_softmax(-1);
        let chosen = log_probs.gather(-1, &choices.unsqueeze(-1)).squeeze_dim(-1);
        let entropy = -(log_probs.exp() * &log_probs).sum_dim(-1, false);
        let near = |a: &Tensor, b: &Tensor| {
            let pairs = a.to_vec().into_iter().zip(b.to_vec());
            pairs.into_iter().all(|(a, b)| (a - b).abs() < 2e-5)
        };
        assert!(near(&fused[0], &chosen) && near(&fused[1], &entropy), "{rows} {width}");
        ((&fused[0] + &fused[1] * 0.5) * &weights).sum().backward();
        ((chosen + entropy * 0.5) * &weights).sum().backward();
        assert!(near(&logits.grad().unwrap(), &twin.grad().unwrap()), "{rows} {width}");
    }
}
