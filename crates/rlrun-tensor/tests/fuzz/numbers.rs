//! Numbers in f64 that know from which others they were computed, how far a computation in f32 may
//! be off, and their derivatives. One node per number: slow, and with no tensor in it.

use std::cmp::Ordering;

/// A number by its place in [`Numbers`].
pub(crate) type Number = u32;

/// Unit roundoff of f32.
pub(crate) const ROUNDOFF: f64 = 1.0 / (1 << 24) as f64;

/// Of more than this or less than the inverse, f32 keeps too few digits to be compared.
const HUGE: f64 = 1e30;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Function {
    Exp,
    Log,
    Sqrt,
    Tanh,
    Sigmoid,
    Sin,
    Cos,
    Pow(f64),
}

#[derive(Clone, Debug)]
enum Origin {
    Constant,
    Variable,
    /// The number itself, or what a write outside history made of it: the difference is constant.
    Same(Number),
    Sum(Vec<Number>),
    Mul(Number, Number),
    Div(Number, Number),
    Of(Function, Number),
}

#[derive(Clone, Debug)]
struct Node {
    value: f64,
    error: f64,
    from: Origin,
}

/// Why a program is not followed further: f32 may decide in another way than f64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Unclear;

#[derive(Default)]
pub(crate) struct Numbers(Vec<Node>);

/// What an error of an operand adds: nothing if there is none, whatever the slope.
fn carried(slope: f64, error: f64) -> f64 {
    if error == 0.0 { 0.0 } else { slope.abs() * error }
}

fn fits_f32(x: f64) -> bool {
    f64::from(x as f32) == x
}

impl Function {
    fn at(self, x: f64) -> f64 {
        match self {
            Function::Exp => x.exp(),
            Function::Log => x.ln(),
            Function::Sqrt => x.sqrt(),
            Function::Tanh => x.tanh(),
            Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Function::Sin => x.sin(),
            Function::Cos => x.cos(),
            Function::Pow(exponent) => x.powf(exponent),
        }
    }

    /// Bound of the change of the value by an error of the argument.
    fn carried(self, x: f64, value: f64, error: f64) -> f64 {
        if error == 0.0 {
            return 0.0;
        }
        let singular = matches!(self, Function::Log | Function::Sqrt | Function::Pow(_));
        if (singular && error > 0.1 * x.abs()) || (self == Function::Exp && error > 0.1) {
            return f64::INFINITY;
        }
        2.0 * error
            * match self {
                Function::Exp => value,
                Function::Log => 1.0 / x.abs(),
                Function::Sqrt => 0.5 / value,
                Function::Pow(exponent) => (exponent * value / x).abs(),
                _ => 1.0,
            }
    }
}

impl Numbers {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn value(&self, of: Number) -> f64 {
        self.0[of as usize].value
    }

    pub(crate) fn error(&self, of: Number) -> f64 {
        self.0[of as usize].error
    }

    fn push(&mut self, value: f64, error: f64, from: Origin) -> Number {
        let size = value.abs();
        let lost = size > HUGE && size.is_finite() || size < 1.0 / HUGE && size > 0.0;
        let error = if lost || error.is_nan() { f64::INFINITY } else { error };
        self.0.push(Node { value, error, from });
        self.0.len() as Number - 1
    }

    pub(crate) fn constant(&mut self, value: f64, error: f64) -> Number {
        self.push(value, error, Origin::Constant)
    }

    pub(crate) fn exact(&mut self, value: f64) -> Number {
        self.constant(value, 0.0)
    }

    pub(crate) fn variable(&mut self, value: f64, error: f64) -> Number {
        self.push(value, error, Origin::Variable)
    }

    /// A number of its own with the derivative of `of`, and another value if that was written.
    pub(crate) fn same(&mut self, of: Number, value: f64, error: f64) -> Number {
        self.push(value, error, Origin::Same(of))
    }

    /// Allows for more error than f32 makes in these formulas.
    pub(crate) fn widen(&mut self, of: Number, error: f64) {
        let node = &mut self.0[of as usize];
        node.error += if error.is_finite() { error } else { 0.0 };
    }

    /// Not a number, and nor is its derivative.
    pub(crate) fn undefined(&mut self, of: Number) -> Number {
        let nothing = self.constant(f64::NAN, f64::INFINITY);
        let product = self.mul(of, nothing);
        self.same(product, f64::NAN, self.error(of))
    }

    fn is_constant(&self, of: Number) -> bool {
        matches!(self.0[of as usize].from, Origin::Constant)
    }

    fn made(&mut self, value: f64, error: f64, from: Origin) -> Number {
        let constant = match &from {
            Origin::Sum(terms) => terms.iter().all(|&term| self.is_constant(term)),
            Origin::Mul(a, b) | Origin::Div(a, b) => self.is_constant(*a) && self.is_constant(*b),
            Origin::Of(_, a) => self.is_constant(*a),
            _ => false,
        };
        self.push(value, error, if constant { Origin::Constant } else { from })
    }

    pub(crate) fn sum(&mut self, terms: Vec<Number>) -> Number {
        if let [only] = terms[..] {
            return only;
        }
        let (mut value, mut size, mut error) = (0.0, 0.0, 0.0);
        let mut eighths = true;
        for &term in &terms {
            let x = self.value(term);
            value += x;
            size += x.abs();
            error += self.error(term);
            eighths &= (x * 256.0).fract() == 0.0;
        }
        let exact = error == 0.0 && (terms.is_empty() || (eighths && size < 32_768.0))
            || (error == 0.0 && terms.len() == 2 && fits_f32(value));
        if !exact && size.is_finite() {
            error += ROUNDOFF * size * (2.0 + (terms.len() as f64).log2());
        }
        self.made(value, error, Origin::Sum(terms))
    }

    /// Running sums of a line, which the library keeps in double precision: each is rounded once.
    pub(crate) fn running_sums(&mut self, line: &[Number]) -> Vec<Number> {
        let Some((&first, rest)) = line.split_first() else { return Vec::new() };
        let (mut sums, mut inherited) = (vec![first], self.error(first));
        for &next in rest {
            let sum = self.sum(vec![sums[sums.len() - 1], next]);
            inherited += self.error(next);
            let rounded = 2.0 * ROUNDOFF * self.value(sum).abs();
            if self.error(sum) > 0.0 && rounded.is_finite() {
                self.0[sum as usize].error = inherited + rounded;
            }
            sums.push(sum);
        }
        sums
    }

    pub(crate) fn mul(&mut self, a: Number, b: Number) -> Number {
        let ((x, y), (ex, ey)) = ((self.value(a), self.value(b)), (self.error(a), self.error(b)));
        let value = x * y;
        let mut error = carried(x, ey) + carried(y, ex) + carried(ex, ey);
        if value.is_finite() && !(error == 0.0 && fits_f32(value)) {
            error += ROUNDOFF * value.abs();
        }
        self.made(value, error, Origin::Mul(a, b))
    }

    pub(crate) fn scale(&mut self, a: Number, by: f64) -> Number {
        let by = self.exact(by);
        self.mul(a, by)
    }

    pub(crate) fn neg(&mut self, a: Number) -> Number {
        self.scale(a, -1.0)
    }

    pub(crate) fn sub(&mut self, a: Number, b: Number) -> Number {
        let minus = self.neg(b);
        self.sum(vec![a, minus])
    }

    pub(crate) fn div(&mut self, a: Number, b: Number) -> Number {
        let ((x, y), (ex, ey)) = ((self.value(a), self.value(b)), (self.error(a), self.error(b)));
        let value = x / y;
        let mut error = 2.0 * (carried(1.0 / y, ex) + carried(value / y, ey));
        if ey > 0.1 * y.abs() || y == 0.0 {
            // Also the sign of an infinite quotient is that of a zero, which nobody promises.
            error = f64::INFINITY;
        }
        if value.is_finite() && !(error == 0.0 && fits_f32(value)) {
            error += 2.0 * ROUNDOFF * value.abs();
        }
        self.made(value, error, Origin::Div(a, b))
    }

    pub(crate) fn of(&mut self, function: Function, a: Number) -> Number {
        let (x, error) = (self.value(a), self.error(a));
        let value = function.at(x);
        let mut error = function.carried(x, value, error);
        if x.is_infinite() && matches!(function, Function::Pow(_)) {
            error = f64::INFINITY;
        }
        if value.is_finite() {
            error += 4.0 * ROUNDOFF * value.abs();
        }
        self.made(value, error, Origin::Of(function, a))
    }

    /// How two numbers compare in any precision.
    pub(crate) fn compare(&self, a: Number, b: Number) -> Result<Option<Ordering>, Unclear> {
        let (x, y, error) = (self.value(a), self.value(b), self.error(a) + self.error(b));
        if error.is_infinite() || error > 0.0 && a != b && (x - y).abs() <= 8.0 * error {
            return Err(Unclear);
        }
        Ok(x.partial_cmp(&y))
    }

    /// Derivatives of `Σ seed · of` by every number, as numbers themselves; `None` where nothing
    /// arrives.
    pub(crate) fn derivatives(&mut self, seeds: &[(Number, Number)]) -> Vec<Option<Number>> {
        let count = seeds.iter().map(|&(of, _)| of as usize + 1).max().unwrap_or(0);
        let mut arriving: Vec<Vec<Number>> = vec![Vec::new(); count];
        for &(of, seed) in seeds {
            arriving[of as usize].push(seed);
        }
        let mut found = vec![None; count];
        for at in (0..count).rev() {
            let contributions = std::mem::take(&mut arriving[at]);
            if contributions.is_empty() {
                continue;
            }
            let arrived = self.sum(contributions);
            found[at] = Some(arrived);
            match self.0[at].from.clone() {
                Origin::Constant | Origin::Variable => {}
                Origin::Same(a) => arriving[a as usize].push(arrived),
                Origin::Sum(terms) => {
                    for term in terms.into_iter().filter(|&term| !self.is_constant(term)) {
                        arriving[term as usize].push(arrived);
                    }
                }
                Origin::Mul(a, b) => {
                    for (to, factor) in [(a, b), (b, a)] {
                        if !self.is_constant(to) {
                            let product = self.passed(arrived, factor);
                            arriving[to as usize].push(product);
                        }
                    }
                }
                Origin::Div(a, b) => {
                    if !self.is_constant(a) {
                        let one = self.exact(1.0);
                        let slope = self.div(one, b);
                        let product = self.passed(arrived, slope);
                        arriving[a as usize].push(product);
                    }
                    if !self.is_constant(b) {
                        let slope = self.div(at as Number, b);
                        let minus = self.neg(slope);
                        let product = self.passed(arrived, minus);
                        arriving[b as usize].push(product);
                    }
                }
                Origin::Of(function, a) => {
                    let slope = self.slope(function, at as Number, a);
                    let product = self.passed(arrived, slope);
                    arriving[a as usize].push(product);
                }
            }
        }
        found
    }

    /// A derivative through a slope. Whether a slope that is not finite turns 0 into NaN is free.
    fn passed(&mut self, arrived: Number, slope: Number) -> Number {
        let nothing = self.is_constant(arrived) && self.value(arrived) == 0.0;
        // A slope beyond f32 has lost its value.
        let finite = self.value(slope).is_finite() && self.error(slope).is_finite();
        match (nothing && self.error(arrived) == 0.0, finite) {
            (true, true) => arrived,
            (true, false) => self.constant(f64::NAN, f64::INFINITY),
            _ => self.mul(arrived, slope),
        }
    }

    fn slope(&mut self, function: Function, y: Number, x: Number) -> Number {
        let one = self.exact(1.0);
        match function {
            Function::Exp => y,
            Function::Log => self.div(one, x),
            Function::Sqrt => {
                let twice = self.scale(y, 2.0);
                self.div(one, twice)
            }
            Function::Tanh => {
                let square = self.mul(y, y);
                self.sub(one, square)
            }
            Function::Sigmoid => {
                let rest = self.sub(one, y);
                self.mul(y, rest)
            }
            Function::Sin => self.of(Function::Cos, x),
            Function::Cos => {
                let sine = self.of(Function::Sin, x);
                self.neg(sine)
            }
            Function::Pow(exponent) => {
                let power = self.of(Function::Pow(exponent - 1.0), x);
                self.scale(power, exponent)
            }
        }
    }

    /// `Σ weight · of` with one variable moved by `step`, and the size of the numbers that moved.
    fn moved(&self, of: &[(Number, f64)], variable: Number, step: f64) -> (f64, f64) {
        let count = of.iter().map(|&(of, _)| of as usize + 1).max().unwrap_or(0);
        let mut values: Vec<f64> = Vec::with_capacity(count);
        for (at, node) in self.0[..count].iter().enumerate() {
            let value = |of: Number| values[of as usize];
            values.push(match &node.from {
                Origin::Variable if at == variable as usize => node.value + step,
                Origin::Constant | Origin::Variable => node.value,
                Origin::Same(a) if !self.value(*a).is_finite() => f64::NAN,
                Origin::Same(a) if value(*a) == self.value(*a) => node.value,
                Origin::Same(a) => node.value + (value(*a) - self.value(*a)),
                Origin::Sum(terms) => terms.iter().map(|&term| value(term)).sum(),
                Origin::Mul(a, b) => value(*a) * value(*b),
                Origin::Div(a, b) => value(*a) / value(*b),
                Origin::Of(function, a) => function.at(value(*a)),
            });
        }
        let moved = values.iter().zip(&self.0).filter(|(value, node)| **value != node.value);
        let most = moved.fold(0.0, |most, (value, _)| f64::max(most, value.abs()));
        let terms = of.iter().map(|&(of, weight)| weight * values[of as usize]);
        terms.fold((0.0, most), |(sum, size), term| (sum + term, size + term.abs()))
    }

    /// The derivative of `Σ weight · of` by a variable as a quotient of differences, and how far it
    /// may be off; `None` where differences do not settle.
    pub(crate) fn difference(&self, of: &[(Number, f64)], variable: Number) -> Option<(f64, f64)> {
        let step = 1e-3 * self.value(variable).abs().clamp(0.1, 10.0);
        let mut most = 0.0f64;
        let mut central = |step: f64| {
            let (above, size) = self.moved(of, variable, step);
            let (below, _) = self.moved(of, variable, -step);
            most = most.max(size);
            (above - below) / (2.0 * step)
        };
        let (wide, narrow) = (central(step), central(step / 2.0));
        let better = (4.0 * narrow - wide) / 3.0;
        // Rounding of f64, in the numbers that moved and in what large weights make of them.
        let heaviest = of.iter().fold(0.0, |most, (_, weight)| f64::max(most, weight.abs()));
        let noise = (1e-12 * most + 1e-14 * heaviest * (1.0 + most)) / step;
        let off = (narrow - wide).abs() + noise + 1e-9;
        let settled = better.is_finite() && off <= 1e-3 * (1.0 + better.abs());
        settled.then_some((better, 2.0 * off + 1e-6 * better.abs()))
    }
}
