//! Whatever is called, messages name the line of the caller: where a result was made, where an
//! operation was recorded, where a refusal ends the program.

use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rlrun_tensor::{
    Activation, Backward, Parameter, Reduction, Tensor, TensorError, catch, grad, inference_mode,
    no_grad, phase, phase_counts,
};

/// A call and its text.
type Op = (&'static str, fn(&Tensor) -> Tensor);
type Write = (&'static str, fn(&mut Tensor));
type Refusal = (&'static str, fn(&Tensor));

macro_rules! ops {
    ($($op:expr;)*) => { [$((stringify!($op), $op as fn(&Tensor) -> Tensor)),*] };
}

fn other(x: &Tensor) -> Tensor {
    no_grad(|| x.clone_contiguous())
}

fn places(extent: usize) -> Tensor {
    Tensor::from_i64(&vec![0; extent], [extent])
}

/// Every operation, of a matrix `[2, 2]` of numbers between 0 and 1 that requires grad.
fn operations() -> Vec<Op> {
    let mut all = Vec::new();
    all.extend(ops! {
        |x| x + &other(x); |x| x - &other(x); |x| x * &other(x); |x| x / &other(x);
        |x| x + 1.0; |x| x - 1.0; |x| x * 2.0; |x| x / 2.0; |x| 1.0 + x; |x| 1.0 - x; |x| 2.0 * x; |x| 1.0 / x;
        |x| -x; |x| x.exp(); |x| x.expm1(); |x| x.log(); |x| x.log1p(); |x| x.sqrt(); |x| x.sin();
        |x| x.cos(); |x| x.tanh(); |x| x.sigmoid(); |x| x.relu(); |x| x.abs(); |x| x.square();
        |x| x.softplus(); |x| x.gelu(); |x| x.silu(); |x| x.pow(3.0); |x| x.pow_tensor(&other(x));
        |x| x.clamp(0.1, 0.9); |x| x.maximum(&other(x)); |x| x.minimum(&other(x));
        |x| x.lerp(&other(x), 0.3); |x| Tensor::where_(&other(x).gt_scalar(0.5), x, &other(x));
        |x| x.masked_fill(&other(x).gt_scalar(0.5), 0.0);
    });
    all.extend(ops! {
        |x| x.sum(); |x| x.mean(); |x| x.var(); |x| x.std(); |x| x.prod(); |x| x.max(); |x| x.min();
        |x| x.norm(); |x| x.sum_dim(0, false); |x| x.mean_dim(0, false); |x| x.var_dim(0, true, false);
        |x| x.std_dim(0, true, false); |x| x.prod_dim(0, false); |x| x.norm_dim(0, false);
        |x| x.amax(0, false); |x| x.amin(0, false); |x| x.max_dim(0, false).0;
        |x| x.min_dim(0, false).0; |x| x.sum_dims(&[0], false); |x| x.mean_dims(&[0], false);
        |x| x.amax_dims(&[0], false); |x| x.amin_dims(&[0], false); |x| x.var_dims(&[0], true, false);
        |x| x.std_dims(&[0], true, false); |x| x.logsumexp(1, false); |x| x.logsumexp_dims(&[1], false);
        |x| x.cumsum(0); |x| x.softmax(1); |x| x.log_softmax(1); |x| x.sort(0, false).0;
        |x| x.topk(1, 0).0; |x| x.layer_norm(&[2], None, None, 1e-5);
    });
    all.extend(ops! {
        |x| x.view([4]); |x| x.reshape([4]); |x| x.transpose(0, 1).reshape([4]);
        |x| x.transpose(0, 1); |x| x.permute([1, 0]); |x| x.narrow(0, 0, 1); |x| x.select(0, 1);
        |x| x.unsqueeze(0); |x| x.narrow(0, 0, 1).squeeze_dim(0); |x| x.narrow(0, 0, 1).squeeze();
        |x| x.unsqueeze(0).expand([3, 2, 2]); |x| x.split(1, 0).remove(1);
        |x| x.chunk(2, 0).remove(1); |x| x.unbind(0).remove(1); |x| x.split_sizes(&[1, 1], 0).remove(1);
        |x| x.flip(&[0]); |x| x.repeat(&[2, 1]); |x| x.clone_contiguous(); |x| x.transpose(0, 1).contiguous();
        |x| x.gather(1, &places(2).view([1, 2])); |x| x.index_select(0, &places(3));
        |x| x.scatter_add(1, &places(4).view([2, 2]), x); |x| Tensor::cat(&[x, x], 0);
        |x| Tensor::stack(&[x, x], 0);
    });
    all.extend(ops! {
        |x| x.matmul(&other(x)); |x| x.matmul(&other(x).select(0, 0)); |x| x.linear(&other(x), None);
        |x| x.linear_act(&other(x), None, Activation::Tanh);
        |x| x.mse_loss(&other(x)); |x| x.smooth_l1_loss(&other(x));
        |x| x.huber_loss_with(&other(x), 1.0, Reduction::Mean);
        |x| x.l1_loss_with(&other(x), Reduction::Mean);
        |x| x.cross_entropy(&places(2), Reduction::Mean); |x| x.log_softmax(1).nll_loss(&places(2), Reduction::Mean);
        |x| x.binary_cross_entropy_with_logits(&other(x), Reduction::Mean);
        |x| x.categorical_log_prob(&places(2)); |x| x.categorical_entropy();
        |x| x.view([1, 1, 2, 2]).conv2d(&Tensor::ones([1, 1, 1, 1]), None, 1, 0);
        |x| x.view([1, 1, 2, 2]).max_pool2d(2, 1, 0);
        |x| x.view([1, 1, 2, 2]).avg_pool2d(2, 1, 0);
    });
    all
}

fn input() -> Tensor {
    Tensor::from_slice(&[0.5, 0.3, 0.7, 0.2], [2, 2]).requires_grad_(true)
}

#[test]
fn results_and_records_carry_the_line_of_the_caller() {
    let x = input();
    let mut elsewhere = Vec::new();
    for (text, op) in operations() {
        let result = phase("op", || op(&x));
        assert!(result.has_grad_fn(), "{text}");
        let made_at = result.origin().made_at;
        let (name, recorded_at) = phase_counts()[0].last_recorded.expect("a record");
        if made_at.file() != file!() {
            elsewhere.push(format!("`{text}` is said to be made at {made_at}"));
        }
        if recorded_at.file() != file!() {
            elsewhere.push(format!("`{name}` of `{text}` is said to be recorded at {recorded_at}"));
        }
    }
    assert!(elsewhere.is_empty(), "{}", elsewhere.join("\n"));
}

/// Writes to a matrix `[2, 2]`.
fn writes() -> Vec<Write> {
    macro_rules! writes {
        ($($op:expr;)*) => { vec![$((stringify!($op), $op as fn(&mut Tensor))),*] };
    }
    writes! {
        |x| *x += &other(x); |x| *x -= &other(x); |x| *x *= &other(x); |x| *x /= &other(x);
        |x| *x += other(x); |x| *x += 1.0; |x| *x -= 1.0; |x| *x *= 2.0; |x| *x /= 2.0;
        |x| x.add_(&other(x)); |x| x.sub_(&other(x)); |x| x.mul_(&other(x)); |x| x.div_(&other(x));
        |x| x.add_scaled_(&other(x), 2.0); |x| x.addcmul_(&other(x), &other(x), 1.0);
        |x| x.lerp_(&other(x), 0.5); |x| x.copy_(&other(x)); |x| x.fill_(1.0); |x| x.zero_();
        |x| x.masked_fill_(&x.gt_scalar(0.4), 0.0); |x| x.exp_(); |x| x.tanh_(); |x| x.relu_();
        |x| x.transpose(0, 1).mul_(&other(x)); |x| x.select(0, 1).fill_(2.0);
        |x| x.narrow(1, 0, 1).add_scalar_(1.0); |x| x.detach().zero_();
    }
}

#[test]
fn writes_carry_the_line_of_the_caller() {
    for (text, write) in writes() {
        let w = input();
        let mut x = no_grad(|| input().clone_contiguous());
        let y = &w * &x;
        no_grad(|| write(&mut x));
        let refused = catch(|| y.sum().backward());
        let Err(TensorError::SavedTensorModified { write: Some((op, at)), saved_at, .. }) = refused
        else {
            panic!("`{text}`: {refused:?}")
        };
        assert_eq!(at.file(), file!(), "`{op}` of `{text}` is said to be at {at}");
        assert_eq!(saved_at.file(), file!(), "{text}");
    }
}

/// Refused calls, of a matrix `[2, 2]` that requires grad.
fn refusals() -> Vec<Refusal> {
    macro_rules! refusals {
        ($($call:expr;)*) => { vec![$((stringify!($call), (|x| { let _ = $call(x); }) as fn(&Tensor))),*] };
    }
    fn wrong() -> Tensor {
        Tensor::ones([3, 5])
    }
    let mut all: Vec<Refusal> = refusals! {
        |x: &Tensor| x + &wrong(); |x: &Tensor| x - &wrong(); |x: &Tensor| x * &wrong();
        |x: &Tensor| x / &wrong(); |x: &Tensor| x + wrong(); |x: &Tensor| x.clone() * wrong();
        |x: &Tensor| x.pow_tensor(&wrong()); |x: &Tensor| x.maximum(&wrong());
        |x: &Tensor| x.lerp(&wrong(), 0.5); |x: &Tensor| x.masked_fill(&wrong().gt_scalar(0.0), 0.0);
        |x: &Tensor| Tensor::where_(&wrong().gt_scalar(0.0), x, x); |x: &Tensor| x.gt(&wrong());
        |x: &Tensor| x * &inference_mode(|| Tensor::ones([2, 2]));
        |x: &Tensor| x.sum_dim(2, false); |x: &Tensor| x.mean_dim(2, false);
        |x: &Tensor| x.sum_dims(&[0, 0], false); |x: &Tensor| x.mean_dims(&[0, 0], false);
        |x: &Tensor| x.amax(3, false); |x: &Tensor| x.argmax(3); |x: &Tensor| x.argmin(3);
        |x: &Tensor| x.narrow(0, 0, 0).amax(0, false); |x: &Tensor| x.narrow(0, 0, 0).max();
        |x: &Tensor| x.cumsum(2); |x: &Tensor| x.softmax(2); |x: &Tensor| x.log_softmax(2);
        |x: &Tensor| x.sort(2, false); |x: &Tensor| x.topk(3, 0); |x: &Tensor| x.logsumexp(2, false);
        |x: &Tensor| x.view([3]); |x: &Tensor| x.reshape([3]); |x: &Tensor| x.transpose(0, 2);
        |x: &Tensor| x.permute([0, 0]); |x: &Tensor| x.narrow(0, 1, 2); |x: &Tensor| x.select(0, 2);
        |x: &Tensor| x.unsqueeze(4); |x: &Tensor| x.squeeze_dim(4); |x: &Tensor| x.expand([3, 3]);
        |x: &Tensor| x.split(0, 0); |x: &Tensor| x.chunk(0, 0); |x: &Tensor| x.unbind(2);
        |x: &Tensor| x.split_sizes(&[1, 2], 0); |x: &Tensor| x.flip(&[2]); |x: &Tensor| x.flip(&[0, 0]);
        |x: &Tensor| x.repeat(&[2]); |x: &Tensor| x.gather(1, &places(3));
        |x: &Tensor| x.index_select(0, &Tensor::from_i64(&[2], [1]));
        |x: &Tensor| x.index_select(0, x); |x: &Tensor| Tensor::cat(&[x, &wrong()], 0);
        |x: &Tensor| Tensor::stack(&[x, &wrong()], 0); |x: &Tensor| Tensor::stack(&[x], 4);
        |x: &Tensor| x.matmul(&wrong()); |x: &Tensor| x.linear(&wrong(), None);
        |x: &Tensor| x.linear_act(&wrong(), None, Activation::Relu);
        |x: &Tensor| x.mse_loss(&wrong()); |x: &Tensor| x.cross_entropy(&places(3), Reduction::Mean);
        |x: &Tensor| x.categorical_log_prob(&Tensor::from_i64(&[2, 0], [2]));
        |x: &Tensor| x.huber_loss_with(&other(x), -1.0, Reduction::Mean);
        |x: &Tensor| x.layer_norm(&[3], None, None, 1e-5);
        |x: &Tensor| x.conv2d(&wrong(), None, 1, 0); |x: &Tensor| x.max_pool2d(2, 1, 0);
    };
    all.extend(refusals! {
        |x: &Tensor| x.add_scalar_(1.0); |x: &Tensor| x.select(0, 0).exp_(); |x: &Tensor| x.fill_(0.0);
        |x: &Tensor| { let mut y = x.clone(); y += 1.0 }; |x: &Tensor| { let mut y = x * 2.0; y -= wrong() };
        |x: &Tensor| (x * 2.0).unbind(0)[0].zero_(); |x: &Tensor| x.expand([3, 2, 2]).zero_();
        |x: &Tensor| no_grad(|| x.copy_(&wrong())); |x: &Tensor| x.mul_scalar_out(2.0, &other(x));
        |x: &Tensor| x.select(0, 0).detach_(); |x: &Tensor| (x * 2.0).set_requires_grad(false);
        |x: &Tensor| x.backward(); |x: &Tensor| other(x).sum().backward();
        |x: &Tensor| grad(&x.sum(), &[&other(x)], Backward::default());
        |x: &Tensor| grad(&x.sum(), &[&input()], Backward::default());
        |x: &Tensor| x.set_grad(Some(&wrong())); |x: &Tensor| other(x).retain_grad();
        |x: &Tensor| other(x).register_hook(|_| None); |x: &Tensor| inference_mode(|| other(x)).version();
        |x: &Tensor| x.item(); |x: &Tensor| x.to_vec_i64();
        |_: &Tensor| Tensor::from_slice(&[1.0], [2]); |_: &Tensor| Tensor::from_vec(vec![1.0], [2]);
        |_: &Tensor| Tensor::zeros([usize::MAX, 2]); |_: &Tensor| Tensor::zeros([1; 9]);
        |_: &Tensor| inference_mode(|| Parameter::new(Tensor::ones([2])));
    });
    all
}

/// The place and the text of the panic that ends `f`.
fn panic_of(f: impl FnOnce()) -> Option<(String, String)> {
    static LAST: Mutex<Option<(String, String)>> = Mutex::new(None);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        let file = info.location().map_or("", |at| at.file()).to_owned();
        let text = info.payload_as_str().unwrap_or_default().to_owned();
        *LAST.lock() = Some((file, text));
    }));
    let outcome = catch_unwind(AssertUnwindSafe(f));
    std::panic::set_hook(usual);
    outcome.err().and_then(|_| LAST.lock().take())
}

/// One test, since a panic hook belongs to the process.
#[test]
fn refusals_name_the_line_of_the_caller() {
    let mut elsewhere = Vec::new();
    for (text, call) in refusals() {
        match panic_of(|| call(&input())) {
            Some((file, _)) if file == file!() => {}
            // What fails within a walk names the line of `backward` in its text.
            Some((_, message)) if message.contains(&format!("called at `{}", file!())) => {}
            other => elsewhere.push(format!("`{text}`: {other:?}")),
        }
    }
    assert!(elsewhere.is_empty(), "{}", elsewhere.join("\n"));
}
