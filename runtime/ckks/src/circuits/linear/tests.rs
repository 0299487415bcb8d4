//! Linear transforms against plain matrices.

use heddle_params::bsgs::BsgsCost;
use heddle_params::keys::KeyUse;

use super::*;
use crate::test_kit::{Kit, SCALE, slots};

struct Matrix {
    diagonals: Vec<usize>,
    period: usize,
    seed: f64,
}

impl Matrix {
    fn diagonal(&self, d: usize) -> Vec<Complex64> {
        slots(self.period, self.seed + d as f64)
    }

    fn apply(&self, input: &[Complex64]) -> Vec<Complex64> {
        let n = self.period.max(input.len());
        let mut out = vec![Complex64::default(); n];
        for &d in &self.diagonals {
            let diagonal = self.diagonal(d);
            for (i, out) in out.iter_mut().enumerate() {
                *out += diagonal[i % self.period] * input[(i + d) % input.len()];
            }
        }
        out
    }

    fn encode(&self, encoder: &Encoder, period_in: usize) -> LinearTransform {
        let work = 1 << encoder.log_max_slots();
        let plan =
            BsgsPlan::for_diagonals(&self.diagonals, period_in, work, BsgsCost::default()).unwrap();
        LinearTransform::new(encoder, plan, self.period.trailing_zeros(), SCALE, |d| {
            self.diagonal(d)
        })
        .unwrap()
    }
}

#[test]
fn linear_transforms_equal_their_matrices() {
    let kit = Kit::new(9);
    let encoder = Encoder::new(8);
    let cases: [(usize, usize, Vec<usize>); 6] = [
        (256, 256, vec![0, 1, 2, 3, 17, 18, 100, 255]),
        (64, 64, (0..64).step_by(3).collect()),
        (16, 64, vec![0, 1, 5, 15]),
        (64, 16, vec![0, 1, 7, 8, 40]),
        (32, 32, vec![0]),
        (32, 32, vec![9]),
    ];
    for (period_in, period, diagonals) in cases {
        let matrix = Matrix {
            diagonals,
            period,
            seed: 0.2,
        };
        let mut transform = matrix.encode(&encoder, period_in);
        let uses: Vec<KeyUse> = transform
            .plan()
            .rotations()
            .iter()
            .map(|&s| kit.galois(s as i64, 7))
            .collect();
        let evaluator = kit.evaluator(&uses);
        let a = slots(period_in, 1.7);
        let expected = matrix.apply(&a);
        for level in [1, 4, 7] {
            let x = kit.encrypt(&a, level);
            kit.check(
                &evaluator.linear_transform(&[(&x, &transform)]).unwrap(),
                &expected,
                24.0,
            );
            let rescaled = evaluator
                .linear_transform_rescale(&[(&x, &transform)])
                .unwrap();
            assert_eq!(rescaled.level(), level - 1);
            kit.check(&rescaled, &expected, 24.0);
        }
        // Diagonals prepared over a longer chain than that of the ciphertext, and over a shorter
        // one.
        for prepared in [7, 2] {
            transform.prepare(&kit.context, prepared, 9).unwrap();
            let x = kit.encrypt(&a, 4);
            kit.check(
                &evaluator.linear_transform(&[(&x, &transform)]).unwrap(),
                &expected,
                24.0,
            );
        }
    }
}

#[test]
fn sums_of_transforms_and_keys_of_mixed_levels_agree() {
    let kit = Kit::new(9);
    let encoder = Encoder::new(8);
    let left = Matrix {
        diagonals: vec![0, 1, 2, 16, 17, 33, 64, 65],
        period: 128,
        seed: 0.1,
    };
    let right = Matrix {
        diagonals: vec![0, 2, 16, 130],
        period: 256,
        seed: 0.8,
    };
    let transforms = [left.encode(&encoder, 128), right.encode(&encoder, 256)];
    // Levels from 3 to 28 have different digits and special primes.
    let shifts: Vec<usize> = transforms
        .iter()
        .flat_map(|t| t.plan().rotations())
        .collect();
    let levels = [3, 28, 11, 3, 5, 20];
    let uses: Vec<KeyUse> = shifts
        .iter()
        .enumerate()
        .map(|(i, &s)| kit.galois(s as i64, levels[i % levels.len()]))
        .collect();
    let evaluator = kit.evaluator(&uses);
    let (a, b) = (slots(128, 1.0), slots(256, 1.5));
    let (x, y) = (kit.encrypt(&a, 3), kit.encrypt(&b, 3));
    let expected: Vec<Complex64> = {
        let (left, right) = (left.apply(&a), right.apply(&b));
        (0..256).map(|i| left[i % 128] + right[i]).collect()
    };
    let sum = evaluator
        .linear_transform_rescale(&[(&x, &transforms[0]), (&y, &transforms[1])])
        .unwrap();
    kit.check(&sum, &expected, 24.0);
    // However the giant rotations are grouped, the sum is the same to the last bit.
    let terms = [(&x, &transforms[0]), (&y, &transforms[1])];
    let (whole, ..) = evaluator.transform_sum(&terms, usize::MAX).unwrap();
    for limit in [0, 10_000] {
        let (grouped, ..) = evaluator.transform_sum(&terms, limit).unwrap();
        assert_eq!(grouped.data(), whole.data(), "groups of {limit} bytes");
    }
    let mut other = y.clone();
    other.set_scale(SCALE * 2.0);
    assert!(matches!(
        evaluator.linear_transform(&[(&x, &transforms[0]), (&other, &transforms[1])]),
        Err(Error::ScaleMismatch { .. })
    ));
}

#[test]
fn streamed_diagonals_give_the_same_bits() {
    let kit = Kit::new(9);
    let encoder = Encoder::new(8);
    let real = |period: usize, seed: f64| -> Arc<RealDiagonals> {
        Arc::new(move |d| {
            let entries = slots(period, seed + d as f64).into_iter();
            entries.map(|entry| entry.re).collect()
        })
    };
    let (left, right) = (real(128, 0.1), real(256, 0.8));
    let plan = |diagonals: &[usize], period: usize| {
        BsgsPlan::for_diagonals(diagonals, period, 256, BsgsCost::default()).unwrap()
    };
    let plans = [
        plan(&[0, 1, 2, 16, 17, 33, 64, 65], 128),
        plan(&[0, 2, 16, 130], 256),
    ];
    let sources = [(&plans[0], 7, left), (&plans[1], 8, right)];
    let kept = sources.each_ref().map(|(plan, log_slots, diagonal)| {
        let plan = (*plan).clone();
        LinearTransform::new_real(&encoder, plan, *log_slots, SCALE, |d| diagonal(d)).unwrap()
    });
    let streamed = sources.each_ref().map(|(plan, log_slots, diagonal)| {
        LinearTransform::streamed((*plan).clone(), *log_slots, SCALE, Arc::clone(diagonal))
    });
    assert!(kept[0].bytes() > 0 && streamed[0].bytes() == 0);
    let uses: Vec<KeyUse> = plans
        .iter()
        .flat_map(BsgsPlan::rotations)
        .map(|shift| kit.galois(shift as i64, 3))
        .collect();
    let evaluator = kit.evaluator(&uses);
    let (x, y) = (
        kit.encrypt(&slots(128, 1.0), 3),
        kit.encrypt(&slots(256, 1.5), 3),
    );
    let (expected, ..) = evaluator
        .transform_sum(&[(&x, &kept[0]), (&y, &kept[1])], usize::MAX)
        .unwrap();
    for limit in [0, 10_000, usize::MAX] {
        let terms = [(&x, &streamed[0]), (&y, &streamed[1])];
        let (found, ..) = evaluator.transform_sum(&terms, limit).unwrap();
        assert_eq!(found.data(), expected.data(), "groups of {limit} bytes");
        let mixed = [(&x, &streamed[0]), (&y, &kept[1])];
        let (found, ..) = evaluator.transform_sum(&mixed, limit).unwrap();
        assert_eq!(found.data(), expected.data(), "groups of {limit} bytes");
    }
    let short = LinearTransform::streamed(plans[0].clone(), 7, SCALE, Arc::new(|_| vec![0.0]));
    assert!(matches!(
        evaluator.linear_transform(&[(&x, &short)]),
        Err(Error::SlotCount { .. })
    ));
}
