//! Whether the time of what touches a secret depends on the secret: Welch's t-test between a fixed
//! secret and random ones, as Reparaz, Balasch and Verbauwhede do it ("Dude, is my code constant
//! time?", DATE 2017).
//!
//! ```text
//! cargo test --release -p heddle-ckks --test constant_time -- \
//!     --ignored --nocapture --test-threads=1
//! ```
//!
//! The two classes alternate at random, their inputs are put into the same memory by the same
//! instructions, and what interrupts lengthened is cropped. |t| < 10 passes; a negative control
//! shows that leaks are found. The number of samples is fixed, so that a run ends. Times are noisy:
//! the tests are ignored unless asked for, and want an idle machine.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use heddle_ckks::kernel::Kernel;
use heddle_ckks::ring::sample::{gaussian, sparse_ternary, ternary};
use heddle_ckks::{
    Complex64, Context, Decryptor, Encoder, Encryptor, KeyGenerator, Plaintext, PublicKey,
    SecretEncryptor, SecretKey,
};
use heddle_params::keys::{KeyKind, KeyUse};
use heddle_params::named;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// Beyond it a function is taken for leaky; what is not stays below 5 but for noise.
const BOUND: f64 = 10.0;

/// Ring degree of the whole operations, small enough for one thread.
const LOG_N: u32 = 6;

/// The first word for the random class, the second for the fixed one, without a branch.
fn select(fixed: bool, random: u64, other: u64) -> u64 {
    random ^ (random ^ other) & u64::from(fixed).wrapping_neg()
}

/// Welch's t between the times of two classes, the largest of several croppings. `prepare` makes
/// the input, which is not timed, of the fixed class or of another.
fn t_value<I, O>(
    samples: usize,
    mut prepare: impl FnMut(&mut ChaCha20Rng, bool) -> I,
    mut run: impl FnMut(&mut I) -> O,
) -> f64 {
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let warm_up = samples / 10;
    let mut times = Vec::with_capacity(samples);
    for i in 0..samples + warm_up {
        let fixed = rng.random::<bool>();
        let mut input = black_box(prepare(&mut rng, fixed));
        let start = Instant::now();
        let output = black_box(run(&mut input));
        let time = start.elapsed().as_nanos() as f64;
        drop(output);
        if i >= warm_up {
            times.push((fixed, time));
        }
    }
    let mut sorted: Vec<f64> = times.iter().map(|&(_, time)| time).collect();
    sorted.sort_by(f64::total_cmp);
    [1.0, 0.99, 0.95, 0.9, 0.75, 0.5]
        .map(|kept| {
            let most = sorted[((samples as f64 * kept) as usize).min(samples - 1)];
            welch(times.iter().filter(|(_, time)| *time <= most).copied())
        })
        .into_iter()
        .max_by(|a, b| a.abs().total_cmp(&b.abs()))
        .expect("there are croppings")
}

fn welch(times: impl Iterator<Item = (bool, f64)>) -> f64 {
    // Number, mean and sum of squared deviations of each class, by Welford's recurrence.
    let mut classes = [(0.0, 0.0, 0.0); 2];
    for (fixed, time) in times {
        let (count, mean, squares) = &mut classes[usize::from(fixed)];
        *count += 1.0;
        let from_old = time - *mean;
        *mean += from_old / *count;
        *squares += from_old * (time - *mean);
    }
    let [(n0, mean0, squares0), (n1, mean1, squares1)] = classes;
    let error = squares0 / (n0 - 1.0) / n0 + squares1 / (n1 - 1.0) / n1;
    if error > 0.0 {
        (mean0 - mean1) / error.sqrt()
    } else {
        0.0
    }
}

fn judge(label: &str, t: f64) {
    println!("{label:<44} t = {t:>7.2}");
    assert!(t.abs() < BOUND, "{label}: t = {t}");
}

fn contexts() -> impl Iterator<Item = Arc<Context>> {
    Kernel::available().into_iter().map(|kernel| {
        let parameters = named::toy(LOG_N).expect("a toy ring");
        Context::with_kernel(parameters, kernel)
    })
}

/// A secret of all −1, or a random one.
fn secret(context: &Context, rng: &mut ChaCha20Rng, fixed: bool) -> SecretKey {
    let mut packed = vec![0; context.n() / 4];
    for byte in &mut packed {
        let random = (0..4).fold(0, |byte, _| byte << 2 | rng.random_range(0..3u64));
        *byte = select(fixed, random, 0) as u8;
    }
    SecretKey::from_packed(context, &packed).expect("it is ternary")
}

/// Slots of zero, or random ones.
fn slots(context: &Context, rng: &mut ChaCha20Rng, fixed: bool) -> Vec<Complex64> {
    let mut part = || {
        let random = rng.random_range(-1.0..1.0f64);
        f64::from_bits(select(fixed, random.to_bits(), 0))
    };
    (0..context.n() / 2)
        .map(|_| Complex64::new(part(), part()))
        .collect()
}

/// A generator whose words were drawn before.
struct Drawn {
    words: Vec<u64>,
    next: usize,
}

impl Drawn {
    /// The fixed class draws zeros.
    fn new(rng: &mut ChaCha20Rng, fixed: bool) -> Self {
        let words = (0..1024).map(|_| select(fixed, rng.random(), 0)).collect();
        Self { words, next: 0 }
    }
}

impl RngCore for Drawn {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.next += 1;
        self.words[self.next - 1]
    }

    fn fill_bytes(&mut self, _: &mut [u8]) {
        unreachable!("samplers draw words");
    }
}

/// What branches on a secret, or compares with early exit, is found.
#[test]
#[ignore = "timing: see the head of the file"]
fn leaks_are_found() {
    let bytes = |rng: &mut ChaCha20Rng, fixed| -> Vec<i8> {
        (0..1024)
            .map(|_| select(fixed, rng.random_range(0..3), 0) as i8 - 1)
            .collect()
    };
    let q = 1_125_899_906_826_241u64;
    let branching = t_value(20_000, bytes, |x| {
        x.iter()
            .map(|&c| if c < 0 { black_box(q - 1) } else { c as u64 })
            .fold(0, |sum: u64, x| black_box(sum.wrapping_add(x)))
    });
    let early = t_value(20_000, bytes, |x| x.iter().position(|&c| black_box(c) > 0));
    for (label, t) in [("branching", branching), ("early exit", early)] {
        println!("negative control, {label:<26} t = {t:>7.2}");
        assert!(t.abs() > BOUND, "{label}: t = {t} shows no leak");
    }
}

#[test]
#[ignore = "timing: see the head of the file"]
fn sampling() {
    judge("ternary", t_value(50_000, Drawn::new, |r| ternary(r, 512)));
    judge(
        "sparse ternary",
        t_value(50_000, Drawn::new, |r| sparse_ternary(r, 512, 64)),
    );
    judge(
        "gaussian",
        t_value(50_000, Drawn::new, |r| gaussian(r, 512)),
    );
}

#[test]
#[ignore = "timing: see the head of the file"]
fn residues() {
    for context in contexts() {
        let (kernel, modulus) = (context.kernel(), *context.modulus(0));
        let name = kernel.name();
        // One more than vectors hold, so that the tail counts too.
        let mut out = vec![0; 1025];
        let small = |rng: &mut ChaCha20Rng, fixed| -> Vec<i8> {
            (0..1025)
                .map(|_| select(fixed, rng.random_range(0..3), 0) as i8 - 1)
                .collect()
        };
        let t = t_value(50_000, small, |x| kernel.lift_small(&modulus, &mut out, x));
        judge(&format!("secret to residues, {name}"), t);
        let wide = |rng: &mut ChaCha20Rng, fixed| -> Vec<i64> {
            (0..1025)
                .map(|_| select(fixed, rng.random(), 1) as i64)
                .collect()
        };
        let t = t_value(50_000, wide, |x| {
            kernel.reduce_signed(&modulus, &mut out, x)
        });
        judge(&format!("message to residues, {name}"), t);
    }
}

#[test]
#[ignore = "timing: see the head of the file"]
fn encoding() {
    let context = contexts().next().expect("the scalar kernel");
    let encoder = Encoder::new(LOG_N - 1);
    let t = t_value(
        50_000,
        |rng, fixed| slots(&context, rng, fixed),
        |slots| encoder.encode(slots, 2f64.powi(40)).expect("fits"),
    );
    judge("encoding", t);
}

#[test]
#[ignore = "timing: see the head of the file"]
fn key_generation() {
    for context in contexts() {
        let key_use = KeyUse {
            kind: KeyKind::Relin,
            level: 1,
        };
        let name = context.kernel().name();
        let make = |rng: &mut ChaCha20Rng, fixed| secret(&context, rng, fixed);
        let t = t_value(10_000, make, |secret| {
            let generator = KeyGenerator::new(&context, secret).expect("randomness");
            generator.generate(&[key_use]).expect("a key").len()
        });
        judge(&format!("evaluation key, {name}"), t);
        let t = t_value(10_000, make, |secret| {
            PublicKey::generate(&context, secret, context.max_level()).expect("randomness")
        });
        judge(&format!("public key, {name}"), t);
    }
}

#[test]
#[ignore = "timing: see the head of the file"]
fn encryption() {
    for context in contexts() {
        let name = context.kernel().name();
        let encoder = Encoder::new(LOG_N - 1);
        let encode = |rng: &mut ChaCha20Rng, fixed| {
            let slots = slots(&context, rng, fixed);
            Plaintext::encode(&encoder, &slots, 2f64.powi(40)).expect("fits")
        };
        let mut rng = ChaCha20Rng::seed_from_u64(12);
        let own = secret(&context, &mut rng, false);
        let plaintext = encode(&mut rng, false);
        let t = t_value(
            20_000,
            |rng, fixed| secret(&context, rng, fixed),
            |secret| {
                let encryptor = SecretEncryptor::new(&context, secret);
                encryptor.encrypt(&plaintext, 3).expect("encrypts")
            },
        );
        judge(&format!("encryption by secret, {name}"), t);
        let t = t_value(20_000, encode, |plaintext| {
            let encryptor = SecretEncryptor::new(&context, &own);
            encryptor.encrypt(plaintext, 3).expect("encrypts")
        });
        judge(&format!("encryption of message, {name}"), t);
        let public =
            Arc::new(PublicKey::generate(&context, &own, context.max_level()).expect("randomness"));
        let encryptor = Encryptor::new(&context, public);
        let t = t_value(20_000, encode, |plaintext| {
            encryptor.encrypt(plaintext, 3).expect("encrypts")
        });
        judge(&format!("public encryption of message, {name}"), t);
    }
}

#[test]
#[ignore = "timing: see the head of the file"]
fn decryption() {
    for context in contexts() {
        let name = context.kernel().name();
        let encoder = Encoder::new(LOG_N - 1);
        let mut rng = ChaCha20Rng::seed_from_u64(13);
        let message = slots(&context, &mut rng, false);
        let encrypt = |secret: &SecretKey, slots: &[Complex64]| {
            let plaintext = Plaintext::encode(&encoder, slots, 2f64.powi(40)).expect("fits");
            let encryptor = SecretEncryptor::new(&context, secret);
            let seeded = encryptor.encrypt(&plaintext, 3).expect("encrypts");
            seeded.expand()
        };
        let t = t_value(
            20_000,
            |rng, fixed| {
                let secret = secret(&context, rng, fixed);
                let ciphertext = encrypt(&secret, &message);
                (secret, ciphertext)
            },
            |(secret, ciphertext)| {
                let decryptor = Decryptor::new(&context, secret);
                decryptor.decrypt(ciphertext).expect("ours")
            },
        );
        judge(&format!("decryption by secret, {name}"), t);
        let own = secret(&context, &mut rng, false);
        let decryptor = Decryptor::new(&context, &own);
        let t = t_value(
            20_000,
            |rng, fixed| encrypt(&own, &slots(&context, rng, fixed)),
            |ciphertext| decryptor.decrypt(ciphertext).expect("ours"),
        );
        judge(&format!("decryption of message, {name}"), t);
    }
}
