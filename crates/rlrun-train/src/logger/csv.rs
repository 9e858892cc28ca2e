//! `metrics.csv`: one row of metrics per line.

use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};

use rlrun_core::State;

use super::log_file::kept_lines;
use super::{Record, Row, Sink};
use crate::CheckpointError;
use crate::disk::{self, File};

pub(super) const FILE: &str = "metrics.csv";

/// Writes `step` and one column per tag. A tag that appears later makes a new column at the end and
/// leaves the rows before it empty there, as in Stable-Baselines3; the file is then rewritten.
pub struct Csv {
    path: PathBuf,
    columns: Vec<String>,
    lines: u64,
    writer: csv::Writer<BufWriter<File>>,
}

impl Csv {
    /// Opens the file with as many of its rows and columns as `position` says.
    pub(super) fn open(dir: &Path, position: &State) -> Result<Csv, CheckpointError> {
        let path = dir.join(FILE);
        let wanted = position.counter("lines").unwrap_or(0);
        let columns = position.counter("columns").unwrap_or(1).max(1) as usize;
        let mut kept = read(&path, kept_lines(&path, wanted)?.bytes)?;
        kept.iter_mut().for_each(|row| row.truncate(columns));
        if kept.is_empty() {
            kept.push(vec!["step".to_owned()]);
        }
        let writer = rewrite(&path, &kept, columns)?;
        Ok(Csv { path, lines: kept.len() as u64, columns: kept.swap_remove(0), writer })
    }

    fn add_columns(&mut self, row: &Row) -> io::Result<()> {
        let is_new = |tag: &str| !self.columns.iter().any(|column| column == tag);
        let new: Vec<String> =
            row.keys().filter(|tag| is_new(tag)).map(|tag| tag.clone().into_owned()).collect();
        if new.is_empty() {
            return Ok(());
        }
        self.columns.extend(new);
        self.writer.flush()?;
        let rewritten = read(&self.path, u64::MAX).and_then(|mut rows| {
            rows[0].clone_from(&self.columns);
            rewrite(&self.path, &rows, self.columns.len())
        });
        self.writer = rewritten.map_err(io::Error::other)?;
        Ok(())
    }
}

impl Sink for Csv {
    fn name(&self) -> &str {
        FILE
    }

    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        let Record::Metrics { step, row } = record else { return Ok(()) };
        self.add_columns(row)?;
        let cell = |tag: &String| row.get(tag.as_str()).map_or(String::new(), f64::to_string);
        self.writer.write_field(step.to_string())?;
        for tag in &self.columns[1..] {
            self.writer.write_field(cell(tag))?;
        }
        self.writer.write_record(None::<&[u8]>)?;
        self.lines += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        self.writer.get_ref().get_ref().sync()
    }

    fn position(&self) -> State {
        let mut state = State::new();
        state.insert_u64("lines", [self.lines]);
        state.insert_u64("columns", [self.columns.len() as u64]);
        state
    }
}

/// All rows in the first `bytes` bytes of the file, the header first; none without the file.
fn read(path: &Path, bytes: u64) -> Result<Vec<Vec<String>>, CheckpointError> {
    let file = if bytes > 0 { File::open(path)? } else { None };
    let Some(file) = file else { return Ok(Vec::new()) };
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(file.take(bytes));
    let rows = reader.records().map(|row| Ok(row?.iter().map(str::to_owned).collect()));
    rows.collect::<Result<_, csv::Error>>()
        .map_err(|error| disk::cannot("read", path)(error.into()))
}

/// Replaces the file by `rows`, each filled up to `columns`, and returns a writer at its end. Until
/// the last moment the old file stays, and what takes its place is on the disk: neither a kill nor a
/// power cut loses a row.
fn rewrite(
    path: &Path,
    rows: &[Vec<String>],
    columns: usize,
) -> Result<csv::Writer<BufWriter<File>>, CheckpointError> {
    let (file, partial) = disk::create_partial(path, File::create_new)?;
    let mut writer = csv::Writer::from_writer(BufWriter::new(file));
    let mut write = || {
        for row in rows {
            let empty = std::iter::repeat_n("", columns.saturating_sub(row.len()));
            writer.write_record(row.iter().map(String::as_str).chain(empty))?;
        }
        writer.flush()?;
        writer.get_ref().get_ref().sync()
    };
    let written = write().map_err(disk::cannot("write", path));
    written
        .and_then(|()| disk::rename(&partial, path))
        .inspect_err(|_| drop(disk::remove_file(&partial)))?;
    Ok(writer)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fs;

    use super::*;

    fn write(sink: &mut Csv, step: u64, cells: &[(&'static str, f64)]) {
        let row = cells.iter().map(|&(tag, value)| (Cow::Borrowed(tag), value)).collect();
        sink.write(&Record::Metrics { step, row: &row }).unwrap();
    }

    #[test]
    fn a_late_tag_makes_a_column_and_a_cut_takes_it_away_again() {
        let dir = tempfile::tempdir().unwrap();
        let text = || fs::read_to_string(dir.path().join(FILE)).unwrap();
        let mut sink = Csv::open(dir.path(), &State::new()).unwrap();
        write(&mut sink, 8, &[("a", 0.1)]);
        sink.flush().unwrap();
        let (position, before) = (sink.position(), text());
        assert_eq!(before, "step,a\n8,0.1\n");
        write(&mut sink, 16, &[("a", 2.0), ("b", -1.5)]);
        sink.flush().unwrap();
        assert_eq!(text(), "step,a,b\n8,0.1,\n16,2,-1.5\n");
        drop(Csv::open(dir.path(), &position).unwrap());
        assert_eq!(text(), before);
    }
}
