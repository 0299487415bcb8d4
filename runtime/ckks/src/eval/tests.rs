//! Properties of homomorphic operations against plain numbers, on a small ring.

use super::*;
use crate::ciphertext::{Ciphertext, Plaintext};
use crate::encode::Complex64;
use crate::encrypt::{Decryptor, SecretEncryptor};
use crate::eval::linear::LinearTransform;
use crate::keys::{KeyGenerator, SecretKey};
use crate::precision::Precision;
use heddle_params::bsgs::{BsgsCost, BsgsPlan};
use heddle_params::keys::{KeyKind, KeyUse};
use heddle_params::{GaloisElement, named};

const SCALE: f64 = (1u64 << 40) as f64;

struct Kit {
    context: Arc<Context>,
    secret: SecretKey,
}

impl Kit {
    fn new(log_n: u32) -> Self {
        let context = Context::new(named::toy(log_n).unwrap()).unwrap();
        let secret = SecretKey::generate(&context).unwrap();
        Self { context, secret }
    }

    fn galois(&self, shift: i64, level: usize) -> KeyUse {
        KeyUse {
            kind: KeyKind::Galois(GaloisElement::rotation(shift, self.context.n())),
            level,
        }
    }

    fn evaluator(&self, uses: &[KeyUse]) -> Evaluator {
        let keys = KeyGenerator::new(&self.context, &self.secret)
            .unwrap()
            .generate(uses)
            .unwrap();
        Evaluator::new(&self.context, Arc::new(keys))
    }

    fn encrypt(&self, values: &[Complex64], level: usize) -> Ciphertext {
        let encoder = Encoder::new(self.context.log_n() - 1);
        let plaintext = Plaintext::encode(&encoder, values, SCALE).unwrap();
        SecretEncryptor::new(&self.context, &self.secret)
            .encrypt(&plaintext, level)
            .unwrap()
            .expand(&self.context)
    }

    #[track_caller]
    fn check(&self, ciphertext: &Ciphertext, expected: &[Complex64], bits: f64) {
        assert_eq!(1 << ciphertext.log_slots(), expected.len());
        let got = Decryptor::new(&self.context, &self.secret)
            .decrypt(ciphertext)
            .unwrap();
        let precision = Precision::compare(expected, &got);
        assert!(
            precision.worst_bits > bits,
            "{precision}, level {}",
            ciphertext.level()
        );
    }
}

fn slots(n: usize, seed: f64) -> Vec<Complex64> {
    (0..n)
        .map(|i| Complex64::new((i as f64 * 0.7 + seed).sin(), (i as f64 * 1.1 * seed).cos()))
        .collect()
}

fn map2(
    a: &[Complex64],
    b: &[Complex64],
    f: impl Fn(Complex64, Complex64) -> Complex64,
) -> Vec<Complex64> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

fn rotated(values: &[Complex64], shift: usize) -> Vec<Complex64> {
    (0..values.len())
        .map(|i| values[(i + shift) % values.len()])
        .collect()
}

#[test]
fn sums_and_plaintexts_follow_the_slots() {
    let kit = Kit::new(8);
    let evaluator = kit.evaluator(&[]);
    let (a, b) = (slots(32, 0.3), slots(32, 2.0));
    let (x, y) = (kit.encrypt(&a, 5), kit.encrypt(&b, 5));
    let plaintext = Plaintext::encode(evaluator.encoder(), &b, SCALE).unwrap();
    kit.check(
        &evaluator.add(&x, &y).unwrap(),
        &map2(&a, &b, |a, b| a + b),
        28.0,
    );
    kit.check(
        &evaluator.sub(&x, &y).unwrap(),
        &map2(&a, &b, |a, b| a - b),
        28.0,
    );
    kit.check(&evaluator.neg(&x), &map2(&a, &b, |a, _| -a), 28.0);
    kit.check(
        &evaluator.add_plain(&x, &plaintext).unwrap(),
        &map2(&a, &b, |a, b| a + b),
        28.0,
    );
    kit.check(
        &evaluator.sub_plain(&x, &plaintext).unwrap(),
        &map2(&a, &b, |a, b| a - b),
        28.0,
    );
    let product = evaluator
        .rescale(evaluator.mul_plain(&x, &plaintext).unwrap())
        .unwrap();
    assert_eq!(product.level(), 4);
    kit.check(&product, &map2(&a, &b, |a, b| a * b), 28.0);
}

#[test]
fn constants_reach_every_slot() {
    let kit = Kit::new(7);
    let evaluator = kit.evaluator(&[]);
    let a = slots(64, 0.4);
    let x = kit.encrypt(&a, 3);
    let c = Complex64::new(-1.25, 0.375);
    let each = |f: &dyn Fn(Complex64) -> Complex64| a.iter().map(|&v| f(v)).collect::<Vec<_>>();
    kit.check(
        &evaluator.add_const(&x, -2.5).unwrap(),
        &each(&|v| v + (-2.5).into()),
        28.0,
    );
    kit.check(
        &evaluator.add_complex_const(&x, c).unwrap(),
        &each(&|v| v + c),
        28.0,
    );
    kit.check(
        &evaluator.mul_integer(&x, -3),
        &each(&|v| v.scale(-3.0)),
        27.0,
    );
    kit.check(
        &evaluator.mul_by_i(&x),
        &each(&|v| v * Complex64::new(0.0, 1.0)),
        28.0,
    );
    let product = evaluator.mul_const(&x, -0.3, SCALE).unwrap();
    assert_eq!(product.scale(), SCALE * SCALE);
    kit.check(
        &evaluator.rescale(product).unwrap(),
        &each(&|v| v.scale(-0.3)),
        28.0,
    );
    let product = evaluator.mul_complex_const(&x, c, SCALE).unwrap();
    kit.check(
        &evaluator.rescale(product).unwrap(),
        &each(&|v| v * c),
        28.0,
    );
    let mut acc = evaluator
        .drop_to_level(&evaluator.mul_const(&x, 0.5, SCALE).unwrap(), 2)
        .unwrap();
    evaluator.mul_const_add(&mut acc, &x, -2.0, SCALE).unwrap();
    kit.check(&acc, &each(&|v| v.scale(-1.5)), 27.0);
    assert!(matches!(
        evaluator.add_const(&x, f64::NAN),
        Err(Error::ValueRange { .. })
    ));
}

#[test]
fn unlike_operands_are_refused() {
    let kit = Kit::new(6);
    let evaluator = kit.evaluator(&[]);
    let x = kit.encrypt(&slots(8, 0.1), 2);
    let lower = evaluator.drop_to_level(&x, 1).unwrap();
    let mut rescaled = x.clone();
    rescaled.set_scale(SCALE * (1.0 + 1e-6));
    assert!(matches!(
        evaluator.add(&x, &lower),
        Err(Error::LevelMismatch { .. })
    ));
    assert!(matches!(
        evaluator.sub(&x, &rescaled),
        Err(Error::ScaleMismatch { .. })
    ));
    assert!(matches!(
        evaluator.mul(&x, &lower),
        Err(Error::LevelMismatch { .. })
    ));
    assert!(matches!(
        evaluator.mul(&x, &x),
        Err(Error::MissingKey { .. })
    ));
    assert!(matches!(
        evaluator.rotate(&x, 1),
        Err(Error::MissingGaloisKey { .. })
    ));
    assert!(matches!(
        evaluator.drop_to_level(&lower, 2),
        Err(Error::NotEnoughLevels { .. })
    ));
    let bottom = evaluator.drop_to_level(&x, 0).unwrap();
    assert!(matches!(
        evaluator.rescale(bottom),
        Err(Error::NotEnoughLevels { .. })
    ));
    assert!(matches!(
        evaluator.linear_transform(&[]),
        Err(Error::Operand { .. })
    ));
}

#[test]
fn products_follow_the_slots_at_every_level() {
    let kit = Kit::new(8);
    let uses = [6, 28].map(|level| KeyUse {
        kind: KeyKind::Relin,
        level,
    });
    let evaluator = kit.evaluator(&uses);
    let (a, b) = (slots(16, 0.3), slots(16, 2.0));
    let expected = map2(&a, &b, |a, b| a * b);
    for level in [1, 4, 6, 11, 18] {
        let (x, y) = (kit.encrypt(&a, level), kit.encrypt(&b, level));
        let product = evaluator.rescale(evaluator.mul(&x, &y).unwrap()).unwrap();
        kit.check(&product, &expected, 26.0);
        let fused = evaluator.mul_rescale(&x, &y).unwrap();
        assert_eq!(
            (fused.level(), fused.scale()),
            (product.level(), product.scale())
        );
        kit.check(&fused, &expected, 26.0);
        let mut twice = evaluator.mul_no_relin(&x, &y).unwrap();
        twice.add_assign(&twice.clone()).unwrap();
        kit.check(
            &evaluator.relinearise(twice).unwrap(),
            &map2(&a, &b, |a, b| (a * b).scale(2.0)),
            26.0,
        );
    }
}

#[test]
fn rotations_are_left_and_conjugation_conjugates() {
    let kit = Kit::new(8);
    let shifts = [1i64, 5, 16, -1];
    let mut uses: Vec<KeyUse> = shifts
        .iter()
        .flat_map(|&s| [3, 20].map(|level| kit.galois(s, level)))
        .collect();
    uses.push(KeyUse {
        kind: KeyKind::Galois(GaloisElement::conjugation(256)),
        level: 28,
    });
    let evaluator = kit.evaluator(&uses);
    let a = slots(64, 0.9);
    for level in [0, 3, 4, 17, 20] {
        let x = kit.encrypt(&a, level);
        let hoisted = evaluator.rotate_hoisted(&x, &[1, 5, 0, 16, -1]).unwrap();
        for (&shift, hoisted) in [1i64, 5, 0, 16, -1].iter().zip(&hoisted) {
            let expected = rotated(&a, shift.rem_euclid(64) as usize);
            kit.check(&evaluator.rotate(&x, shift).unwrap(), &expected, 26.0);
            kit.check(hoisted, &expected, 26.0);
        }
        kit.check(
            &evaluator.conjugate(&x).unwrap(),
            &map2(&a, &a, |a, _| a.conj()),
            26.0,
        );
    }
}

#[test]
fn encapsulation_keeps_the_message() {
    let kit = Kit::new(10);
    let uses = [
        KeyUse {
            kind: KeyKind::Encapsulate,
            level: 0,
        },
        KeyUse {
            kind: KeyKind::Decapsulate,
            level: 28,
        },
    ];
    let evaluator = kit.evaluator(&uses);
    let a = slots(512, 0.9);
    let raised = evaluator
        .raise_decapsulate(&evaluator.encapsulate(&kit.encrypt(&a, 0)).unwrap())
        .unwrap();
    assert_eq!(raised.level(), 28);
    // Modulo q_0 the message is there again; above it is a multiple of q_0 no larger than the sparse secret allows.
    kit.check(&evaluator.drop_to_level(&raised, 0).unwrap(), &a, 22.0);
    let q0 = kit.context.modulus(0).value() as f64;
    let coefficients = Decryptor::new(&kit.context, &kit.secret)
        .decrypt_coefficients(&raised)
        .unwrap();
    assert!(coefficients.iter().all(|c| c.abs() < 14.0 * q0));
    assert!(coefficients.iter().any(|c| c.abs() > q0));
}

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
        // Diagonals prepared over a longer chain than that of the ciphertext, and over a shorter one.
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
    // However the giant steps are grouped, the sum is the same to the last bit.
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
