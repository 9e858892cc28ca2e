//! The seam through which an update is held against another implementation's: its random draws go
//! in, what it computed on the way comes out. Outside [`rehearse`] it costs a look at one flag.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_distr::{Distribution as _, StandardNormal};
use rlrun_core::Rng;
use rlrun_tensor::Tensor;

/// A draw to be used in place of a stream's.
#[derive(Clone, Debug, PartialEq)]
pub enum Draw {
    /// The order of the rows of a rollout in one epoch.
    Permutation(Vec<usize>),
    /// The rows of a buffer that make a minibatch.
    Rows(Vec<usize>),
    /// Standard normals, row-major.
    Normals(Vec<f32>),
}

/// Something an update computed: the numbers of several named tensors, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The name of the loss, or `"step"` for the gradients of a step.
    pub name: &'static str,
    /// Names and numbers.
    pub values: Vec<(String, Vec<f32>)>,
}

#[derive(Default)]
struct Rehearsal {
    draws: VecDeque<Draw>,
    events: Vec<Event>,
}

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static REHEARSAL: RefCell<Rehearsal> = RefCell::default();
}

/// Runs `update` with `draws` in place of random ones, in their order, and gives what it returned,
/// what it computed on the way, and the draws that it did not use.
///
/// # Panics
/// If a draw of another kind or number is asked for.
pub fn rehearse<T>(draws: Vec<Draw>, update: impl FnOnce() -> T) -> (T, Vec<Event>, Vec<Draw>) {
    REHEARSAL.set(Rehearsal { draws: draws.into(), events: Vec::new() });
    ON.set(true);
    let result = update();
    ON.set(false);
    let Rehearsal { draws, events } = REHEARSAL.take();
    (result, events, draws.into())
}

/// Whether an update is rehearsed: what is traced may then be costly.
pub(crate) fn is_on() -> bool {
    ON.get()
}

fn next(wanted: &str, fits: impl FnOnce(&Draw) -> bool) -> Option<Draw> {
    if !ON.get() {
        return None;
    }
    let draw = REHEARSAL.with_borrow_mut(|rehearsal| rehearsal.draws.pop_front());
    match draw {
        Some(draw) if fits(&draw) => Some(draw),
        draw => panic!("the update asks for {wanted}, the next draw is {draw:?}"),
    }
}

/// Puts `0..rows` in a random order into `order`.
pub(crate) fn permutation(rows: usize, rng: &mut Rng, order: &mut Vec<usize>) {
    order.clear();
    let fits = |draw: &Draw| matches!(draw, Draw::Permutation(order) if order.len() == rows);
    match next("a permutation", fits) {
        Some(Draw::Permutation(recorded)) => order.extend(recorded),
        _ => {
            order.extend(0..rows);
            order.shuffle(rng);
        }
    }
}

/// Draws `count` of `stored` rows, with replacement, into `rows`; rehearsed, as many as are given.
pub(crate) fn rows(count: usize, stored: usize, rng: &mut Rng, rows: &mut Vec<usize>) {
    rows.clear();
    match next("rows", |draw| matches!(draw, Draw::Rows(_))) {
        Some(Draw::Rows(recorded)) => rows.extend(recorded),
        _ => rows.extend((0..count).map(|_| rng.random_range(0..stored as u64) as usize)),
    }
}

/// Fills `numbers` with standard normals.
pub(crate) fn normals(numbers: &mut [f32], rng: &mut Rng) {
    let count = numbers.len();
    match next("normals", |draw| matches!(draw, Draw::Normals(draws) if draws.len() == count)) {
        Some(Draw::Normals(recorded)) => numbers.copy_from_slice(&recorded),
        _ => numbers.iter_mut().for_each(|number| *number = StandardNormal.sample(rng)),
    }
}

/// What can be handed out.
pub(crate) trait Traced {
    /// Its numbers, row-major; of several tensors one after the other.
    fn numbers(&self) -> Vec<f32>;
}

impl Traced for Tensor {
    fn numbers(&self) -> Vec<f32> {
        self.to_vec()
    }
}

impl Traced for Vec<Tensor> {
    fn numbers(&self) -> Vec<f32> {
        self.iter().flat_map(Tensor::to_vec).collect()
    }
}

impl Traced for f32 {
    fn numbers(&self) -> Vec<f32> {
        vec![*self]
    }
}

impl Traced for f64 {
    fn numbers(&self) -> Vec<f32> {
        vec![*self as f32]
    }
}

impl<T: Traced> Traced for &T {
    fn numbers(&self) -> Vec<f32> {
        (**self).numbers()
    }
}

/// Hands out variables under their names, if anybody asked: `trace!("loss": values, ratio)`.
macro_rules! trace {
    ($event:literal: $($variable:ident),+) => {
        $crate::rehearsal::hand_out($event, &[$((stringify!($variable), &$variable)),+])
    };
}
pub(crate) use trace;

/// Hands out what was computed, if anybody asked.
pub(crate) fn hand_out(name: &'static str, values: &[(&str, &dyn Traced)]) {
    if ON.get() {
        let numbers = |(name, value): &(&str, &dyn Traced)| ((*name).to_owned(), value.numbers());
        let values = values.iter().map(numbers).collect();
        record(Event { name, values });
    }
}

/// Hands out numbers that are no tensors.
pub(crate) fn record(event: Event) {
    REHEARSAL.with_borrow_mut(|rehearsal| rehearsal.events.push(event));
}
