//! Actions from the numbers of a distribution, row by row, and back.

use rlrun_env::Actions;
use rlrun_tensor::Tensor;

use crate::AgentError;

/// Actions as [`Distribution::log_prob`](super::Distribution::log_prob) takes them: choices `[B]`,
/// or vectors or flags `[B, dim]`.
///
/// # Panics
/// If the actions are of a kind that no distribution draws.
pub fn action_tensor(actions: &Actions) -> Tensor {
    match actions {
        Actions::Discrete(choices) => {
            let choices: Vec<i64> = choices.iter().map(|&choice| choice as i64).collect();
            Tensor::from_i64(&choices, [choices.len()])
        }
        Actions::Continuous { values, dim } => {
            Tensor::from_slice(values, [values.len() / dim, *dim])
        }
        Actions::MultiDiscrete { values, dim } => {
            let choices = values.iter().map(|&choice| choice as f32).collect();
            Tensor::from_vec(choices, [values.len() / dim, *dim])
        }
        other => panic!("no distribution draws {other:?}"),
    }
}

/// Writes `choose(i, row)` of row `i` of `scores` `[B, n]` into `actions`.
///
/// # Errors
/// [`AgentError::NonFinite`] if a score is NaN, or infinite and not a masked -∞.
pub(crate) fn write_choices(
    scores: &Tensor,
    mut choose: impl FnMut(usize, &[f32]) -> usize,
    actions: &mut Actions,
) -> Result<(), AgentError> {
    let mut choices = match std::mem::replace(actions, Actions::Discrete(Vec::new())) {
        Actions::Discrete(choices) => choices,
        _ => Vec::new(),
    };
    choices.clear();
    let numbers = scores.to_scratch();
    let rows = numbers.chunks_exact(scores.dims()[1]);
    choices.extend(rows.enumerate().map(|(index, row)| choose(index, row)));
    *actions = Actions::Discrete(choices);
    check_rows(&numbers, scores.dims()[1], |score| score < f32::INFINITY)
}

/// Writes `choose(i, row, part)` of each part of row `i` of `scores` into `actions`; part `k` has
/// `choices[k]` numbers.
pub(super) fn write_several_choices(
    scores: &Tensor,
    choices: &[usize],
    mut choose: impl FnMut(usize, &[f32]) -> usize,
    actions: &mut Actions,
) -> Result<(), AgentError> {
    let numbers = scores.to_scratch();
    let width = scores.dims()[1];
    let mut values = Vec::with_capacity(numbers.len() / width * choices.len());
    for (index, mut row) in numbers.chunks_exact(width).enumerate() {
        for &n in choices {
            let part;
            (part, row) = row.split_at(n);
            values.push(choose(index, part));
        }
    }
    *actions = Actions::MultiDiscrete { values, dim: choices.len() };
    check_rows(&numbers, width, |score| score < f32::INFINITY)
}

/// Writes `value(i, k, x)` of each number `x` of row `i` of `inputs` `[B, dim]` into `actions`, `k`
/// its place in the row.
pub(super) fn write_vectors(
    inputs: &Tensor,
    actions: &mut Actions,
    mut value: impl FnMut(usize, usize, f32) -> f32,
) -> Result<(), AgentError> {
    let mut values = match std::mem::replace(actions, Actions::Discrete(Vec::new())) {
        Actions::Continuous { values, .. } => values,
        _ => Vec::new(),
    };
    values.resize(inputs.numel(), 0.0);
    inputs.copy_to_slice(&mut values);
    let dim = inputs.dims()[1];
    for (row, numbers) in values.chunks_exact_mut(dim).enumerate() {
        numbers.iter_mut().enumerate().for_each(|(k, x)| *x = value(row, k, *x));
    }
    let checked = check_rows(&values, dim, f32::is_finite);
    *actions = Actions::Continuous { values, dim };
    checked
}

/// Writes whether `is_set(i, p)` for each number `p` of row `i` of `scores` `[B, dim]` into
/// `actions`.
pub(super) fn write_flags(
    scores: &Tensor,
    actions: &mut Actions,
    mut is_set: impl FnMut(usize, f32) -> bool,
) -> Result<(), AgentError> {
    let dim = scores.dims()[1];
    let numbers = scores.to_scratch();
    let flag = |(index, &score): (usize, &f32)| usize::from(is_set(index / dim, score));
    let values = numbers.iter().enumerate().map(flag).collect();
    *actions = Actions::MultiDiscrete { values, dim };
    check_rows(&numbers, dim, |score| !score.is_nan())
}

/// Refuses rows of `dim` numbers that are not all `sound`.
fn check_rows(numbers: &[f32], dim: usize, sound: impl Fn(f32) -> bool) -> Result<(), AgentError> {
    match numbers.iter().position(|&number| !sound(number)) {
        None => Ok(()),
        Some(index) => Err(AgentError::not_finite_output(index / dim, numbers[index])),
    }
}

/// The index of the largest number, the first of equals.
pub(crate) fn argmax(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// The choice at which the cumulative softmax of `logits` passes `uniform` in [0, 1).
pub(super) fn sample_categorical(logits: &[f32], uniform: f32) -> usize {
    let max = logits[argmax(logits)];
    let weight = |logit: &f32| (logit - max).exp();
    let mut rest = uniform * logits.iter().map(weight).sum::<f32>();
    for (choice, logit) in logits.iter().enumerate() {
        rest -= weight(logit);
        if rest < 0.0 {
            return choice;
        }
    }
    // Rounding may leave a rest; the most likely choice never has probability zero.
    argmax(logits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_where_the_cumulative_probability_passes_the_draw() {
        // Probabilities 1/4, 1/2, 1/4.
        let logits = [0.0, 2.0_f32.ln(), 0.0];
        let choices = [0.0, 0.24, 0.26, 0.74, 0.76, 0.999_999_9];
        assert_eq!(choices.map(|u| sample_categorical(&logits, u)), [0, 0, 1, 1, 2, 2]);
        // A choice of probability zero is never taken.
        let certain = [f32::NEG_INFINITY, 5.0, f32::NEG_INFINITY];
        assert_eq!([0.0, 0.5, 0.999_999_9].map(|u| sample_categorical(&certain, u)), [1; 3]);
    }
}
