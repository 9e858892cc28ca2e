//! Saved state as safetensors bytes and back. Nothing in such a file is ever executed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView, View};
use safetensors::{SafeTensorError, SafeTensors};
use thiserror::Error;

use crate::{State, Value};

/// Why bytes hold no [`State`].
#[derive(Error)]
#[non_exhaustive]
pub enum SafetensorsError {
    /// The bytes are cut, damaged or of another format.
    #[error("not valid safetensors")]
    Format(#[from] SafeTensorError),
    /// A tensor holds another kind of number.
    #[error("`{name}` has the type {dtype}, expected F32, F64, U64 or U8")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// An entry has another number of elements than its shape says.
    #[error("`{name}` has the shape {shape:?} and {length} numbers, which do not fit each other")]
    Shape {
        /// The entry.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// How many numbers there are.
        length: usize,
    },
}

crate::debug_is_report!(SafetensorsError);

/// A value as a tensor in a file; numbers are stored little-endian.
struct Entry<'a>(&'a Value, Vec<usize>);

impl View for Entry<'_> {
    fn dtype(&self) -> Dtype {
        match self.0 {
            Value::F32 { .. } => Dtype::F32,
            Value::F64(_) => Dtype::F64,
            Value::U64(_) => Dtype::U64,
            Value::U8(_) => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.1
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.0 {
            Value::F32 { data, .. } => data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Value::F64(data) => data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Value::U64(data) => data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Value::U8(data) => Cow::Borrowed(data),
        }
    }

    fn data_len(&self) -> usize {
        self.1.iter().product::<usize>() * self.dtype().bitsize() / 8
    }
}

impl State {
    /// The bytes of a safetensors file; equal states give equal bytes.
    ///
    /// # Errors
    /// [`SafetensorsError::Shape`] if an `f32` entry has another number of elements than its shape
    /// says: what cannot be read again is not written.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, SafetensorsError> {
        self.to_safetensors_with(&BTreeMap::new())
    }

    /// As [`State::to_safetensors`], with words about the numbers in the file's `__metadata__`.
    ///
    /// # Errors
    /// As [`State::to_safetensors`].
    pub fn to_safetensors_with(
        &self,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Vec<u8>, SafetensorsError> {
        self.check_shapes()?;
        let entries = self.0.iter().map(|(name, value)| {
            let shape = match value {
                Value::F32 { shape, .. } => shape.clone(),
                Value::F64(data) => vec![data.len()],
                Value::U64(data) => vec![data.len()],
                Value::U8(data) => vec![data.len()],
            };
            (name, Entry(value, shape))
        });
        if metadata.is_empty() {
            return Ok(safetensors::serialize(entries, None)?);
        }
        let words = metadata.iter().map(|(key, value)| (key.clone(), value.clone()));
        Ok(in_order(safetensors::serialize(entries, Some(words.collect()))?, metadata))
    }

    fn check_shapes(&self) -> Result<(), SafetensorsError> {
        for (name, value) in &self.0 {
            let Value::F32 { shape, data } = value else { continue };
            let count = shape.iter().try_fold(1, |count: usize, &extent| count.checked_mul(extent));
            if count != Some(data.len()) {
                let (name, shape, length) = (name.clone(), shape.clone(), data.len());
                return Err(SafetensorsError::Shape { name, shape, length });
            }
        }
        Ok(())
    }

    /// The state in the bytes of a safetensors file, such as a `state_dict` saved by PyTorch.
    ///
    /// # Errors
    /// [`SafetensorsError`] if the bytes are not such a file or hold another type of number.
    pub fn from_safetensors(bytes: &[u8]) -> Result<State, SafetensorsError> {
        let mut state = State::new();
        for (name, tensor) in SafeTensors::deserialize(bytes)?.iter() {
            let value = value(&tensor).ok_or_else(|| SafetensorsError::Dtype {
                name: name.to_owned(),
                dtype: format!("{:?}", tensor.dtype()),
            })?;
            state.insert(name, value);
        }
        Ok(state)
    }
}

/// `bytes` with the words of their `__metadata__` in order: the library writes them in any, and
/// equal states are to give equal bytes.
fn in_order(mut bytes: Vec<u8>, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    const BEFORE: &[u8] = b"{\"__metadata__\":";
    let words = serde_json::to_vec(metadata).expect("words have a form in JSON");
    let from = size_of::<u64>() + BEFORE.len();
    debug_assert!(bytes[size_of::<u64>()..].starts_with(BEFORE));
    bytes[from..from + words.len()].copy_from_slice(&words);
    bytes
}

/// The words in the `__metadata__` of the bytes of a safetensors file; none if there is none.
///
/// # Errors
/// [`SafetensorsError::Format`] if the bytes are not such a file.
pub fn safetensors_metadata(bytes: &[u8]) -> Result<BTreeMap<String, String>, SafetensorsError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    Ok(header.metadata().iter().flatten().map(|(key, word)| (key.clone(), word.clone())).collect())
}

fn value(tensor: &TensorView<'_>) -> Option<Value> {
    let bytes = tensor.data();
    Some(match tensor.dtype() {
        Dtype::F32 => Value::F32 {
            shape: tensor.shape().to_vec(),
            data: words(bytes).map(f32::from_le_bytes).collect(),
        },
        Dtype::F64 => Value::F64(words(bytes).map(f64::from_le_bytes).collect()),
        Dtype::U64 => Value::U64(words(bytes).map(u64::from_le_bytes).collect()),
        // How PyTorch counts: `num_batches_tracked`.
        Dtype::I64 => {
            let counts = words(bytes).map(|word| u64::try_from(i64::from_le_bytes(word)).ok());
            Value::U64(counts.collect::<Option<_>>()?)
        }
        Dtype::U8 => Value::U8(bytes.to_vec()),
        _ => return None,
    })
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> State {
        let mut state = State::new();
        state.insert_f32("policy.0.weight", &[2, 2], &[1.0, -0.0, f32::MIN_POSITIVE, f32::NAN]);
        state.insert_f32("empty", &[0, 4], &[]);
        state.insert_f64("returns", [0.1, 1e300]);
        state.insert_u64("position", [u64::MAX, 3]);
        state.insert_bools("flags", &[true, false, true]);
        state
    }

    #[test]
    fn every_kind_of_value_comes_back_bit_for_bit() {
        let bytes = sample().to_safetensors().unwrap();
        let restored = State::from_safetensors(&bytes).unwrap();
        assert_eq!(restored.to_safetensors().unwrap(), bytes);
        assert_eq!(format!("{restored:?}"), format!("{:?}", sample()));
    }

    #[test]
    fn words_about_a_state_come_back_and_equal_ones_give_equal_bytes() {
        let words: BTreeMap<String, String> =
            ["algorithm", "version", "space", "numerics", "\"x\""]
                .map(|word| (word.to_owned(), format!("{word} é\n")))
                .into();
        let bytes = sample().to_safetensors_with(&words).unwrap();
        assert_eq!(safetensors_metadata(&bytes).unwrap(), words);
        assert_eq!(safetensors_metadata(&sample().to_safetensors().unwrap()).unwrap().len(), 0);
        for _ in 0..20 {
            assert_eq!(sample().to_safetensors_with(&words).unwrap(), bytes);
        }
        let restored = State::from_safetensors(&bytes).unwrap();
        assert_eq!(format!("{restored:?}"), format!("{:?}", sample()));
    }

    #[test]
    fn a_shape_that_does_not_fit_its_numbers_is_not_written() {
        for (shape, numbers) in [(vec![7], 1), (vec![], 0), (vec![2, usize::MAX], 2)] {
            let mut state = State::new();
            state.insert_f32("x", &shape, &vec![1.0; numbers]);
            let message = state.to_safetensors().unwrap_err().to_string();
            assert!(message.starts_with("`x` has the shape ["), "{message}");
            assert!(message.contains(&format!("{numbers} numbers")), "{message}");
        }
    }

    #[test]
    fn cut_bytes_are_an_error() {
        let bytes = sample().to_safetensors().unwrap();
        for length in [0, 7, 8, 40, bytes.len() - 1] {
            let error = State::from_safetensors(&bytes[..length]).unwrap_err();
            assert!(matches!(error, SafetensorsError::Format(_)), "{error}");
        }
    }

    #[test]
    fn a_foreign_type_is_named() {
        let view = TensorView::new(Dtype::BF16, vec![1], &[0, 0]).unwrap();
        let bytes = safetensors::serialize([("w", view)], None).unwrap();
        let error = State::from_safetensors(&bytes).unwrap_err().to_string();
        assert_eq!(error, "`w` has the type BF16, expected F32, F64, U64 or U8");
    }

    #[test]
    fn counts_of_pytorch_are_counters() {
        let read = |count: i64| {
            let bytes = count.to_le_bytes();
            let view = TensorView::new(Dtype::I64, vec![], &bytes).unwrap();
            State::from_safetensors(&safetensors::serialize([("n", view)], None).unwrap())
        };
        assert_eq!(read(7).unwrap().counter("n"), Ok(7));
        assert!(read(-1).is_err());
    }
}
