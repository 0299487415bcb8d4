//! Objects written and read back, and what readers refuse.

use super::*;
use crate::scheme::ciphertext::Plaintext;
use crate::scheme::encode::Encoder;
use crate::secret::SecretEncryptor;
use crate::secret::{KeyGenerator, SecretKey};
use heddle_params::keys::KeyKind;

#[test]
fn objects_survive_and_damage_is_found() {
    let context = Context::new(heddle_params::named::toy(6).unwrap()).unwrap();
    let secret = SecretKey::generate(&context).unwrap();
    let mut bytes = Vec::new();
    secret.write(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 16);
    let read = |bytes: &[u8]| SecretKey::read(&context, &mut &*bytes);
    assert_eq!(read(&bytes).unwrap().to_packed(), secret.to_packed());
    assert_eq!(*secret.to_packed(), bytes);
    let mut wrong = bytes.clone();
    wrong[3] = 0xff;
    for damaged in [&bytes[..15], &wrong] {
        assert!(matches!(read(damaged), Err(Error::Wire { .. })));
    }
    assert!(SecretKey::from_packed(&context, &[bytes, vec![0x55]].concat()).is_err());
    assert_eq!(format!("{secret:?}"), "SecretKey(64 coefficients)");

    let plaintext = Plaintext::encode_real(&Encoder::new(5), &[0.25; 8], 2f64.powi(40)).unwrap();
    let seeded = SecretEncryptor::new(&context, &secret)
        .encrypt(&plaintext, 3)
        .unwrap();
    let mut bytes = Vec::new();
    seeded.write(&context, &mut bytes).unwrap();
    let expanded = SeededCiphertext::read(&context, &mut &bytes[..])
        .unwrap()
        .expand();
    assert!(SeededCiphertext::read(&context, &mut &bytes[..bytes.len() - 1]).is_err());
    let mut bytes = Vec::new();
    expanded.write(&context, &mut bytes).unwrap();
    let back = Ciphertext::read(&context, &mut &bytes[..]).unwrap();
    let original = seeded.expand();
    assert!(back.c0 == original.c0 && back.c1 == original.c1);
    assert_eq!((back.scale, back.log_slots), (original.scale, 3));
    for (at, value) in [(0, 29), (4, 6), (15, 0xff)] {
        let mut damaged = bytes.clone();
        damaged[at] = value;
        assert!(
            Ciphertext::read(&context, &mut &damaged[..]).is_err(),
            "byte {at}"
        );
    }
}

#[test]
fn a_sparse_secret_has_its_weight() {
    let literal = heddle_params::ParametersLiteral {
        secret: heddle_params::Secret::SparseTernary(8),
        ..heddle_params::named::n16_qp1714_dense().literal().clone()
    };
    let parameters = heddle_params::named::over_small_ring(literal, 6).unwrap();
    let context = Context::new(parameters).unwrap();
    let secret = SecretKey::generate(&context).unwrap();
    let mut packed = secret.to_packed().to_vec();
    assert!(SecretKey::from_packed(&context, &packed).is_ok());
    let zero = packed.iter().position(|byte| byte & 3 == 1).unwrap();
    packed[zero] += 1;
    assert!(matches!(
        SecretKey::from_packed(&context, &packed),
        Err(Error::Wire { .. })
    ));
}

#[test]
fn keys_survive_and_residues_are_checked() {
    let context = Context::new(heddle_params::named::toy(5).unwrap()).unwrap();
    let secret = SecretKey::generate(&context).unwrap();
    let public = PublicKey::generate(&context, &secret, 7).unwrap();
    let mut bytes = Vec::new();
    public.write(&context, &mut bytes).unwrap();
    let back = PublicKey::read(&context, 7, &mut &bytes[..]).unwrap();
    assert!(back.a == public.a && back.b == public.b);
    assert!(PublicKey::read(&context, 29, &mut &bytes[..]).is_err());
    assert!(back.belongs_to(&secret) && back.drop_to(0).belongs_to(&secret));
    let other = SecretKey::generate(&context).unwrap();
    assert!(!back.belongs_to(&other));

    let key_use = KeyUse {
        kind: KeyKind::Relin,
        level: 20,
    };
    let keys = KeyGenerator::new(&context, &secret)
        .unwrap()
        .generate(&[key_use])
        .unwrap();
    let key = keys.get(KeyKind::Relin, 17).unwrap();
    let mut bytes = Vec::new();
    key.write(&context, &mut bytes).unwrap();
    assert_eq!(
        bytes.len(),
        KeySwitchKey::body_bytes(&context, key_use).unwrap()
    );
    let expander = Arc::new(SeedExpander::new(context.kernel(), *key.seed()));
    let read = |bytes: &[u8]| KeySwitchKey::read(&context, key_use, &expander, &mut &*bytes);
    let back = read(&bytes).unwrap();
    for (back, half) in back.b.iter().zip(&key.b) {
        assert!(back.unpack(&context) == half.unpack(&context));
    }
    assert!(read(&bytes[..bytes.len() - 1]).is_err());
    bytes[..8].fill(0xff);
    assert!(matches!(read(&bytes), Err(Error::Wire { .. })));
}
