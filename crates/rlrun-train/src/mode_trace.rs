//! Which phases of training may record history.

use rlrun_tensor::PhaseCounts;

use crate::TrainError;

/// Phases that only read what was learnt: acting, targets, evaluation, logs. The others are
/// "update" and, inside it, "loss".
pub const PHASES_WITHOUT_HISTORY: [&str; 4] = ["rollout", "target", "evaluation", "logging"];

/// Checks what [`rlrun_tensor::phase_counts`] found in this thread.
///
/// # Errors
/// [`TrainError::RecordedHistory`] for the first of [`PHASES_WITHOUT_HISTORY`] that recorded some.
pub fn check_phases(phases: &[PhaseCounts]) -> Result<(), TrainError> {
    for phase in phases.iter().filter(|phase| PHASES_WITHOUT_HISTORY.contains(&phase.name)) {
        if let Some((op, at)) = phase.last_recorded {
            let operations = phase.made.nodes;
            return Err(TrainError::RecordedHistory { phase: phase.name, operations, op, at });
        }
    }
    Ok(())
}
