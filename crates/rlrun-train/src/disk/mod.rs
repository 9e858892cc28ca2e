//! The files of a run: everything that is read from a run folder or written into it passes through
//! here, so that four promises are kept in one place.
//!
//! - What has its final name is complete and on the disk: it was written under another name, synced,
//!   renamed, and the folder synced.
//! - Absent is what the system says is absent; any other refusal is an error that names the file.
//! - Only regular files of an expected size are read: no pipe is waited for, and memory has a bound.
//! - Every operation is counted, and can be made to fail or to stop ([`fault`]).

pub mod fault;
mod lock;

use std::fs;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::CheckpointError;

pub(crate) use lock::Lock;

/// Bytes of a text that is read whole, at most: run files, manifests and pointers are far smaller.
pub(crate) const MAX_TEXT: u64 = 1 << 20;

/// What a folder that is being deleted is called, so that nobody takes it for a whole one.
const DELETED: &str = ".deleted-";

/// What stands between the name of something unfinished and its number.
const PARTIAL: &str = ".partial-";

/// What lies at a path, without following a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Link,
    Special,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::File => "a file",
            Kind::Folder => "a folder",
            Kind::Link => "a symbolic link",
            Kind::Special => "a pipe, a device or a socket",
        }
    }
}

/// What lies at `path`; `None` if nothing does.
pub(crate) fn kind(path: &Path) -> Result<Option<Kind>, CheckpointError> {
    let found = fault::before("stat", path).and_then(|()| fs::symlink_metadata(path));
    Ok(present(found).map_err(cannot("look at", path))?.map(|found| match found.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Folder,
        kind if kind.is_symlink() => Kind::Link,
        _ => Kind::Special,
    }))
}

/// Whether there is something at `path`; it must be what is `expected`.
pub(crate) fn is_there(path: &Path, expected: Kind) -> Result<bool, CheckpointError> {
    match kind(path)? {
        Some(found) if found != expected => {
            let (path, expected, found) = (path.to_owned(), expected.name(), found.name());
            Err(CheckpointError::Kind { path, expected, found })
        }
        found => Ok(found.is_some()),
    }
}

/// The bytes of a regular file of at most `max` bytes; `None` if there is no file.
pub(crate) fn read(path: &Path, max: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
    let Some(file) = File::open(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(cannot("read", path))?;
    if bytes.len() as u64 > max {
        return Err(CheckpointError::TooLong { path: path.to_owned(), max });
    }
    Ok(Some(bytes))
}

/// A text of at most [`MAX_TEXT`] bytes; `None` if there is no file.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, CheckpointError> {
    let text = |bytes| String::from_utf8(bytes).map_err(|_| not_text(path));
    read(path, MAX_TEXT)?.map(text).transpose()
}

fn not_text(path: &Path) -> CheckpointError {
    CheckpointError::Kind { path: path.to_owned(), expected: "a text", found: "other bytes" }
}

/// Names of what lies in the folder `path`.
pub(crate) fn list(path: &Path) -> Result<Vec<String>, CheckpointError> {
    let names = fault::before("list", path).and_then(|()| fs::read_dir(path)).and_then(|entries| {
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    });
    names.map_err(cannot("list", path))
}

/// Makes the folder `path` and those that it lies in.
pub(crate) fn create_folders(path: &Path) -> Result<(), CheckpointError> {
    let made = fault::before("mkdir", path).and_then(|()| fs::create_dir_all(path));
    made.map_err(cannot("create", path))
}

/// Makes the folder `path` with what `fill` writes into it; it appears complete or not at all.
///
/// `replace` takes away what stands in its place, at the last moment; without it, a folder that is
/// there already is an error.
pub(crate) fn create_folder(
    path: &Path,
    replace: bool,
    fill: impl FnOnce(&Path) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let partial = create_partial(path, |partial| fs::create_dir(partial))?.1;
    let create = || {
        fill(&partial)?;
        sync_folder(&partial)?;
        if replace && kind(path)?.is_some() {
            remove_folder(path)?;
        }
        rename(&partial, path)?;
        sync_folder(parent(path))
    };
    create().inspect_err(|_| drop(remove_tree(&partial)))
}

/// Writes the file `path`, which must not be there yet, and syncs it.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync()
    };
    write().map_err(cannot("write", path))
}

/// Replaces a small file so that a reader finds the old or the new content, never a part.
pub(crate) fn replace_file(path: &Path, text: &str) -> Result<(), CheckpointError> {
    let (mut file, partial) = create_partial(path, File::create_new)?;
    let mut replace = || {
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync())
            .map_err(cannot("write", path))?;
        rename(&partial, path)?;
        sync_folder(parent(path))
    };
    replace().inspect_err(|_| drop(fs::remove_file(&partial)))
}

/// What `make` makes under a name of its own beside `path`, and that name.
pub(crate) fn create_partial<T>(
    path: &Path,
    make: impl Fn(&Path) -> io::Result<T>,
) -> Result<(T, PathBuf), CheckpointError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    fault::before("create", path).map_err(cannot("create", path))?;
    for number in 0_u32.. {
        let partial = parent(path).join(format!(".{name}{PARTIAL}{number}"));
        match make(&partial) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|made| (made, partial)).map_err(cannot("create", path)),
        }
    }
    unreachable!("a folder holds fewer files than there are numbers")
}

/// Renames a file or a folder.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    fault::before("rename", to).and_then(|()| fs::rename(from, to)).map_err(cannot("create", to))
}

/// Deletes the file `path`, if it is there.
pub(crate) fn remove_file(path: &Path) -> Result<(), CheckpointError> {
    let removed = fault::before("unlink", path).and_then(|()| fs::remove_file(path));
    present(removed).map(drop).map_err(cannot("delete", path))
}

/// Deletes a folder with everything in it. It loses its name first: what is half deleted is never
/// taken for a whole one, and [`remove_leftovers`] finds it.
pub(crate) fn remove_folder(path: &Path) -> Result<(), CheckpointError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let deleted = parent(path).join(format!("{DELETED}{name}"));
    if kind(&deleted)?.is_some() {
        remove_tree(&deleted)?;
    }
    rename(path, &deleted)?;
    remove_tree(&deleted)
}

/// Deletes what an earlier process left half written or half deleted in the folder `path`, whose
/// only writer is this process.
pub(crate) fn remove_leftovers(path: &Path) -> Result<(), CheckpointError> {
    for name in list(path)? {
        if is_leftover(&name) {
            remove_tree(&path.join(name))?;
        }
    }
    Ok(())
}

/// Whether something of this name is half written or half deleted.
pub(crate) fn is_leftover(name: &str) -> bool {
    name.starts_with(DELETED) || name.starts_with('.') && name.contains(PARTIAL)
}

/// Unfinished folders beside `path` that were to become it.
pub(crate) fn partials_of(path: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!(".{name}{PARTIAL}");
    let names = list(parent(path))?.into_iter().filter(|name| name.starts_with(&prefix));
    Ok(names.map(|name| parent(path).join(name)).collect())
}

/// Deletes a file, or a folder with everything in it; links are not followed.
pub(crate) fn remove_tree(path: &Path) -> Result<(), CheckpointError> {
    match kind(path)? {
        None => Ok(()),
        Some(Kind::Folder) => {
            for name in list(path)? {
                remove_tree(&path.join(name))?;
            }
            let removed = fault::before("rmdir", path).and_then(|()| fs::remove_dir(path));
            present(removed).map(drop).map_err(cannot("delete", path))
        }
        Some(_) => remove_file(path),
    }
}

/// Makes what was renamed in the folder `path` last.
pub(crate) fn sync_folder(path: &Path) -> Result<(), CheckpointError> {
    let synced = fault::before("sync", path).and_then(|()| fs::File::open(path)?.sync_all());
    synced.map_err(cannot("sync", path))
}

/// The folder that `path` lies in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// `None` instead of an error that says that something is not there.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Names action and path of a refused file operation.
pub(crate) fn cannot<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> CheckpointError + 'a {
    move |source| CheckpointError::Io { action, path: path.to_owned(), source }
}

/// An open regular file.
#[derive(Debug)]
pub(crate) struct File {
    file: fs::File,
    path: PathBuf,
}

impl File {
    /// Opens a regular file to read it; `None` if there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<File>, CheckpointError> {
        if !is_there(path, Kind::File)? {
            return Ok(None);
        }
        let opened = fault::before("open", path).and_then(|()| fs::File::open(path));
        let opened = present(opened).map_err(cannot("open", path))?;
        Ok(opened.map(|file| File { file, path: path.to_owned() }))
    }

    /// Makes a file that must not be there yet.
    pub(crate) fn create_new(path: &Path) -> io::Result<File> {
        fault::before("open", path)?;
        Ok(File { file: fs::File::create_new(path)?, path: path.to_owned() })
    }

    /// Opens a regular file to write at its end, cut to its first `bytes` bytes; makes it if there
    /// is none.
    pub(crate) fn append(path: &Path, bytes: u64) -> Result<File, CheckpointError> {
        is_there(path, Kind::File)?;
        let open = || {
            fault::before("open", path)?;
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(false).open(path)?;
            fault::before("truncate", path)?;
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok(File { file, path: path.to_owned() })
        };
        open().map_err(cannot("open", path))
    }

    /// Waits until everything that was written is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        fault::before("sync", &self.path)?;
        self.file.sync_all()
    }

    /// How many bytes it has.
    pub(crate) fn length(&self) -> Result<u64, CheckpointError> {
        let found = fault::before("stat", &self.path).and_then(|()| self.file.metadata());
        found.map(|found| found.len()).map_err(cannot("look at", &self.path))
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = fault::before_transfer("write", &self.path, bytes.len())?;
        self.file.write(&bytes[..length])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for File {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let length = fault::before_transfer("read", &self.path, bytes.len())?;
        self.file.read(&mut bytes[..length])
    }
}

#[cfg(test)]
mod tests;
