//! The console table, in Stable-Baselines3's look.

use std::io::{self, Write};

use rlrun_core::State;

use super::{Record, Row, Sink};

/// Writes each row of metrics as a table, grouped by the part of the tag before the slash.
///
/// Nothing of a run hangs on what is only looked at: an output that cannot be written any more (a
/// closed pipe, a full disk) is dropped, and training goes on without it.
pub struct Console {
    output: Option<Box<dyn Write + Send>>,
}

impl Console {
    /// A console that writes to `output`, usually the standard output.
    pub fn new(output: Box<dyn Write + Send>) -> Console {
        Console { output: Some(output) }
    }

    /// A console on the standard output.
    pub fn stdout() -> Console {
        Console::new(Box::new(io::stdout()))
    }

    fn try_to(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if self.output.as_mut().is_some_and(|output| write(output.as_mut()).is_err()) {
            self.output = None;
        }
    }
}

impl Sink for Console {
    fn name(&self) -> &str {
        "console"
    }

    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        let Record::Metrics { row, .. } = record else { return Ok(()) };
        self.try_to(|output| output.write_all(table(row).as_bytes()));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.try_to(|output| output.flush());
        Ok(())
    }

    fn position(&self) -> State {
        State::new()
    }
}

fn table(row: &Row) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut group = "";
    for (tag, value) in row {
        let (prefix, name) = tag.split_once('/').unwrap_or(("", tag));
        if prefix != group {
            group = prefix;
            lines.push((format!("{prefix}/"), String::new()));
        }
        lines.push((format!("   {name}"), number(*value)));
    }
    let width = |cell: fn(&(String, String)) -> &String| lines.iter().map(|l| cell(l).len()).max();
    let (tags, values) = (width(|l| &l.0).unwrap_or(0), width(|l| &l.1).unwrap_or(0).max(8));
    let dashes = "-".repeat(tags + values + 7);
    let body = lines.iter().map(|(tag, value)| format!("| {tag:tags$} | {value:values$} |\n"));
    format!("{dashes}\n{}{dashes}\n", body.collect::<String>())
}

/// Whole numbers in full, others with three significant digits, as C's `%.3g`.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{value:.0}");
    }
    if !value.is_finite() {
        return value.to_string();
    }
    let scientific = format!("{value:.2e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |digits: &str| {
        if !digits.contains('.') {
            return digits.to_owned();
        }
        digits.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    if (-4..3).contains(&exponent) {
        return trim(&format!("{value:.*}", (2 - exponent) as usize));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn numbers_look_as_in_printf() {
        let cases = [
            (500.0, "500"),
            (100_000.0, "100000"),
            (22.71, "22.7"),
            (0.0012345, "0.00123"),
            (0.000012345, "1.23e-05"),
            (1234.5, "1.23e+03"),
            (-0.5, "-0.5"),
            (99.96, "100"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn an_output_whose_reader_has_left_is_dropped_and_asked_no_more() {
        struct Closed(std::sync::Arc<std::sync::atomic::AtomicU32>);
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let writes = std::sync::Arc::default();
        let mut console = Console::new(Box::new(Closed(std::sync::Arc::clone(&writes))));
        let row = Row::from([(Cow::Borrowed("time/fps"), 1.0)]);
        for step in 0..3 {
            console.write(&Record::Metrics { step, row: &row }).unwrap();
            console.flush().unwrap();
        }
        assert_eq!(writes.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[test]
    fn the_table_groups_tags() {
        let tags =
            [("rollout/ep_rew_mean", 22.71), ("time/fps", 2546.0), ("train/approx_kl", 0.01)];
        let row = tags.iter().map(|&(tag, value)| (Cow::Borrowed(tag), value)).collect();
        let expected = "\
-----------------------------
| rollout/       |          |
|    ep_rew_mean | 22.7     |
| time/          |          |
|    fps         | 2546     |
| train/         |          |
|    approx_kl   | 0.01     |
-----------------------------
";
        assert_eq!(table(&row), expected);
    }
}
