//! Accidents of PyTorch in programs that nobody designed, as rules about the program.
//!
//! | what a program does | PyTorch | here |
//! |---|---|---|
//! | a gradient made in inference mode is accumulated into outside | refused, but already added | refused, nothing happens |
//! | a function of inference tensors outside the mode | some results start at version 1 | at 0, or 1 |
//! | a tensor is given as the upstream gradient | becomes `.grad` and is accumulated into | never changes |
//! | `fill_`, `zero_`, `masked_fill_` of a tensor whose elements share memory | accepted | refused like other writes |
//! | a gradient handed out is written or used after a write | may be a view made in `no_grad` | is no view |
//! | `retain_grad` of a view whose root was written since | without effect | the gradient is kept |
//! | what only PyTorch saves is changed (`gather`, `nll_loss`, operands of a cut-off view) | refused at backward | the gradient of the forward pass |
//! | `reshape` of a result whose memory order PyTorch keeps | may copy | may be a view |
//!
//! Programs with a spread (`var`, `std`), an angle or a product are compared with the tolerance of
//! sums of products; those with `layer_norm` to 1e-3, since PyTorch's f32 multiplies its rounding by
//! up to 1/√eps = 316 in the gradient of a nearly constant row, which is 0.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::compare::{self, ALIASING, Tolerance};
use super::documented::{forget, inputs, is_view, outputs, refuse, sources_of, tensors};
use super::program::{self, Outcome};

pub(crate) fn check(ours: Outcome, steps: &[Value], recorded: Value) -> Result<(), String> {
    let mut row = Row { ours, steps, recorded, until: None };
    row.refused_accumulation()?;
    row.versions_of_results();
    row.upstream_gradients();
    row.filled_overlaps();
    row.handed_out_views();
    row.retained_views();
    row.fewer_saved();
    row.copying_reshapes();
    row.compare()
}

struct Row<'a> {
    ours: Outcome,
    steps: &'a [Value],
    recorded: Value,
    /// Where what both do goes different ways by a rule.
    until: Option<usize>,
}

fn op(step: &Value) -> &str {
    step["op"].as_str().unwrap_or_default()
}

fn in_place(step: &Value) -> bool {
    op(step).ends_with('_') && !["detach_", "requires_grad_"].contains(&op(step))
}

fn is_restriction(error: &Value) -> bool {
    error.as_str().is_some_and(|error| error.ends_with("ViewInplace"))
}

impl Row<'_> {
    fn recorded_error(&self, at: usize) -> &Value {
        &self.recorded["trace"][at]["error"]
    }

    /// The kind of error that stopped our program, or that a step which may fail met.
    fn our_error(&self, at: usize) -> Value {
        let stopped = self.ours.error["at_step"] == at;
        let kind = if stopped { &self.ours.error["kind"] } else { &self.ours.trace[at]["error"] };
        kind.clone()
    }

    fn both_ran(&self) -> usize {
        let recorded = self.recorded["trace"].as_array().map_or(0, Vec::len);
        recorded.min(self.ours.trace.len())
    }

    fn ends_at(&mut self, at: usize) {
        self.until = Some(self.until.map_or(at, |until| until.min(at)));
    }

    fn refused_accumulation(&mut self) -> Result<(), String> {
        let refused = |at: &usize| {
            op(&self.steps[*at]) == "backward"
                && self.recorded_error(*at) == "InplaceOnInferenceTensor"
                && self.our_error(*at) == "InplaceOnInferenceTensor"
        };
        let refused: HashSet<usize> = (0..self.both_ran()).filter(refused).collect();
        if refused.is_empty() || self.recorded["final"].is_null() {
            return Ok(());
        }
        let kept = self.steps.iter().enumerate().filter(|(at, _)| !refused.contains(at));
        let other = program::run(&kept.map(|(_, step)| step.clone()).collect::<Vec<_>>());
        let finals = self.recorded["final"].as_object().into_iter().flatten();
        let inference = finals.filter(|(_, tensor)| tensor["grad"]["inference"] == true);
        let names: HashSet<String> = inference.map(|(name, _)| name.clone()).collect();
        let assigned = self.steps.iter().filter(|step| op(step) == "set_grad_of");
        let assigned: HashSet<String> =
            assigned.filter_map(|step| inputs(step).nth(1)).map(str::to_owned).collect();
        for (names, flag) in [(names, "grad"), (assigned, "values")] {
            for name in &names {
                let (mine, without) = (&self.ours.tensors[name][flag], &other.tensors[name][flag]);
                if mine != without {
                    return Err(format!("{name}.{flag}: {mine}, without the refusal {without}"));
                }
            }
            forget(&mut self.ours, &mut self.recorded, &names, &[flag]);
        }
        Ok(())
    }

    fn versions_of_results(&mut self) {
        let mut inference: HashSet<String> = HashSet::new();
        let mut lenient: HashSet<String> = HashSet::new();
        for at in 0..self.both_ran() {
            let step = &self.steps[at];
            let made = tensors(&self.recorded["trace"][at]);
            let entries: Vec<(String, Value)> =
                made.map(|(name, flags)| (name.clone(), flags.clone())).collect();
            for (name, flags) in entries {
                if flags["inference"] == true {
                    inference.insert(name);
                    continue;
                }
                let fresh = outputs(step).any(|out| out == name) && !is_view(step);
                let of_inference = inputs(step).any(|name| inference.contains(name));
                let on_such = flags["storage"].as_str().is_some_and(|root| lenient.contains(root));
                if on_such || (fresh && of_inference && flags["version"].is_number()) {
                    lenient.insert(name);
                }
            }
        }
        forget(&mut self.ours, &mut self.recorded, &lenient, &["version"]);
    }

    fn upstream_gradients(&mut self) {
        let given = |step: &&Value| op(step) == "backward" && step["grad"].is_string();
        let Some(at) = self.steps.iter().position(|step| given(&step)) else { return };
        let given = self.steps.iter().filter(given).filter_map(|step| step["grad"].as_str());
        let mut names: HashSet<String> = given.map(str::to_owned).collect();
        for step in &self.steps[at..] {
            if inputs(step).any(|name| names.contains(name)) {
                names.extend(outputs(step).map(str::to_owned));
            }
        }
        forget(&mut self.ours, &mut self.recorded, &names, &["values", "version"]);
    }

    fn filled_overlaps(&mut self) {
        let fills = ["fill_", "zero_", "masked_fill_"];
        for at in 0..self.both_ran() {
            let accepted =
                self.recorded_error(at).is_null() && self.recorded["error"]["at_step"] != at;
            if fills.contains(&op(&self.steps[at]))
                && accepted
                && self.our_error(at) == "OverlappingInplace"
            {
                refuse(self.steps, &mut self.recorded, at, "OverlappingInplace");
                self.ends_at(at);
                return;
            }
        }
    }

    fn handed_out_views(&mut self) {
        let handed_out = self.steps.iter().filter(|step| op(step) == "grad").flat_map(outputs);
        let mut names: HashSet<String> = handed_out.map(str::to_owned).collect();
        for step in self.steps.iter().filter(|step| is_view(step)) {
            if inputs(step).any(|name| names.contains(name)) {
                names.extend(outputs(step).map(str::to_owned));
            }
        }
        let restricted = |at: &usize| {
            let used = inputs(&self.steps[*at]).any(|name| names.contains(name));
            used && is_restriction(self.recorded_error(*at))
                && self.our_error(*at) != *self.recorded_error(*at)
        };
        if let Some(at) = (0..self.both_ran()).find(restricted) {
            self.ends_at(at);
        }
    }

    fn retained_views(&mut self) {
        let mut names = HashSet::new();
        for (at, step) in self.steps.iter().enumerate().filter(|(_, s)| op(s) == "retain_grad") {
            let Some(name) = inputs(step).next() else { continue };
            let makes = |step: &&Value| is_view(step) && outputs(step).any(|out| out == name);
            let Some(made) = self.steps[..at].iter().position(|step| makes(&step)) else {
                continue;
            };
            let family = sources_of(&self.steps[..at], name);
            let writes = |step: &Value| {
                in_place(step) && inputs(step).next().is_some_and(|name| family.contains(name))
            };
            if self.steps[made..at].iter().any(writes) {
                names.insert(name.to_owned());
            }
        }
        forget(&mut self.ours, &mut self.recorded, &names, &["grad"]);
    }

    fn fewer_saved(&mut self) {
        let entries = self.recorded["trace"].as_array().into_iter().flatten();
        let cut_off = entries.flat_map(tensors).any(|(_, flags)| flags["view_made_in"].is_string());
        let spares = |step: &Value| ["gather", "nll_loss"].contains(&op(step));
        if !cut_off && !self.steps.iter().any(spares) {
            return;
        }
        for at in 0..self.both_ran() {
            let step = &self.steps[at];
            let refused = self.recorded_error(at) == "SavedTensorModified";
            if op(step) == "backward" && refused && self.our_error(at).is_null() {
                self.recorded["trace"][at].as_object_mut().map(|fields| fields.remove("error"));
                let reached = inputs(step).flat_map(|name| sources_of(&self.steps[..at], name));
                let reached: HashSet<String> = reached.collect();
                forget(&mut self.ours, &mut self.recorded, &reached, &["grad"]);
                self.ours.hooks.clear();
                self.recorded["hooks"] = json!([]);
            }
        }
    }

    fn copying_reshapes(&mut self) {
        let mut names = HashSet::new();
        for at in 0..self.both_ran() {
            for name in outputs(&self.steps[at]).filter(|_| op(&self.steps[at]) == "reshape") {
                let viewed = |entry: &Value| entry["t"][name]["is_view"] == true;
                if viewed(&self.ours.trace[at]) != viewed(&self.recorded["trace"][at]) {
                    names.insert(name.to_owned());
                }
            }
        }
        forget(&mut self.ours, &mut self.recorded, &names, &ALIASING);
    }

    fn compare(&self) -> Result<(), String> {
        let has = |ops: &[&str]| self.steps.iter().any(|step| ops.contains(&op(step)));
        let tolerance = match () {
            () if has(&["layer_norm"]) => Tolerance { absolute: 1e-3, ..Tolerance::ROUGH },
            () if has(&["var", "std", "sin", "cos", "linear", "matmul"]) => Tolerance::ROUGH,
            () => Tolerance::TIGHT,
        };
        if let Some(until) = self.until {
            let recorded = self.recorded["trace"].as_array().expect("a recorded trace");
            return compare::trace("", &self.ours.trace[..until], &recorded[..until]);
        }
        compare::outcome(&self.ours, &self.recorded, &HashSet::new(), tolerance)
    }
}
