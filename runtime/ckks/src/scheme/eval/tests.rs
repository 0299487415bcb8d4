//! Properties of homomorphic operations against plain numbers, on a small ring.

use heddle_params::GaloisElement;
use heddle_params::keys::{KeyKind, KeyUse};

use super::*;
use crate::scheme::{Complex64, Plaintext};
use crate::secret::Decryptor;
use crate::test_kit::{Kit, SCALE, map2, rotated, slots};

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
    // Modulo q_0 the message is there again; above it is a multiple of q_0 no larger than the
    // sparse secret allows.
    kit.check(&evaluator.drop_to_level(&raised, 0).unwrap(), &a, 22.0);
    let q0 = kit.context.modulus(0).value() as f64;
    let coefficients = Decryptor::new(&kit.context, &kit.secret)
        .decrypt_coefficients(&raised)
        .unwrap();
    assert!(coefficients.iter().all(|c| c.abs() < 14.0 * q0));
    assert!(coefficients.iter().any(|c| c.abs() > q0));
}
