//! The interpreter of the recorded op language: runs the steps and writes a trace.

use std::sync::Arc;
use std::sync::Mutex;

use rlrun_tensor::{
    Backward, DType, GradModeGuard, Tensor, TensorError, ViewMadeIn, catch, is_grad_enabled,
    is_inference_mode_enabled, set_grad_enabled,
};
use serde_json::{Map, Value, json};

use super::canary;
use super::compare::number;
use super::operations;

/// What a program did.
pub(crate) struct Outcome {
    pub(crate) error: Value,
    pub(crate) trace: Vec<Value>,
    /// Every live tensor; null after an error.
    pub(crate) tensors: Value,
    pub(crate) hooks: Vec<Value>,
}

/// Runs a program in a thread of its own, which starts in grad mode.
pub(crate) fn run(program: &[Value]) -> Outcome {
    let run = std::thread::scope(|scope| scope.spawn(|| run_here(program)).join());
    run.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

fn run_here(program: &[Value]) -> Outcome {
    canary::fill_free_lists();
    let mut machine = Machine::default();
    let mut modes = Modes::default();
    let (trace, error) = machine.run(program, &mut modes);
    drop(modes);
    let tensors = if error.is_none() { machine.finals() } else { Value::Null };
    let hooks = machine.calls.lock().expect("no panic while locked").clone();
    Outcome { error: error.map_or(Value::Null, Stop::into_json), trace, tensors, hooks }
}

/// Where a program stopped.
struct Stop {
    kind: String,
    at_step: usize,
    thread_step: Option<usize>,
}

impl Stop {
    fn into_json(self) -> Value {
        let mut error = json!({"kind": self.kind, "at_step": self.at_step});
        if let Some(step) = self.thread_step {
            error["thread_step"] = json!(step);
        }
        error
    }
}

/// The mode guards of one thread, ended in the reverse order.
#[derive(Default)]
struct Modes(Vec<GradModeGuard>);

impl Drop for Modes {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

/// The tensors by name, in the order in which the names appeared.
#[derive(Default)]
struct Machine {
    names: Vec<(String, Tensor)>,
    calls: Arc<Mutex<Vec<Value>>>,
}

/// What a step hands to the trace.
enum Done {
    /// Names of the tensors that it made or wrote.
    Tensors(Vec<String>),
    /// The version that it read.
    Read(u32),
    /// What a thread did.
    Thread(Vec<Value>, Option<Stop>),
}

fn names(step: &Value, key: &str) -> Vec<String> {
    let list = step[key].as_array();
    list.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

impl Machine {
    fn run(&mut self, program: &[Value], modes: &mut Modes) -> (Vec<Value>, Option<Stop>) {
        let mut trace = Vec::new();
        for (at_step, step) in program.iter().enumerate() {
            let mut entry = Map::new();
            let tried = step["try"] == true;
            let mut stop = None;
            if tried && self.misses_input(step) {
                entry.insert("skipped".to_owned(), json!(true));
            } else {
                stop = self.step(step, modes, &mut entry);
            }
            match stop {
                Some(stop) if !tried => {
                    trace.push(Value::Object(entry));
                    return (trace, Some(Stop { at_step, ..stop }));
                }
                Some(stop) => {
                    entry.insert("error".to_owned(), json!(stop.kind));
                }
                None => {}
            }
            note_mode(&mut entry);
            trace.push(Value::Object(entry));
        }
        (trace, None)
    }

    fn step(
        &mut self,
        step: &Value,
        modes: &mut Modes,
        entry: &mut Map<String, Value>,
    ) -> Option<Stop> {
        match self.execute(step, modes) {
            Ok(Done::Tensors(written)) => {
                if !written.is_empty() {
                    let flags = written.iter().map(|name| (name.clone(), self.flags(name)));
                    entry.insert("t".to_owned(), Value::Object(flags.collect()));
                }
                None
            }
            Ok(Done::Read(version)) => {
                entry.insert("value".to_owned(), json!(version));
                None
            }
            Ok(Done::Thread(trace, stop)) => {
                entry.insert("thread".to_owned(), Value::Array(trace));
                stop.map(|stop| Stop { thread_step: Some(stop.at_step), ..stop })
            }
            Err(error) => Some(Stop { kind: error.kind(), at_step: 0, thread_step: None }),
        }
    }

    fn misses_input(&self, step: &Value) -> bool {
        let extra = ["grad", "out_arg"].iter().filter_map(|&key| step[key].as_str());
        let inputs = ["in", "wrt", "inputs"].iter().flat_map(|&key| names(step, key));
        inputs.chain(extra.map(str::to_owned)).any(|name| !self.has(&name))
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|(known, _)| known == name)
    }

    fn get(&self, name: &str) -> Tensor {
        let found = self.names.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no tensor `{name}`")).1.clone()
    }

    fn set(&mut self, name: String, tensor: Tensor) {
        match self.names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, slot)) => *slot = tensor,
            None => self.names.push((name, tensor)),
        }
    }

    fn define(&mut self, names: Vec<String>, tensors: Vec<Tensor>) -> Done {
        for (name, tensor) in names.iter().zip(tensors) {
            self.set(name.clone(), tensor);
        }
        Done::Tensors(names)
    }

    fn execute(&mut self, step: &Value, modes: &mut Modes) -> Result<Done, TensorError> {
        let op = step["op"].as_str().expect("an operation");
        let inputs: Vec<Tensor> = names(step, "in").iter().map(|name| self.get(name)).collect();
        let x = inputs.first().cloned();
        let x = || x.clone().expect("an input");
        let outs = names(step, "out");
        match op {
            "push" => modes.0.push(guard(&step["mode"])),
            "pop" => drop(modes.0.pop()),
            "set_grad" => set_grad_enabled(step["value"] == true),
            "thread" => return Ok(self.thread(step)),
            "tensor" => {
                let tensor = catch(|| tensor(step))?;
                return Ok(self.define(outs, vec![tensor]));
            }
            "backward" => self.backward(&x(), step)?,
            "grad" => return self.grad(&x(), step),
            "hook" => self.hook(&x(), step)?,
            "post_acc_hook" => self.post_hook(&x(), step)?,
            "retain_grad" => catch(|| x().retain_grad())?,
            "grad_of" => {
                // A tensor without a gradient defines no name.
                let outs = if x().grad().is_some() { outs } else { Vec::new() };
                return Ok(self.define(outs, x().grad().into_iter().collect()));
            }
            "zero_grad" => zero_grad(&x(), step)?,
            "set_grad_of" => catch(|| x().set_grad(Some(&inputs[1])))?,
            "set_data" => {
                let mut changed = x();
                catch(|| changed.set_data(&inputs[1]))?;
                return Ok(self.define(vec![names(step, "in")[0].clone()], vec![changed]));
            }
            "set_requires_grad" => {
                catch(|| x().set_requires_grad(step["value"] == true))?;
                return Ok(Done::Tensors(vec![names(step, "in")[0].clone()]));
            }
            "version" => return catch(|| x().version()).map(Done::Read),
            "drop" => {
                let dropped = names(step, "in");
                self.names.retain(|(name, _)| !dropped.contains(name));
            }
            _ => return self.operation(op, step, &inputs),
        }
        Ok(Done::Tensors(Vec::new()))
    }

    fn operation(
        &mut self,
        op: &str,
        step: &Value,
        inputs: &[Tensor],
    ) -> Result<Done, TensorError> {
        if let Some(out) = step["out_arg"].as_str() {
            let target = self.get(out);
            catch(|| operations::into_out(op, inputs, &step["attr"], &target))?;
            return Ok(Done::Tensors(vec![out.to_owned()]));
        }
        if op.ends_with('_') {
            catch(|| operations::in_place(op, inputs, &step["attr"]))?;
            return Ok(Done::Tensors(vec![names(step, "in")[0].clone()]));
        }
        let results = catch(|| operations::functional(op, inputs, &step["attr"]))?;
        Ok(self.define(names(step, "out"), results))
    }

    fn thread(&mut self, step: &Value) -> Done {
        let steps = step["steps"].as_array().expect("steps");
        let work = || {
            let mut modes = Modes::default();
            self.run(steps, &mut modes)
        };
        let (trace, stop) =
            std::thread::scope(|scope| scope.spawn(work).join().expect("the thread ends"));
        Done::Thread(trace, stop)
    }

    fn backward(&self, of: &Tensor, step: &Value) -> Result<(), TensorError> {
        let gradient = step["grad"].as_str().map(|name| self.get(name));
        let inputs: Vec<Tensor> = names(step, "inputs").iter().map(|name| self.get(name)).collect();
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        let options = Backward {
            gradient: gradient.as_ref(),
            retain_graph: step["retain"] == true,
            create_graph: step["create_graph"] == true,
            inputs: step["inputs"].is_array().then_some(&inputs[..]),
        };
        catch(|| of.backward_with(options))
    }

    fn grad(&mut self, of: &Tensor, step: &Value) -> Result<Done, TensorError> {
        let gradient = step["grad"].as_str().map(|name| self.get(name));
        let wrt: Vec<Tensor> = names(step, "wrt").iter().map(|name| self.get(name)).collect();
        let wrt: Vec<&Tensor> = wrt.iter().collect();
        let options = Backward {
            gradient: gradient.as_ref(),
            retain_graph: step["retain"] == true,
            create_graph: step["create_graph"] == true,
            inputs: None,
        };
        let found = if step["allow_unused"] == true {
            catch(|| of.grad_of(&wrt, options))?
        } else {
            catch(|| rlrun_tensor::grad(of, &wrt, options))?.into_iter().map(Some).collect()
        };
        let named = names(step, "out").into_iter().zip(found);
        let used = named.filter_map(|(name, grad)| grad.map(|grad| (name, grad)));
        let (outs, grads) = used.unzip();
        Ok(self.define(outs, grads))
    }

    fn hook(&self, of: &Tensor, step: &Value) -> Result<(), TensorError> {
        let (calls, label) = (self.calls.clone(), step["label"].clone());
        let scale = step["scale"].as_f64().map(|scale| scale as f32);
        catch(|| {
            of.register_hook(move |grad| {
                let values = operations::values(grad);
                calls
                    .lock()
                    .expect("no panic while locked")
                    .push(json!({"label": label, "values": values}));
                scale.map(|scale| grad * scale)
            });
        })
    }

    fn post_hook(&self, of: &Tensor, step: &Value) -> Result<(), TensorError> {
        let (calls, label) = (self.calls.clone(), step["label"].clone());
        catch(|| {
            of.register_post_accumulate_grad_hook(move |grad| {
                let values = operations::values(grad);
                calls
                    .lock()
                    .expect("no panic while locked")
                    .push(json!({"label": label, "values": values}));
            });
        })
    }

    /// The flags of a tensor that differ from the defaults of the format.
    fn flags(&self, name: &str) -> Value {
        let tensor = self.get(name);
        let mut flags = Map::new();
        let mut put = |key: &str, value: Value, default: Value| {
            if value != default {
                flags.insert(key.to_owned(), value);
            }
        };
        let first = |same: &dyn Fn(&Tensor) -> bool| {
            let found = self.names.iter().find(|(_, other)| same(other));
            found.map_or("?", |(name, _)| name).to_owned()
        };
        let raised = |read: Result<bool, TensorError>| match read {
            Ok(value) => json!(value),
            Err(error) => json!({"error": error.kind()}),
        };
        put("inference", json!(tensor.is_inference()), json!(false));
        put("requires_grad", json!(tensor.requires_grad()), json!(false));
        put("grad_fn", raised(catch(|| tensor.has_grad_fn())), json!(false));
        put("is_leaf", raised(catch(|| tensor.is_leaf())), json!(true));
        if let Some(base) = tensor.base() {
            put("is_view", json!(true), json!(false));
            put("base", json!(first(&|other| other.is(&base))), Value::Null);
        }
        put("view_made_in", json!(made_in(&tensor)), json!("default"));
        let version = catch(|| tensor.version()).map_or(json!("error"), |version| json!(version));
        put("version", version, json!(0));
        put("same_tensor_as", json!(first(&|other| other.is(&tensor))), json!(name));
        put("storage", json!(first(&|other| other.shares_storage(&tensor))), json!(name));
        Value::Object(flags)
    }

    fn finals(&self) -> Value {
        let tensors = self.names.iter().map(|(name, tensor)| {
            let mut fields = self.flags(name);
            fields["shape"] = json!(tensor.dims());
            fields["values"] = operations::values(tensor);
            match tensor.dtype() {
                DType::I64 => fields["dtype"] = json!("i64"),
                DType::Bool => fields["dtype"] = json!("bool"),
                DType::F32 => {}
            }
            if let Some(grad) = tensor.grad() {
                fields["grad"] = gradient(&grad);
            }
            (name.clone(), fields)
        });
        Value::Object(tensors.collect())
    }
}

fn gradient(grad: &Tensor) -> Value {
    let mut fields = json!({"values": operations::values(grad)});
    if grad.is_inference() {
        fields["inference"] = json!(true);
    }
    if grad.requires_grad() {
        fields["requires_grad"] = json!(true);
    }
    fields
}

/// The mode after a step, if it is not grad mode.
fn note_mode(entry: &mut Map<String, Value>) {
    let mode = [is_grad_enabled(), is_inference_mode_enabled()];
    if mode != [true, false] {
        entry.insert("mode".to_owned(), json!(mode));
    }
}

fn made_in(tensor: &Tensor) -> &'static str {
    match tensor.view_made_in() {
        None | Some(ViewMadeIn::Default) => "default",
        Some(ViewMadeIn::MultiOutputNode) => "multi_output_node",
        Some(ViewMadeIn::NoGradMode) => "no_grad_mode",
        Some(ViewMadeIn::InferenceMode) => "inference_mode",
    }
}

fn zero_grad(of: &Tensor, step: &Value) -> Result<(), TensorError> {
    match of.grad() {
        Some(grad) if step["set_to_none"] == false => {
            catch(|| rlrun_tensor::no_grad(|| grad.zero_()))
        }
        _ => catch(|| of.set_grad(None)),
    }
}

fn guard(mode: &Value) -> GradModeGuard {
    match mode.as_str().expect("a mode") {
        "no_grad" => GradModeGuard::no_grad(),
        "enable_grad" => GradModeGuard::enable_grad(),
        "inference" => GradModeGuard::inference_mode(true),
        "inference_off" => GradModeGuard::inference_mode(false),
        other => panic!("unknown mode `{other}`"),
    }
}

/// A fresh tensor from a recorded description.
pub(crate) fn tensor(described: &Value) -> Tensor {
    let list = |key: &str| described[key].as_array().expect("a list").iter();
    let shape: Vec<usize> = list("shape").map(|extent| number(extent) as usize).collect();
    let tensor = match described["dtype"].as_str() {
        Some("i64") => {
            Tensor::from_i64(&list("data").map(|x| number(x) as i64).collect::<Vec<_>>(), shape)
        }
        Some("bool") => {
            Tensor::from_bool(&list("data").map(|x| number(x) != 0.0).collect::<Vec<_>>(), shape)
        }
        _ => Tensor::from_vec(list("data").map(|x| number(x) as f32).collect(), shape),
    };
    if described["requires_grad"] == true { tensor.requires_grad_(true) } else { tensor }
}
