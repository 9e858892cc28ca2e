//! Random programs against a reference model that shares no code with the library.
//!
//! `RLRUN_FUZZ_PROGRAMS` and `RLRUN_FUZZ_SEED` ask for more programs or others; see CONTRIBUTING.md.

mod choices;
mod formulas;
mod generate;
mod library;
mod lockstep;
mod model;
mod numbers;
mod products;
mod program;
mod reductions;
mod shrink;
mod steps;
mod views;
mod walk;
mod writes;

/// What continuous integration runs.
const PROGRAMS: u64 = 32_000;
const SEED: u64 = 1;

fn asked(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("`{name}` is `{text}`: not a number")),
        Err(_) => default,
    }
}

#[test]
fn random_programs_do_what_the_reference_model_does() {
    let (programs, seed) = (asked("RLRUN_FUZZ_PROGRAMS", PROGRAMS), asked("RLRUN_FUZZ_SEED", SEED));
    // Panics of the library are failures of a program, to be shrunk before they are shown.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut totals = generate::Totals::default();
    let failed = (0..programs).find_map(|index| {
        let (steps, failure) = generate::run(seed, index, &mut totals)?;
        let (smallest, failure) = shrink::shrink(steps, failure);
        Some((index, smallest, failure))
    });
    std::panic::set_hook(hook);
    if let Some((index, steps, failure)) = failed {
        let text = program::text(&steps);
        panic!("program {index} of seed {seed}, {}\n{text}", failure.text);
    }
    // What the programs reach: a generator that stops early or refuses everything holds nothing.
    let per_program = |count: u64| count as f64 / programs as f64;
    assert!(per_program(totals.steps) > 8.0, "{totals:?}");
    assert!(per_program(totals.walks) > 0.8, "{totals:?}");
    assert!(per_program(totals.differences) > 0.5, "{totals:?}");
}
