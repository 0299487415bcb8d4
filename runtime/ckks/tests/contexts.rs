//! Objects of different parameter sets never meet: every operation refuses them by name, and none
//! panics or computes.

use std::sync::Arc;

use heddle_ckks::circuits::bootstrap::mod_raise;
use heddle_ckks::circuits::polynomial::evaluate;
use heddle_ckks::params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_ckks::params::bsgs::{BsgsCost, BsgsPlan};
use heddle_ckks::params::keys::{KeyKind, KeyUse};
use heddle_ckks::params::{GaloisElement, Parameters, named};
use heddle_ckks::scheme::wire::write_poly;
use heddle_ckks::{
    Bootstrapper, ChebyshevPolynomial, Ciphertext, Context, Decryptor, Encoder, Encryptor, Error,
    EvaluationKeys, Evaluator, KeyGenerator, LinearTransform, Plaintext, PublicKey,
    SecretEncryptor, SecretKey,
};

const LEVEL: usize = 6;

const SCALE: f64 = (1u64 << 40) as f64;

/// One party's objects.
struct Party {
    context: Arc<Context>,
    secret: SecretKey,
    keys: Arc<EvaluationKeys>,
    evaluator: Evaluator,
    bootstrapper: Bootstrapper,
    /// At [`LEVEL`] and at level 0.
    ciphertexts: [Ciphertext; 2],
    transform: LinearTransform,
}

fn plaintext(context: &Context) -> Plaintext {
    Plaintext::encode_real(&Encoder::new(context.log_n() - 1), &[0.25; 8], SCALE).unwrap()
}

impl Party {
    fn new(parameters: Parameters) -> Self {
        let context = Context::new(parameters).unwrap();
        let secret = SecretKey::generate(&context).unwrap();
        let (bootstrap, real) = (BootstrapParameters::default(), BootstrapVariant::Real);
        let bootstrapper = Bootstrapper::new(&context, &bootstrap, 3, real).unwrap();
        let level = LEVEL;
        let mut uses = bootstrapper.required_keys().unwrap();
        let kinds = [
            KeyKind::Relin,
            KeyKind::Galois(GaloisElement::rotation(1, context.n())),
            KeyKind::Galois(GaloisElement::conjugation(context.n())),
        ];
        uses.extend(kinds.map(|kind| KeyUse { kind, level }));
        let keys = KeyGenerator::new(&context, &secret).unwrap();
        let keys = Arc::new(keys.generate(&uses).unwrap());
        let encryptor = SecretEncryptor::new(&context, &secret);
        let encrypt = |level| {
            let encrypted = encryptor.encrypt(&plaintext(&context), level);
            encrypted.unwrap().expand()
        };
        let evaluator = Evaluator::new(&context, Arc::clone(&keys));
        let plan =
            BsgsPlan::for_diagonals(&[0, 1], 8, context.n() / 2, BsgsCost::default()).unwrap();
        let mut transform =
            LinearTransform::new_real(evaluator.encoder(), plan, 3, SCALE, |_| vec![0.5; 8])
                .unwrap();
        transform.prepare(&context, LEVEL, 1).unwrap();
        Self {
            ciphertexts: [encrypt(LEVEL), encrypt(0)],
            context,
            secret,
            keys,
            evaluator,
            bootstrapper,
            transform,
        }
    }
}

/// A ring of another degree, and a chain of other primes.
fn parties() -> [Party; 3] {
    [named::toy(8), named::toy(7), named::toy_with(8, 10)].map(|p| Party::new(p.unwrap()))
}

fn polynomial() -> ChebyshevPolynomial {
    ChebyshevPolynomial::new(vec![0.1, 0.2, 0.3, 0.4])
}

#[track_caller]
fn refused(results: Vec<(&str, Result<(), Error>)>) {
    for (operation, result) in results {
        assert!(
            matches!(result, Err(Error::ContextMismatch { .. })),
            "{operation}: {result:?}"
        );
    }
}

/// Every operation of the evaluator on `x`, at [`LEVEL`], and `low`, at level 0, that another
/// result can follow.
fn operations(
    party: &Party,
    evaluator: &Evaluator,
    [x, low]: [&Ciphertext; 2],
) -> Vec<(&'static str, Result<(), Error>)> {
    let e = evaluator;
    let plaintext = plaintext(&party.context);
    let transform = &party.transform;
    vec![
        ("square", e.square(x).map(drop)),
        ("rotate", e.rotate(x, 1).map(drop)),
        ("conjugate", e.conjugate(x).map(drop)),
        ("rotate_hoisted", e.rotate_hoisted(x, &[1]).map(drop)),
        ("mul_rescale", e.mul_rescale(x, x).map(drop)),
        (
            "linear_transform",
            e.linear_transform(&[(x, transform)]).map(drop),
        ),
        (
            "linear_transform_rescale",
            e.linear_transform_rescale(&[(x, transform)]).map(drop),
        ),
        ("evaluate", evaluate(e, x, &polynomial(), SCALE).map(drop)),
        ("encapsulate", e.encapsulate(low).map(drop)),
        ("raise_decapsulate", e.raise_decapsulate(low).map(drop)),
        ("mod_raise", mod_raise(e, low).map(drop)),
        ("bootstrap", party.bootstrapper.bootstrap(e, x).map(drop)),
        // What needs no key comes last.
        ("mul_no_relin", e.mul_no_relin(x, x).map(drop)),
        ("add_plain", e.add_plain(x, &plaintext).map(drop)),
        ("sub_plain", e.sub_plain(x, &plaintext).map(drop)),
        ("mul_plain", e.mul_plain(x, &plaintext).map(drop)),
        ("rescale", e.rescale(x.clone()).map(drop)),
        ("raise", e.raise(low).map(drop)),
    ]
}

const WITHOUT_KEY: usize = 6;

#[test]
fn ciphertexts_of_another_set_are_refused() {
    let [own, others @ ..] = parties();
    for other in others {
        let (e, [a, _], [b, low]) = (&own.evaluator, &own.ciphertexts, &other.ciphertexts);
        refused(operations(&own, e, [b, low]));
        // No pair with one of them, in either order.
        let mut results = Vec::new();
        for (x, y) in [(a, b), (b, a)] {
            let mut sum = x.clone();
            let mut product = other.evaluator.mul_no_relin(b, b).unwrap();
            let own_product = e.mul_no_relin(a, a).unwrap();
            results.extend([
                ("add", e.add(x, y).map(drop)),
                ("add_assign", e.add_assign(&mut sum, y)),
                ("sub", e.sub(x, y).map(drop)),
                ("mul", e.mul(x, y).map(drop)),
                ("mul_rescale", e.mul_rescale(x, y).map(drop)),
                ("mul_no_relin", e.mul_no_relin(x, y).map(drop)),
                ("mul_const_add", e.mul_const_add(&mut sum, y, 0.5, 1.0)),
                ("relinearise", e.relinearise(product.clone()).map(drop)),
                ("add products", product.add_assign(&own_product)),
                (
                    "linear_transform",
                    e.linear_transform(&[(x, &own.transform), (y, &own.transform)])
                        .map(drop),
                ),
                (
                    "from_parts",
                    Ciphertext::from_parts(x.c0().clone(), y.c1().clone(), SCALE, 3).map(drop),
                ),
                (
                    "relinearise_rescale",
                    e.relinearise_rescale(x.c0().clone(), x.c1().clone(), y.c1().clone())
                        .map(drop),
                ),
            ]);
        }
        refused(results);
    }
}

#[test]
fn keys_and_tables_of_another_set_are_refused() {
    let [own, others @ ..] = parties();
    let [a, low] = &own.ciphertexts;
    for other in &others {
        let evaluator = Evaluator::new(&own.context, Arc::clone(&other.keys));
        // A ring of another degree has other Galois elements, hence no key.
        if other.context.n() == own.context.n() {
            let mut results = operations(&own, &evaluator, [a, low]);
            results.truncate(results.len() - WITHOUT_KEY);
            refused(results);
        }
        let foreign = &other.transform;
        refused(vec![
            ("square", evaluator.square(a).map(drop)),
            (
                "prepared transform",
                own.evaluator.linear_transform(&[(a, foreign)]).map(drop),
            ),
            (
                "bootstrapper",
                other.bootstrapper.bootstrap(&own.evaluator, a).map(drop),
            ),
            (
                "bootstrap",
                other.bootstrapper.bootstrap(&other.evaluator, a).map(drop),
            ),
        ]);
    }
}

#[test]
fn encryption_and_decryption_refuse_another_set() {
    let [own, others @ ..] = parties();
    for other in &others {
        let public = PublicKey::generate(&other.context, &other.secret, LEVEL).unwrap();
        let encryptor = Encryptor::new(&own.context, Arc::new(public.clone()));
        let decryptor = Decryptor::new(&own.context, &own.secret);
        let [b, _] = &other.ciphertexts;
        refused(vec![
            (
                "encrypt",
                encryptor.encrypt(&plaintext(&own.context), LEVEL).map(drop),
            ),
            ("decrypt", decryptor.decrypt(b).map(drop)),
            (
                "decrypt_with_noise",
                decryptor.decrypt_with_noise(b, 0.1).map(drop),
            ),
        ]);
        assert!(!public.belongs_to(&own.secret));
    }
    // A secret belongs to a ring, whatever the primes.
    let ([a, _], other) = (&own.ciphertexts, &others[0].secret);
    let encryptor = SecretEncryptor::new(&own.context, other);
    refused(vec![
        (
            "encrypt",
            encryptor.encrypt(&plaintext(&own.context), LEVEL).map(drop),
        ),
        (
            "decrypt",
            Decryptor::new(&own.context, other).decrypt(a).map(drop),
        ),
        (
            "public key",
            PublicKey::generate(&own.context, other, LEVEL).map(drop),
        ),
        (
            "key generator",
            KeyGenerator::new(&own.context, other).map(drop),
        ),
    ]);
}

#[test]
fn objects_are_written_with_their_own_context() {
    let [own, others @ ..] = parties();
    for other in &others {
        let [b, _] = &other.ciphertexts;
        let seeded = SecretEncryptor::new(&other.context, &other.secret);
        let seeded = seeded.encrypt(&plaintext(&other.context), LEVEL).unwrap();
        let public = PublicKey::generate(&other.context, &other.secret, LEVEL).unwrap();
        let key = other.keys.get(KeyKind::Relin, LEVEL).unwrap();
        let out = &mut Vec::new();
        refused(vec![
            ("polynomial", write_poly(&own.context, b.c0(), out)),
            ("ciphertext", b.write(&own.context, out)),
            ("seeded ciphertext", seeded.write(&own.context, out)),
            ("public key", public.write(&own.context, out)),
            ("key-switching key", key.write(&own.context, out)),
        ]);
    }
}

/// Two contexts of one parameter set are one: a client and a server in one process each make
/// theirs.
#[test]
fn contexts_of_one_set_are_the_same() {
    let [own, _, _] = parties();
    let context = Context::new(own.context.parameters().clone()).unwrap();
    assert!(context.is_same(&own.context) && !Arc::ptr_eq(&context, &own.context));
    let evaluator = Evaluator::new(&context, Arc::clone(&own.keys));
    let [x, low] = &own.ciphertexts;
    for (operation, result) in operations(&own, &evaluator, [x, low]) {
        assert!(result.is_ok(), "{operation}: {result:?}");
    }
}
