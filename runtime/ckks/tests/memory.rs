//! After keys were made, messages encrypted and answers decrypted, and all of it was dropped, no
//! copy of a secret is left in memory: not of the key in any of its forms, of errors, of messages
//! or of what was decrypted.
//!
//! The process reads its own memory: every writable private mapping, which holds the heap, freed or
//! not, the pool of buffers and the stacks. What is sought is kept under a mask, so that it does
//! not find itself. In a process of its own, since other tests hold secrets.

#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use heddle_ckks::ring::sample::{SecureRng, gaussian, os_rng, ternary};
use heddle_ckks::ring::{Basis, Coeff, RnsPoly};
use heddle_ckks::{
    Ciphertext, Context, Decryptor, Encoder, Encryptor, KeyGenerator, Plaintext, PublicKey,
    SecretEncryptor, SecretKey,
};
use heddle_params::keys::{KeyKind, KeyUse};
use heddle_params::{GaloisElement, ParametersLiteral, Secret, named};
use rand::RngCore;
use zeroize::Zeroize;

/// Bytes of a window of memory that is sought: so many that chance does not make one. Small
/// integers in words take the longer one.
const SHORT: usize = 64;
const LONG: usize = 512;

const MASK: u64 = 0xa5a5_a5a5_a5a5_a5a5;

/// Masked windows by their masked first word, each with what it is of.
struct Needles {
    /// Whether there is a window whose first word has this hash.
    filter: Vec<bool>,
    windows: HashMap<u64, Vec<(&'static str, Vec<u8>)>>,
}

fn masked(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|b| b ^ MASK as u8)
}

fn head(window: &[u8]) -> u64 {
    u64::from_le_bytes(*window.first_chunk().expect("a window")) ^ MASK
}

fn hash(head: u64) -> usize {
    (head.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44) as usize
}

impl Needles {
    fn new() -> Self {
        Self {
            filter: vec![false; 1 << 20],
            windows: HashMap::new(),
        }
    }

    /// Takes every window of the bytes at a multiple of its length, so that a part of them is found
    /// as well.
    fn add(&mut self, label: &'static str, bytes: &[u8], len: usize) {
        assert!(bytes.len() >= len, "{label}");
        for window in bytes.chunks_exact(len) {
            let varied = window.iter().filter(|&&b| b != window[0]).count();
            assert!(varied > len / 16, "{label} is too even to be found");
            let head = head(window);
            self.filter[hash(head)] = true;
            let of_head = self.windows.entry(head).or_default();
            of_head.push((label, masked(window).collect()));
        }
    }

    fn add_words(&mut self, label: &'static str, words: impl Iterator<Item = u64>) {
        let mut bytes = Vec::with_capacity(1 << 16);
        for word in words {
            assert!(bytes.len() + 8 <= bytes.capacity(), "{label}");
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        self.add(label, &bytes, LONG);
        bytes.zeroize();
    }

    /// A secret or error in coefficients of one and of eight bytes, and as its residues modulo the
    /// first prime, in coefficients and in values.
    fn add_poly(&mut self, labels: [&'static str; 4], poly: RnsPoly<Coeff>) {
        let poly = poly.into_secret();
        let modulus = *poly.context().modulus(0);
        let signed = |x: u64| modulus.centred(x);
        let mut bytes = Vec::with_capacity(poly.n());
        for &x in poly.limb(0) {
            bytes.push(signed(x) as u8);
        }
        self.add(labels[0], &bytes, SHORT);
        bytes.zeroize();
        self.add_words(labels[1], poly.limb(0).iter().map(|&x| signed(x) as u64));
        self.add_words(labels[2], poly.limb(0).iter().copied());
        self.add_words(labels[3], poly.to_eval().limb(0).iter().copied());
    }

    /// What is found in this process's memory, and how often.
    fn find(&self) -> HashMap<&'static str, usize> {
        /// Bytes that are read at once.
        const PIECE: usize = 1 << 20;
        let mut found = HashMap::new();
        let maps = std::fs::read_to_string("/proc/self/maps").expect("the process has a map");
        let mut memory = File::open("/proc/self/mem").expect("the process may read itself");
        let mut piece = vec![0; PIECE + LONG];
        let own = piece.as_ptr() as usize..piece.as_ptr() as usize + piece.len();
        for line in maps.lines() {
            let mut fields = line.split_whitespace();
            let (range, access) = (fields.next().expect("a range"), fields.next());
            if !access.is_some_and(|a| a.starts_with("rw") && a.ends_with('p')) {
                continue;
            }
            let (start, end) = range.split_once('-').expect("a range");
            let address = |text| usize::from_str_radix(text, 16).expect("an address");
            let (start, end) = (address(start), address(end));
            // Pieces overlap, so that no window is cut.
            for at in (start..end).step_by(PIECE) {
                let len = (PIECE + LONG).min(end - at);
                let seek = memory.seek(SeekFrom::Start(at as u64));
                if seek.is_err() || memory.read_exact(&mut piece[..len]).is_err() {
                    continue; // The kernel keeps some pages to itself.
                }
                for i in 0..len.saturating_sub(7).min(PIECE) {
                    let head = head(&piece[i..len]);
                    if head == MASK || !self.filter[hash(head)] || own.contains(&(at + i)) {
                        continue;
                    }
                    for (label, sought) in self.windows.get(&head).into_iter().flatten() {
                        let window = piece[i..len].get(..sought.len());
                        if window.is_some_and(|w| masked(w).eq(sought.iter().copied())) {
                            *found.entry(*label).or_insert(0) += 1;
                        }
                    }
                }
            }
        }
        // It saw every secret that was found.
        piece.zeroize();
        found
    }
}

const SECRET: [&str; 4] = [
    "secret, bytes",
    "secret, integers",
    "secret, residues",
    "secret, values",
];

/// The coefficients, in a vector that does not grow: one that does leaves copies behind.
fn unpack(packed: &[u8]) -> Vec<i8> {
    let mut coefficients = Vec::with_capacity(4 * packed.len());
    for byte in packed {
        for shift in [0, 2, 4, 6] {
            coefficients.push((byte >> shift & 3) as i8 - 1);
        }
    }
    coefficients
}

/// A secret and all that is looked for of it.
fn secret(context: &Arc<Context>, needles: &mut Needles) -> SecretKey {
    let secret = SecretKey::generate(context).expect("randomness");
    let packed = secret.to_packed();
    needles.add("secret, packed", &packed, SHORT);
    let mut coefficients = unpack(&packed);
    let basis = Basis::q(0);
    needles.add_poly(
        SECRET,
        RnsPoly::secret_from_i8(context, basis, &coefficients),
    );
    coefficients.zeroize();
    secret
}

/// The error of an encryption of zero is what its decryption shows.
fn error(
    context: &Arc<Context>,
    secret: &SecretKey,
    zero: &Ciphertext,
    labels: [&'static str; 4],
    needles: &mut Needles,
) {
    let noise = Decryptor::new(context, secret)
        .decrypt_coefficients(zero)
        .expect("decrypts");
    let mut integers: Vec<i64> = noise.iter().map(|&x| x as i64).collect();
    needles.add_poly(
        labels,
        RnsPoly::from_i64(context, Basis::q(0), &integers).into_secret(),
    );
    integers.zeroize();
}

fn context() -> Arc<Context> {
    // Dense, so that every window of the secret is told from its neighbours. Limbs are large enough
    // for the pool and for more than one thread.
    let literal = ParametersLiteral {
        secret: Secret::DenseTernary,
        ..named::n16_qp1714_dense().literal().clone()
    };
    let parameters = named::over_small_ring(literal, 12).expect("a small ring");
    Context::new(parameters).expect("a kernel")
}

fn locked_kilobytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmLck"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.expect("the kernel counts locked pages")
}

/// All in one test: another one's secrets would be found too.
#[test]
fn nothing_secret_is_left_in_memory() {
    let context = context();
    let mut needles = Needles::new();

    // Positive control: what lives is found.
    let before = locked_kilobytes();
    let secret = secret(&context, &mut needles);
    if secret.is_locked() {
        assert!(locked_kilobytes() > before, "the key's pages are locked");
    }
    assert!(needles.find().contains_key("secret, packed"));
    let basis = Basis::q(0);
    let packed = secret.to_packed();
    let mut expanded = unpack(&packed);
    let values = RnsPoly::secret_from_i8(&context, basis, &expanded).into_eval();
    let found = needles.find();
    for label in ["secret, bytes", "secret, values"] {
        assert!(found.contains_key(label), "{label}: {found:?}");
    }
    drop((packed, values));
    // Declared public, it is found in the pool after it was dropped.
    let top = Basis::q(28);
    let leaked = RnsPoly::secret_from_i8(&context, top, &expanded).into_public();
    drop(leaked);
    assert!(needles.find().contains_key("secret, residues"));
    drop(RnsPoly::<Coeff>::zero(&context, top));
    expanded.zeroize();
    assert_eq!(
        needles.find().into_keys().collect::<Vec<_>>(),
        ["secret, packed"]
    );

    // A generator's key, which the seed is.
    let mut seed = Box::new([0; 32]);
    os_rng().expect("randomness").fill_bytes(&mut seed[..]);
    needles.add("seed", &seed[..], seed.len());
    let mut rng = SecureRng::from_seed(&seed);
    drop((gaussian(&mut rng, 5000), ternary(&mut rng, 5000)));
    seed.zeroize();
    assert!(needles.find().contains_key("seed"));
    drop((rng, seed));

    // Keys of every kind.
    let uses: Vec<KeyUse> = [
        (KeyKind::Relin, 28),
        (KeyKind::Galois(GaloisElement::rotation(1, context.n())), 28),
        (KeyKind::Encapsulate, 0),
        (KeyKind::Decapsulate, 28),
    ]
    .map(|(kind, level)| KeyUse { kind, level })
    .into();
    let generator = KeyGenerator::new(&context, &secret).expect("randomness");
    let keys = generator.generate(&uses).expect("keys");
    drop(generator);
    let public =
        Arc::new(PublicKey::generate(&context, &secret, context.max_level()).expect("randomness"));

    // Both encryptions, of zero to know their errors and of a message.
    let encoder = Encoder::new(context.log_n() - 1);
    let slots: Vec<f64> = (0..context.n() / 2)
        .map(|i| (i as f64 * 0.731).sin())
        .collect();
    let by_secret = SecretEncryptor::new(&context, &secret);
    let by_public = Encryptor::new(&context, public);
    {
        let zero = Plaintext::encode_real(&encoder, &vec![0.0; context.n() / 2], 1.0);
        let zero = zero.expect("zero fits");
        let ciphertext = by_secret.encrypt(&zero, 3).expect("encrypts");
        error(
            &context,
            &secret,
            &ciphertext.expand(),
            [
                "error, bytes",
                "error, integers",
                "error, residues",
                "error, values",
            ],
            &mut needles,
        );
        let plaintext = Plaintext::encode_real(&encoder, &slots, 2f64.powi(40)).expect("fits");
        needles.add_words(
            "message",
            plaintext.coefficients().iter().map(|&c| c as u64),
        );
        let message = RnsPoly::from_i64(&context, basis, plaintext.coefficients()).into_secret();
        needles.add_words("message, residues", message.limb(0).iter().copied());
        let message = message.into_eval();
        needles.add_words("message, values", message.limb(0).iter().copied());
        for level in [0, 28] {
            let first = by_secret.encrypt(&plaintext, level).expect("encrypts");
            let second = by_public.encrypt(&plaintext, level).expect("encrypts");
            for ciphertext in [first.expand(), second] {
                let decryptor = Decryptor::new(&context, &secret);
                let coefficients = decryptor.decrypt_coefficients(&ciphertext).expect("ours");
                needles.add_words("decrypted", coefficients.iter().map(|c| c.to_bits()));
                let integers: Vec<i64> = coefficients.iter().map(|&c| c as i64).collect();
                let answer = RnsPoly::from_i64(&context, basis, &integers).into_secret();
                drop(zeroize::Zeroizing::new(integers));
                needles.add_words("decrypted, residues", answer.limb(0).iter().copied());
                let answer = answer.into_eval();
                needles.add_words("decrypted, values", answer.limb(0).iter().copied());
                let slots = decryptor.decrypt(&ciphertext).expect("ours");
                let parts = slots.iter().flat_map(|z| [z.re, z.im]);
                needles.add_words("slots", parts.take(4096).map(f64::to_bits));
                drop(decryptor.decrypt_with_noise(&ciphertext, 0.01));
            }
        }
    }

    // Written and read back.
    let mut file = zeroize::Zeroizing::new(Vec::with_capacity(context.n()));
    secret.write(&mut *file).expect("memory takes it");
    let back = SecretKey::read(&context, &mut &file[..]).expect("ours");
    assert_eq!(*back.to_packed(), *file);
    let found = needles.find();
    assert!(found["secret, packed"] >= 3 * context.n() / 4 / SHORT);

    drop((back, file, secret, keys, by_public));
    let found = needles.find();
    assert!(found.is_empty(), "left in memory: {found:?}");
}
