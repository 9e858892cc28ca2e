//! The table that `rlrun train --trace-modes` prints.

use std::fmt::Write;

use rlrun::tensor::PhaseCounts;

const HEADINGS: [&str; 6] =
    ["phase", "recorded ops", "peak graph bytes", "grad", "no_grad", "inference"];

/// One row per phase: recorded operations, the most graph bytes alive in it, and tensors made in
/// each mode.
pub(crate) fn table(phases: &[PhaseCounts]) -> String {
    let mut table = "tensors are counted by the mode they were made in\n".to_owned();
    push_row(&mut table, &HEADINGS.map(str::to_owned));
    for phase in phases {
        let made = phase.made;
        let numbers = [
            made.nodes,
            phase.peak_graph_bytes as u64,
            made.grad_tensors,
            made.no_grad_tensors,
            made.inference_tensors,
        ];
        let [nodes, bytes, grad, no_grad, inference] = numbers.map(|number| number.to_string());
        push_row(&mut table, &[phase.name.to_owned(), nodes, bytes, grad, no_grad, inference]);
    }
    table
}

fn push_row(table: &mut String, [phase, nodes, bytes, grad, no_grad, inference]: &[String; 6]) {
    let numbers = format!("{nodes:>12} {bytes:>16} {grad:>9} {no_grad:>9} {inference:>9}");
    // Writing to a string cannot fail.
    writeln!(table, "{phase:<10} {numbers}").ok();
}
