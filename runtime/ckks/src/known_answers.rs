//! Known answers: with randomness that repeats, every key, ciphertext and encoding of the engine
//! has the residues that are recorded here, on every kernel of the machine.
//!
//! What is recorded are digests, FNV-1a over 64 bits, of bytes and residues. A change that moves no
//! residue and draws the same randomness in the same order leaves all of them as they are.
//!
//! Digests from [`FIRST_ROUNDED`] on depend on the sines and cosines of the platform's mathematical
//! library too, since encoding rounds doubles to integers. They were recorded on Linux with glibc
//! and hold wherever these functions give the same doubles. The earlier ones depend on its
//! exponential alone, through the table of the error distribution: only a difference above 2^-50 in
//! a probability could change them.

use std::sync::Arc;

use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_params::bsgs::{BsgsCost, BsgsPlan};
use heddle_params::eval_mod::EvalMod;
use heddle_params::keys::{KeyKind, KeyUse};
use heddle_params::{GaloisElement, named};

use crate::Context;
use crate::circuits::bootstrap::Bootstrapper;
use crate::circuits::bootstrap::{Cosine, mod_raise};
use crate::circuits::linear::LinearTransform;
use crate::circuits::noise::{NoiseModel, Simulated, Simulator};
use crate::circuits::polynomial::{ChebyshevPolynomial, evaluate};
use crate::kernel::Kernel;
use crate::ring::sample::repeatable;
use crate::ring::seed::SeedExpander;
use crate::scheme::ciphertext::SeededCiphertext;
use crate::scheme::ciphertext::{Ciphertext, Plaintext};
use crate::scheme::encode::{Complex64, Encoder};
use crate::scheme::encrypt::Encryptor;
use crate::scheme::eval::Evaluator;
use crate::scheme::keys::{EvaluationKeys, KeySwitchKey, PublicKey};
use crate::secret::{Decryptor, SecretEncryptor};
use crate::secret::{KeyGenerator, SecretKey};

/// Limbs have four parts of a key's chunk, two columns of a conversion and two blocks of a sum of
/// products.
const LOG_N: u32 = 12;

const TOP: usize = 28;

/// The level of the operations that no bootstrap does.
const LEVEL: usize = 8;

const SCALE: f64 = (1u64 << 40) as f64;

/// FNV-1a.
struct Digest(u64);

impl Digest {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self
    }

    fn words(self, words: &[u64]) -> Self {
        words
            .iter()
            .fold(self, |digest, word| digest.bytes(&word.to_le_bytes()))
    }

    fn doubles(self, doubles: impl IntoIterator<Item = f64>) -> Self {
        doubles
            .into_iter()
            .fold(self, |digest, x| digest.words(&[x.to_bits()]))
    }

    fn slots(self, slots: &[Complex64]) -> Self {
        self.doubles(slots.iter().flat_map(|z| [z.re, z.im]))
    }

    fn ciphertext(self, ciphertext: &Ciphertext) -> Self {
        self.words(&[ciphertext.level() as u64, ciphertext.log_slots().into()])
            .doubles([ciphertext.scale()])
            .words(ciphertext.c0().data())
            .words(ciphertext.c1().data())
    }

    fn simulated(self, value: &Simulated) -> Self {
        self.words(&[value.level as u64])
            .doubles([value.scale])
            .doubles(value.slots.iter().copied())
    }
}

/// The digests of one run, in order.
#[derive(Default)]
struct Answers(Vec<(&'static str, u64)>);

impl Answers {
    fn push(&mut self, what: &'static str, digest: Digest) {
        self.0.push((what, digest.0));
    }

    fn bytes(&mut self, what: &'static str, bytes: &[u8]) {
        self.push(what, Digest::new().bytes(bytes));
    }

    fn ciphertext(&mut self, what: &'static str, ciphertext: &Ciphertext) {
        self.push(what, Digest::new().ciphertext(ciphertext));
    }
}

fn slots(log_slots: u32, seed: f64) -> Vec<Complex64> {
    // Quotients of small integers: the same doubles on every platform.
    (0..1u32 << log_slots)
        .map(|i| {
            let part = |factor: u32| f64::from((i * factor + 11) % 61) / 30.5 - 1.0;
            Complex64::new(part(17) * seed, part(23) * seed)
        })
        .collect()
}

/// Only what a transform is made of, with diagonals as [`slots`].
fn plan(diagonals: &[usize], log_slots: u32) -> BsgsPlan {
    let (period, ring) = (1 << log_slots, 1 << (LOG_N - 1));
    BsgsPlan::for_diagonals(diagonals, period, ring, BsgsCost::default()).unwrap()
}

/// Everything that the engine computes, from the first draw on.
fn answers(kernel: Kernel) -> Vec<(&'static str, u64)> {
    let mut answers = Answers::default();
    let context = Context::with_kernel(named::toy(LOG_N).unwrap(), kernel);
    let secret = keys(&context, &mut answers);
    let evaluator = evaluation_keys(&context, &secret, &mut answers);
    let [x, y] = encryptions(&context, &secret, &mut answers);
    sums(&evaluator, &x, &y, &mut answers);
    products(&evaluator, &x, &y, &mut answers);
    rotations(&evaluator, &x, &mut answers);
    transforms(&evaluator, &x, &y, &mut answers);
    polynomials(&evaluator, &x, &mut answers);
    bootstraps(&evaluator, &secret, &mut answers);
    simulations(&context, &mut answers);
    answers.0
}

fn keys(context: &Arc<Context>, answers: &mut Answers) -> SecretKey {
    let secret = SecretKey::generate(context).unwrap();
    answers.bytes("secret key", &secret.to_packed());
    for (what, level) in [("public key, top level", TOP), ("public key, level 0", 0)] {
        let public = PublicKey::generate(context, &secret, level).unwrap();
        let mut bytes = Vec::new();
        public.write(context, &mut bytes).unwrap();
        assert_eq!(bytes.len(), PublicKey::body_bytes(context, level).unwrap());
        assert!(public.belongs_to(&secret));
        answers.bytes(what, &bytes);
    }
    secret
}

fn bootstrappers(context: &Arc<Context>) -> [Bootstrapper; 2] {
    [
        (EvalMod::Cosine, LOG_N - 3, BootstrapVariant::Real),
        (
            EvalMod::Arcsine { degree: 3 },
            LOG_N - 1,
            BootstrapVariant::Complex,
        ),
    ]
    .map(|(eval_mod, log_slots, variant)| {
        let parameters = BootstrapParameters::with_eval_mod(eval_mod);
        Bootstrapper::new(context, &parameters, log_slots, variant).unwrap()
    })
}

const SHIFTS: [i64; 4] = [1, -3, 64, 1000];

const DIAGONALS: [usize; 9] = [0, 1, 2, 3, 33, 64, 200, 201, 255];

fn evaluation_keys(context: &Arc<Context>, secret: &SecretKey, answers: &mut Answers) -> Evaluator {
    let galois = |galois, level| KeyUse {
        kind: KeyKind::Galois(galois),
        level,
    };
    let rotation = |k| GaloisElement::rotation(k, context.n());
    let relin = |level| KeyUse {
        kind: KeyKind::Relin,
        level,
    };
    let mut uses = vec![relin(LEVEL), relin(TOP)];
    uses.push(galois(GaloisElement::conjugation(context.n()), LEVEL));
    uses.extend(SHIFTS.map(|k| galois(rotation(k), LEVEL)));
    let all = plan(&DIAGONALS, 8).rotations();
    let some = plan(&DIAGONALS[..6], 8).rotations();
    for (i, k) in all.into_iter().chain(some).enumerate() {
        // Every fourth key is of a higher level and has other special primes.
        let level = if i % 4 == 3 { TOP } else { LEVEL };
        uses.push(galois(rotation(k as i64), level));
    }
    for bootstrapper in bootstrappers(context) {
        uses.extend(bootstrapper.required_keys().unwrap());
    }
    let generator = KeyGenerator::new(context, secret).unwrap();
    let keys = generator.generate(&uses).unwrap();
    let mut digest = Digest::new();
    let mut read = EvaluationKeys::new();
    for key in keys.iter() {
        let mut bytes = Vec::new();
        key.write(context, &mut bytes).unwrap();
        let expander = Arc::new(SeedExpander::new(context.kernel(), *key.seed()));
        read.insert(
            KeySwitchKey::read(context, key.key_use(), &expander, &mut &bytes[..]).unwrap(),
        );
        digest = digest.bytes(key.seed()).bytes(&bytes);
    }
    answers.push("evaluation keys", digest);
    answers.push("number of keys", Digest(keys.len() as u64));
    // What was read computes what was written.
    Evaluator::new(context, Arc::new(read))
}

/// From this digest on the platform's sines and cosines play a part.
const FIRST_ROUNDED: &str = "encoded slots";

fn encryptions(
    context: &Arc<Context>,
    secret: &SecretKey,
    answers: &mut Answers,
) -> [Ciphertext; 2] {
    let encoder = Encoder::new(context.log_n() - 1);
    let plaintext = Plaintext::encode(&encoder, &slots(8, 0.5), SCALE).unwrap();
    let zero = Plaintext::encode_real(&encoder, &[0.0; 4], SCALE).unwrap();
    let by_secret = SecretEncryptor::new(context, secret);
    let public = Arc::new(PublicKey::generate(context, secret, TOP).unwrap());
    let by_public = Encryptor::new(context, public);
    for (what, level) in [("zero by secret, top", TOP), ("zero by secret, 0", 0)] {
        let zero = by_secret.encrypt(&zero, level).unwrap().expand();
        answers.ciphertext(what, &zero);
    }
    answers.ciphertext("zero by public", &by_public.encrypt(&zero, LEVEL).unwrap());

    let mut digest = Digest::new();
    for log_slots in [0, 3, 8, LOG_N - 1] {
        let plaintext = Plaintext::encode(&encoder, &slots(log_slots, 0.9), SCALE).unwrap();
        let words = plaintext.coefficients().iter().map(|&c| c as u64);
        digest = digest.words(&words.collect::<Vec<_>>());
    }
    answers.push(FIRST_ROUNDED, digest);
    let seeded = by_secret.encrypt(&plaintext, LEVEL).unwrap();
    let mut bytes = Vec::new();
    seeded.write(context, &mut bytes).unwrap();
    answers.bytes("seeded ciphertext, written", &bytes);
    let x = SeededCiphertext::read(context, &mut &bytes[..])
        .unwrap()
        .expand();
    answers.ciphertext("by secret", &x);
    let y = by_public.encrypt(&plaintext, LEVEL).unwrap();
    let mut bytes = Vec::new();
    y.write(context, &mut bytes).unwrap();
    answers.bytes("ciphertext, written", &bytes);
    let y = Ciphertext::read(context, &mut &bytes[..]).unwrap();
    answers.ciphertext("by public", &y);
    let decryptor = Decryptor::new(context, secret);
    let coefficients = decryptor.decrypt_coefficients(&x).unwrap();
    answers.push(
        "decrypted coefficients",
        Digest::new().doubles(coefficients.iter().copied()),
    );
    answers.push(
        "decrypted",
        Digest::new().slots(&decryptor.decrypt(&y).unwrap()),
    );
    answers.push(
        "decrypted with noise",
        Digest::new().slots(&decryptor.decrypt_with_noise(&y, 0.01).unwrap()),
    );
    [x, y]
}

fn sums(evaluator: &Evaluator, x: &Ciphertext, y: &Ciphertext, answers: &mut Answers) {
    let plaintext = Plaintext::encode(evaluator.encoder(), &slots(10, 0.7), SCALE).unwrap();
    let constant = Complex64::new(0.25, -1.5);
    answers.ciphertext("add", &evaluator.add(x, y).unwrap());
    answers.ciphertext("sub", &evaluator.sub(x, y).unwrap());
    answers.ciphertext("neg", &evaluator.neg(x));
    answers.ciphertext("add_plain", &evaluator.add_plain(x, &plaintext).unwrap());
    answers.ciphertext("sub_plain", &evaluator.sub_plain(x, &plaintext).unwrap());
    answers.ciphertext("mul_plain", &evaluator.mul_plain(x, &plaintext).unwrap());
    answers.ciphertext(
        "add_complex_const",
        &evaluator.add_complex_const(x, constant).unwrap(),
    );
    answers.ciphertext(
        "mul_complex_const",
        &evaluator.mul_complex_const(x, constant, SCALE).unwrap(),
    );
    answers.ciphertext("mul_integer", &evaluator.mul_integer(x, -7));
    answers.ciphertext("mul_by_i", &evaluator.mul_by_i(x));
    answers.ciphertext("drop_to_level", &evaluator.drop_to_level(x, 3).unwrap());
    let mut acc = evaluator.mul_const(y, 0.125, SCALE).unwrap();
    evaluator.mul_const_add(&mut acc, x, -0.75, SCALE).unwrap();
    answers.ciphertext("mul_const_add", &acc);
    answers.ciphertext("rescale", &evaluator.rescale(acc).unwrap());
}

fn products(evaluator: &Evaluator, x: &Ciphertext, y: &Ciphertext, answers: &mut Answers) {
    answers.ciphertext("mul", &evaluator.mul(x, y).unwrap());
    answers.ciphertext("square", &evaluator.square(x).unwrap());
    answers.ciphertext("mul_rescale", &evaluator.mul_rescale(x, y).unwrap());
    let mut sum = evaluator.mul_no_relin(x, y).unwrap();
    sum.add_assign(&evaluator.mul_no_relin(y, y).unwrap())
        .unwrap();
    answers.ciphertext("relinearise", &evaluator.relinearise(sum).unwrap());
    let (x, y) = (
        evaluator.drop_to_level(x, 2).unwrap(),
        evaluator.drop_to_level(y, 2).unwrap(),
    );
    answers.ciphertext(
        "mul_rescale, low level",
        &evaluator.mul_rescale(&x, &y).unwrap(),
    );
}

fn rotations(evaluator: &Evaluator, x: &Ciphertext, answers: &mut Answers) {
    answers.ciphertext("rotate", &evaluator.rotate(x, SHIFTS[1]).unwrap());
    answers.ciphertext("conjugate", &evaluator.conjugate(x).unwrap());
    let hoisted = evaluator.rotate_hoisted(x, &SHIFTS).unwrap();
    let digest = hoisted.iter().fold(Digest::new(), Digest::ciphertext);
    answers.push("rotate_hoisted", digest);
    let low = evaluator.drop_to_level(x, 1).unwrap();
    answers.ciphertext("rotate, low level", &evaluator.rotate(&low, 64).unwrap());
}

fn transforms(evaluator: &Evaluator, x: &Ciphertext, y: &Ciphertext, answers: &mut Answers) {
    let context = evaluator.context();
    let scale = context.modulus(LEVEL).value() as f64;
    let diagonal = |d: usize| slots(8, 0.1 + 1.0 / (d + 2) as f64);
    let complex =
        LinearTransform::new(evaluator.encoder(), plan(&DIAGONALS, 8), 8, scale, diagonal);
    let complex = complex.unwrap();
    let real = LinearTransform::new_real(
        evaluator.encoder(),
        plan(&DIAGONALS[..6], 8),
        8,
        scale,
        |d| diagonal(d).iter().map(|z| z.re).collect(),
    );
    let mut real = real.unwrap();
    answers.ciphertext(
        "linear_transform, complex",
        &evaluator.linear_transform(&[(x, &complex)]).unwrap(),
    );
    answers.ciphertext(
        "linear_transform_rescale, real",
        &evaluator.linear_transform_rescale(&[(x, &real)]).unwrap(),
    );
    answers.ciphertext(
        "linear_transform_rescale, two terms",
        &evaluator
            .linear_transform_rescale(&[(x, &complex), (y, &real)])
            .unwrap(),
    );
    let specials = context
        .parameters()
        .key_switch_layout(LEVEL)
        .unwrap()
        .specials;
    real.prepare(context, LEVEL, specials).unwrap();
    answers.ciphertext(
        "linear_transform_rescale, prepared",
        &evaluator.linear_transform_rescale(&[(y, &real)]).unwrap(),
    );
}

fn polynomials(evaluator: &Evaluator, x: &Ciphertext, answers: &mut Answers) {
    let coefficients = |keep: fn(usize) -> bool| {
        let coefficient = |k: usize| if keep(k) { 0.5 / (k + 3) as f64 } else { 0.0 };
        (0..28).map(coefficient).collect()
    };
    for (what, keep) in [
        ("polynomial", (|_| true) as fn(usize) -> bool),
        ("odd polynomial", |k| k % 2 == 1),
        ("even polynomial", |k| k % 2 == 0),
        ("constant polynomial", |k| k == 0),
        ("linear polynomial", |k| k < 2),
    ] {
        let polynomial = ChebyshevPolynomial::new(coefficients(keep));
        let value = evaluate(evaluator, x, &polynomial, 1.25 * SCALE).unwrap();
        answers.ciphertext(what, &value);
    }
}

fn bootstraps(evaluator: &Evaluator, secret: &SecretKey, answers: &mut Answers) {
    let context = evaluator.context();
    for (what, bootstrapper) in [
        ("bootstrap, real slots", "bootstrap, real slots, shrunk"),
        (
            "bootstrap, complex slots",
            "bootstrap, complex slots, shrunk",
        ),
    ]
    .into_iter()
    .zip(bootstrappers(context))
    {
        let values: Vec<Complex64> = slots(bootstrapper.log_slots(), 0.6)
            .into_iter()
            .map(|z| match bootstrapper.variant() {
                BootstrapVariant::Real => z.re.into(),
                BootstrapVariant::Complex => z,
            })
            .collect();
        let plaintext =
            Plaintext::encode(evaluator.encoder(), &values, bootstrapper.output_scale()).unwrap();
        let x = SecretEncryptor::new(context, secret)
            .encrypt(&plaintext, bootstrapper.input_level())
            .unwrap()
            .expand();
        answers.ciphertext(what.0, &bootstrapper.bootstrap(evaluator, &x).unwrap());
        let mut bootstrapper = bootstrapper;
        bootstrapper.shrink();
        answers.ciphertext(what.1, &bootstrapper.bootstrap(evaluator, &x).unwrap());
        if bootstrapper.variant() == BootstrapVariant::Complex {
            let low = evaluator.drop_to_level(&x, 0).unwrap();
            answers.ciphertext("encapsulate", &evaluator.encapsulate(&low).unwrap());
            answers.ciphertext("mod_raise", &mod_raise(evaluator, &low).unwrap());
            answers.ciphertext("raise", &evaluator.raise(&low).unwrap());
        }
    }
}

fn simulations(context: &Arc<Context>, answers: &mut Answers) {
    let model = NoiseModel::new(context.parameters());
    let simulator = Simulator::new(&model, 5);
    let slots: Vec<f64> = slots(6, 0.05).iter().map(|z| z.re).collect();
    let parameters = BootstrapParameters::with_eval_mod(EvalMod::Arcsine { degree: 3 });
    let cosine = Cosine::fit(&parameters);
    let value = simulator
        .bootstrap(&slots, context.parameters(), &parameters, &cosine)
        .unwrap();
    answers.push("simulated bootstrap", Digest::new().simulated(&value));
}

#[test]
fn residues_are_those_that_were_recorded() {
    for kernel in Kernel::available() {
        let found = repeatable::run(|| answers(kernel));
        println!("{} kernel", kernel.name());
        for (what, digest) in &found {
            println!("    (\"{what}\", 0x{digest:016x}),");
        }
        for (found, recorded) in found.iter().zip(RECORDED) {
            assert_eq!(found, recorded, "on the {} kernel", kernel.name());
        }
        let (found, recorded) = (found.len(), RECORDED.len());
        assert_eq!(found, recorded, "on the {} kernel", kernel.name());
    }
}

/// The digests, in the order in which they are computed.
#[rustfmt::skip]
const RECORDED: &[(&str, u64)] = &[
    ("secret key", 0xed4913c87938c142),
    ("public key, top level", 0x9af50779d124cc32),
    ("public key, level 0", 0xc9c2557929a5a05d),
    ("evaluation keys", 0xfa2f16d4322be619),
    ("number of keys", 0x0000000000000052),
    ("zero by secret, top", 0x99fd6ae78c792d3b),
    ("zero by secret, 0", 0xd81b5c83e70cd5ed),
    ("zero by public", 0xa8d480c32a2b15f5),
    ("encoded slots", 0xd575f70c90e6b79e),
    ("seeded ciphertext, written", 0xb222c4db32ed45f6),
    ("by secret", 0x15206b28f42566a8),
    ("ciphertext, written", 0xc254a816bdf3e6c0),
    ("by public", 0x675f741e05208872),
    ("decrypted coefficients", 0x3a6fc3ed902dbf4f),
    ("decrypted", 0x9d8dba63a85cc07a),
    ("decrypted with noise", 0xf2626a6aaf9ed11c),
    ("add", 0x12de0c669efb9116),
    ("sub", 0x9b37000d37dcd742),
    ("neg", 0x744296c36c1aa9ab),
    ("add_plain", 0x2dcfd1683dc2d15a),
    ("sub_plain", 0x5e2699bc068ca61e),
    ("mul_plain", 0x6a1749e30f789ff7),
    ("add_complex_const", 0xa964c9380aa6372c),
    ("mul_complex_const", 0x733ce0494b1fa876),
    ("mul_integer", 0xdea62c8aad35ef59),
    ("mul_by_i", 0xcded343f3d200b5a),
    ("drop_to_level", 0x301d64515f0da200),
    ("mul_const_add", 0x000151c9d0f09a74),
    ("rescale", 0x6ce974bac3df22e9),
    ("mul", 0xbb8cba69bcaa6201),
    ("square", 0xf378245636b14ec9),
    ("mul_rescale", 0xbf59bc2910d5ebfd),
    ("relinearise", 0xa226e8029c75fed8),
    ("mul_rescale, low level", 0x4b6d5ff009e4bcdd),
    ("rotate", 0x73926d245631f150),
    ("conjugate", 0x3f35538f5dcef2a7),
    ("rotate_hoisted", 0x550c1b965014daec),
    ("rotate, low level", 0x479572a940c51e80),
    ("linear_transform, complex", 0x734f4fc632aca3c5),
    ("linear_transform_rescale, real", 0x810e5d1c2738c3a3),
    ("linear_transform_rescale, two terms", 0xd684747d649efaf6),
    ("linear_transform_rescale, prepared", 0x0c501ff186862126),
    ("polynomial", 0x69faadde0c4c2cf5),
    ("odd polynomial", 0x5b3dda8c31152868),
    ("even polynomial", 0x05c7d56d6d8e96f7),
    ("constant polynomial", 0x2fab953924d8554b),
    ("linear polynomial", 0x34735d2b87e3af40),
    ("bootstrap, real slots", 0xb967e23528e20d49),
    ("bootstrap, real slots, shrunk", 0xb967e23528e20d49),
    ("bootstrap, complex slots", 0x728803735070c512),
    ("bootstrap, complex slots, shrunk", 0x728803735070c512),
    ("encapsulate", 0xd76424136fcd0531),
    ("mod_raise", 0x3b0d24c4523e3048),
    ("raise", 0xbd29733c452def23),
    ("simulated bootstrap", 0x796ced8e89bd23e7),
];
