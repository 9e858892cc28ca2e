//! TensorBoard event files: framed protocol-buffer messages, written by hand.
//!
//! A frame is the length (u64), its masked CRC-32C, the message, and the message's masked CRC-32C,
//! all little-endian (tensorflow/core/lib/io/record_writer.cc). The messages are `Event` and
//! `Summary` (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto).

use std::io::{self, Write};
use std::path::Path;

use rlrun_core::State;

use super::log_file::LogFile;
use super::monitor::now;
use super::{Record, Row, Sink};
use crate::CheckpointError;
use crate::disk::cannot;

pub(super) const FILE: &str = "events.out.tfevents.rlrun";

/// Writes each row of metrics as one event of scalars.
pub struct TensorBoard {
    file: LogFile,
}

impl TensorBoard {
    pub(super) fn open(dir: &Path, position: &State) -> Result<TensorBoard, CheckpointError> {
        let mut file = LogFile::binary(dir.join(FILE), position)?;
        if file.is_empty() {
            let mut event = wall_time(now());
            put_bytes(&mut event, 3, b"brain.Event:2");
            write_frame(&mut file, &event).map_err(cannot("write", &dir.join(FILE)))?;
        }
        Ok(TensorBoard { file })
    }
}

impl Sink for TensorBoard {
    fn name(&self) -> &str {
        FILE
    }

    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        let Record::Metrics { step, row } = record else { return Ok(()) };
        write_frame(&mut self.file, &scalars(now(), *step, row))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    fn position(&self) -> State {
        self.file.position()
    }
}

fn write_frame(file: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = (message.len() as u64).to_le_bytes();
    file.write_all(&length)?;
    file.write_all(&masked_crc(&length).to_le_bytes())?;
    file.write_all(message)?;
    file.write_all(&masked_crc(message).to_le_bytes())
}

/// CRC-32C, rotated and shifted so that a CRC of data that holds a CRC is still a good one.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// `Event { wall_time = 1, step = 2, summary = 5 }` with one `Value` per number.
fn scalars(seconds: f64, step: u64, row: &Row) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in row {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, tag.as_bytes());
        put_key(&mut message, 2, Wire::Fixed32);
        message.extend_from_slice(&(*value as f32).to_le_bytes());
        put_bytes(&mut summary, 1, &message);
    }
    let mut event = wall_time(seconds);
    put_key(&mut event, 2, Wire::Varint);
    put_varint(&mut event, step);
    put_bytes(&mut event, 5, &summary);
    event
}

/// The start of an `Event`: seconds since 1970.
fn wall_time(seconds: f64) -> Vec<u8> {
    let mut event = Vec::new();
    put_key(&mut event, 1, Wire::Fixed64);
    event.extend_from_slice(&seconds.to_le_bytes());
    event
}

/// Wire types of protocol buffers.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

fn put_key(message: &mut Vec<u8>, field: u64, wire: Wire) {
    put_varint(message, field << 3 | wire as u64);
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn put_bytes(message: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(message, field, Wire::Bytes);
    put_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    /// The bytes that TensorFlow's own writer produces for this event, worked out from the format.
    #[test]
    fn an_event_is_encoded_as_the_protocol_says() {
        let row = Row::from([(Cow::Borrowed("a/b"), 1.5)]);
        let event = scalars(2.0, 300, &row);
        let expected = [
            &[0x09][..],
            &2.0f64.to_le_bytes(),
            &[0x10, 0xac, 0x02],
            &[0x2a, 12, 0x0a, 10, 0x0a, 3, b'a', b'/', b'b', 0x15],
            &1.5f32.to_le_bytes(),
        ];
        assert_eq!(event, expected.concat());
    }

    #[test]
    fn a_frame_carries_masked_checksums() {
        let mut frame = Vec::new();
        write_frame(&mut frame, b"123456789").unwrap();
        assert_eq!(frame[..8], 9u64.to_le_bytes());
        // CRC-32C of "123456789" is e3069283; masked: rotated right by 15, plus a282ead8.
        let masked = 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(frame[21..], masked.to_le_bytes());
        assert_eq!(frame.len(), 8 + 4 + 9 + 4);
    }
}
