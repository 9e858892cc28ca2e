//! Pictures as an animated GIF.

use std::io::Write;

use rlrun_env::Canvas;
use thiserror::Error;

/// Why pictures cannot be written as GIF.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GifError {
    /// There is none, or one has another size than the first.
    #[error("an animation needs pictures of one size, at most 65535 pixels wide and high")]
    Sizes,
    /// The encoder failed.
    #[error("cannot encode an animation as gif")]
    Encoding(#[from] ::gif::EncodingError),
}

/// Writes an endless animation that shows each picture for `frame_time` hundredths of a second.
///
/// # Errors
/// [`GifError`] if the pictures have different sizes or `to` cannot be written.
pub fn write_gif(frames: &[Canvas], frame_time: u16, to: impl Write) -> Result<(), GifError> {
    let size = |canvas: &Canvas| {
        Some((u16::try_from(canvas.width).ok()?, u16::try_from(canvas.height).ok()?))
    };
    let first = frames.first().and_then(size).ok_or(GifError::Sizes)?;
    if frames.iter().any(|frame| size(frame) != Some(first)) {
        return Err(GifError::Sizes);
    }
    let mut encoder = ::gif::Encoder::new(to, first.0, first.1, &[])?;
    encoder.set_repeat(::gif::Repeat::Infinite)?;
    for canvas in frames {
        let mut frame = ::gif::Frame::from_rgb_speed(first.0, first.1, &canvas.pixels, 30);
        frame.delay = frame_time;
        encoder.write_frame(&frame)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::half_black;

    #[test]
    fn a_gif_holds_every_frame() {
        let mut bytes = Vec::new();
        write_gif(&[half_black(), Canvas::new(6, 4)], 4, &mut bytes).unwrap();
        let mut options = ::gif::DecodeOptions::new();
        options.set_color_output(::gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(bytes.as_slice()).unwrap();
        let first = decoder.read_next_frame().unwrap().unwrap().clone();
        assert_eq!((first.delay, &first.buffer[..3]), (4, &[255, 255, 255][..]));
        assert_eq!(first.buffer[first.buffer.len() - 4..], [0, 0, 0, 255]);
        assert!(decoder.read_next_frame().unwrap().is_some());
        assert!(decoder.read_next_frame().unwrap().is_none());
        assert!(matches!(write_gif(&[], 4, Vec::new()), Err(GifError::Sizes)));
        let sizes = [Canvas::new(6, 4), Canvas::new(5, 4)];
        assert!(matches!(write_gif(&sizes, 4, Vec::new()), Err(GifError::Sizes)));
    }
}
