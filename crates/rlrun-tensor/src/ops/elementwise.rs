//! Functions of one tensor, element by element: one line each with the formula and its derivative.

use crate::autograd::NodeRef;
use crate::kernels::{self, Binary};
use crate::mode;
use crate::tensor::Tensor;

use super::apply::{Keep, Unary, each, zip};
use super::select::gated;
use super::special::polygamma;

/// One line per function: documentation, names of the two forms (arguments), what is kept,
/// the formula, the derivative.
macro_rules! unary {
    ($(
        $(#[$doc:meta])*
        $name:ident, $in_place:ident $(($($arg:ident: $ty:ty),*))?, $keep:ident,
        $forward:expr, $backward:expr;
    )*) => { impl Tensor { $(
        $(#[$doc])*
        ///
        /// # Panics
        /// If this is not an `f32` tensor.
        #[track_caller]
        pub fn $name(&self $($(, $arg: $ty)*)?) -> Tensor {
            let (op, keep) = (stringify!($name), Keep::$keep);
            self.unary(Unary::new(op, keep, $forward, $backward))
        }

        #[doc = concat!("[`Tensor::", stringify!($name), "`] in place.")]
        ///
        /// # Panics
        /// As every write: see [`Tensor::add_`].
        #[track_caller]
        pub fn $in_place(&self $($(, $arg: $ty)*)?) {
            let (op, keep) = (stringify!($in_place), Keep::$keep);
            self.unary_(Unary::new(op, keep, $forward, $backward));
        }
    )* } };
}

/// A kernel as a function of slices.
fn lift(f: kernels::Unary) -> impl Fn(&[f32], &mut [f32]) {
    move |input, out| kernels::unary(f, input, out)
}

/// The gradient through a function in one pass, with the history of a formula where it is recorded.
fn through(f: Binary, grad: &Tensor, y: &Tensor, formula: impl FnOnce() -> Tensor) -> Tensor {
    let value = zip(f, grad, y);
    if mode::recording() { value.with_history_of(&formula()) } else { value }
}

/// The gradient through `max(x, 0)` of the result y.
pub(super) fn through_relu(grad: &Tensor, y: &Tensor) -> Tensor {
    zip(Binary::ReluBackward, grad, y).record("relu", [grad, y], |saver| {
        let y = saver.input(y);
        move |grad: &Tensor, node: &NodeRef| {
            let y = y.get(node);
            [node.needs(0).then(|| through_relu(grad, &y)), node.needs(1).then(|| y.zeros_like())]
        }
    })
}

/// 1 where `x` fulfils `condition`, else 0: a constant of `x`'s shape.
fn where_input(x: &Tensor, condition: impl Fn(f32) -> bool) -> Tensor {
    let numbers = x.read();
    Tensor::build(x.dims(), |out| each(|x| f32::from(u8::from(condition(x))))(&numbers, out))
}

unary! {
    /// `-x`.
    neg, neg_, Nothing, lift(kernels::Unary::Neg), |_, grad| grad.neg();
    /// `e^x`.
    exp, exp_, Result, lift(kernels::Unary::Exp), |y, grad| grad * y;
    /// `e^x - 1`, exact near 0.
    expm1, expm1_, Result, lift(kernels::Unary::Expm1), |y, grad| grad * (y + 1.0);
    /// The natural logarithm.
    log, log_, Input, lift(kernels::Unary::Log), |x, grad| grad / x;
    /// `ln(1 + x)`, exact near 0.
    log1p, log1p_, Input, lift(kernels::Unary::Log1p), |x, grad| grad / (x + 1.0);
    /// `√x`.
    sqrt, sqrt_, Result, lift(kernels::Unary::Sqrt), |y, grad| grad / (y * 2.0);
    /// `1 / √x`.
    rsqrt, rsqrt_, Result, each(|x| 1.0 / x.sqrt()), |y, grad| grad * (y * y * y) * -0.5;
    /// `1 / x`.
    reciprocal, reciprocal_, Result, lift(kernels::Unary::Reciprocal), |y, grad| -(grad * y * y);
    /// `x²`.
    square, square_, Input, lift(kernels::Unary::Square), |x, grad| grad * x * 2.0;
    /// `|x|`; the derivative at 0 is 0.
    abs, abs_, Input, lift(kernels::Unary::Abs), |x, grad| grad * x.sign();
    /// `sin x`, x in radians.
    sin, sin_, Input, lift(kernels::Unary::Sin), |x, grad| grad * x.cos();
    /// `cos x`, x in radians.
    cos, cos_, Input, lift(kernels::Unary::Cos), |x, grad| -(grad * x.sin());
    /// `tanh x`.
    tanh, tanh_, Result, lift(kernels::Unary::Tanh), |y, grad| through(Binary::TanhBackward, grad, y, || grad * (1.0 - y * y));
    /// `1 / (1 + e^-x)`.
    sigmoid, sigmoid_, Result, lift(kernels::Unary::Sigmoid), |y, grad| through(Binary::SigmoidBackward, grad, y, || grad * (y * (1.0 - y)));
    /// `max(x, 0)`; the derivative at 0 is 0, NaN passes.
    relu, relu_, Result,
        lift(kernels::Unary::Relu),
        |y, grad| through_relu(grad, y);
    /// `x` above 0, `slope · x` elsewhere.
    leaky_relu, leaky_relu_(slope: f32), Input,
        each(move |x| if x > 0.0 { x } else { x * slope }),
        move |x, grad| {
            let above = where_input(x, |x| x > 0.0);
            grad * (&above + (1.0 - &above) * slope)
        };
    /// `x` above 0, `alpha · (e^x - 1)` elsewhere.
    elu, elu_(alpha: f32), Input,
        each(move |x| if x > 0.0 { x } else { alpha * x.exp_m1() }),
        move |x, grad| {
            let is_below = |at_zero: bool| {
                let below = |&x: &f32| x < 0.0 || x.is_nan() || (x == 0.0 && at_zero);
                Tensor::from_bool(&x.read().iter().map(below).collect::<Vec<_>>(), x.dims())
            };
            // The curvature at 0 is that of the upper side.
            let slope = Tensor::where_(&is_below(false), x, &Tensor::scalar(0.0)).exp() * alpha;
            let below = is_below(true);
            grad * Tensor::where_(&below, &slope, &Tensor::scalar(1.0))
        };
    /// `x · sigmoid(x)`.
    silu, silu_, Input,
        each(|x| x * sigmoid(x)),
        |x, grad| {
            let s = x.sigmoid();
            grad * (&s * (1.0 + x * (1.0 - &s)))
        };
    /// `x · Φ(x)` with the standard normal distribution function Φ.
    gelu, gelu_, Input,
        each(|x| (f64::from(x) * 0.5 * (1.0 + libm::erf(f64::from(x) / std::f64::consts::SQRT_2))) as f32),
        |x, grad| {
            let cdf = (x * std::f32::consts::FRAC_1_SQRT_2).erf() * 0.5 + 0.5;
            let density = (x * x * -0.5).exp() * (0.5 * std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2);
            grad * (cdf + x * density)
        };
    /// [`Tensor::gelu`] with Φ(x) as `(1 + tanh(√(2/π) (x + 0.044715 x³))) / 2` (Hendrycks & Gimpel 2016,
    /// arXiv 1606.08415).
    gelu_tanh, gelu_tanh_, Input,
        each(|x| {
            let x = f64::from(x);
            (x * 0.5 * (1.0 + (GELU_SLOPE * (x + GELU_CUBE * x * x * x)).tanh())) as f32
        }),
        |x, grad| {
            let inner = (x + x * x * x * GELU_CUBE as f32) * GELU_SLOPE as f32;
            let y = inner.tanh();
            let slope = (1.0 + x * x * (3.0 * GELU_CUBE) as f32) * GELU_SLOPE as f32;
            grad * ((&y + 1.0) * 0.5 + x * (1.0 - &y * &y) * slope * 0.5)
        };
    /// The inverse of `tanh`: `ln((1 + x) / (1 - x)) / 2`.
    atanh, atanh_, Input,
        each(|x| libm::atanh(f64::from(x)) as f32),
        |x, grad| grad / (1.0 - x * x);
    /// The largest integer up to `x`; the derivative is 0.
    floor, floor_, Nothing, each(f32::floor), |_, grad| grad * 0.0;
    /// The smallest integer from `x` on; the derivative is 0.
    ceil, ceil_, Nothing, each(f32::ceil), |_, grad| grad * 0.0;
    /// The nearest integer, of two the even one; the derivative is 0.
    round, round_, Nothing, each(f32::round_ties_even), |_, grad| grad * 0.0;
    /// The error function.
    erf, erf_, Input,
        each(|x| libm::erf(f64::from(x)) as f32),
        |x, grad| grad * (-(x * x)).exp() * std::f32::consts::FRAC_2_SQRT_PI;
    /// ψ(x), the derivative of `ln Γ(x)`, for positive x; NaN elsewhere.
    digamma, digamma_, Input, each(|x| polygamma(0, x)), |x, grad| grad * x.polygamma(1);
    /// ψ⁽ⁿ⁾(x), derivative n = `order` of ψ(x), for positive x; NaN elsewhere.
    polygamma, polygamma_(order: u32), Input,
        each(move |x| polygamma(order, x)),
        move |x, grad| grad * x.polygamma(order + 1);
    /// `ln(1 + e^x)`, without overflow.
    softplus, softplus_, Input, lift(kernels::Unary::Softplus), |x, grad| grad * x.sigmoid();
    /// `ln(1 + e^(beta x)) / beta`, and x itself where `beta x` is above `threshold`.
    softplus_with, softplus_with_(beta: f32, threshold: f32), Input,
        each(move |x| if x * beta > threshold { x } else { softplus(x * beta) / beta }),
        move |x, grad| {
            let numbers = x.read();
            let above: Vec<bool> = numbers.iter().map(|x| x * beta > threshold).collect();
            let above = Tensor::from_bool(&above, x.dims());
            grad * Tensor::where_(&above, &Tensor::scalar(1.0), &(x * beta).sigmoid())
        };
    /// `ln(sigmoid(x))`, without underflow.
    logsigmoid, logsigmoid_, Input, each(|x| -softplus(-x)), |x, grad| grad * (-x).sigmoid();
    /// `x` held between `min` and `max`; NaN passes. The derivative at a bound is 0.
    clamp, clamp_(min: f32, max: f32), Input,
        each(move |x| if x.is_nan() { x } else { x.max(min).min(max) }),
        move |x, grad| gated(grad, &where_input(x, |x| x > min && x < max));
    /// `x`, but at least `min`; NaN passes. The derivative at the bound is 0.
    clamp_min, clamp_min_(min: f32), Input,
        each(move |x| if x.is_nan() { x } else { x.max(min) }),
        move |x, grad| gated(grad, &where_input(x, |x| x > min));
    /// `x`, but at most `max`; NaN passes. The derivative at the bound is 0.
    clamp_max, clamp_max_(max: f32), Input,
        each(move |x| if x.is_nan() { x } else { x.min(max) }),
        move |x, grad| gated(grad, &where_input(x, |x| x < max));
    /// `x^exponent`.
    pow, pow_(exponent: f32), Input,
        each(move |x| power(x, exponent)),
        move |x, grad| if exponent == 0.0 {
            grad.zeros_like()
        } else {
            grad * (x.pow(exponent - 1.0) * exponent)
        };
    /// -1, 0 or 1, and 0 for NaN; the derivative is 0.
    sign, sign_, Nothing,
        each(|x| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { 0.0 }),
        |_, grad| grad.zeros_like();
}

/// √(2/π) and the weight of x³ in [`Tensor::gelu_tanh`].
const GELU_SLOPE: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
const GELU_CUBE: f64 = 0.044715;

/// `x^exponent`, by the exact functions where there are some.
fn power(x: f32, exponent: f32) -> f32 {
    match exponent {
        0.5 => x.sqrt(),
        -0.5 => 1.0 / x.sqrt(),
        -1.0 => 1.0 / x,
        -2.0 => 1.0 / (x * x),
        2.0 => x * x,
        3.0 => x * x * x,
        _ => x.powf(exponent),
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f32) -> f32 {
    if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }
}
