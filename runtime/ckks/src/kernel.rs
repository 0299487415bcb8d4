//! The one dispatch point to the vector kernels.
//!
//! A kernel works on the residues of one limb (or, for base conversions, a few limbs) modulo one
//! prime. The scalar kernel is the specification. Inputs and outputs are fully reduced, values in
//! between may be lazy, and so every kernel gives bit-identical results. The kernel is chosen once,
//! when a context is built.
//!
//! *Constant time.* In every kernel the transforms, sums, products, [`Kernel::lift_small`],
//! [`Kernel::reduce_signed`], [`Kernel::permute`] and unpacking take a time that depends on
//! lengths, moduli and public tables alone: no branch, no address and no division depends on a
//! residue. Doubles hold integers only, never subnormal numbers. This is not claimed for `convert`,
//! `switch_modulus` and `split_conjugates`, which see ciphertexts and weights, nor for `uniform`,
//! which rejects words of a public stream.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod ifma;
#[cfg(target_arch = "x86_64")]
mod key_schedule;
mod scalar;
pub(crate) mod stream;

use crate::Error;
use crate::tables::automorphism::Automorphism;
use crate::tables::conversion::ConversionTable;
use crate::tables::modulus::{Modulus, ShoupScalar};
use crate::tables::ntt::NttTable;
use std::sync::atomic::{AtomicU64, Ordering};
use stream::{Chunk, StreamKey};

/// Whether a sum of products replaces its output or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// `out = sum`.
    Replace,
    /// `out += sum`.
    Accumulate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Ifma,
}

/// A kernel that this machine can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(Kind);

macro_rules! dispatch {
    ($self:ident, $name:ident($($argument:expr),*)) => {
        match $self.0 {
            Kind::Scalar => scalar::$name($($argument),*),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Kernel::avx2` is the only constructor of this kind, and it checked the CPU's
            // features.
            Kind::Avx2 => unsafe { avx2::$name($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Kernel::ifma` is the only constructor of this kind, and it checked the CPU's
            // features.
            Kind::Ifma => unsafe { ifma::$name($($argument),*) },
        }
    };
}

impl Kernel {
    /// The portable kernel, the specification of the others.
    pub fn scalar() -> Self {
        Self(Kind::Scalar)
    }

    /// The AVX2 and FMA kernel, where the machine has both.
    pub fn avx2() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Some(Self(Kind::Avx2));
        }
        None
    }

    /// The AVX-512 IFMA kernel, where the machine has it and vector AES; only the first machines
    /// with IFMA lack the latter.
    pub fn ifma() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512ifma")
            && is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("vaes")
        {
            return Some(Self(Kind::Ifma));
        }
        None
    }

    /// All kernels of this machine, slowest first.
    pub fn available() -> Vec<Self> {
        std::iter::once(Self::scalar())
            .chain(Self::avx2())
            .chain(Self::ifma())
            .collect()
    }

    /// The fastest kernel of this machine, or the one that the environment variable `HEDDLE_KERNEL`
    /// names.
    ///
    /// # Errors
    /// When the variable names an unknown kernel or one that the machine lacks.
    pub fn choose() -> Result<Self, Error> {
        match std::env::var("HEDDLE_KERNEL") {
            Ok(name) => Self::by_name(&name),
            Err(_) => Ok(Self::available().pop().unwrap_or(Self::scalar())),
        }
    }

    /// The kernel called `name`: `scalar`, `avx2` or `ifma`.
    ///
    /// # Errors
    /// When there is no such kernel or the machine lacks it.
    pub fn by_name(name: &str) -> Result<Self, Error> {
        let lacking = |reason| Error::Kernel {
            name: name.to_owned(),
            reason,
        };
        match name {
            "scalar" => Ok(Self::scalar()),
            "avx2" => Self::avx2().ok_or(lacking("this machine has no AVX2 with FMA")),
            "ifma" => {
                Self::ifma().ok_or(lacking("this machine has no AVX-512 IFMA or no vector AES"))
            }
            _ => Err(lacking("there is no kernel of this name")),
        }
    }

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Ifma => "ifma",
        }
    }

    /// Forward negacyclic transform in place, natural to bit-reversed order. A slice shorter than
    /// the ring degree is a polynomial in X^(N/len), see [`NttTable`].
    pub fn ntt_forward(self, table: &NttTable, x: &mut [u64]) {
        begin_transform(table, x);
        dispatch!(self, ntt_forward(table, x));
    }

    /// Inverse of [`Kernel::ntt_forward`].
    pub fn ntt_inverse(self, table: &NttTable, x: &mut [u64]) {
        begin_transform(table, x);
        dispatch!(self, ntt_inverse(table, x));
    }

    /// [`Kernel::ntt_forward`] of `x` into `out`, which saves the pass over memory that a copy
    /// would take.
    pub fn ntt_forward_from(self, table: &NttTable, out: &mut [u64], x: &[u64]) {
        begin_transform(table, x);
        assert_eq!(out.len(), x.len());
        dispatch!(self, ntt_forward_from(table, out, x));
    }

    /// [`Kernel::ntt_inverse`] of `x` into `out`.
    pub fn ntt_inverse_from(self, table: &NttTable, out: &mut [u64], x: &[u64]) {
        begin_transform(table, x);
        assert_eq!(out.len(), x.len());
        dispatch!(self, ntt_inverse_from(table, out, x));
    }

    /// `x += y`.
    pub fn add(self, m: &Modulus, x: &mut [u64], y: &[u64]) {
        assert_eq!(x.len(), y.len());
        dispatch!(self, add(m, x, y));
    }

    /// `x −= y`.
    pub fn sub(self, m: &Modulus, x: &mut [u64], y: &[u64]) {
        assert_eq!(x.len(), y.len());
        dispatch!(self, sub(m, x, y));
    }

    /// `x = −x`.
    pub fn neg(self, m: &Modulus, x: &mut [u64]) {
        dispatch!(self, neg(m, x));
    }

    /// `x[i] *= y[i >> log_rep]`.
    pub fn mul(self, m: &Modulus, x: &mut [u64], y: &[u64], log_rep: u32) {
        assert_eq!(x.len(), y.len() << log_rep);
        dispatch!(self, mul(m, x, y, log_rep));
    }

    /// `acc −= a · b`.
    pub fn mul_sub(self, m: &Modulus, acc: &mut [u64], a: &[u64], b: &[u64]) {
        assert!(acc.len() == a.len() && acc.len() == b.len());
        dispatch!(self, mul_sub(m, acc, a, b));
    }

    /// `x *= s`.
    pub fn mul_scalar(self, m: &Modulus, x: &mut [u64], s: ShoupScalar) {
        dispatch!(self, mul_scalar(m, x, s));
    }

    /// `acc += x · s`.
    pub fn mul_scalar_add(self, m: &Modulus, acc: &mut [u64], x: &[u64], s: ShoupScalar) {
        assert_eq!(acc.len(), x.len());
        dispatch!(self, mul_scalar_add(m, acc, x, s));
    }

    /// `x = (x − y) · s`, the tail of a division by dropped primes.
    pub fn sub_mul_scalar(self, m: &Modulus, x: &mut [u64], y: &[u64], s: ShoupScalar) {
        assert_eq!(x.len(), y.len());
        dispatch!(self, sub_mul_scalar(m, x, y, s));
    }

    /// `out[i] (+)= Σ_t shared[t][i >> log_rep] · factors[t][i]`: reduced once per output, not once
    /// per product.
    pub fn dot(
        self,
        m: &Modulus,
        out: &mut [u64],
        init: Init,
        shared: &[&[u64]],
        log_rep: u32,
        factors: &[&[u64]],
    ) {
        check_dot(out.len(), shared, log_rep, factors);
        dispatch!(self, dot(m, out, init, shared, log_rep, factors));
    }

    /// Two [`Kernel::dot`]s that share one side: both halves of a key switch, or both polynomials
    /// of a ciphertext against the same plaintexts.
    pub fn dot_pair(
        self,
        m: &Modulus,
        out: [&mut [u64]; 2],
        init: Init,
        shared: &[&[u64]],
        log_rep: u32,
        factors: [&[&[u64]]; 2],
    ) {
        check_dot(out[0].len(), shared, log_rep, factors[0]);
        check_dot(out[1].len(), shared, log_rep, factors[1]);
        dispatch!(self, dot_pair(m, out, init, shared, log_rep, factors));
    }

    /// Permutes the values of one limb by an automorphism.
    pub fn permute(self, table: &Automorphism, out: &mut [u64], x: &[u64]) {
        self.permute_runs(&table.blocks, &table.patterns, out, x);
    }

    /// [`Kernel::permute`] of one part of a limb: `x` is its source, see
    /// [`Automorphism::source_part`].
    pub(crate) fn permute_part(
        self,
        table: &Automorphism,
        part: usize,
        out: &mut [u64],
        x: &[u64],
    ) {
        self.permute_runs(table.part_blocks(part, out.len()), &table.patterns, out, x);
    }

    /// `out[8b + l] = x[8·run + patterns[p][l]]`, with `blocks[b] = 8·run + p`. The number of
    /// residues is a power of two, and runs count modulo theirs: `x` may be the part of a limb that
    /// `blocks` name.
    fn permute_runs(self, blocks: &[u32], patterns: &[[u64; 8]; 8], out: &mut [u64], x: &[u64]) {
        assert!(out.len() == x.len() && out.len() == 8 * blocks.len());
        assert!(x.len().is_power_of_two() && x.len() >= 8);
        assert!(patterns.iter().flatten().all(|&lane| lane < 8));
        dispatch!(self, permute(blocks, patterns, out, x));
    }

    /// Takes residues of `bits` bits, at most 50, out of words that hold them back to back, lowest
    /// bit first.
    pub(crate) fn unpack(self, bits: u32, out: &mut [u64], packed: &[u64]) {
        assert!(bits <= 50 && packed.len() * 64 >= out.len() * bits as usize);
        dispatch!(self, unpack(bits, out, packed));
    }

    /// From `a = c`, with `c̄[i] = c[len − 1 − i]`: `a = (c + c̄)·half` and, in the first half of
    /// the indices, `b = (c − c̄)·factor`, mirrored into the second. See
    /// [`crate::circuits::linear`].
    pub(crate) fn split_conjugates(
        self,
        m: &Modulus,
        a: &mut [u64],
        b: &mut [u64],
        half: ShoupScalar,
        factor: ShoupScalar,
    ) {
        assert!(a.len() == b.len() && a.len().is_multiple_of(2));
        dispatch!(self, split_conjugates(m, a, b, half, factor));
    }

    /// `out[i] = x[i] mod q` of signed integers.
    pub fn reduce_signed(self, m: &Modulus, out: &mut [u64], x: &[i64]) {
        assert_eq!(out.len(), x.len());
        dispatch!(self, reduce_signed(m, out, x));
    }

    /// `out[i] = x[i] mod q` of integers of one byte: coefficients of secrets and errors.
    ///
    /// # Panics
    /// When the modulus is not above 128.
    pub fn lift_small(self, m: &Modulus, out: &mut [u64], x: &[i8]) {
        assert_eq!(out.len(), x.len());
        assert!(m.value() > 128, "bytes are reduced modulo primes above 128");
        dispatch!(self, lift_small(m, out, x));
    }

    /// `out[i]` = the centred representative of `x[i]` modulo `from`, modulo `to`.
    pub fn switch_modulus(self, from: &Modulus, to: &Modulus, out: &mut [u64], x: &[u64]) {
        assert_eq!(out.len(), x.len());
        dispatch!(self, switch_modulus(from, to, out, x));
    }

    /// The key of streams for [`Kernel::uniform`].
    pub(crate) fn stream_key(self, seed: &[u8; 16]) -> StreamKey {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 if is_x86_feature_detected!("aes") && is_x86_feature_detected!("vaes") => {
                // SAFETY: `Kernel::avx2` is the only constructor of this kind, and it checked the
                // CPU's features but those above.
                StreamKey::Vaes256(Box::new(unsafe { avx2::RoundKeys::new(seed) }))
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Kernel::ifma` is the only constructor of this kind, and it checked the CPU's
            // features.
            Kind::Ifma => StreamKey::Vaes512(Box::new(unsafe { ifma::RoundKeys::new(seed) })),
            _ => StreamKey::portable(seed),
        }
    }

    /// Fills `out`, at most [`stream::CHUNK`] words, with the first residues of a chunk, uniform
    /// modulo `m`. `key` comes from this kernel's [`Kernel::stream_key`].
    pub(crate) fn uniform(self, key: &StreamKey, chunk: Chunk, m: &Modulus, out: &mut [u64]) {
        assert!(out.len() <= stream::CHUNK);
        match (self.0, key) {
            (_, StreamKey::Portable(key)) => stream::uniform(key, chunk, m, out),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Kernel::avx2` is the only constructor of this kind, and it checked the CPU's
            // features; `Kernel::stream_key` is the only constructor of such keys, and it checked
            // that there is vector AES.
            (Kind::Avx2, StreamKey::Vaes256(key)) => unsafe { avx2::uniform(key, chunk, m, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Kernel::ifma` is the only constructor of this kind, and it checked the CPU's
            // features.
            (Kind::Ifma, StreamKey::Vaes512(key)) => unsafe { ifma::uniform(key, chunk, m, out) },
            #[cfg(target_arch = "x86_64")]
            (_, StreamKey::Vaes256(_) | StreamKey::Vaes512(_)) => {
                unreachable!("the key was made for another kernel")
            }
        }
    }

    /// Converts a run of coefficients from one basis to another: one input slice per source prime,
    /// one output slice per target prime, all of one length. See [`ConversionTable`].
    pub fn convert(self, table: &ConversionTable, inputs: &[&[u64]], outputs: &mut [&mut [u64]]) {
        assert!(inputs.len() == table.sources.len() && outputs.len() == table.targets.len());
        let len = inputs.first().map_or(0, |x| x.len());
        assert!(inputs.iter().all(|x| x.len() == len) && outputs.iter().all(|x| x.len() == len));
        dispatch!(self, convert(table, inputs, outputs));
    }
}

static BUTTERFLIES: AtomicU64 = AtomicU64::new(0);

/// How many butterflies the transforms of this process have begun so far. The butterflies of an
/// operation, times the time of one, are a lower bound on the time of its transforms.
pub fn butterflies() -> u64 {
    BUTTERFLIES.load(Ordering::Relaxed)
}

fn begin_transform(table: &NttTable, x: &[u64]) {
    assert!(
        x.len().is_power_of_two() && x.len() <= 1 << table.log_n(),
        "{} residues",
        x.len()
    );
    let count = x.len() as u64 / 2 * u64::from(x.len().trailing_zeros());
    BUTTERFLIES.fetch_add(count, Ordering::Relaxed);
}

fn check_dot(len: usize, shared: &[&[u64]], log_rep: u32, factors: &[&[u64]]) {
    assert_eq!(shared.len(), factors.len());
    assert!(
        shared.iter().all(|s| s.len() << log_rep == len) && factors.iter().all(|f| f.len() == len)
    );
}

/// Coefficients that a conversion works on at once: those of eleven primes stay in the first-level
/// cache, and writes are long enough to be prefetched.
const CONVERT_BLOCK: usize = 128;

#[cfg(test)]
mod tests;
