//! Pictures as PNG, as GIF and as coloured text.

use std::fmt::Write as _;
use std::io::Write;

use thiserror::Error;

use super::Canvas;

/// Why a picture cannot be written as PNG.
#[derive(Debug, Error)]
#[error("cannot encode a picture of {width} by {height} pixels as png")]
pub struct PngError {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// What the encoder said.
    #[source]
    pub source: png::EncodingError,
}

/// Why pictures cannot be written as GIF.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GifError {
    /// There is none, or one has another size than the first.
    #[error("an animation needs pictures of one size, at most 65535 pixels wide and high")]
    Sizes,
    /// The encoder failed.
    #[error("cannot encode an animation as gif")]
    Encoding(#[from] gif::EncodingError),
}

/// The bytes of a PNG file.
///
/// # Errors
/// [`PngError`] if the picture is empty or too large for the format.
pub fn to_png(canvas: &Canvas) -> Result<Vec<u8>, PngError> {
    let Canvas { width, height, .. } = *canvas;
    let error = |source| PngError { width, height, source };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(error)?;
    writer.write_image_data(&canvas.pixels).map_err(error)?;
    writer.finish().map_err(error)?;
    Ok(bytes)
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
    let mut encoder = gif::Encoder::new(to, first.0, first.1, &[])?;
    encoder.set_repeat(gif::Repeat::Infinite)?;
    for canvas in frames {
        let mut frame = gif::Frame::from_rgb_speed(first.0, first.1, &canvas.pixels, 30);
        frame.delay = frame_time;
        encoder.write_frame(&frame)?;
    }
    Ok(())
}

/// The picture as lines of at most `columns` characters for a terminal with 24-bit colours: each
/// character shows two pixels, one above the other.
pub fn to_ansi(canvas: &Canvas, columns: usize) -> String {
    let columns = columns.clamp(1, canvas.width);
    let rows = (canvas.height * columns / canvas.width).div_ceil(2).max(1);
    let small = canvas.shrunk(columns, rows * 2);
    let mut text = String::new();
    for pair in small.pixels.chunks(2 * 3 * small.width) {
        let (upper, lower) = pair.split_at(3 * small.width.min(pair.len() / 3));
        let lower = if lower.is_empty() { upper } else { lower };
        let mut colors = None;
        for (upper, lower) in upper.chunks_exact(3).zip(lower.chunks_exact(3)) {
            if colors != Some((upper, lower)) {
                let ([r, g, b], [s, h, c]) =
                    ([upper[0], upper[1], upper[2]], [lower[0], lower[1], lower[2]]);
                // Writing to a string cannot fail.
                _ = write!(text, "\x1b[38;2;{r};{g};{b};48;2;{s};{h};{c}m");
                colors = Some((upper, lower));
            }
            text.push('▀');
        }
        text.push_str("\x1b[0m\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_black() -> Canvas {
        let mut canvas = Canvas::new(6, 4);
        canvas.polygon(&[[0.0, 0.0], [0.0, 2.0], [6.0, 2.0], [6.0, 0.0]], [0, 0, 0]);
        canvas
    }

    #[test]
    fn a_png_holds_the_pixels() {
        let canvas = half_black();
        let bytes = to_png(&canvas).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height, pixels), (6, 4, canvas.pixels));
        assert!(to_png(&Canvas::new(0, 4)).is_err());
    }

    #[test]
    fn a_gif_holds_every_frame() {
        let mut bytes = Vec::new();
        write_gif(&[half_black(), Canvas::new(6, 4)], 4, &mut bytes).unwrap();
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
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

    #[test]
    fn text_shows_two_pixels_in_a_character() {
        let mut canvas = Canvas::new(2, 2);
        canvas.polygon(&[[0.0, 0.0], [0.0, 1.0], [2.0, 1.0], [2.0, 0.0]], [0, 0, 9]);
        assert_eq!(to_ansi(&canvas, 80), "\x1b[38;2;255;255;255;48;2;0;0;9m▀▀\x1b[0m\n");
        assert_eq!(to_ansi(&half_black(), 3).lines().count(), 1);
    }
}
