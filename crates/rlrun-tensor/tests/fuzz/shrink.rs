//! Makes a failing program small: leaves out steps and takes smaller shapes while it fails in the
//! same way.

use super::lockstep::{Failure, check};
use super::program::Step;

fn fails_alike(steps: &[Step], like: &Failure) -> Option<Failure> {
    check(steps).err().filter(|failure| failure.kind == like.kind)
}

/// The smallest program found, and how it fails.
pub(crate) fn shrink(mut steps: Vec<Step>, mut failure: Failure) -> (Vec<Step>, Failure) {
    steps.truncate(failure.step + 1);
    loop {
        let before = steps.len();
        for at in (0..steps.len()).rev() {
            let mut fewer = steps.clone();
            fewer.remove(at);
            if let Some(alike) = fails_alike(&fewer, &failure) {
                (steps, failure) = (fewer, alike);
            }
        }
        let smaller = (2..=4).chain([512, 4096, 8192]).rev().find_map(|extent| {
            let smaller = with_smaller_extent(&steps, extent);
            (smaller != steps).then_some(())?;
            fails_alike(&smaller, &failure).map(|alike| (smaller, alike))
        });
        match smaller {
            Some(found) => (steps, failure) = found,
            None if steps.len() == before => return (steps, failure),
            None => {}
        }
    }
}

/// Every leaf's extents of at least `extent`, made smaller.
fn with_smaller_extent(steps: &[Step], extent: usize) -> Vec<Step> {
    let mut steps = steps.to_vec();
    for step in &mut steps {
        if let Step::Leaf { shape, .. } = step {
            for size in shape.iter_mut().filter(|size| **size >= extent) {
                *size = if extent > 4 { extent / 2 } else { extent - 1 };
            }
        }
    }
    steps
}
