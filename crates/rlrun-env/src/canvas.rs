//! A small rasteriser: filled polygons, discs and lines with smooth edges.

/// Red, green, blue.
pub type Color = [u8; 3];

/// Samples per pixel and direction.
const SAMPLES: usize = 4;

/// A picture whose coordinates are pixels, with the origin at the lower left and y upwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Rows from top to bottom, red, green, blue for each pixel.
    pub pixels: Vec<u8>,
}

impl Canvas {
    /// A white picture.
    pub fn new(width: usize, height: usize) -> Canvas {
        Canvas { width, height, pixels: vec![255; width * height * 3] }
    }

    /// Fills a polygon; a point is inside if a ray from it crosses the border an odd number of times.
    pub fn polygon(&mut self, corners: &[[f64; 2]], color: Color) {
        let inside = |x: f64, y: f64| {
            let edges = corners.iter().zip(corners.iter().cycle().skip(1));
            let crosses = |(&[x1, y1], &[x2, y2]): (&[f64; 2], &[f64; 2])| {
                (y1 > y) != (y2 > y) && x < x1 + (y - y1) * (x2 - x1) / (y2 - y1)
            };
            edges.filter(|&edge| crosses(edge)).count() % 2 == 1
        };
        let bound = |axis: usize, pick: fn(f64, f64) -> f64| {
            corners.iter().map(|corner| corner[axis]).reduce(pick).unwrap_or(0.0)
        };
        let low = [bound(0, f64::min), bound(1, f64::min)];
        let high = [bound(0, f64::max), bound(1, f64::max)];
        self.fill(low, high, color, inside);
    }

    /// Fills a disc.
    pub fn disc(&mut self, [x, y]: [f64; 2], radius: f64, color: Color) {
        self.fill([x - radius, y - radius], [x + radius, y + radius], color, |px, py| {
            (px - x).powi(2) + (py - y).powi(2) <= radius * radius
        });
    }

    /// Draws a line through `points`.
    pub fn line(&mut self, points: &[[f64; 2]], width: f64, color: Color) {
        for (&[x1, y1], &[x2, y2]) in points.iter().zip(points.iter().skip(1)) {
            let length = (x2 - x1).hypot(y2 - y1).max(1e-9);
            let (dx, dy) = ((x2 - x1) / length * width / 2.0, (y2 - y1) / length * width / 2.0);
            // Half a width longer at both ends, so that bends have no gaps.
            let (x1, y1, x2, y2) = (x1 - dx, y1 - dy, x2 + dx, y2 + dy);
            let corners =
                [[x1 - dy, y1 + dx], [x2 - dy, y2 + dx], [x2 + dy, y2 - dx], [x1 + dy, y1 - dx]];
            self.polygon(&corners, color);
        }
    }

    /// Mixes `color` into each pixel by the share of its samples that are inside.
    fn fill(
        &mut self,
        low: [f64; 2],
        high: [f64; 2],
        color: Color,
        inside: impl Fn(f64, f64) -> bool,
    ) {
        let clip = |value: f64, size: usize| value.clamp(0.0, size as f64) as usize;
        for row in clip(low[1].floor(), self.height)..clip(high[1].ceil(), self.height) {
            for column in clip(low[0].floor(), self.width)..clip(high[0].ceil(), self.width) {
                let offset = |sample: usize| (sample as f64 + 0.5) / SAMPLES as f64;
                let hits = (0..SAMPLES * SAMPLES).filter(|sample| {
                    let x = column as f64 + offset(sample % SAMPLES);
                    inside(x, row as f64 + offset(sample / SAMPLES))
                });
                self.mix(column, row, color, hits.count() as f64 / (SAMPLES * SAMPLES) as f64);
            }
        }
    }

    fn mix(&mut self, column: usize, row: usize, color: Color, share: f64) {
        let start = ((self.height - 1 - row) * self.width + column) * 3;
        for (pixel, color) in self.pixels[start..start + 3].iter_mut().zip(color) {
            let mixed = f64::from(*pixel) * (1.0 - share) + f64::from(color) * share;
            *pixel = mixed.round() as u8;
        }
    }

    /// The picture scaled down to at most `width` by `height`, each pixel the mean of an area.
    pub fn shrunk(&self, width: usize, height: usize) -> Canvas {
        let (width, height) = (width.clamp(1, self.width), height.clamp(1, self.height));
        let mut small = Canvas::new(width, height);
        let area =
            |index: usize, from: usize, to: usize| index * from / to..(index + 1) * from / to;
        for (index, pixel) in small.pixels.iter_mut().enumerate() {
            let (color, column, row) = (index % 3, index / 3 % width, index / 3 / width);
            let columns = area(column, self.width, width);
            let rows = area(row, self.height, height);
            let count = (columns.len() * rows.len()) as u32;
            let values = rows.flat_map(|y| columns.clone().map(move |x| (y * self.width + x) * 3));
            let sum: u32 = values.map(|start| u32::from(self.pixels[start + color])).sum();
            *pixel = (sum / count) as u8;
        }
        small
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The corners of a rectangle at the origin.
    fn rectangle(right: f64, top: f64) -> [[f64; 2]; 4] {
        [[0.0, 0.0], [0.0, top], [right, top], [right, 0.0]]
    }

    fn at(canvas: &Canvas, x: usize, y_from_top: usize) -> &[u8] {
        let start = (y_from_top * canvas.width + x) * 3;
        &canvas.pixels[start..start + 3]
    }

    #[test]
    fn a_rectangle_covers_its_pixels_and_half_of_those_at_its_edge() {
        let mut canvas = Canvas::new(4, 4);
        canvas.polygon(&rectangle(2.5, 1.0), [0, 0, 0]);
        assert_eq!(at(&canvas, 0, 3), [0, 0, 0]);
        assert_eq!(at(&canvas, 2, 3), [128, 128, 128]);
        assert_eq!(at(&canvas, 3, 3), [255, 255, 255]);
        assert_eq!(at(&canvas, 0, 2), [255, 255, 255]);
    }

    #[test]
    fn shapes_beyond_the_picture_are_cut_off() {
        let mut canvas = Canvas::new(3, 3);
        canvas.disc([-1e6, 1.0], 2.0, [1, 2, 3]);
        canvas.line(&[[-10.0, 1.5], [10.0, 1.5]], 1.0, [1, 2, 3]);
        assert_eq!((at(&canvas, 0, 1), at(&canvas, 0, 0)), (&[1, 2, 3][..], &[255; 3][..]));
        canvas.disc([f64::NAN, 0.0], 1.0, [0, 0, 0]);
    }

    #[test]
    fn shrinking_takes_means() {
        let mut canvas = Canvas::new(4, 2);
        canvas.polygon(&rectangle(1.0, 2.0), [55, 55, 55]);
        let small = canvas.shrunk(2, 1);
        assert_eq!(small.pixels, [155, 155, 155, 255, 255, 255]);
    }
}
