//! The repository keeps its own rules: who imports whom, what every algorithm brings along, where
//! `unsafe` and files may be used, and that the documented defaults are the real ones.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rlrun::ALGORITHMS;
use toml_edit::DocumentMut;

/// What each crate may import of the others; `rlrun-core` may be imported by all.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("crates/rlrun-core", &[]),
    ("crates/rlrun-tensor", &[]),
    ("crates/rlrun-nn-derive", &[]),
    ("crates/rlrun-nn", &["rlrun-nn-derive", "rlrun-tensor"]),
    ("crates/rlrun-env", &[]),
    ("envs", &["rlrun-env"]),
    ("crates/rlrun-agents", &["rlrun-nn", "rlrun-tensor", "rlrun-env"]),
    ("crates/rlrun-train", &["rlrun-agents", "rlrun-env", "rlrun-tensor"]),
    (
        "crates/rlrun",
        &["rlrun-agents", "rlrun-env", "rlrun-envs", "rlrun-nn", "rlrun-tensor", "rlrun-train"],
    ),
    (
        "crates/rlrun-bench",
        &["rlrun-agents", "rlrun-env", "rlrun-envs", "rlrun-nn", "rlrun-tensor"],
    ),
    ("crates/rlrun-cli", &["rlrun", "rlrun-bench"]),
    ("crates/rlrun-docs", &["rlrun"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("`{path}`: {error}"))
}

fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest: DocumentMut = read(&format!("{folder}/Cargo.toml")).parse().unwrap();
    let table = manifest["dependencies"].as_table().unwrap();
    table.iter().map(|(name, _)| name.to_owned()).collect()
}

/// Every source file below `folder`, without its tests, benches and examples.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(kind) if kind == "rs" => vec![path],
        _ => Vec::new(),
    };
    paths.flat_map(below).collect()
}

#[test]
fn every_crate_imports_only_what_it_may() {
    let members = fs::read_dir(root().join("crates")).unwrap().count() + 1;
    assert_eq!(members, MAY_IMPORT.len(), "a crate has no row in MAY_IMPORT");
    for (folder, allowed) in MAY_IMPORT {
        for name in dependencies(folder).iter().filter(|name| name.starts_with("rlrun")) {
            let known = *name == "rlrun-core" || allowed.contains(&name.as_str());
            assert!(known, "`{folder}` imports `{name}`, allowed are {allowed:?} and rlrun-core");
        }
    }
}

#[test]
fn only_the_program_knows_arguments_and_anyhow() {
    for (folder, _) in MAY_IMPORT.iter().filter(|(folder, _)| *folder != "crates/rlrun-cli") {
        for name in ["anyhow", "clap", "indicatif", "tracing-subscriber"] {
            assert!(!dependencies(folder).contains(name), "`{folder}` depends on `{name}`");
        }
    }
}

#[test]
fn only_the_trainer_and_the_program_touch_files() {
    for (folder, _) in MAY_IMPORT {
        if ["crates/rlrun-train", "crates/rlrun-cli", "crates/rlrun-docs"].contains(folder) {
            continue;
        }
        for path in sources(&root().join(folder).join("src")) {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let touches = code.into_iter().any(|line| line.contains("std::fs"));
            assert!(!touches, "`{}` touches files", path.display());
        }
    }
}

#[test]
fn all_files_of_a_run_pass_through_one_module() {
    let source = root().join("crates/rlrun-train/src");
    let mut inside = 0;
    for path in sources(&source).iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let touches = ["std::fs", "fs::"].iter().any(|form| code.contains(form));
        if path.starts_with(source.join("disk")) {
            inside += usize::from(touches);
        } else {
            assert!(!touches, "`{}` touches files past `disk`", path.display());
        }
    }
    assert!(inside > 0, "the search finds nothing where there is something");
}

#[test]
fn only_kernels_are_unsafe() {
    let kernels = root().join("crates/rlrun-tensor/src/kernels");
    let mut in_kernels = 0;
    for (folder, _) in MAY_IMPORT {
        for path in sources(&root().join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
            let is_unsafe = |line: &str| {
                ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                    .iter()
                    .any(|form| line.contains(form) && !line.contains('"'))
            };
            let count = code.filter(|line| is_unsafe(line)).count();
            if path.starts_with(&kernels) {
                in_kernels += count;
            } else {
                assert_eq!(count, 0, "`{}` is unsafe", path.display());
            }
        }
    }
    assert!(in_kernels > 0, "the search finds no unsafe code where there is some");
}

/// Most lines of a file outside of tests, benches and examples.
const MAX_LINES: usize = 400;

#[test]
fn no_source_file_is_long() {
    for (folder, _) in MAY_IMPORT {
        for path in sources(&root().join(folder).join("src")) {
            let is_test = path.components().any(|part| part.as_os_str() == "tests")
                || path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            let is_short = lines <= MAX_LINES || is_test;
            assert!(is_short, "`{}` has {lines} lines: split it by what it does", path.display());
        }
    }
}

#[test]
fn algorithms_are_laid_out_by_rustfmt_and_in_one_piece() {
    for algorithm in ALGORITHMS {
        let path = format!("crates/rlrun-agents/src/{}.rs", algorithm.name);
        let text = read(&path);
        for trick in ["rustfmt::skip", "include!", "#[path"] {
            assert!(!text.contains(trick), "`{path}` uses `{trick}`");
        }
        let long = text.lines().find(|line| line.chars().count() > 100);
        assert!(long.is_none(), "`{path}` has a line of more than 100 characters: {long:?}");
    }
}

#[test]
fn every_algorithm_has_its_file_config_test_and_page() {
    let configs = fs::read_dir(root().join("configs")).unwrap();
    let configs: Vec<String> =
        configs.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    for algorithm in ALGORITHMS {
        let name = algorithm.name;
        let line = format!("algorithm = \"{name}\"");
        assert!(configs.iter().any(|text| text.contains(&line)), "no run file for `{name}`");
        for path in [
            format!("crates/rlrun-agents/src/{name}.rs"),
            format!("crates/rlrun-agents/tests/{name}.rs"),
            format!("docs/algorithms/{name}.md"),
        ] {
            assert!(root().join(&path).is_file(), "`{name}` has no `{path}`");
        }
    }
}

/// The rows of the tables of a page whose first cell is a key: key and default.
fn documented_defaults(section: &str) -> Vec<(String, String)> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = section.lines().filter(|line| line.starts_with("| `")).map(cells);
    rows.map(|cells| (cells[1].trim_matches('`').to_owned(), cells[2].clone())).collect()
}

#[test]
fn the_page_of_the_run_file_lists_every_shared_key_with_its_default() {
    let file: DocumentMut = ALGORITHMS[0].default_run_file().unwrap().parse().unwrap();
    let page = read("docs/reference/run-file.md");
    for table in ["env", "normalize", "train"] {
        let heading = format!("## `[{table}]`");
        let section =
            page.split("\n## ").find(|part| heading.ends_with(part.lines().next().unwrap()));
        let documented = documented_defaults(section.unwrap_or_else(|| panic!("no {heading}")));
        let keys: Vec<&str> = file[table].as_table().unwrap().iter().map(|(key, _)| key).collect();
        assert_eq!(documented.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), keys);
        for (key, default) in
            documented.iter().filter(|(_, default)| default.parse::<f64>().is_ok())
        {
            assert_eq!(
                &file[table][key.as_str()].to_string().trim().to_owned(),
                default,
                "`{key}`"
            );
        }
    }
}

#[test]
fn every_error_code_has_a_page_that_runs_its_advice() {
    let page = read("docs/reference/errors.md");
    let source = read("crates/rlrun-tensor/src/error.rs");
    let codes: BTreeSet<&str> = source
        .match_indices("\"E-")
        .map(|(at, _)| source[at + 1..].split([':', '"']).next().unwrap())
        .collect();
    assert!(codes.len() > 30, "{codes:?}");
    for code in codes {
        let section = page.split("\n### ").find(|section| section.starts_with(&format!("{code} ")));
        let section = section.unwrap_or_else(|| panic!("{code} has no section in errors.md"));
        let (_, advice) = section.split_once("// What to do:\n").unwrap_or_else(|| {
            panic!("the program of {code} in errors.md does not go on with `// What to do:`")
        });
        assert!(advice.split("```").next().is_some_and(|code| code.contains(';')), "{code}");
    }
}

#[test]
fn every_guarantee_names_tests_that_exist() {
    let page = read("docs/reference/guarantees.md");
    let mut proofs = 0;
    for command in page.split('`').filter(|text| text.starts_with("cargo test ")) {
        let words: Vec<&str> = command.split(' ').collect();
        let after = |flag: &str| {
            let at = words.iter().position(|word| *word == flag)?;
            words.get(at + 1).copied()
        };
        proofs += 1;
        let Some(test) = after("--test") else { continue };
        let packages = match after("-p") {
            Some("rlrun-envs") => vec!["envs".to_owned()],
            Some(package) => vec![format!("crates/{package}")],
            None => vec!["crates/rlrun-nn".to_owned(), "crates/rlrun-agents".to_owned()],
        };
        let exists = |path: String| root().join(path).exists();
        let found = packages.iter().any(|package| {
            exists(format!("{package}/tests/{test}.rs"))
                || exists(format!("{package}/tests/{test}/main.rs"))
        });
        assert!(found, "`{command}` names no test");
    }
    assert!(proofs > 12, "{proofs} proofs");
}
