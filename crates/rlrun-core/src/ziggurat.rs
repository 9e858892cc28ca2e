//! numpy's normal and exponential draws: the ziggurat method of Marsaglia and Tsang (2000) with
//! 256 layers, in numpy's bit layout.

use std::sync::LazyLock;

use crate::NumpyRng;

const LAYERS: usize = 256;
/// Where the tail of the normal density begins.
const NORMAL_TAIL: f64 = 3.654_152_885_361_009;
/// Where the tail of the exponential density begins.
const EXPONENTIAL_TAIL: f64 = 7.697_117_470_131_05;

/// Layer `i` reaches to `scale * width[i]`; draws below `inside[i]` lie under the curve.
struct Layers {
    inside: [u64; LAYERS],
    width: [f64; LAYERS],
    density: [f64; LAYERS],
}

impl Layers {
    /// Layers of equal `area` under a falling `density`, from the tail upwards; draws have
    /// `scale` equally likely values.
    fn new(
        tail: f64,
        area: f64,
        scale: f64,
        density: fn(f64) -> f64,
        inverse: fn(f64) -> f64,
    ) -> Layers {
        let mut edges = [tail; LAYERS];
        for layer in (1..LAYERS - 1).rev() {
            let above = edges[layer + 1];
            edges[layer] = inverse(area / above + density(above));
        }
        edges[0] = area / density(tail);
        let inner = |layer: usize| match layer {
            0 => tail,
            1 => 0.0,
            _ => edges[layer - 1],
        };
        Layers {
            inside: std::array::from_fn(|layer| (inner(layer) / edges[layer] * scale) as u64),
            width: edges.map(|edge| edge / scale),
            density: std::array::from_fn(
                |layer| if layer == 0 { 1.0 } else { density(edges[layer]) },
            ),
        }
    }

    /// Whether a point at height `uniform` between two layers lies under the curve.
    fn accepts(&self, layer: usize, uniform: f64, density: f64) -> bool {
        let (above, below) = (self.density[layer - 1], self.density[layer]);
        (above - below) * uniform + below < density
    }
}

static NORMAL: LazyLock<Layers> = LazyLock::new(|| {
    let density = |x: f64| (-0.5 * x * x).exp();
    // Mills' ratio as a continued fraction gives the area of the tail.
    let mills = (1..200).rev().fold(0.0, |fraction, n| f64::from(n) / (NORMAL_TAIL + fraction));
    let area = density(NORMAL_TAIL) * (NORMAL_TAIL + 1.0 / (NORMAL_TAIL + mills));
    Layers::new(NORMAL_TAIL, area, (1_u64 << 52) as f64, density, |y| (-2.0 * y.ln()).sqrt())
});

static EXPONENTIAL: LazyLock<Layers> = LazyLock::new(|| {
    let density = |x: f64| (-x).exp();
    let area = (EXPONENTIAL_TAIL + 1.0) * density(EXPONENTIAL_TAIL);
    Layers::new(EXPONENTIAL_TAIL, area, (1_u64 << 53) as f64, density, |y| -y.ln())
});

impl NumpyRng {
    /// `standard_normal()`: mean 0, variance 1.
    pub fn standard_normal(&mut self) -> f64 {
        loop {
            let bits = self.next_u64();
            let (layer, negative) = (bits as usize & 0xff, bits >> 8 & 1 == 1);
            let draw = bits >> 9 & ((1 << 52) - 1);
            let size = draw as f64 * NORMAL.width[layer];
            let value = if negative { -size } else { size };
            if draw < NORMAL.inside[layer] {
                return value;
            }
            if layer == 0 {
                let tail = self.normal_tail();
                return if draw >> 8 & 1 == 1 { -tail } else { tail };
            }
            if NORMAL.accepts(layer, self.random(), (-0.5 * value * value).exp()) {
                return value;
            }
        }
    }

    fn normal_tail(&mut self) -> f64 {
        loop {
            let excess = -(-self.random()).ln_1p() / NORMAL_TAIL;
            let height = -(-self.random()).ln_1p();
            if height + height > excess * excess {
                return NORMAL_TAIL + excess;
            }
        }
    }

    /// `standard_exponential()`: mean 1.
    pub fn standard_exponential(&mut self) -> f64 {
        loop {
            let bits = self.next_u64() >> 3;
            let (layer, draw) = (bits as usize & 0xff, bits >> 8);
            let value = draw as f64 * EXPONENTIAL.width[layer];
            if draw < EXPONENTIAL.inside[layer] {
                return value;
            }
            if layer == 0 {
                return EXPONENTIAL_TAIL - (-self.random()).ln_1p();
            }
            if EXPONENTIAL.accepts(layer, self.random(), (-value).exp()) {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 6e-8
    }

    // np.random.default_rng(42).standard_normal(10)
    #[test]
    fn normal_draws_are_numpys() {
        let mut rng = NumpyRng::new(42);
        let expected = [
            0.30471708,
            -1.03998411,
            0.7504512,
            0.94056472,
            -1.95103519,
            -1.30217951,
            0.1278404,
            -0.31624259,
            -0.01680116,
            -0.85304393,
        ];
        let found = expected.map(|_| rng.standard_normal());
        assert!(found.iter().zip(expected).all(|(&found, x)| close(found, x)), "{found:?}");
    }

    // np.random.default_rng(42).standard_exponential(5)
    #[test]
    fn exponential_draws_are_numpys() {
        let mut rng = NumpyRng::new(42);
        let expected = [2.4042086, 2.3361897, 2.384761, 0.2797943, 0.0864374];
        let found = expected.map(|_| rng.standard_exponential());
        assert!(found.iter().zip(expected).all(|(&found, x)| close(found, x)), "{found:?}");
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut rng = NumpyRng::new(1);
        let n = 200_000;
        let draws: Vec<f64> = (0..n).map(|_| rng.standard_normal()).collect();
        let moment = |k: i32| draws.iter().map(|x| x.powi(k)).sum::<f64>() / f64::from(n);
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.02, "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 0.1, "{}", moment(4));
        assert!(draws.iter().any(|x| x.abs() > NORMAL_TAIL));
        let mean = (0..n).map(|_| rng.standard_exponential()).sum::<f64>() / f64::from(n);
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }
}
