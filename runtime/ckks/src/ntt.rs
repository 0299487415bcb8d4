//! Tables of the negacyclic number-theoretic transform.
//!
//! With ψ a primitive `2N`-th root of unity, the transform of a polynomial holds at index `i` its value at
//! ψ^(2·brv(i)+1), where brv reverses log2 N bits. The forward transform is the decimation-in-frequency network
//! that splits X^m − c² into (X^{m/2} − c)(X^{m/2} + c): node `k ≥ 1` of the binary tree uses ψ^brv(k), so that one
//! table in this order serves every layer, read forwards (Longa and Naehrig, ePrint 2016/504). A polynomial
//! in X^r has a transform that is constant on runs of `r`, and the transform of its `N/r` coefficients is the same
//! network of size `N/r` over the head of the same table.

use crate::modulus::{Modulus, ShoupScalar};

/// The roots of one modulus at one ring degree.
#[derive(Debug)]
pub struct NttTable {
    modulus: Modulus,
    log_n: u32,
    /// ψ^brv(k) at index k.
    pub(crate) roots: Vec<u64>,
    /// floor(2^52 · roots / q).
    pub(crate) root_quotients: Vec<u64>,
    /// ψ^−brv(k) at index k.
    pub(crate) inverse_roots: Vec<u64>,
    /// floor(2^52 · inverse_roots / q).
    pub(crate) inverse_root_quotients: Vec<u64>,
    /// 2^−k at index k.
    degree_inverses: Vec<ShoupScalar>,
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
        let psi = modulus.primitive_root(2 * n as u64);
        let (roots, root_quotients) = power_table(&modulus, psi, log_n);
        let (inverse_roots, inverse_root_quotients) =
            power_table(&modulus, modulus.inverse(psi), log_n);
        let half = modulus.inverse(2);
        let degree_inverses = (0..=log_n)
            .map(|k| modulus.shoup(modulus.pow(half, k.into())))
            .collect();
        Self {
            modulus,
            log_n,
            roots,
            root_quotients,
            inverse_roots,
            inverse_root_quotients,
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

    /// `2^−log` as a factor.
    #[inline]
    pub(crate) fn degree_inverse(&self, log: u32) -> ShoupScalar {
        self.degree_inverses[log as usize]
    }

    /// ψ^brv(k) as a factor.
    #[inline]
    pub(crate) fn root(&self, k: usize) -> ShoupScalar {
        ShoupScalar {
            value: self.roots[k],
            quotient: self.root_quotients[k],
        }
    }

    /// ψ^−brv(k) as a factor.
    #[inline]
    pub(crate) fn inverse_root(&self, k: usize) -> ShoupScalar {
        ShoupScalar {
            value: self.inverse_roots[k],
            quotient: self.inverse_root_quotients[k],
        }
    }
}

fn power_table(modulus: &Modulus, base: u64, log_n: u32) -> (Vec<u64>, Vec<u64>) {
    let n = 1usize << log_n;
    let (mut values, mut quotients) = (vec![0; n], vec![0; n]);
    let factor = modulus.shoup(base);
    let mut power = 1;
    for i in 0..n {
        let k = reverse_bits(i, log_n);
        values[k] = power;
        quotients[k] = modulus.shoup(power).quotient;
        power = modulus.mul_shoup(power, factor);
    }
    (values, quotients)
}
