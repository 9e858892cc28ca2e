//! The rlrun program: every command for the library's algorithms and environments.

use std::process::ExitCode;

fn main() -> ExitCode {
    rlrun_cli::main_with(rlrun::ALGORITHMS, &[])
}
