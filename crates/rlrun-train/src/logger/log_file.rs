//! A log that grows at its end and is cut back when a run is continued.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rlrun_core::State;
use tracing::warn;

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

impl LogFile {
    /// Opens a text with as many of its lines as `position` says; an empty position keeps none.
    pub(crate) fn text(path: PathBuf, position: &State) -> io::Result<LogFile> {
        let lines = position.counter("lines").unwrap_or(0);
        let bytes = if lines > 0 { bytes_of(&path, lines)? } else { 0 };
        LogFile::open(path, bytes, Unit::Lines, lines)
    }

    /// Opens a binary file with as many of its bytes as `position` says.
    #[cfg_attr(not(feature = "tensorboard"), expect(dead_code))]
    pub(crate) fn binary(path: PathBuf, position: &State) -> io::Result<LogFile> {
        let bytes = position.counter("bytes").unwrap_or(0);
        LogFile::open(path, bytes, Unit::Bytes, bytes)
    }

    fn open(path: PathBuf, bytes: u64, unit: Unit, length: u64) -> io::Result<LogFile> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(false).open(&path)?;
        let found = file.metadata()?.len();
        if found < bytes {
            warn!(
                "`{}` is shorter than at the checkpoint: some of its rows are lost",
                path.display()
            );
        }
        file.set_len(bytes.min(found))?;
        file.seek(SeekFrom::End(0))?;
        Ok(LogFile { writer: BufWriter::new(file), path, unit, length })
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

/// Bytes of the first `lines` lines, or of all if there are fewer.
fn bytes_of(path: &Path, lines: u64) -> io::Result<u64> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut bytes, mut line) = (0, Vec::new());
    for _ in 0..lines {
        line.clear();
        bytes += reader.read_until(b'\n', &mut line)? as u64;
    }
    Ok(bytes)
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
