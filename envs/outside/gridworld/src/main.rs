//! `cargo run --release -- train gridworld.toml`: every command of rlrun, with one more environment.

fn main() -> std::process::ExitCode {
    rlrun_cli::main_with(rlrun::ALGORITHMS, &[gridworld::environment()])
}
