//! Runs PyTorch's recorded programs and operations and compares everything that was recorded.

mod accidents;
mod canary;
mod compare;
mod documented;
mod op_gradients;
mod operations;
mod program;
mod recordings;

#[test]
fn programs_behave_as_recorded() {
    recordings::check_rows("scenarios", documented::check_scenario);
}

#[test]
fn operations_and_gradients_are_as_recorded() {
    recordings::check_rows("op_gradients", op_gradients::check);
}
