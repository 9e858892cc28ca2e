//! The page of each algorithm lists its settings as they are.

#![allow(clippy::unwrap_used)]

use documented::DocumentedFields;
use rlrun_agents::{A2cConfig, DqnConfig, PpoConfig, QrDqnConfig, SacConfig};
use serde::Serialize;

/// The rows of the hyperparameter table, made from the config itself.
fn table<C: Serialize + Default + DocumentedFields>() -> String {
    let defaults = toml::Table::try_from(C::default()).unwrap();
    let row = |key: &&str| {
        let default = defaults.get(*key).map_or("none".to_owned(), |value| format!("`{value}`"));
        let docs = C::get_field_docs(key).unwrap();
        format!("| `{key}` | {default} | {} |\n", docs.lines().next().unwrap())
    };
    C::FIELD_NAMES.iter().map(row).collect()
}

fn assert_listed(algorithm: &str, table: &str) {
    let path = format!("{}/../../docs/algorithms/{algorithm}.md", env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(&path).unwrap();
    let (_, rest) = page.split_once("| Key | Default | Meaning |\n|---|---|---|\n").unwrap();
    let (listed, _) = rest.split_once("\n\n").unwrap();
    let same = listed.trim_end() == table.trim_end();
    assert!(same, "the table of docs/algorithms/{algorithm}.md should be:\n{table}");
}

#[test]
fn the_pages_list_every_key_with_its_default_and_meaning() {
    assert_listed("a2c", &table::<A2cConfig>());
    assert_listed("dqn", &table::<DqnConfig>());
    assert_listed("ppo", &table::<PpoConfig>());
    assert_listed("qrdqn", &table::<QrDqnConfig>());
    assert_listed("sac", &table::<SacConfig>());
}
