//! Overrides such as `agent.gamma=0.98`: edits of a run file before it is read.

#[cfg(feature = "toml_edit")]
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use crate::run_file::{self, Parsed};
use crate::{Algorithm, ConfigError};

/// Reads a run file with overrides such as `agent.gamma=0.98`. If the file is right without them,
/// the error names the one that spoils it.
pub(crate) fn load(
    text: &str,
    overrides: &[String],
    algorithms: &[Algorithm],
) -> Result<Parsed, ConfigError> {
    if overrides.is_empty() {
        return run_file::load(text, algorithms);
    }
    let load_with = |overrides: &[&String]| {
        let edited = apply(text, overrides)?;
        run_file::load(&edited, algorithms)
    };
    let all: Vec<&String> = overrides.iter().collect();
    load_with(&all).map_err(|error| {
        let without = |k: usize| [&all[..k], &all[k + 1..]].concat();
        match (0..all.len()).find(|&k| load_with(&without(k)).is_ok()) {
            Some(k) => blame(all[k], error),
            None => error,
        }
    })
}

fn blame(assignment: &str, error: ConfigError) -> ConfigError {
    let reason = match error {
        ConfigError::Parse { problem, hint } => {
            let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
            format!("{}{hint}", problem.message())
        }
        ConfigError::Override { .. } => return error,
        other => other.to_string(),
    };
    ConfigError::Override { assignment: assignment.to_owned(), reason }
}

/// Without `toml_edit` nothing can be edited.
#[cfg(not(feature = "toml_edit"))]
fn apply(_text: &str, overrides: &[&String]) -> Result<String, ConfigError> {
    let reason = "overrides need the feature `toml_edit` of `rlrun`, which is off".to_owned();
    Err(ConfigError::Override { assignment: overrides[0].clone(), reason })
}

/// Edits the text of a run file.
#[cfg(feature = "toml_edit")]
fn apply(text: &str, overrides: &[&String]) -> Result<String, ConfigError> {
    let mut document: DocumentMut = match text.parse() {
        Ok(document) => document,
        // The same parser reports it in the form of the other errors.
        Err(_) => return Ok(text.to_owned()),
    };
    for assignment in overrides {
        set(document.as_table_mut(), assignment).map_err(|reason| ConfigError::Override {
            assignment: (*assignment).clone(),
            reason: reason.to_owned(),
        })?;
    }
    Ok(document.to_string())
}

#[cfg(feature = "toml_edit")]
fn set(root: &mut dyn TableLike, assignment: &str) -> Result<(), &'static str> {
    let (path, text) =
        assignment.split_once('=').ok_or("expected KEY=VALUE, such as `agent.gamma=0.98`")?;
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    if keys.iter().any(|key| key.is_empty()) {
        return Err("the key is empty; expected KEY=VALUE, such as `agent.gamma=0.98`");
    }
    let last = keys.pop().unwrap_or_default();
    let mut table = root;
    for key in keys {
        let item = table.entry(key).or_insert_with(|| Item::Table(Table::new()));
        table =
            item.as_table_like_mut().ok_or("the key leads through something that is no table")?;
    }
    if table.get(last).is_some_and(Item::is_table_like) {
        return Err("the key names a table; name a key in it");
    }
    table.insert(last, Item::Value(value(text.trim())));
    Ok(())
}

/// The text as a TOML value, or as a string if it is none: `lin_0.001` needs no quotes.
#[cfg(feature = "toml_edit")]
fn value(text: &str) -> Value {
    text.parse().unwrap_or_else(|_| Value::from(text))
}

#[cfg(test)]
#[cfg(feature = "toml_edit")]
mod tests {
    use super::*;

    fn applied(text: &str, assignment: &str) -> String {
        apply(text, &[&assignment.to_owned()]).unwrap()
    }

    #[test]
    fn a_value_is_replaced_and_the_rest_of_the_file_stays() {
        let text = "# mine\n[agent]\ngamma = 0.99\nn_steps = 8\n";
        let expected = "# mine\n[agent]\ngamma = 0.5\nn_steps = 8\n";
        assert_eq!(applied(text, "agent.gamma=0.5"), expected);
    }

    #[test]
    fn a_missing_table_is_made_and_words_become_strings() {
        assert_eq!(
            applied("", "agent.learning_rate=lin_0.1"),
            "[agent]\nlearning_rate = \"lin_0.1\"\n"
        );
        assert_eq!(applied("", "env.id=CartPole-v1"), "[env]\nid = \"CartPole-v1\"\n");
        assert_eq!(applied("", "agent.net_arch=[64, 64]"), "[agent]\nnet_arch = [64, 64]\n");
    }

    #[test]
    fn a_key_of_a_table_that_is_written_inline_is_replaced() {
        let text = "agent = { gamma = 0.99 }\n";
        assert_eq!(applied(text, "agent.gamma=0.5"), "agent = { gamma = 0.5 }\n");
        assert_eq!(applied(text, "agent.n=8"), "agent = { gamma = 0.99 , n = 8 }\n");
    }

    #[test]
    fn an_override_that_is_none_is_refused() {
        let message = |assignment: &str| {
            apply("seed = 1\n[env]\n", &[&assignment.to_owned()]).unwrap_err().to_string()
        };
        assert!(message("gamma").starts_with("override `gamma`: expected KEY=VALUE"));
        assert!(message("=3").contains("the key is empty"));
        assert!(message("seed.x=3").contains("leads through something that is no table"));
        assert!(message("env=3").contains("names a table"));
    }
}
