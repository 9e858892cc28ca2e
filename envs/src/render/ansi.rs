//! Pictures as coloured text.

use std::fmt::Write as _;

use rlrun_env::Canvas;

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
    use crate::render::half_black;

    #[test]
    fn text_shows_two_pixels_in_a_character() {
        let mut canvas = Canvas::new(2, 2);
        canvas.polygon(&[[0.0, 0.0], [0.0, 1.0], [2.0, 1.0], [2.0, 0.0]], [0, 0, 9]);
        assert_eq!(to_ansi(&canvas, 80), "\x1b[38;2;255;255;255;48;2;0;0;9m▀▀\x1b[0m\n");
        assert_eq!(to_ansi(&half_black(), 3).lines().count(), 1);
    }
}
