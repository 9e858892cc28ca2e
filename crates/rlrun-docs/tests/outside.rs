//! Guides, README and examples compile in a crate outside the workspace whose only dependencies are
//! `rlrun` and, for the program as a library, `rlrun-cli`: what a new user pastes works.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Pages whose code is compiled.
const PAGES: [&str; 2] = ["docs/guides", "README.md"];

/// Folders whose examples are compiled.
const EXAMPLES: [&str; 2] = ["crates/rlrun/examples", "crates/rlrun-cli/examples"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The files of a folder with this ending, or the file itself.
fn files(path: &Path, ending: &str) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    paths.sort();
    paths
}

/// The Rust code of a page as programs, as rustdoc takes it: lines that begin with `# ` are hidden
/// from the reader, and code without `main` stands in one.
fn programs(page: &str) -> Vec<String> {
    let mut programs = Vec::new();
    let mut code: Option<String> = None;
    for line in page.lines() {
        match &mut code {
            None if line.starts_with("```rust") => code = Some(String::new()),
            Some(_) if line.starts_with("```") => programs.extend(code.take()),
            Some(text) => {
                *text += line.strip_prefix("# ").unwrap_or(if line == "#" { "" } else { line });
                text.push('\n');
            }
            None => {}
        }
    }
    let whole = |code: String| {
        if code.contains("fn main(") { code } else { format!("fn main() {{\n{code}}}\n") }
    };
    programs.into_iter().map(whole).collect()
}

/// Writes the crate and returns how many programs it has.
fn write_crate(dir: &Path) -> usize {
    let mut binaries = Vec::new();
    for page in PAGES.iter().flat_map(|page| files(&root().join(page), "md")) {
        let name = page.file_stem().unwrap().to_str().unwrap().to_lowercase();
        let programs = programs(&fs::read_to_string(&page).unwrap());
        for (index, program) in programs.iter().enumerate() {
            let path = dir.join(format!("{name}-{index}.rs"));
            fs::write(&path, program).unwrap();
            binaries.push((format!("{name}-{index}"), path));
        }
    }
    for path in EXAMPLES.iter().flat_map(|folder| files(&root().join(folder), "rs")) {
        binaries.push((path.file_stem().unwrap().to_str().unwrap().to_owned(), path));
    }
    let dependency = |name: &str| {
        let path = root().join("crates").join(name);
        format!("{name} = {{ path = {:?} }}\n", path.display().to_string())
    };
    let mut manifest = "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                        [workspace]\n[dependencies]\n"
        .to_owned();
    manifest += &[dependency("rlrun"), dependency("rlrun-cli")].concat();
    for (name, path) in &binaries {
        let path = path.display().to_string();
        manifest += &format!("[[bin]]\nname = \"{name}\"\npath = {path:?}\n");
    }
    fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    // The same versions, so that nothing has to be downloaded.
    fs::copy(root().join("Cargo.lock"), dir.join("Cargo.lock")).unwrap();
    binaries.len()
}

#[test]
fn guides_readme_and_examples_compile_outside_the_workspace() {
    let Some(cargo) = std::env::var_os("CARGO") else {
        println!("skipped: the test was not started by cargo");
        return;
    };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
    fs::create_dir_all(&dir).unwrap();
    let count = write_crate(&dir);
    assert!(count >= 8, "only {count} programs were found");
    let target = dir.join("target");
    let check = |folder: &Path| {
        let mut check = Command::new(&cargo);
        check.args(["check", "--offline", "--all-targets", "--target-dir"]).arg(&target);
        let output = check.current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    check(&dir);
    // The crate of an environment; its own tests train on it.
    let gridworld = root().join("envs/outside/gridworld");
    fs::copy(root().join("Cargo.lock"), gridworld.join("Cargo.lock")).unwrap();
    check(&gridworld);
}
