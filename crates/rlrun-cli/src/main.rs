//! The rlrun program.
fn main() {}
