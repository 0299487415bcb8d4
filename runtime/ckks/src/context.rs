//! Everything precomputed from a parameter set.

use crate::Error;
use crate::kernel::Kernel;
use crate::modulus::Modulus;
use crate::ntt::NttTable;
use crate::poly::Automorphism;
use crate::rns::ConversionTable;
use heddle_params::{GaloisElement, Parameters};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

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

    /// The table that converts from the moduli of two index ranges to the moduli listed, built on first use.
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
