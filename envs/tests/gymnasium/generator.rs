//! Rows of numpy's generator: words, position, raw bits and uniform draws of a seed.

use std::fmt::Debug;

use rlrun_core::{NumpyRng, SeedSequence};
use serde_json::Value;

/// Compares every column of a row with a fresh generator of its seed.
pub(crate) fn compare(row: &Value) -> Result<(), String> {
    let columns = row.as_object().ok_or("not an object")?;
    let seed = columns.get("seed").and_then(Value::as_str).ok_or("no `seed`")?;
    let sequence: SeedSequence = seed.parse().map_err(|error| format!("{error}"))?;
    let fresh = || NumpyRng::from_sequence(&sequence);
    for (name, recorded) in columns {
        let texts = |value: &Value| value.as_str().map(str::to_owned).ok_or("not a text");
        let mut rng = fresh();
        let result = match name.as_str() {
            "seed" => Ok(()),
            "seed_sequence_u32" => {
                let words: [u32; 8] = sequence.generate();
                equal(&words.map(u64::from).to_vec(), &list(recorded, Value::as_u64)?)
            }
            "pcg_state" => equal(&rng.position().0.to_string(), &texts(recorded)?),
            "pcg_inc" => equal(&rng.position().1.to_string(), &texts(recorded)?),
            "raw_u64" => {
                let bits = list(recorded, |value| value.as_str()?.parse::<u64>().ok())?;
                equal(&bits.iter().map(|_| rng.next_u64()).collect::<Vec<_>>(), &bits)
            }
            "doubles" => {
                let draws = list(recorded, Value::as_f64)?;
                equal(&draws.iter().map(|_| rng.random()).collect::<Vec<_>>(), &draws)
            }
            name => uniform(name, recorded, &mut rng),
        };
        result.map_err(|reason| format!("seed {seed}, {name}: {reason}"))?;
    }
    Ok(())
}

/// A column named `uniform_<low>_<high>`.
fn uniform(name: &str, recorded: &Value, rng: &mut NumpyRng) -> Result<(), String> {
    let bounds = name.strip_prefix("uniform_").and_then(|bounds| bounds.split_once('_'));
    let (low, high) = bounds.ok_or("a column that the harness does not know")?;
    let (low, high): (f64, f64) = match (low.parse(), high.parse()) {
        (Ok(low), Ok(high)) => (low, high),
        _ => return Err("bounds are not numbers".to_owned()),
    };
    let draws = list(recorded, Value::as_f64)?;
    equal(&draws.iter().map(|_| rng.uniform(low, high)).collect::<Vec<_>>(), &draws)
}

fn list<T>(value: &Value, item: fn(&Value) -> Option<T>) -> Result<Vec<T>, String> {
    let items = value.as_array().ok_or("not a list")?;
    items.iter().map(|value| item(value).ok_or(format!("cannot read {value}"))).collect()
}

fn equal<T: PartialEq + Debug>(found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("found {found:?}, expected {expected:?}")) }
}
