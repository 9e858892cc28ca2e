//! Optimizer steps against their formulas.

use super::*;
use crate::kernels::*;

#[test]
fn adam_follows_its_formula() {
    let mut rng = rng(10);
    for len in LENGTHS {
        let (p0, g, m0) = (random(&mut rng, len), random(&mut rng, len), random(&mut rng, len));
        let v0: Vec<f32> = random(&mut rng, len).iter().map(|v| v * v).collect();
        let mut step = AdamStep::new(1e-2, (0.9, 0.999), 1e-5, 3);
        step.weight_decay = 0.1;
        step.decay = 0.9;
        let got = same_bits(|| {
            let (mut p, mut m, mut v) = (p0.clone(), m0.clone(), v0.clone());
            adam(&mut p, &g, &mut m, &mut v, &step);
            [p, m, v].concat()
        });
        for i in 0..len {
            let [p, g, m, v] = [p0[i], g[i], m0[i], v0[i]].map(f64::from);
            let g = g + 0.1 * p;
            let m = 0.9 * m + 0.1 * g;
            let v = 0.999 * v + 0.001 * g * g;
            let denominator = (v / (1.0 - 0.999f64.powi(3))).sqrt() + 1e-5;
            let p = 0.9 * p - 1e-2 / (1.0 - 0.9f64.powi(3)) * m / denominator;
            for (got, want) in [got[i], got[len + i], got[2 * len + i]].into_iter().zip([p, m, v]) {
                assert!((f64::from(got) - want).abs() < 3e-6 * want.abs().max(1.0), "{got} {want}");
            }
        }
    }
}

#[test]
fn rms_prop_follows_its_formula() {
    let mut rng = rng(11);
    for (len, eps_in_root) in LENGTHS.into_iter().flat_map(|len| [(len, false), (len, true)]) {
        let (p0, g) = (random(&mut rng, len), random(&mut rng, len));
        let v0: Vec<f32> = random(&mut rng, len).iter().map(|v| v * v).collect();
        let (rate, alpha, gain, eps) = (1e-2, 0.9, 0.1, 1e-2);
        let step = RmsPropStep { rate, alpha, gain, eps, eps_in_root, weight_decay: 0.1 };
        let got = same_bits(|| {
            let (mut p, mut v) = (p0.clone(), v0.clone());
            rms_prop(&mut p, &g, &mut v, &step);
            [p, v].concat()
        });
        for i in 0..len {
            let [p, g, v] = [p0[i], g[i], v0[i]].map(f64::from);
            let g = g + 0.1 * p;
            let v = 0.9 * v + 0.1 * g * g;
            let root = if eps_in_root { (v + 1e-2).sqrt() } else { v.sqrt() + 1e-2 };
            for (got, want) in [got[i], got[len + i]].into_iter().zip([p - 1e-2 * g / root, v]) {
                assert!((f64::from(got) - want).abs() < 3e-6 * want.abs().max(1.0), "{got} {want}");
            }
        }
    }
}

#[test]
fn lerp_and_axpy_are_one_fused_multiply_add() {
    let mut rng = rng(12);
    for len in LENGTHS {
        let (x0, y) = (random(&mut rng, len), random(&mut rng, len));
        let got = same_bits(|| {
            let (mut a, mut b) = (x0.clone(), x0.clone());
            lerp(&mut a, &y, 0.005);
            axpy(0.3, &y, &mut b);
            [a, b].concat()
        });
        for i in 0..len {
            let want = [0.005f32.mul_add(y[i] - x0[i], x0[i]), 0.3f32.mul_add(y[i], x0[i])];
            assert_eq!([got[i], got[len + i]], want);
        }
    }
}

#[test]
fn moments_of_a_zero_gradient_decay_to_zero_past_the_subnormals() {
    let step = AdamStep::new(1e-3, (0.9, 0.999), 1e-8, 1000);
    let (mut p, mut m, mut v) = ([1.0; 5], [2.0 * f32::MIN_POSITIVE; 5], [f32::MIN_POSITIVE; 5]);
    for _ in 0..10 {
        adam(&mut p, &[0.0; 5], &mut m, &mut v, &step);
        assert!(m.iter().chain(&v).all(|x| !x.is_subnormal()), "{m:?} {v:?}");
    }
    assert_eq!((m, v), ([0.0; 5], [0.0; 5]));
}

#[test]
fn more_threads_give_the_bits_of_one() {
    let mut rng = rng(18);
    let len = 100_003;
    let (p0, g, m0) = (random(&mut rng, len), random(&mut rng, len), random(&mut rng, len));
    let run = |threads| {
        let step = || {
            let (mut p, mut m, mut v) = (p0.clone(), m0.clone(), vec![0.5; len]);
            adam(&mut p, &g, &mut m, &mut v, &AdamStep::new(1e-2, (0.9, 0.999), 1e-5, 3));
            lerp(&mut p, &g, 0.3);
            axpy(0.7, &g, &mut m);
            let (rate, alpha, gain, eps) = (1e-2, 0.9, 0.1, 1e-5);
            let step =
                RmsPropStep { rate, alpha, gain, eps, eps_in_root: false, weight_decay: 0.0 };
            rms_prop(&mut p, &g, &mut v, &step);
            [p, m, v].concat()
        };
        with_threads(threads, step).unwrap()
    };
    let one = run(1);
    assert!([2, 3].into_iter().all(|threads| run(threads) == one));
}
