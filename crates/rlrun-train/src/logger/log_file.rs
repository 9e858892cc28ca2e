//! A log that grows at its end and is cut back when a run is continued.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use rlrun_core::State;
use tracing::warn;

use crate::CheckpointError;
use crate::disk::File;

/// Bytes of a line, at most: a row has some hundred.
const MAX_LINE: u64 = 1 << 20;

/// A buffered file that knows how far it reaches: in lines if it is a text whose bytes depend on the
/// clock, since a checkpoint must not depend on it, else in bytes.
pub(crate) struct LogFile {
    writer: BufWriter<File>,
    path: PathBuf,
    unit: Unit,
    length: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Lines,
    Bytes,
}

/// How much of a log there is: whole lines, and their bytes; or bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

impl LogFile {
    /// Opens a text with as many of its lines as `position` says; an empty position keeps none.
    pub(crate) fn text(path: PathBuf, position: &State) -> Result<LogFile, CheckpointError> {
        let wanted = position.counter("lines").unwrap_or(0);
        let kept = kept_lines(&path, wanted)?;
        LogFile::open(path, kept.bytes, Unit::Lines, kept.lines)
    }

    /// Opens a binary file with as many of its bytes as `position` says.
    #[cfg_attr(not(feature = "tensorboard"), expect(dead_code))]
    pub(crate) fn binary(path: PathBuf, position: &State) -> Result<LogFile, CheckpointError> {
        let wanted = position.counter("bytes").unwrap_or(0);
        let found = if wanted > 0 { bytes(&path)?.unwrap_or(0) } else { 0 };
        warn_if_new(&path, wanted, found);
        // The place of a cut in a binary file means nothing: a short one begins again.
        let kept = if found < wanted { 0 } else { wanted };
        LogFile::open(path, kept, Unit::Bytes, kept)
    }

    fn open(
        path: PathBuf,
        bytes: u64,
        unit: Unit,
        length: u64,
    ) -> Result<LogFile, CheckpointError> {
        let file = File::append(&path, bytes)?;
        Ok(LogFile { writer: BufWriter::new(file), path, unit, length })
    }

    /// Hands everything to the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        self.writer.get_ref().sync()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn position(&self) -> State {
        let mut state = State::new();
        let name = if self.unit == Unit::Lines { "lines" } else { "bytes" };
        state.insert_u64(name, [self.length]);
        state
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.length += match self.unit {
            Unit::Lines => bytes[..written].iter().filter(|&&byte| byte == b'\n').count() as u64,
            Unit::Bytes => written as u64,
        };
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// What a text keeps that is to have `wanted` lines.
pub(crate) fn kept_lines(path: &Path, wanted: u64) -> Result<Extent, CheckpointError> {
    let kept =
        if wanted > 0 { lines(path, wanted)?.unwrap_or_default() } else { Extent::default() };
    warn_if_new(path, wanted, kept.lines);
    Ok(kept)
}

fn warn_if_new(path: &Path, wanted: u64, found: u64) {
    if found < wanted {
        warn!("`{}` has lost its rows: it goes on without them", path.display());
    }
}

/// The first `wanted` whole lines of a text, or all if there are fewer; `None` without the file.
pub(crate) fn lines(path: &Path, wanted: u64) -> Result<Option<Extent>, CheckpointError> {
    let Some(file) = File::open(path)? else { return Ok(None) };
    let (mut reader, mut extent, mut line) = (BufReader::new(file), Extent::default(), 0);
    while extent.lines < wanted {
        let buffer = reader.fill_buf().map_err(crate::disk::cannot("read", path))?;
        if buffer.is_empty() {
            break;
        }
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(buffer.len(), |end| end + 1);
        line += taken as u64;
        reader.consume(taken);
        if line > MAX_LINE {
            return Err(CheckpointError::TooLong { path: path.to_owned(), max: MAX_LINE });
        }
        if end.is_some() {
            extent = Extent { lines: extent.lines + 1, bytes: extent.bytes + line };
            line = 0;
        }
    }
    Ok(Some(extent))
}

/// Bytes of a file; `None` without it.
pub(crate) fn bytes(path: &Path) -> Result<Option<u64>, CheckpointError> {
    File::open(path)?.map(|file| file.length()).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_back_to_its_lines_and_goes_on_from_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::text(path.clone(), &State::new()).unwrap();
        log.write_all(b"first\nkept\n").unwrap();
        let position = log.position();
        log.write_all(b"lost\nhalf").unwrap();
        log.flush().unwrap();
        let mut log = LogFile::text(path.clone(), &position).unwrap();
        log.write_all(b"new\n").unwrap();
        log.flush().unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"first\nkept\nnew\n");
        assert_eq!(log.position().counter("lines"), Ok(3));
    }

    #[test]
    fn a_binary_file_is_cut_back_to_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::binary(path.clone(), &State::new()).unwrap();
        log.write_all(&[1, 2, 10]).unwrap();
        let position = log.position();
        log.write_all(&[4]).unwrap();
        log.flush().unwrap();
        drop(LogFile::binary(path.clone(), &position).unwrap());
        assert_eq!(std::fs::read(path).unwrap(), [1, 2, 10]);
    }
}
