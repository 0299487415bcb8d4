//! Everything precomputed from a parameter set.

use crate::Error;
use crate::buffer::Pool;
use crate::kernel::Kernel;
use crate::tables::automorphism::Automorphism;
use crate::tables::conversion::ConversionTable;
use crate::tables::modulus::Modulus;
use crate::tables::ntt::NttTable;
use heddle_params::{GaloisElement, Parameters};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

/// Standard deviation of errors, with every parameter set.
pub const SIGMA: f64 = 3.19;

/// The limbs of a polynomial: `q_0 … q_level`, then `p_0 … p_{specials−1}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Basis {
    level: usize,
    specials: usize,
}

impl Basis {
    /// The ciphertext primes of `level`.
    pub fn q(level: usize) -> Self {
        Self { level, specials: 0 }
    }

    /// The ciphertext primes of `level` and the first `specials` special primes.
    pub fn new(level: usize, specials: usize) -> Self {
        Self { level, specials }
    }

    /// The level.
    pub fn level(self) -> usize {
        self.level
    }

    /// How many ciphertext primes.
    pub fn q_limbs(self) -> usize {
        self.level + 1
    }

    /// How many special primes.
    pub fn specials(self) -> usize {
        self.specials
    }

    /// How many limbs in all.
    pub fn limbs(self) -> usize {
        self.level + 1 + self.specials
    }
}

/// A base conversion: from these moduli to those, by index in the context.
type ConversionKey = (Range<usize>, Range<usize>, Vec<usize>);

/// The tables of a parameter set: moduli, transforms, automorphisms, base conversions.
///
/// Moduli are indexed with the ciphertext primes first, `0..=max_level`, then the special primes.
pub struct Context {
    params: Parameters,
    kernel: Kernel,
    tables: Vec<NttTable>,
    automorphisms: RwLock<HashMap<GaloisElement, Arc<Automorphism>>>,
    conversions: RwLock<HashMap<ConversionKey, Arc<ConversionTable>>>,
    pool: Pool,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("params", self.params.literal())
            .field("kernel", &self.kernel)
            .finish()
    }
}

impl Context {
    /// Builds the tables for the fastest kernel, or the one that `HEDDLE_KERNEL` names.
    ///
    /// # Errors
    /// When `HEDDLE_KERNEL` names a kernel that cannot be used.
    pub fn new(params: Parameters) -> Result<Arc<Self>, Error> {
        Ok(Self::with_kernel(params, Kernel::choose()?))
    }

    /// Builds the tables for a given kernel.
    pub fn with_kernel(params: Parameters, kernel: Kernel) -> Arc<Self> {
        let primes: Vec<u64> = params.q().iter().chain(params.p()).copied().collect();
        let log_n = params.log_n();
        let tables = primes
            .into_par_iter()
            .map(|q| NttTable::new(Modulus::new(q), log_n))
            .collect();
        Arc::new(Self {
            params,
            kernel,
            tables,
            automorphisms: RwLock::default(),
            conversions: RwLock::default(),
            pool: Pool::default(),
        })
    }

    /// The parameter set.
    pub fn parameters(&self) -> &Parameters {
        &self.params
    }

    /// The kernel in use.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// The pool of the buffers of polynomials and of scratch.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The ring degree.
    pub fn n(&self) -> usize {
        self.params.n()
    }

    /// log2 of the ring degree.
    pub fn log_n(&self) -> u32 {
        self.params.log_n()
    }

    /// The highest level.
    pub fn max_level(&self) -> usize {
        self.params.max_level()
    }

    /// A modulus by its index.
    pub fn modulus(&self, index: usize) -> &Modulus {
        self.tables[index].modulus()
    }

    /// The transform's table of a modulus.
    pub fn table(&self, index: usize) -> &NttTable {
        &self.tables[index]
    }

    /// The index of special prime `k`.
    pub fn special_index(&self, k: usize) -> usize {
        self.params.q().len() + k
    }

    /// The index of the modulus of a limb.
    pub fn modulus_index(&self, basis: Basis, limb: usize) -> usize {
        if limb < basis.q_limbs() {
            limb
        } else {
            self.special_index(limb - basis.q_limbs())
        }
    }

    /// The modulus of a limb.
    pub fn limb_modulus(&self, basis: Basis, limb: usize) -> &Modulus {
        self.modulus(self.modulus_index(basis, limb))
    }

    /// The basis of the ciphertext primes up to a level.
    ///
    /// # Errors
    /// When the level does not exist.
    pub fn q_basis(&self, level: usize) -> Result<Basis, Error> {
        let max = self.max_level();
        match level <= max {
            true => Ok(Basis::q(level)),
            false => Err(heddle_params::Error::Level { level, max }.into()),
        }
    }

    /// Whether both are of one ring and one chain of primes, so that their objects can meet.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (self.log_n() == other.log_n()
                && self.params.q() == other.params.q()
                && self.params.p() == other.params.p())
    }

    /// Refuses the context of an operand that belongs to another ring or chain.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] unless [`Context::is_same`].
    pub(crate) fn check_same(&self, op: &'static str, other: &Self) -> Result<(), Error> {
        match self.is_same(other) {
            true => Ok(()),
            false => Err(Error::ContextMismatch { op }),
        }
    }

    /// Panics unless the chain has the basis.
    pub(crate) fn check(&self, basis: Basis) {
        assert!(
            basis.q_limbs() <= self.params.q().len() && basis.specials() <= self.params.p().len(),
            "the chain has {} + {} primes, {basis:?} was asked for",
            self.params.q().len(),
            self.params.p().len()
        );
    }

    /// The table of an automorphism, built on first use.
    ///
    /// # Panics
    /// When the element belongs to a ring of another degree.
    pub fn automorphism(&self, galois: GaloisElement) -> Arc<Automorphism> {
        assert_eq!(galois.log_n(), self.log_n(), "an element of another ring");
        let cached = self
            .automorphisms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&galois)
            .cloned();
        cached.unwrap_or_else(|| {
            let table = Arc::new(Automorphism::new(galois));
            let mut tables = self
                .automorphisms
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            tables.entry(galois).or_insert(table).clone()
        })
    }

    /// The table that converts from the moduli of two index ranges to the moduli listed, built on
    /// first use.
    pub(crate) fn conversion(
        &self,
        sources: (Range<usize>, Range<usize>),
        targets: Vec<usize>,
    ) -> Arc<ConversionTable> {
        let key = (sources.0, sources.1, targets);
        let cached = self
            .conversions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        cached.unwrap_or_else(|| {
            let moduli = |indices: &mut dyn Iterator<Item = usize>| -> Vec<Modulus> {
                indices.map(|i| *self.modulus(i)).collect()
            };
            let sources = moduli(&mut key.0.clone().chain(key.1.clone()));
            let targets = moduli(&mut key.2.iter().copied());
            let table = Arc::new(ConversionTable::new(&sources, &targets));
            let mut tables = self
                .conversions
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            tables.entry(key).or_insert(table).clone()
        })
    }
}
