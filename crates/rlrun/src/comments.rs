//! What each key of a run file means, above the key.

use documented::DocumentedFields;
use rlrun_agents::{AgentConfig, NormalizeConfig};
use rlrun_env::WrapperConfig;
use rlrun_train::TrainConfig;
use toml_edit::{DocumentMut, Table};

use crate::EnvConfig;
use crate::run_file::RunConfig;

/// The run file `text`, with each key below the first line of its documentation. A key that is
/// absent by default stands in a comment.
pub(crate) fn explain_all<C: AgentConfig>(text: &str) -> String {
    let mut document: DocumentMut = text.parse().expect("it was written just now");
    explain::<RunConfig<C>>(document.as_table_mut());
    explain_below::<EnvConfig>(document.as_table_mut(), "env");
    explain_below::<C>(document.as_table_mut(), "agent");
    explain_below::<NormalizeConfig>(document.as_table_mut(), "normalize");
    explain_below::<TrainConfig>(document.as_table_mut(), "train");
    if let Some(env) = document.get_mut("env").and_then(|item| item.as_table_mut()) {
        explain_below::<WrapperConfig>(env, "wrappers");
    }
    document.to_string()
}

fn explain_below<T: DocumentedFields>(above: &mut Table, table: &str) {
    if let Some(table) = above.get_mut(table).and_then(|item| item.as_table_mut()) {
        explain::<T>(table);
    }
}

/// Puts the first line of a field's documentation above its key.
fn explain<T: DocumentedFields>(table: &mut Table) {
    let (mut comment, mut last) = (String::new(), None);
    for (name, docs) in T::FIELD_NAMES.iter().zip(T::FIELD_DOCS) {
        let line = docs.lines().next().unwrap_or_default().trim().trim_end_matches('.');
        match table.get_mut(name) {
            None => comment += &format!("# {name} is not set: {line}\n"),
            Some(toml_edit::Item::Table(below)) => {
                below.decor_mut().set_prefix(format!("\n{comment}# {line}\n"));
                comment.clear();
            }
            Some(_) => {
                let above = std::mem::take(&mut comment);
                prefix(table, name, &format!("{above}# {line}\n"));
                last = Some((*name, above, line));
            }
        }
    }
    // TOML keeps comments above keys only: absent keys at the end go above the last one.
    if let Some((name, above, line)) = last {
        prefix(table, name, &format!("{above}{comment}# {line}\n"));
    }
}

fn prefix(table: &mut Table, key: &str, comment: &str) {
    if let Some(mut key) = table.key_mut(key) {
        key.leaf_decor_mut().set_prefix(comment);
    }
}
