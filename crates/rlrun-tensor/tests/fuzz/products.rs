//! Products of matrices and convolutions, one number at a time.

use super::formulas::{Array, Made, SHAPE, broadcast, common_shape, count, indices, ravel};
use super::numbers::{Function, Number, Numbers};

pub(crate) fn matmul(n: &mut Numbers, a: &Array, b: &Array) -> Made<Array> {
    if a.shape.is_empty() || b.shape.is_empty() {
        return Err(SHAPE);
    }
    let (mut left, mut right) = (a.shape.clone(), b.shape.clone());
    if left.len() == 1 {
        left.insert(0, 1);
    }
    if right.len() == 1 {
        right.push(1);
    }
    let (batch_a, [rows, inner]) =
        (&left[..left.len() - 2], [left[left.len() - 2], left[left.len() - 1]]);
    let (batch_b, [inner_b, columns]) =
        (&right[..right.len() - 2], [right[right.len() - 2], right[right.len() - 1]]);
    if inner != inner_b {
        return Err(SHAPE);
    }
    let mut shape = common_shape(batch_a, batch_b)?;
    let blocks = broadcast(batch_a, &shape)?.into_iter().zip(broadcast(batch_b, &shape)?);
    let mut elements = Vec::new();
    for (at_a, at_b) in blocks {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)))
        {
            let terms = (0..inner).map(|k| {
                let x = a.elements[(at_a * rows + row) * inner + k];
                n.mul(x, b.elements[(at_b * inner + k) * columns + column])
            });
            let terms = terms.collect();
            elements.push(n.sum(terms));
        }
    }
    if a.shape.len() > 1 {
        shape.push(rows);
    }
    if b.shape.len() > 1 {
        shape.push(columns);
    }
    Ok(Array::new(shape, elements))
}

pub(crate) fn linear(n: &mut Numbers, inputs: &[Array], tanh: bool) -> Made<Array> {
    let (x, weight) = (&inputs[0], &inputs[1]);
    let [outputs, width] = weight.shape[..] else { return Err(SHAPE) };
    let fits =
        x.shape.last() == Some(&width) && inputs.get(2).is_none_or(|bias| bias.shape == [outputs]);
    if !fits {
        return Err(SHAPE);
    }
    let mut shape = x.shape.clone();
    shape.pop();
    let mut elements = Vec::new();
    for row in 0..count(&shape) {
        for output in 0..outputs {
            let term = |k| n.mul(x.elements[row * width + k], weight.elements[output * width + k]);
            let mut terms: Vec<Number> = (0..width).map(term).collect();
            terms.extend(inputs.get(2).map(|bias| bias.elements[output]));
            let sum = n.sum(terms);
            elements.push(if tanh { n.of(Function::Tanh, sum) } else { sum });
        }
    }
    shape.push(outputs);
    Ok(Array::new(shape, elements))
}

pub(crate) fn conv2d(n: &mut Numbers, inputs: &[Array], padding: usize) -> Made<Array> {
    let (x, weight) = (&inputs[0], &inputs[1]);
    let ([batch, channels, height, width], [outputs, channels_w, rows, columns]) =
        (&x.shape[..], &weight.shape[..])
    else {
        return Err(SHAPE);
    };
    let (down, across) = (
        (height + 2 * padding + 1).checked_sub(*rows),
        (width + 2 * padding + 1).checked_sub(*columns),
    );
    let (Some(down @ 1..), Some(across @ 1..)) = (down, across) else { return Err(SHAPE) };
    if channels != channels_w || *rows == 0 || *columns == 0 {
        return Err(SHAPE);
    }
    let shape = vec![*batch, *outputs, down, across];
    let mut elements = Vec::new();
    for place in indices(&shape) {
        let mut terms = Vec::new();
        for patch in indices(&[*channels, *rows, *columns]) {
            let (y, z) = (place[2] + patch[1], place[3] + patch[2]);
            let by =
                weight.elements[ravel(&[place[1], patch[0], patch[1], patch[2]], &weight.shape)];
            let inside =
                (padding..height + padding).contains(&y) && (padding..width + padding).contains(&z);
            let pixel = if inside {
                x.elements[ravel(&[place[0], patch[0], y - padding, z - padding], &x.shape)]
            } else {
                n.exact(0.0)
            };
            terms.push(n.mul(pixel, by));
        }
        elements.push(n.sum(terms));
    }
    Ok(Array::new(shape, elements))
}
