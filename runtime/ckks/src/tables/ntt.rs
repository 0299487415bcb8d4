//! Tables of the negacyclic number-theoretic transform.
//!
//! With ψ a primitive `2N`-th root of unity, the transform of a polynomial holds at index `i` its
//! value at ψ^(2·brv(i)+1), where brv reverses log2 N bits. The forward transform is the
//! decimation-in-frequency network that splits X^m − c² into (X^{m/2} − c)(X^{m/2} + c): node
//! `k ≥ 1` of the binary tree uses ψ^brv(k), so that one table in this order serves every layer,
//! read forwards (Longa and Naehrig, ePrint 2016/504). A polynomial in X^r has a transform that is
//! constant on runs of `r`, and the transform of its `N/r` coefficients is the same network of size
//! `N/r` over the head of the same table.
//!
//! The inverse needs ψ^−brv(k). For `k` in a layer [m, 2m) that is −ψ^brv(3m−1−k), since ψ^N = −1:
//! the same table, each layer read backwards, with the subtraction of the butterfly turned round.

use crate::buffer::Buffer;
use crate::tables::modulus::Modulus;
use std::sync::OnceLock;

/// The roots of one modulus at one ring degree.
///
/// With ψ a primitive `2N`-th root of unity, a transform holds at index `i` the polynomial's value
/// at ψ^(2·brv(i)+1), where brv reverses log2 N bits. The transform of a polynomial in X^r is
/// constant on runs of `r`, and is computed from its `N/r` coefficients alone.
#[derive(Debug)]
pub struct NttTable {
    modulus: Modulus,
    log_n: u32,
    /// ψ^brv(k) at index k, in Montgomery form.
    roots: Buffer,
    /// The roots in Montgomery form at 64 bits, for kernels that multiply whole machine words.
    roots_64: OnceLock<Vec<u64>>,
    /// The roots as centred integers, for kernels that multiply in double precision.
    centred_roots: OnceLock<Vec<f64>>,
    /// 2^−k at index k, in Montgomery form.
    degree_inverses: Vec<u64>,
}

/// The `bits` lowest bits of `x` in reverse order.
#[inline]
pub fn reverse_bits(x: usize, bits: u32) -> usize {
    if bits == 0 {
        0
    } else {
        x.reverse_bits() >> (usize::BITS - bits)
    }
}

impl NttTable {
    /// The table of `modulus` for ring degree `2^log_n`.
    ///
    /// # Panics
    /// When `2^(log_n + 1)` does not divide `q − 1`.
    pub fn new(modulus: Modulus, log_n: u32) -> Self {
        let n = 1usize << log_n;
        let psi = modulus.shoup(modulus.primitive_root(2 * n as u64));
        let mut roots = Buffer::zeroed(n);
        let mut power = 1;
        for i in 0..n {
            roots[reverse_bits(i, log_n)] = modulus.to_montgomery(power);
            power = modulus.mul_shoup(power, psi);
        }
        let half = modulus.inverse(2);
        let degree_inverses = (0..=log_n)
            .map(|k| modulus.to_montgomery(modulus.pow(half, k.into())))
            .collect();
        Self {
            modulus,
            log_n,
            roots,
            roots_64: OnceLock::new(),
            centred_roots: OnceLock::new(),
            degree_inverses,
        }
    }

    /// The modulus.
    #[inline]
    pub fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// log2 of the ring degree.
    #[inline]
    pub fn log_n(&self) -> u32 {
        self.log_n
    }

    /// ψ^brv(k) at index k, in Montgomery form.
    #[inline]
    pub(crate) fn roots(&self) -> &[u64] {
        &self.roots
    }

    /// ψ^brv(k) at index k, in Montgomery form at 64 bits; the table is made at first use.
    #[inline]
    pub(crate) fn roots_64(&self) -> &[u64] {
        let extend = |&root: &u64| self.modulus.extend_montgomery(root);
        self.roots_64
            .get_or_init(|| self.roots.iter().map(extend).collect())
    }

    /// ψ^brv(k) at index k, as the centred integer; the table is made at first use.
    #[inline]
    pub(crate) fn centred_roots(&self) -> &[f64] {
        self.centred_roots
            .get_or_init(|| self.roots.iter().map(|&root| self.centred(root)).collect())
    }

    /// The centred integer of a residue in Montgomery form.
    #[inline]
    pub(crate) fn centred(&self, montgomery: u64) -> f64 {
        let m = &self.modulus;
        let residue = m.correct(m.mul_montgomery_lazy(montgomery, 1));
        m.centred(residue) as f64
    }

    /// ψ^(N/2), a square root of −1.
    pub(crate) fn fourth_root(&self) -> u64 {
        let m = &self.modulus;
        m.correct(m.mul_montgomery_lazy(1, self.roots[1]))
    }

    /// `2^−log` in Montgomery form.
    #[inline]
    pub(crate) fn degree_inverse(&self, log: u32) -> u64 {
        self.degree_inverses[log as usize]
    }
}
