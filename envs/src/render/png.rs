//! Pictures as PNG.

use rlrun_env::Canvas;
use thiserror::Error;

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
    pub source: ::png::EncodingError,
}

/// The bytes of a PNG file.
///
/// # Errors
/// [`PngError`] if the picture is empty or too large for the format.
pub fn to_png(canvas: &Canvas) -> Result<Vec<u8>, PngError> {
    let Canvas { width, height, .. } = *canvas;
    let error = |source| PngError { width, height, source };
    let mut bytes = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(::png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(error)?;
    writer.write_image_data(&canvas.pixels).map_err(error)?;
    writer.finish().map_err(error)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::half_black;

    #[test]
    fn a_png_holds_the_pixels() {
        let canvas = half_black();
        let bytes = to_png(&canvas).unwrap();
        let mut reader = ::png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height, pixels), (6, 4, canvas.pixels));
        assert!(to_png(&Canvas::new(0, 4)).is_err());
    }
}
