//! Reductions and what else goes along a dimension, one number at a time.

use std::cmp::Ordering;

use rlrun_tensor::DType;

use super::formulas::{
    Array, Made, Refusal, SHAPE, count, dimension, indices, mean_of_ties, ravel,
};
use super::numbers::{Function, Number, Numbers, ROUNDOFF};
use super::program::Fold;

pub(crate) fn fold(
    n: &mut Numbers,
    x: &Array,
    f: Fold,
    dims: &[isize],
    keepdim: bool,
) -> Made<Array> {
    let mut named = Vec::new();
    for &dim in dims {
        let dim = dimension(dim, x.shape.len())?;
        if named.contains(&dim) {
            return Err(SHAPE);
        }
        named.push(dim);
    }
    let folded = |dim: usize| named.is_empty() || named.contains(&dim);
    let kept: Vec<usize> =
        x.shape.iter().enumerate().map(|(d, &extent)| if folded(d) { 1 } else { extent }).collect();
    let size: usize = (0..x.shape.len()).filter(|&d| folded(d)).map(|d| x.shape[d]).product();
    if size == 0 && matches!(f, Fold::Amax | Fold::Amin) {
        return Err(Refusal::Error("EmptyReduction"));
    }
    let mut groups = vec![Vec::with_capacity(size); count(&kept)];
    for (index, &element) in indices(&x.shape).iter().zip(&x.elements) {
        let at: Vec<usize> =
            index.iter().enumerate().map(|(d, &i)| if folded(d) { 0 } else { i }).collect();
        groups[ravel(&at, &kept)].push(element);
    }
    let elements: Made<Vec<_>> = groups.into_iter().map(|group| fold_group(n, f, group)).collect();
    let left = |&(d, _): &(usize, &usize)| keepdim || !folded(d);
    let shape = kept.iter().enumerate().filter(left).map(|(_, &extent)| extent).collect();
    Ok(Array::new(shape, elements?))
}

fn fold_group(n: &mut Numbers, f: Fold, group: Vec<Number>) -> Made<Number> {
    let size = group.len() as f64;
    match f {
        Fold::Sum => Ok(n.sum(group)),
        Fold::Mean => Ok(mean(n, group)),
        Fold::Var => Ok(variance(n, &group)),
        Fold::Std => {
            let variance = variance(n, &group);
            if size > 1.0 && n.value(variance) <= 1e3 * n.error(variance) {
                // At 0, rounding decides whether there is a slope.
                return if n.error(variance) == 0.0 {
                    Ok(n.exact(0.0))
                } else {
                    Err(Refusal::Unclear)
                };
            }
            Ok(n.of(Function::Sqrt, variance))
        }
        Fold::Amax => extreme(n, &group, Ordering::Greater),
        Fold::Amin => extreme(n, &group, Ordering::Less),
        Fold::LogSumExp => {
            let most = largest(n, &group);
            let (shifted, shift) = shifted(n, &group, if most.is_finite() { most } else { 0.0 });
            // The derivative is `exp(x - y)` with the rounded result y.
            let powers = shifted.into_iter().map(|x| {
                let power = n.of(Function::Exp, x);
                n.widen(power, 2.0 * ROUNDOFF * most.abs() * n.value(power));
                power
            });
            let powers = powers.collect();
            let sum = n.sum(powers);
            let log = n.of(Function::Log, sum);
            Ok(n.sum(vec![shift, log]))
        }
    }
}

fn mean(n: &mut Numbers, group: Vec<Number>) -> Number {
    let size = n.exact(group.len() as f64);
    let sum = n.sum(group);
    if n.value(size) == 0.0 { n.exact(f64::NAN) } else { n.div(sum, size) }
}

fn variance(n: &mut Numbers, group: &[Number]) -> Number {
    match group {
        [] => return n.exact(f64::NAN),
        // 0 / 0.
        [only] => return n.undefined(*only),
        _ => {}
    }
    let mean = mean(n, group.to_vec());
    let squares = group.iter().map(|&x| {
        let centred = n.sub(x, mean);
        n.mul(centred, centred)
    });
    let squares = squares.collect();
    let sum = n.sum(squares);
    let divisor = n.exact(group.len() as f64 - 1.0);
    n.div(sum, divisor)
}

fn extreme(n: &mut Numbers, group: &[Number], better: Ordering) -> Made<Number> {
    let mut ties: Vec<Number> = Vec::new();
    for &x in group {
        match ties.first().map(|&best| n.compare(x, best)).transpose()? {
            Some(None) => return Err(Refusal::Unclear),
            Some(Some(Ordering::Equal)) => ties.push(x),
            Some(Some(order)) if order != better => {}
            _ => ties = vec![x],
        }
    }
    if n.value(ties[0]).is_nan() { Err(Refusal::Unclear) } else { Ok(mean_of_ties(n, ties)) }
}

/// The largest value; NaN wins.
fn largest(n: &Numbers, line: &[Number]) -> f64 {
    let values = line.iter().map(|&x| n.value(x));
    values.fold(f64::NEG_INFINITY, |most, x| if x > most || x.is_nan() { x } else { most })
}

fn shifted(n: &mut Numbers, line: &[Number], by: f64) -> (Vec<Number>, Number) {
    let shift = n.exact(by);
    (line.iter().map(|&x| n.sub(x, shift)).collect(), shift)
}

pub(crate) fn softmax(n: &mut Numbers, line: &[Number]) -> Vec<Number> {
    let most = largest(n, line);
    let (shifted, _) = shifted(n, line, most);
    let powers: Vec<Number> = shifted.into_iter().map(|x| n.of(Function::Exp, x)).collect();
    let sum = n.sum(powers.clone());
    powers.into_iter().map(|power| n.div(power, sum)).collect()
}

pub(crate) fn log_softmax(n: &mut Numbers, line: &[Number]) -> Vec<Number> {
    let most = largest(n, line);
    let (shifted, _) = shifted(n, line, most);
    let powers = shifted.iter().map(|&x| n.of(Function::Exp, x)).collect();
    let sum = n.sum(powers);
    let log = n.of(Function::Log, sum);
    shifted.into_iter().map(|x| n.sub(x, log)).collect()
}

pub(crate) fn along(
    n: &mut Numbers,
    x: &Array,
    dim: isize,
    mut f: impl FnMut(&mut Numbers, &[Number]) -> Vec<Number>,
) -> Made<Array> {
    let mut elements = x.elements.clone();
    for line in x.lines(dimension(dim, x.shape.len())?) {
        let numbers: Vec<Number> = line.iter().map(|&at| x.elements[at]).collect();
        line.into_iter().zip(f(n, &numbers)).for_each(|(at, made)| elements[at] = made);
    }
    Ok(Array::new(x.shape.clone(), elements))
}

pub(crate) fn first_extreme(
    n: &mut Numbers,
    x: &Array,
    dim: isize,
    better: Ordering,
) -> Made<Vec<Array>> {
    let dim = dimension(dim, x.shape.len())?;
    if x.shape.get(dim) == Some(&0) {
        return Err(Refusal::Error("EmptyReduction"));
    }
    let (mut values, mut places) = (Vec::new(), Vec::new());
    for line in x.lines(dim) {
        let mut best = 0;
        for (at, &place) in line.iter().enumerate() {
            match n.compare(x.elements[place], x.elements[line[best]])? {
                None => return Err(Refusal::Unclear),
                Some(order) if order == better => best = at,
                _ => {}
            }
        }
        values.push(x.elements[line[best]]);
        places.push(n.exact(best as f64));
    }
    let shape = x.without(dim);
    let places = Array { dtype: DType::I64, ..Array::new(shape.clone(), places) };
    Ok(vec![Array::new(shape, values), places])
}
