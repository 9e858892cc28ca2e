//! One writer: a run folder is locked while it is trained, and the system releases the lock when the
//! process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use tracing::warn;

use super::{Kind, cannot, fault, is_there};
use crate::CheckpointError;

/// Name of the locked file in a run folder; it says which process holds it.
const LOCK_FILE: &str = "lock";

/// Linux's numbers of "no locks available", "not implemented" and "not supported".
const WITHOUT_LOCKS: [i32; 3] = [37, 38, 95];

/// The right to write into a run folder, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Locks the run folder `folder`. On a file system without locks it warns and goes on.
    ///
    /// # Errors
    /// [`CheckpointError::Locked`] naming the process that trains the run.
    pub(crate) fn acquire(folder: &Path) -> Result<Lock, CheckpointError> {
        let path = folder.join(LOCK_FILE);
        is_there(&path, Kind::File)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let opened = fault::before("open", &path).and_then(|()| options.open(&path));
        let mut file = opened.map_err(cannot("open", &path))?;
        match fault::before("lock", &path)
            .map_err(TryLockError::Error)
            .and_then(|()| file.try_lock())
        {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let owner = owner(&mut file).map_err(cannot("read", &path))?;
                return Err(CheckpointError::Locked { path: folder.to_owned(), owner });
            }
            Err(TryLockError::Error(error)) if has_no_locks(&error) => warn!(
                "the file system of `{}` has no locks: see to it that no other process trains this \
                 run",
                folder.display()
            ),
            Err(TryLockError::Error(error)) => return Err(cannot("lock", &path)(error)),
        }
        let signed = fault::before("write", &path).and_then(|()| sign(&mut file));
        signed.map_err(cannot("write", &path))?;
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The name of a process that has ended would only mislead.
        self.file.set_len(0).ok();
    }
}

fn has_no_locks(error: &io::Error) -> bool {
    error.kind() == ErrorKind::Unsupported
        || error.raw_os_error().is_some_and(|number| WITHOUT_LOCKS.contains(&number))
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{} {}", std::process::id(), host())
}

/// Who has locked the file: `process 71`, and on which host if it is another one.
fn owner(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.take(256).read_to_string(&mut text)?;
    Ok(match text.trim().split_once(' ') {
        Some((process, there)) if there != host() => format!("process {process} on `{there}`"),
        Some((process, _)) => format!("process {process}"),
        None => "another process".to_owned(),
    })
}

/// What this machine is called, as far as it can be known without asking the system's library.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok());
    let name = name.or_else(|| std::env::var("COMPUTERNAME").ok());
    name.map_or_else(|| "localhost".to_owned(), |name| name.trim().to_owned())
}
