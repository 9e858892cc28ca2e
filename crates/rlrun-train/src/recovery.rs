//! Where an interrupted run goes on, and what its folder needs before it does.

use tracing::warn;

use crate::run_dir::RunDir;
use crate::{Checkpoint, CheckpointError, disk, logger};

/// Where a run goes on.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Recovery {
    /// The checkpoint; `None`: the run begins.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Later steps whose checkpoint is damaged.
    damaged: Vec<u64>,
    /// Later steps whose logs have lost rows.
    unlogged: Vec<u64>,
}

impl RunDir {
    /// The newest checkpoint that is valid and whose logs are complete. Later ones are named in
    /// warnings; nothing is changed. What the system refuses is an error, never damage.
    pub(crate) fn recover(&self) -> Result<Recovery, CheckpointError> {
        let (mut recovery, mut lost_rows, mut damage) = (Recovery::default(), None, None);
        for step in self.steps()?.into_iter().rev() {
            let checkpoint = match Checkpoint::load(&self.folder(step)) {
                Ok(checkpoint) => checkpoint,
                Err(error) if error.is_damage() => {
                    warn!("{error}; trying the checkpoint before it");
                    damage.get_or_insert(error);
                    recovery.damaged.push(step);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let lost = logger::lost_rows(self.path(), &checkpoint.trainer.child("logger.logs"))?;
            if lost.is_empty() || self.accepts_lost_rows {
                recovery.checkpoint = Some(checkpoint);
                return Ok(recovery);
            }
            let rows = lost.join(", ");
            warn!("rows are lost since step {step}: {rows}; trying the checkpoint before it");
            lost_rows.get_or_insert(rows);
            recovery.unlogged.push(step);
        }
        let path = self.path().to_owned();
        match (lost_rows, damage) {
            (Some(rows), _) => Err(CheckpointError::LostRows { path, rows }),
            (None, Some(error)) => {
                let (count, source) = (recovery.damaged.len(), Box::new(error));
                Err(CheckpointError::AllDamaged { path, count, source })
            }
            (None, None) => Ok(recovery),
        }
    }

    /// Makes the folder that of a run which goes on where `recovery` says: what a kill left half
    /// done is finished or taken away, later checkpoints are set aside, pointers are corrected.
    pub(crate) fn rewind(
        &self,
        recovery: &Recovery,
        best: Option<u64>,
        keep: usize,
    ) -> Result<(), CheckpointError> {
        disk::remove_leftovers(self.path())?;
        for &step in &recovery.damaged {
            self.set_aside(step, "damaged-")?;
        }
        for &step in &recovery.unlogged {
            self.set_aside(step, UNLOGGED)?;
        }
        let latest = recovery.checkpoint.as_ref().map(|checkpoint| checkpoint.step);
        self.point(latest, best)?;
        self.rotate(keep, [latest, best])
    }

    fn set_aside(&self, step: u64, prefix: &str) -> Result<(), CheckpointError> {
        let (from, to) = (self.folder(step), self.aside(step, prefix));
        warn!("setting `{}` aside as `{}`", from.display(), to.display());
        if disk::kind(&to)?.is_some() {
            disk::remove_folder(&to)?;
        }
        disk::rename(&from, &to)
    }

    /// Takes away what was set aside for its lost rows, once they are made again.
    pub(crate) fn forget_unlogged(&self, step: u64) -> Result<(), CheckpointError> {
        let aside = self.aside(step, UNLOGGED);
        if disk::kind(&aside)?.is_some() { disk::remove_folder(&aside) } else { Ok(()) }
    }

    fn aside(&self, step: u64, prefix: &str) -> std::path::PathBuf {
        self.path().join(format!("{prefix}{}", Checkpoint::folder_name(step)))
    }
}

/// How a valid checkpoint is called whose rows are made again.
const UNLOGGED: &str = "unlogged-";
