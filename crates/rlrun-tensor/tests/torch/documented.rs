//! What a recorded program is held to: the recording, or where PyTorch's behaviour is an accident
//! or a free choice (`impl_defined`), the rule that this crate documents instead.
//!
//! | reason | rule |
//! |---|---|
//! | `inference_requires_grad` | refused: `SetRequiresGradOnInference` |
//! | `inference_alias_with_counter` | an alias of an inference tensor has no counter either; a write to it is refused |
//! | `normal_tensor_without_counter` | refused: `SetDataAcrossModes` |
//! | `detach_ignored_in_inference_mode` | `detach_` works in every mode; on a view it is refused |
//! | `stale_view_history` | an older view counts as if it were taken now |
//! | `see_semantics` | see [`free_choice`] |

use std::collections::HashSet;

use serde_json::{Value, json};

use super::accidents;
use super::compare::{self, Tolerance};
use super::program::{self, Outcome};

pub(crate) fn check_scenario(row: &Value) -> Result<(), String> {
    let steps = row["program"].as_array().expect("a program");
    let (ours, recorded) = without_accidental_aliasing(program::run(steps), row);
    if row["group"] == "random" {
        return accidents::check(ours, steps, recorded);
    }
    if row["group"] == "saved" {
        return saved(&ours, row);
    }
    let unspecified = after_refused_writes(steps, row);
    let mut expected = Expected { outcome: recorded, like: None };
    for reason in row["impl_defined"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        match reason {
            "inference_requires_grad" => refuse_requires_grad(steps, &mut expected.outcome),
            "inference_alias_with_counter" => alias_without_counter(steps, &mut expected.outcome),
            "normal_tensor_without_counter" => refuse_set_data(steps, &mut expected.outcome),
            "detach_ignored_in_inference_mode" => detach(steps, &mut expected.outcome),
            "stale_view_history" => fresh_views(steps, &mut expected),
            "see_semantics" => free_choice(steps, &mut expected),
            other => return Err(format!("no documented rule for `{other}`")),
        }
    }
    expected.check(&ours, &unspecified)?;
    same_without_refused_writes(&ours, steps, &row["outcome"], &unspecified)
}

/// Of the results that a row calls `lenient`, and of gradients handed out, whose memory they have
/// is not compared: here a gradient handed out is never a view, in PyTorch it depends on the rule
/// that made it.
fn without_accidental_aliasing(mut ours: Outcome, row: &Value) -> (Outcome, Value) {
    let mut recorded = row["outcome"].clone();
    let names = row["lenient"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut lenient: HashSet<String> = names.map(str::to_owned).collect();
    let steps = row["program"].as_array().into_iter().flatten();
    let handed_out = steps.filter(|step| step["op"] == "grad").flat_map(outputs);
    lenient.extend(handed_out.map(str::to_owned));
    forget(&mut ours, &mut recorded, &lenient, &compare::ALIASING);
    (ours, recorded)
}

/// Compares neither ours nor the recorded `flags` of these tensors.
pub(crate) fn forget(
    ours: &mut Outcome,
    recorded: &mut Value,
    names: &HashSet<String>,
    flags: &[&str],
) {
    ours.trace.iter_mut().for_each(|entry| compare::forget(entry, names, flags));
    compare::forget(&mut ours.tensors, names, flags);
    compare::forget(recorded, names, flags);
}

/// The tensors whose values PyTorch leaves unspecified because a write that it refused had already
/// happened, and what was computed from them.
fn after_refused_writes(steps: &[Value], row: &Value) -> HashSet<String> {
    let listed = row["unspecified"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut unspecified: HashSet<String> = listed.map(str::to_owned).collect();
    let Some(write) = steps.iter().position(|step| step["try"] == true) else { return unspecified };
    for (at, step) in steps.iter().enumerate().skip(write) {
        if inputs(step).any(|name| unspecified.contains(name)) {
            unspecified.extend(outputs(step).map(str::to_owned));
        }
        if step["op"] == "backward" && inputs(step).any(|name| unspecified.contains(name)) {
            unspecified.extend(inputs(step).flat_map(|name| sources_of(&steps[..at], name)));
        }
    }
    unspecified
}

/// Here a refused write has not happened: those tensors are as if it had not been tried.
fn same_without_refused_writes(
    ours: &Outcome,
    steps: &[Value],
    outcome: &Value,
    unspecified: &HashSet<String>,
) -> Result<(), String> {
    if unspecified.is_empty() || !ours.error.is_null() {
        return Ok(());
    }
    let refused = |at: usize| outcome["trace"][at]["error"] == "InplaceOnInferenceTensor";
    let rest = steps.iter().enumerate().filter(|(at, _)| !refused(*at)).map(|(_, step)| step);
    let other = program::run(&rest.cloned().collect::<Vec<_>>());
    for name in unspecified {
        let (mine, theirs) = (&ours.tensors[name], &other.tensors[name]);
        if mine["values"] != theirs["values"] || mine["grad"] != theirs["grad"] {
            return Err(format!("{name}: {mine}, without the refused write {theirs}"));
        }
    }
    Ok(())
}

/// An operation may need fewer tensors than PyTorch's: the change of one is an error at backward,
/// or the gradients are exactly those of the unchanged one.
fn saved(ours: &Outcome, row: &Value) -> Result<(), String> {
    let recorded = &row["outcome"];
    let steps = recorded["trace"].as_array().expect("a trace");
    compare::trace("", &ours.trace, steps)?;
    if ours.error.is_null() {
        for (name, grads) in row["grads_if_not_changed"].as_object().into_iter().flatten() {
            let found = &ours.tensors[name]["grad"]["values"];
            let agree = if found.is_null() {
                grads.is_null()
            } else {
                compare::numbers_agree(found, grads)
            };
            if !agree {
                return Err(format!("gradient of {name}: ours {found}, unchanged {grads}"));
            }
        }
        return Ok(());
    }
    let at_backward = json!({"kind": "SavedTensorModified", "at_step": steps.len() - 1});
    if ours.error == at_backward { Ok(()) } else { Err(format!("error {}", ours.error)) }
}

/// What a program must do.
struct Expected {
    outcome: Value,
    /// A program without the accident, which must leave the same gradients, and the same values
    /// where the recording has none; the recorded trace holds before this step.
    like: Option<(Vec<Value>, usize)>,
}

impl Expected {
    fn check(&self, ours: &Outcome, unspecified: &HashSet<String>) -> Result<(), String> {
        let Some((program, until)) = &self.like else {
            return compare::outcome(ours, &self.outcome, unspecified, Tolerance::TIGHT);
        };
        let recorded = self.outcome["trace"].as_array().expect("a trace");
        compare::trace("", &ours.trace[..*until], &recorded[..*until])?;
        let other = program::run(program);
        if !ours.error.is_null() || !other.error.is_null() {
            return Err(format!("errors {} and {}", ours.error, other.error));
        }
        for (name, tensor) in other.tensors.as_object().into_iter().flatten() {
            let (mine, recorded) = (&ours.tensors[name], &self.outcome["final"][name]);
            let values = if recorded.is_null() { tensor } else { recorded };
            let same = |a: &Value, b: &Value| a == b || compare::numbers_agree(a, b);
            let grads_agree = same(&mine["grad"]["values"], &tensor["grad"]["values"]);
            if !grads_agree || !same(&mine["values"], &values["values"]) {
                return Err(format!("{name}: {mine}, without the accident {tensor}"));
            }
        }
        Ok(())
    }
}

pub(crate) fn inputs(step: &Value) -> impl Iterator<Item = &str> {
    step["in"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

pub(crate) fn outputs(step: &Value) -> impl Iterator<Item = &str> {
    step["out"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

pub(crate) fn tensors(entry: &Value) -> impl Iterator<Item = (&String, &Value)> {
    entry["t"].as_object().into_iter().flatten()
}

/// The program is refused at this step, and ends there unless the step is marked `try`.
pub(crate) fn refuse(steps: &[Value], outcome: &mut Value, at_step: usize, kind: &str) {
    let trace = outcome["trace"].as_array_mut().expect("a trace");
    if steps[at_step]["try"] == true {
        let fields = trace[at_step].as_object_mut().expect("an entry");
        fields.remove("t");
        fields.remove("value");
        fields.insert("error".to_owned(), json!(kind));
        return;
    }
    trace.truncate(at_step);
    trace.push(json!({}));
    outcome["error"] = json!({"kind": kind, "at_step": at_step});
}

/// The first step after which an inference tensor would require grad.
fn refuse_requires_grad(steps: &[Value], outcome: &mut Value) {
    let trace = outcome["trace"].as_array().expect("a trace");
    let both = |flags: &Value| flags["inference"] == true && flags["requires_grad"] == true;
    if let Some(step) = trace.iter().position(|entry| tensors(entry).any(|(_, f)| both(f))) {
        refuse(steps, outcome, step, "SetRequiresGradOnInference");
    }
}

/// `detach` and `data` of an inference tensor give an ordinary inference tensor.
fn alias_without_counter(steps: &[Value], outcome: &mut Value) {
    let mut aliases = HashSet::new();
    let ran = outcome["trace"].as_array().map_or(0, Vec::len);
    for (at, step) in steps.iter().enumerate().take(ran) {
        let op = step["op"].as_str().unwrap_or_default();
        let of_alias = inputs(step).next().is_some_and(|name| aliases.contains(name));
        let kind = match op {
            "version" => Some("VersionOfInference"),
            _ if op.ends_with('_') && outcome["trace"][at]["mode"][1] != true => {
                Some("InplaceOnInferenceTensor")
            }
            _ => None,
        };
        if let Some(kind) = kind.filter(|_| of_alias) {
            refuse(steps, outcome, at, kind);
            if step["try"] != true {
                return;
            }
        }
        aliases.extend(take_counters(&mut outcome["trace"][at]["t"]));
    }
    take_counters(&mut outcome["final"]);
}

/// Lets no inference tensor have a counter; returns the names of those that had one.
fn take_counters(tensors: &mut Value) -> Vec<String> {
    let mut names = Vec::new();
    for (name, flags) in tensors.as_object_mut().into_iter().flatten() {
        if flags["inference"] == true && flags["version"] != "error" {
            flags["version"] = json!("error");
            names.push(name.clone());
        }
    }
    names
}

/// `set_data` between an inference tensor and a normal one.
fn refuse_set_data(steps: &[Value], outcome: &mut Value) {
    let mut inference = HashSet::new();
    for at in 0..outcome["trace"].as_array().map_or(0, Vec::len) {
        let kinds: Vec<bool> = inputs(&steps[at]).map(|name| inference.contains(name)).collect();
        if steps[at]["op"] == "set_data" && kinds[0] != kinds[1] {
            return refuse(steps, outcome, at, "SetDataAcrossModes");
        }
        let made = tensors(&outcome["trace"][at]).filter(|(_, flags)| flags["inference"] == true);
        inference.extend(made.map(|(name, _)| name.clone()));
    }
}

/// `detach_` inside inference mode is refused for a view and cuts the history of anything else.
fn detach(steps: &[Value], outcome: &mut Value) {
    let in_mode = |entry: &Value| entry["mode"][1] == true;
    let trace = outcome["trace"].as_array().expect("a trace");
    let found = trace.iter().zip(steps).position(|(e, s)| s["op"] == "detach_" && in_mode(e));
    let Some(at) = found else { return };
    let name = inputs(&steps[at]).next().expect("a tensor").to_owned();
    if trace[at]["t"][&name]["is_view"] == true {
        return refuse(steps, outcome, at, "DetachViewInplace");
    }
    for entry in &mut outcome["trace"].as_array_mut().expect("a trace")[at..] {
        cut(entry.get_mut("t").and_then(|tensors| tensors.get_mut(&name)));
    }
    cut(outcome["final"].get_mut(&name));
    for source in sources_of(&steps[..at], &name) {
        if let Some(fields) = outcome["final"].get_mut(&source).and_then(Value::as_object_mut) {
            fields.remove("grad");
        }
    }
}

/// Removes the flags of history.
fn cut(flags: Option<&mut Value>) {
    if let Some(flags) = flags.and_then(Value::as_object_mut) {
        for flag in ["requires_grad", "grad_fn", "is_leaf"] {
            flags.remove(flag);
        }
    }
}

/// The names that a tensor was computed from, its own included.
pub(crate) fn sources_of(steps: &[Value], name: &str) -> HashSet<String> {
    let mut sources = HashSet::from([name.to_owned()]);
    for step in steps.iter().rev() {
        if outputs(step).any(|out| sources.contains(out)) {
            sources.extend(inputs(step).map(str::to_owned));
        }
    }
    sources
}

const VIEWS: [&str; 10] = [
    "view",
    "reshape",
    "expand",
    "transpose",
    "narrow",
    "select",
    "unsqueeze",
    "unbind",
    "split",
    "chunk",
];

pub(crate) fn is_view(step: &Value) -> bool {
    VIEWS.iter().any(|&view| step["op"] == view)
}

/// Every view is taken once more just before it is written.
fn fresh_views(steps: &[Value], expected: &mut Expected) {
    let mut program = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        if step["op"].as_str().is_some_and(|op| op.ends_with('_')) {
            let target = inputs(step).next().expect("a target");
            let made = |step: &&Value| is_view(step) && outputs(step).any(|out| out == target);
            program.extend(steps[..at].iter().rfind(made).cloned());
        }
        program.push(step.clone());
    }
    let until = expected.outcome["error"]["at_step"].as_u64().expect("a stop") as usize;
    expected.like = Some((program, until));
}

/// The free choices:
///
/// * `fill_` and `zero_` of a tensor whose elements share memory are refused like any other write;
/// * `requires_grad_` of a root reaches the views that were made before;
/// * `set_data` does not reach what was saved before;
/// * everything else is as recorded.
fn free_choice(steps: &[Value], expected: &mut Expected) {
    let expanded: HashSet<&str> =
        steps.iter().filter(|step| step["op"] == "expand").flat_map(outputs).collect();
    let fills = |step: &Value| step["op"] == "fill_" || step["op"] == "zero_";
    let shared = |step: &Value| inputs(step).next().is_some_and(|name| expanded.contains(name));
    if let Some(at) = steps.iter().position(|step| fills(step) && shared(step)) {
        return refuse(steps, &mut expected.outcome, at, "OverlappingInplace");
    }
    let ran = expected.outcome["trace"].as_array().map_or(0, Vec::len);
    if steps.iter().any(|step| step["op"] == "set_data") {
        let rest = steps.iter().filter(|step| step["op"] != "set_data").cloned().collect();
        expected.like = Some((rest, ran));
        return;
    }
    let asked = steps.iter().position(|step| step["op"] == "requires_grad_");
    let viewed = |root: &str, step: &Value| is_view(step) && inputs(step).any(|name| name == root);
    if let Some(at) = asked
        && let Some(root) = inputs(&steps[at]).next()
        && let Some(view) = steps[..at].iter().position(|step| viewed(root, step))
    {
        let mut program = steps.to_vec();
        let asked = program.remove(at);
        program.insert(view, asked);
        expected.like = Some((program, at));
    }
}
