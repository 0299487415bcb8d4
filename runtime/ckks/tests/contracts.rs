//! What the documentation of public items says under *Errors* and *Panics* is so. Not tested: that
//! the operating system gives no randomness. `contexts.rs` tests objects of different parameter
//! sets.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use heddle_ckks::circuits::polynomial::evaluate;
use heddle_ckks::kernel::Kernel;
use heddle_ckks::params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_ckks::params::bsgs::{BsgsCost, BsgsPlan};
use heddle_ckks::params::keys::{KeyKind, KeyUse};
use heddle_ckks::params::{GaloisElement, named};
use heddle_ckks::ring::{Basis, Coeff, CompactPoly, Eval, RnsPoly};
use heddle_ckks::scheme::wire::{read_poly, write_poly};
use heddle_ckks::secret::rig::Rig;
use heddle_ckks::tables::{ConversionTable, Modulus, NttTable};
use heddle_ckks::{
    Bootstrapper, ChebyshevPolynomial, Ciphertext, Complex64, Context, Decryptor, Encoder,
    Encryptor, Error, EvaluationKeys, Evaluator, KeyGenerator, KeySwitchKey, LinearTransform,
    Plaintext, PublicKey, SecretEncryptor, SecretKey, SeededCiphertext,
};

const SCALE: f64 = (1u64 << 40) as f64;

const LEVEL: usize = 5;

/// More slots than the ring has.
const WIDE: u32 = 9;

struct Kit {
    context: Arc<Context>,
    secret: SecretKey,
    evaluator: Evaluator,
}

impl Kit {
    fn new() -> Self {
        let context = Context::new(named::toy(8).unwrap()).unwrap();
        let secret = SecretKey::generate(&context).unwrap();
        let relin = KeyUse {
            kind: KeyKind::Relin,
            level: LEVEL,
        };
        let keys = KeyGenerator::new(&context, &secret).unwrap();
        let keys = Arc::new(keys.generate(&[relin]).unwrap());
        Self {
            evaluator: Evaluator::new(&context, keys),
            context,
            secret,
        }
    }

    fn encrypt(&self, level: usize) -> Ciphertext {
        let plaintext = Plaintext::encode_real(self.evaluator.encoder(), &[0.5; 8], SCALE);
        let encryptor = SecretEncryptor::new(&self.context, &self.secret);
        encryptor
            .encrypt(&plaintext.unwrap(), level)
            .unwrap()
            .expand()
    }
}

/// Fails with the operation's name unless the result is the error named.
macro_rules! errs {
    ($($operation:expr => $error:pat),* $(,)?) => {$(
        match $operation {
            Err($error) => {}
            other => panic!("{}: {:?}", stringify!($operation), other.map(|_| ()).err()),
        }
    )*};
}

/// Fails with the expression unless it panics.
macro_rules! panics {
    ($($operation:expr),* $(,)?) => {$(
        let result = catch_unwind(AssertUnwindSafe(|| {
            let _ = $operation;
        }));
        assert!(result.is_err(), "{} did not panic", stringify!($operation));
    )*};
}

#[test]
fn evaluation_refuses_what_its_operations_say() {
    let kit = Kit::new();
    let e = &kit.evaluator;
    let (x, lower, bottom) = (kit.encrypt(LEVEL), kit.encrypt(2), kit.encrypt(0));
    let mut scaled = x.clone();
    scaled.set_scale(2.0 * SCALE);
    let other_scale = Plaintext::encode_real(e.encoder(), &[0.5; 8], 2.0 * SCALE).unwrap();
    let wide = Encoder::new(WIDE);
    let wide = Plaintext::encode_real(&wide, &vec![0.5; 1 << WIDE], SCALE).unwrap();
    let product = |a, b| e.mul_no_relin(a, b).unwrap();
    errs! {
        e.add(&x, &lower) => Error::LevelMismatch { .. },
        e.add(&x, &scaled) => Error::ScaleMismatch { .. },
        e.add_assign(&mut x.clone(), &lower) => Error::LevelMismatch { .. },
        e.add_assign(&mut x.clone(), &scaled) => Error::ScaleMismatch { .. },
        e.sub(&x, &lower) => Error::LevelMismatch { .. },
        e.sub(&x, &scaled) => Error::ScaleMismatch { .. },
        e.add_plain(&x, &other_scale) => Error::ScaleMismatch { .. },
        e.sub_plain(&x, &other_scale) => Error::ScaleMismatch { .. },
        e.add_plain(&x, &wide) => Error::SlotCount { .. },
        e.sub_plain(&x, &wide) => Error::SlotCount { .. },
        e.mul_plain(&x, &wide) => Error::SlotCount { .. },
        e.add_const(&x, 1e9) => Error::ValueRange { .. },
        e.add_complex_const(&x, Complex64::new(0.0, f64::NAN)) => Error::ValueRange { .. },
        e.mul_const(&x, 1.0, 1e30) => Error::ValueRange { .. },
        e.mul_complex_const(&x, Complex64::new(0.0, 1.0), 1e30) => Error::ValueRange { .. },
        e.mul_const_add(&mut x.clone(), &lower, 1.0, 1.0) => Error::LevelMismatch { .. },
        e.mul_const_add(&mut x.clone(), &x, 1.0, 2.0) => Error::ScaleMismatch { .. },
        e.mul_const_add(&mut x.clone(), &x, f64::INFINITY, 1.0) => Error::ValueRange { .. },
        e.drop_to_level(&lower, LEVEL) => Error::NotEnoughLevels { .. },
        e.mul(&x, &lower) => Error::LevelMismatch { .. },
        e.mul_no_relin(&x, &lower) => Error::LevelMismatch { .. },
        e.mul_rescale(&x, &lower) => Error::LevelMismatch { .. },
        e.mul_rescale(&bottom, &bottom) => Error::NotEnoughLevels { .. },
        e.rescale(bottom.clone()) => Error::NotEnoughLevels { .. },
        product(&x, &x).add_assign(&product(&lower, &lower)) => Error::LevelMismatch { .. },
        product(&x, &x).add_assign(&product(&x, &scaled)) => Error::ScaleMismatch { .. },
        e.relinearise_rescale(bottom.c0().clone(), bottom.c0().clone(), bottom.c0().clone())
            => Error::NotEnoughLevels { .. },
        e.relinearise_rescale(x.c0().clone(), lower.c0().clone(), x.c0().clone())
            => Error::LevelMismatch { .. },
        e.rotate(&x, 1) => Error::MissingGaloisKey { .. },
        e.conjugate(&x) => Error::MissingGaloisKey { .. },
        e.rotate_hoisted(&x, &[0, 1]) => Error::MissingGaloisKey { .. },
        e.encapsulate(&x) => Error::LevelMismatch { .. },
        e.encapsulate(&bottom) => Error::MissingKey { .. },
        e.raise_decapsulate(&x) => Error::LevelMismatch { .. },
        e.raise_decapsulate(&bottom) => Error::MissingKey { .. },
        e.raise(&x) => Error::LevelMismatch { .. },
    }
    // The only key is of a lower level.
    let top = kit.encrypt(LEVEL + 1);
    errs! {
        e.mul(&top, &top) => Error::MissingKey { .. },
        e.square(&top) => Error::MissingKey { .. },
        e.relinearise(product(&top, &top)) => Error::MissingKey { .. },
        e.mul_rescale(&top, &top) => Error::MissingKey { .. },
    }
}

#[test]
fn circuits_refuse_what_they_say() {
    let kit = Kit::new();
    let e = &kit.evaluator;
    let (x, bottom) = (kit.encrypt(LEVEL), kit.encrypt(0));
    let plan = |period: usize, ring: usize| {
        BsgsPlan::for_diagonals(&[0], period, ring, BsgsCost::default()).unwrap()
    };
    let encoder = e.encoder();
    let real = |values: Vec<f64>| {
        LinearTransform::new_real(encoder, plan(8, 128), 3, SCALE, |_| values.clone())
    };
    let complex = |values: Vec<Complex64>| {
        LinearTransform::new(encoder, plan(8, 128), 3, SCALE, |_| values.clone())
    };
    errs! {
        real(vec![0.5; 4]) => Error::SlotCount { .. },
        real(vec![1e30; 8]) => Error::ValueRange { .. },
        complex(vec![0.5.into(); 16]) => Error::SlotCount { .. },
        complex(vec![f64::NAN.into(); 8]) => Error::ValueRange { .. },
    }
    let fits = real(vec![0.5; 8]).unwrap();
    let slots = 1usize << WIDE;
    let wide =
        LinearTransform::new_real(&Encoder::new(WIDE), plan(slots, slots), WIDE, SCALE, |_| {
            vec![0.5; slots]
        });
    let wide = wide.unwrap();
    let mut scaled = x.clone();
    scaled.set_scale(2.0 * SCALE);
    errs! {
        wide.clone().prepare(&kit.context, LEVEL, 1) => Error::SlotCount { .. },
        e.linear_transform(&[(&x, &wide)]) => Error::SlotCount { .. },
        e.linear_transform(&[]) => Error::Operand { .. },
        e.linear_transform(&[(&x, &fits), (&bottom, &fits)]) => Error::LevelMismatch { .. },
        e.linear_transform(&[(&x, &fits), (&scaled, &fits)]) => Error::ScaleMismatch { .. },
        e.linear_transform_rescale(&[(&bottom, &fits)]) => Error::NotEnoughLevels { .. },
    }
    panics! {
        fits.clone().prepare(&kit.context, kit.context.max_level() + 1, 0),
        fits.clone().prepare(&kit.context, LEVEL, 100),
    }

    let square = ChebyshevPolynomial::new(vec![0.0, 0.0, 1.0]);
    let constant = ChebyshevPolynomial::new(vec![f64::INFINITY]);
    errs! {
        evaluate(e, &bottom, &square, SCALE) => Error::NotEnoughLevels { .. },
        evaluate(e, &x, &square, f64::NAN) => Error::ScaleRange { .. },
        evaluate(e, &x, &constant, SCALE) => Error::ValueRange { .. },
        evaluate(e, &kit.encrypt(LEVEL + 1), &square, SCALE) => Error::MissingKey { .. },
    }

    let parameters = BootstrapParameters::default();
    let bootstrapper =
        |log_slots| Bootstrapper::new(&kit.context, &parameters, log_slots, BootstrapVariant::Real);
    let long = BootstrapParameters {
        coeff_to_slot_levels: 40,
        ..parameters.clone()
    };
    errs! {
        bootstrapper(8) => Error::Parameters(_),
        Bootstrapper::new(&kit.context, &long, 3, BootstrapVariant::Real) => Error::Parameters(_),
    }
    let bootstrapper = bootstrapper(3).unwrap();
    let mut sparse = x.clone();
    sparse.set_log_slots(4);
    scaled.set_scale(2.1 * SCALE);
    errs! {
        bootstrapper.bootstrap(e, &bottom) => Error::NotEnoughLevels { .. },
        bootstrapper.bootstrap(e, &sparse) => Error::SlotsMismatch { .. },
        bootstrapper.bootstrap(e, &scaled) => Error::ScaleMismatch { .. },
        bootstrapper.bootstrap(e, &x) => Error::MissingGaloisKey { .. },
    }
}

#[test]
fn keys_and_encryption_refuse_what_they_say() {
    let kit = Kit::new();
    let (context, secret) = (&kit.context, &kit.secret);
    let above = context.max_level() + 1;
    let key_use = |kind, level| KeyUse { kind, level };
    let foreign = KeyKind::Galois(GaloisElement::rotation(1, 1 << 10));
    let generator = KeyGenerator::new(context, secret).unwrap();
    errs! {
        context.q_basis(above) => Error::Parameters(_),
        PublicKey::generate(context, secret, above) => Error::Parameters(_),
        generator.generate(&[key_use(KeyKind::Relin, above)]) => Error::Parameters(_),
        generator.generate(&[key_use(KeyKind::Decapsulate, above)]) => Error::Parameters(_),
        generator.generate(&[key_use(KeyKind::Encapsulate, 1)]) => Error::LevelMismatch { .. },
        generator.generate(&[key_use(foreign, 1)]) => Error::Operand { .. },
        KeySwitchKey::layout_for(context, key_use(foreign, 1)) => Error::Operand { .. },
        KeySwitchKey::layout_for(context, key_use(KeyKind::Relin, above)) => Error::Parameters(_),
    }
    let stopped = generator.generate_each(&[key_use(KeyKind::Relin, 1)], |_| {
        Err(Error::Randomness("the sink is full".into()))
    });
    errs!(stopped => Error::Randomness(_));
    // Parameters without an ephemeral secret.
    let plain = named::over_small_ring(named::n16_qp1750_sparse64_literal(), 8).unwrap();
    let plain = Context::new(plain).unwrap();
    let generator = KeyGenerator::new(&plain, &SecretKey::generate(&plain).unwrap()).unwrap();
    errs! {
        generator.generate(&[key_use(KeyKind::Encapsulate, 0)]) => Error::MissingKey { .. },
        generator.generate(&[key_use(KeyKind::Decapsulate, 3)]) => Error::MissingKey { .. },
    }
    let none = EvaluationKeys::new();
    let galois = KeyKind::Galois(GaloisElement::rotation(1, context.n()));
    errs! {
        none.get(KeyKind::Relin, 0) => Error::MissingKey { .. },
        none.get(KeyKind::Encapsulate, 0) => Error::MissingKey { .. },
        none.get(KeyKind::Decapsulate, 0) => Error::MissingKey { .. },
        none.get(galois, 0) => Error::MissingGaloisKey { .. },
    }

    let plaintext = Plaintext::encode_real(&Encoder::new(7), &[0.5; 8], SCALE).unwrap();
    let wide = Plaintext::encode_real(&Encoder::new(WIDE), &vec![0.5; 1 << WIDE], SCALE).unwrap();
    let public = Arc::new(PublicKey::generate(context, secret, 3).unwrap());
    let by_public = Encryptor::new(context, Arc::clone(&public));
    let by_secret = SecretEncryptor::new(context, secret);
    let mut claims_more = kit.encrypt(1);
    claims_more.set_log_slots(8);
    let decryptor = Decryptor::new(context, secret);
    errs! {
        by_public.encrypt(&plaintext, 4) => Error::Parameters(_),
        by_public.encrypt(&plaintext, above) => Error::Parameters(_),
        by_public.encrypt(&wide, 1) => Error::SlotCount { .. },
        by_secret.encrypt(&plaintext, above) => Error::Parameters(_),
        by_secret.encrypt(&wide, 1) => Error::SlotCount { .. },
        decryptor.decrypt_coefficients(&claims_more) => Error::SlotCount { .. },
        decryptor.decrypt(&claims_more) => Error::SlotCount { .. },
        decryptor.decrypt_with_noise(&claims_more, 0.1) => Error::SlotCount { .. },
    }
    panics!(public.drop_to(4));

    let (x, lower) = (kit.encrypt(2), kit.encrypt(1));
    let special = RnsPoly::<Eval>::zero(context, Basis::new(1, 1));
    errs! {
        Ciphertext::from_parts(x.c0().clone(), lower.c1().clone(), 1.0, 3) => Error::Operand { .. },
        Ciphertext::from_parts(special.clone(), special.clone(), 1.0, 3) => Error::Operand { .. },
        Plaintext::encode(&Encoder::new(3), &[Complex64::default(); 16], 1.0)
            => Error::SlotCount { .. },
        Plaintext::encode_real(&Encoder::new(3), &[0.0; 3], 1.0) => Error::SlotCount { .. },
    }

    let rig = Rig::new(context, &[], || ()).unwrap();
    let slots = [Complex64::default(); 4];
    errs! {
        Rig::new(context, &[key_use(KeyKind::Relin, above)], || ()) => Error::Parameters(_),
        rig.encrypt(&slots[..3], SCALE, 1) => Error::SlotCount { .. },
        rig.encrypt(&slots, SCALE, above) => Error::Parameters(_),
        rig.encrypt(&[Complex64::new(1e30, 0.0)], SCALE, 1) => Error::ValueRange { .. },
        rig.precision(&slots, &claims_more) => Error::SlotCount { .. },
    }
}

/// Takes so many bytes, then fails.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = self.0.min(bytes.len());
        self.0 -= taken;
        match taken {
            0 => Err(std::io::Error::other("no space is left")),
            _ => Ok(taken),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes to every writer that is full too early, reads every beginning of what was written.
fn survives_or_fails<T>(
    bytes: usize,
    write: impl Fn(&mut dyn Write) -> Result<(), Error>,
    read: impl Fn(&[u8]) -> Result<T, Error>,
) {
    let mut whole = Vec::new();
    write(&mut whole).unwrap();
    assert_eq!(whole.len(), bytes);
    assert!(read(&whole).is_ok());
    for len in [0, 1, bytes / 2, bytes - 1] {
        errs! {
            write(&mut Full(len)) => Error::Wire { .. },
            read(&whole[..len]) => Error::Wire { .. },
        }
    }
}

#[test]
fn readers_and_writers_fail_as_they_say() {
    let kit = Kit::new();
    let (context, secret) = (&kit.context, &kit.secret);
    let above = context.max_level() + 1;
    let relin = |level| KeyUse {
        kind: KeyKind::Relin,
        level,
    };
    let x = kit.encrypt(2);
    let plaintext = Plaintext::encode_real(&Encoder::new(7), &[0.5; 8], SCALE).unwrap();
    let seeded = SecretEncryptor::new(context, secret);
    let seeded = seeded.encrypt(&plaintext, 2).unwrap();
    let public = PublicKey::generate(context, secret, 2).unwrap();
    let key = kit.evaluator.keys().get(KeyKind::Relin, LEVEL).unwrap();
    let expander = heddle_ckks::SeedExpander::new(context.kernel(), *key.seed());
    let expander = Arc::new(expander);

    let half = Ciphertext::body_bytes(context, 2).unwrap() / 2 - 8;
    survives_or_fails(
        half,
        |mut out| write_poly(context, x.c0(), &mut out),
        |mut bytes| read_poly(context, Basis::q(2), &mut bytes),
    );
    survives_or_fails(
        Ciphertext::body_bytes(context, 2).unwrap(),
        |mut out| x.write(context, &mut out),
        |mut bytes| Ciphertext::read(context, &mut bytes),
    );
    survives_or_fails(
        SeededCiphertext::body_bytes(context, 2).unwrap(),
        |mut out| seeded.write(context, &mut out),
        |mut bytes| SeededCiphertext::read(context, &mut bytes),
    );
    survives_or_fails(
        PublicKey::body_bytes(context, 2).unwrap(),
        |mut out| public.write(context, &mut out),
        |mut bytes| PublicKey::read(context, 2, &mut bytes),
    );
    survives_or_fails(
        KeySwitchKey::body_bytes(context, relin(LEVEL)).unwrap(),
        |mut out| key.write(context, &mut out),
        |mut bytes| KeySwitchKey::read(context, relin(LEVEL), &expander, &mut bytes),
    );
    survives_or_fails(
        context.n() / 4,
        |mut out| secret.write(&mut out),
        |mut bytes| SecretKey::read(context, &mut bytes),
    );
    errs! {
        Ciphertext::body_bytes(context, above) => Error::Parameters(_),
        SeededCiphertext::body_bytes(context, above) => Error::Parameters(_),
        PublicKey::body_bytes(context, above) => Error::Parameters(_),
        KeySwitchKey::body_bytes(context, relin(above)) => Error::Parameters(_),
        PublicKey::read(context, above, &mut &[][..]) => Error::Parameters(_),
        KeySwitchKey::read(context, relin(above), &expander, &mut &[][..]) => Error::Parameters(_),
        SecretKey::from_packed(context, &[0xff; 64]) => Error::Wire { .. },
    }
}

#[test]
fn polynomials_and_tables_panic_as_they_say() {
    let context = Context::new(named::toy(6).unwrap()).unwrap();
    let other = Context::new(named::toy(5).unwrap()).unwrap();
    let (max, specials) = (context.max_level(), context.parameters().p().len());
    let poly = RnsPoly::<Coeff>::zero(&context, Basis::new(2, 1));
    let modulus = *context.modulus(0);
    let mut sum = RnsPoly::<Coeff>::zero(&context, Basis::q(2));
    let shorter = RnsPoly::<Coeff>::zero(&context, Basis::q(1));
    let foreign = RnsPoly::<Coeff>::zero(&other, Basis::q(2));
    panics! {
        RnsPoly::<Coeff>::zero(&context, Basis::q(max + 1)),
        RnsPoly::<Coeff>::zero(&context, Basis::new(0, specials + 1)),
        poly.limb_of(3).len(),
        poly.limb_of(max + 2).len(),
        poly.drop_to(1),
        shorter.drop_to(2),
        sum.add_assign(&shorter),
        sum.add_assign(&foreign),
        RnsPoly::from_i64(&context, Basis::q(0), &[1; 3]),
        RnsPoly::from_i64(&context, Basis::q(0), &[1; 128]),
        RnsPoly::secret_from_i8(&context, Basis::q(0), &[1; 32]),
        CompactPoly::from_i64(&context, Basis::q(0), &[1; 3]),
        CompactPoly::secret_from_i64(&context, Basis::q(0), &[1; 128]),
        context.automorphism(GaloisElement::rotation(1, 32)),
        Modulus::new(3),
        Modulus::new(1 << 20),
        Modulus::new((1 << 50) + 1),
        modulus.primitive_root(1 << 40),
        NttTable::new(modulus, 40),
        ConversionTable::new(&[], &[modulus]),
        ConversionTable::new(&[modulus; 65], &[modulus]),
        Kernel::scalar().lift_small(&Modulus::new(127), &mut [0], &[0]),
    }
    for name in ["", "abacus", "AVX2"] {
        errs!(Kernel::by_name(name) => Error::Kernel { .. });
    }
}
